import Addressing
import Glibc
import Netlink
import Testing

@testable import Conntrack

/// A message as ctnetlink multicasts it.
struct EventBytes {
  var type: UInt16
  var flags: UInt16 = 0
  var payload: [UInt8]

  var bytes: [UInt8] {
    func host(_ number: some FixedWidthInteger) -> [UInt8] {
      unsafe withUnsafeBytes(of: number) { unsafe Array($0) }
    }
    return host(UInt32(16 + payload.count)) + host(type) + host(flags) + host(UInt32(0))
      + host(UInt32(0)) + payload
  }

  /// IPCTNL_MSG_CT_NEW of subsystem CTNETLINK.
  static func flow(
    _ original: FlowTuple, _ reply: FlowTuple? = nil, status: UInt8 = 0x0a, type: UInt16 = 0x100,
    flags: UInt16 = 0
  ) -> EventBytes {
    let family: UInt8 = original.family == .ipv4 ? 2 : 10
    return EventBytes(
      type: type, flags: flags,
      payload: [family, 0, 0, 0] + attribute(1, nested: true, tupleBytes(original))
        + attribute(2, nested: true, tupleBytes(reply ?? original.inverted))
        + attribute(12, [0, 0, 0, 7]) + attribute(3, [0, 0, 0, status]))
  }

  /// IPCTNL_MSG_EXP_NEW of subsystem CTNETLINK_EXP; `nat` adds CTA_EXPECT_NAT.
  static func expectation(_ tuple: FlowTuple, nat: Bool = false) -> EventBytes {
    EventBytes(
      type: 0x200, flags: 0x600,
      payload: [2, 0, 0, 0] + attribute(1, nested: true, tupleBytes(tuple))
        + attribute(2, nested: true, tupleBytes(tuple))
        + attribute(3, nested: true, tupleBytes(tuple)) + attribute(5, [0, 0, 0, 9])
        + (nat ? attribute(10, nested: true, attribute(1, [0, 0, 0, 0])) : []))
  }
}

/// The kernel's own interpreter: a datagram socket with the program attached.
private func passes(_ message: EventBytes, _ filter: FlowEventFilter) throws -> Bool {
  var ends: [Int32] = [0, 0]
  let kind = Int32(SOCK_DGRAM.rawValue)
  try #require(unsafe socketpair(AF_UNIX, kind, 0, &ends) == 0)
  defer { for end in ends { close(end) } }
  try EventProgram.compile(filter).attach(to: ends[1])
  let bytes = message.bytes
  try #require(unsafe send(ends[0], bytes, bytes.count, 0) == bytes.count)
  var room = [UInt8](repeating: 0, count: 2048)
  return unsafe recv(ends[1], &room, room.count, Int32(MSG_DONTWAIT)) == bytes.count
}

private let att = "203.0.113.66"
private let pbx = "192.0.2.5"

@Suite("The kernel's filter of events")
struct EventProgramTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var message: EventBytes
    var filter = FlowEventFilter()
    var passes: Bool

    init(
      _ words: String, _ message: EventBytes, passes: Bool,
      _ change: (inout FlowEventFilter) -> Void = { _ in }
    ) {
      testDescription = words
      self.message = message
      self.passes = passes
      change(&filter)
    }
  }

  static let cases: [Case] = [
    Case(
      "destination port of the original tuple",
      .flow(.udp("\(att):24376 > \(pbx):5060"), .udp("\(pbx):5090 > \(att):24376")), passes: true),
    Case(
      "source port of the original tuple",
      .flow(.udp("\(pbx):5060 > \(att):24376"), .udp("\(att):24376 > \(pbx):6060")), passes: true),
    Case(
      "source port of the reply tuple",
      .flow(.udp("\(att):24376 > \(pbx):5070"), .udp("\(pbx):5060 > \(att):24376")), passes: true),
    Case(
      "destination port of the reply tuple",
      .flow(.udp("\(pbx):6060 > \(att):24376"), .udp("\(att):24376 > \(pbx):5060")), passes: true),
    Case("no such port", .flow(.udp("\(att):5059 > \(pbx):5061")), passes: false),
    Case("IPv6", .flow(.udp("[2001:db8::66]:1 > [2001:db8::5]:5060")), passes: true),
    Case(
      "IPv6 without the port", .flow(.udp("[2001:db8::66]:1 > [2001:db8::5]:53")), passes: false),
    Case(
      "a family that is not asked for", .flow(.udp("[2001:db8::66]:1 > [2001:db8::5]:5060")),
      passes: false
    ) { $0.query.families = [.ipv4] },
    Case(
      "a place that is not looked at",
      .flow(.udp("\(att):1 > \(pbx):5060"), .udp("\(pbx):9 > \(att):1")),
      passes: false
    ) { $0.query.places = FlowQuery.deliveredSide },
    Case("a transport that is not asked for", .flow(.udp("\(att):1 > \(pbx):5060")), passes: false)
    {
      $0.query.transports = [.tcp]
    },
    Case("one of several transports", .flow(.udp("\(att):1 > \(pbx):5060")), passes: true) {
      $0.query.transports = [.tcp, .udp, .sctp]
    },
    Case("within a run of ports", .flow(.udp("\(att):1 > \(pbx):5062")), passes: true) {
      $0.query.ports = [5060, 5061, 5062, 5063, 5080]
    },
    Case("behind a run of ports", .flow(.udp("\(att):1 > \(pbx):5064")), passes: false) {
      $0.query.ports = [5060, 5061, 5062, 5063, 5080]
    },
    Case("before a run of ports", .flow(.udp("\(att):1 > \(pbx):5059")), passes: false) {
      $0.query.ports = [5060, 5061, 5062, 5063, 5080]
    },
    Case("more ports than a program can list", .flow(.udp("\(att):1 > \(pbx):2")), passes: true) {
      $0.query.ports = Set(stride(from: 1025, to: 9000, by: 2))
    },
    Case("unanswered, from a peer", .flow(.udp("\(att):1 > \(pbx):5060"), status: 8), passes: false)
    {
      $0.leavesOutUnanswered = true
    },
    Case("answered", .flow(.udp("\(att):1 > \(pbx):5060"), status: 0x0a), passes: true) {
      $0.leavesOutUnanswered = true
    },
    Case("expected", .flow(.udp("\(att):1 > \(pbx):5060"), status: 0x09), passes: true) {
      $0.leavesOutUnanswered = true
    },
    Case(
      "unanswered, opened from our port", .flow(.udp("\(pbx):5060 > \(att):1"), status: 8),
      passes: true
    ) { $0.leavesOutUnanswered = true },
    Case("the end of a flow", .flow(.udp("\(att):1 > \(pbx):5060"), type: 0x102), passes: true),
    Case("the end of another", .flow(.udp("\(att):1 > \(pbx):53"), type: 0x102), passes: false),
    Case(
      "without a reply tuple: nothing is decided here",
      EventBytes(
        type: 0x100,
        payload: [2, 0, 0, 0] + attribute(1, tupleBytes(.udp("\(att):1 > \(pbx):53")))),
      passes: true),
    Case("an expectation to the port", .expectation(.udp("\(att):0 > \(pbx):5060")), passes: true),
    Case("an expectation of media", .expectation(.udp("\(att):0 > \(pbx):16384")), passes: false),
    Case(
      "an expectation that nat translates",
      .expectation(.udp("\(att):0 > \(pbx):16384"), nat: true), passes: true),
    Case("an error", EventBytes(type: 2, payload: [0, 0, 0, 0]), passes: true),
  ]

  @Test("passes what is asked for", arguments: cases)
  func program(_ example: Case) throws {
    #expect(try passes(example.message, example.filter) == example.passes)
  }

  @Test("joins neighbouring ports")
  func ranges() {
    #expect(EventProgram.ranges([5060]) == [5060...5060])
    #expect(EventProgram.ranges([5060, 5061, 5063]) == [5060...5061, 5063...5063])
    #expect(EventProgram.ranges([0, 65535]) == [0...0, 65535...65535])
    #expect(EventProgram.ranges(Set(0...UInt16.max)) == [0...65535])
    #expect(EventProgram.ranges([]) == [])
  }
}
