import Addressing
import Conntrack
import Netlink
import TestSupport
import Testing

/// A UDP flow of zone 5 that a helper expected, each field as ctnetlink lays it out.
private let annotated: [UInt8] = [
  2, 0, 0, 0,  // nfgenmsg: AF_INET, version 0, resource id 0
  52, 0, 1, 0x80,  // CTA_TUPLE_ORIG
  20, 0, 1, 0x80,  // CTA_TUPLE_IP
  8, 0, 1, 0, 203, 0, 113, 66,  // CTA_IP_V4_SRC
  8, 0, 2, 0, 192, 0, 2, 5,  // CTA_IP_V4_DST
  28, 0, 2, 0x80,  // CTA_TUPLE_PROTO
  5, 0, 1, 0, 17, 0, 0, 0,  // CTA_PROTO_NUM, 3 bytes of padding
  6, 0, 2, 0, 0x5f, 0x38, 0, 0,  // CTA_PROTO_SRC_PORT 24376
  6, 0, 3, 0, 0x13, 0xce, 0, 0,  // CTA_PROTO_DST_PORT 5070
  60, 0, 2, 0x80,  // CTA_TUPLE_REPLY
  20, 0, 1, 0x80,
  8, 0, 1, 0, 192, 0, 2, 5,
  8, 0, 2, 0, 203, 0, 113, 66,
  28, 0, 2, 0x80,
  5, 0, 1, 0, 17, 0, 0, 0,
  6, 0, 2, 0, 0x13, 0xc4, 0, 0,  // 5060
  6, 0, 3, 0, 0x5f, 0x38, 0, 0,
  6, 0, 3, 0, 0, 7, 0, 0,  // CTA_TUPLE_ZONE 7
  6, 0, 18, 0, 0, 5, 0, 0,  // CTA_ZONE 5
  8, 0, 3, 0, 0, 0, 0x01, 0xab,  // CTA_STATUS
  8, 0, 8, 0, 0xde, 0xad, 0xbe, 0xef,  // CTA_MARK
  8, 0, 12, 0, 0x88, 0x20, 0x89, 0xc0,  // CTA_ID
  8, 0, 7, 0, 0, 0, 0x01, 0xf3,  // CTA_TIMEOUT 499
  28, 0, 9, 0x80,  // CTA_COUNTERS_ORIG
  12, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 3,  // CTA_COUNTERS_PACKETS
  12, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0,  // CTA_COUNTERS_BYTES 2^32
  16, 0, 20, 0x80,  // CTA_TIMESTAMP
  12, 0, 1, 0, 0x18, 0xe9, 0xea, 0x19, 0x49, 0x9c, 0x5a, 0x9d,  // CTA_TIMESTAMP_START
  12, 0, 5, 0x80,  // CTA_HELP
  8, 0, 1, 0, 0x73, 0x69, 0x70, 0,  // CTA_HELP_NAME "sip"
  52, 0, 14, 0x80,  // CTA_TUPLE_MASTER
  20, 0, 1, 0x80,
  8, 0, 1, 0, 192, 0, 2, 5,
  8, 0, 2, 0, 198, 51, 100, 10,
  28, 0, 2, 0x80,
  5, 0, 1, 0, 17, 0, 0, 0,
  6, 0, 2, 0, 0x13, 0xc4, 0, 0,
  6, 0, 3, 0, 0x13, 0xc4, 0, 0,
  8, 0, 99, 0, 1, 2, 3, 4,  // an attribute of a kernel to come
]

@Suite("A flow message")
struct FlowMessageTests {
  @Test("is decoded field by field")
  func decodesAnnotated() throws {
    var expected = Flow(
      original: .udp("203.0.113.66:24376 > 192.0.2.5:5070"),
      reply: .udp("192.0.2.5:5060 > 203.0.113.66:24376"),
      status: [
        .expected, .seenReply, .confirmed, .destinationNAT, .sourceNATDone, .destinationNATDone,
      ], id: 0x8820_89c0)
    expected.zone = 5
    expected.replyZone = 7
    expected.mark = 0xdead_beef
    expected.timeout = 499
    expected.originalCounters = Flow.Counters(packets: 3, bytes: 1 << 32)
    expected.start = 0x18e9_ea19_499c_5a9d
    expected.helper = "sip"
    expected.master = .udp("192.0.2.5:5060 > 198.51.100.10:5060")
    #expect(try FlowMessage.flow(annotated) == expected)
    let ports = try FlowMessage.ports(annotated)
    #expect(ports.transport == 17)
    #expect([ports.originalSource, ports.originalDestination] == [24376, 5070])
    #expect([ports.replySource, ports.replyDestination] == [5060, 24376])
  }

  @Test("of IPv6 without the nest flags older kernels leave out is decoded too")
  func decodesIPv6() throws {
    let tuple = FlowTuple.udp("[2001:db8::66]:24376 > [2001:db8::5]:5060")
    let bytes: [UInt8] =
      [10, 0, 0, 0] + attribute(1, tupleBytes(tuple, zone: 6))
      + attribute(2, tupleBytes(tuple.inverted)) + attribute(3, [0, 0, 0, 0x0e])
      + attribute(12, [0, 0, 0, 1])
      + attribute(4, attribute(1, attribute(1, [3]) + attribute(2, [7])))
    let flow = try FlowMessage.flow(bytes)
    #expect(flow.original == tuple)
    #expect(flow.reply == tuple.inverted)
    #expect(flow.status == [.seenReply, .assured, .confirmed])
    #expect(flow.tcpState == 3)
    #expect(flow.key == FlowKey(original: tuple, zone: 6, id: 1))
    #expect(flow.mark == nil && flow.timeout == nil && flow.start == nil)
    #expect(flow.originalCounters == nil && flow.helper == nil && flow.master == nil)
  }

  private static let tuple = tupleBytes(.udp("192.0.2.1:1 > 192.0.2.2:2"))
  private static let required =
    attribute(1, tuple) + attribute(2, tuple) + attribute(3, [0, 0, 0, 8])
    + attribute(12, [0, 0, 0, 1])

  @Test(
    "that lacks what every flow has, or has it in another length, is refused",
    arguments: [
      ("no header", []),
      ("a cut header", [2, 0, 0]),
      ("nothing in it", [2, 0, 0, 0]),
      ("no reply tuple", [2, 0, 0, 0] + attribute(1, tuple) + attribute(3, [0, 0, 0, 8])),
      ("no status", [2, 0, 0, 0] + attribute(1, tuple) + attribute(2, tuple)),
      ("an empty tuple", [2, 0, 0, 0] + attribute(1, []) + required),
      ("a short status", [2, 0, 0, 0] + required + attribute(3, [0, 8])),
      ("a long zone", [2, 0, 0, 0] + required + attribute(18, [0, 0, 0, 8])),
      ("a short timestamp", [2, 0, 0, 0] + required + attribute(20, attribute(1, [0]))),
      ("a cut helper", [2, 0, 0, 0] + required + attribute(5, [9, 0, 1, 0, 0x73])),
      (
        "an address of five bytes",
        [2, 0, 0, 0] + required + attribute(1, attribute(1, attribute(1, [1, 2, 3, 4, 5])))
      ),
      (
        "tuples of two families",
        [2, 0, 0, 0] + required
          + attribute(2, tupleBytes(.udp("[2001:db8::1]:1 > [2001:db8::2]:2")))
      ),
    ])
  func refuses(what: String, bytes: [UInt8]) throws {
    _ = try FlowMessage.flow([2, 0, 0, 0] + Self.required)
    #expect(throws: MalformedNetlink.self, "\(what)") { try FlowMessage.flow(bytes) }
  }

  @Test("cut off anywhere is refused, or is a flow without what was cut")
  func truncation() throws {
    let whole = try FlowMessage.flow(annotated)
    for length in 0..<annotated.count {
      guard let flow = try? FlowMessage.flow(Array(annotated[..<length])) else { continue }
      // Cut between two attributes: nothing may be changed, only missing.
      #expect(flow.original == whole.original && flow.reply == whole.reply)
      #expect(flow.status == whole.status && flow.id == whole.id && flow.zone == whole.zone)
      #expect(flow.master == nil || flow.master == whole.master)
    }
  }

  @Test("with bytes changed at random never crashes, and both readings agree", arguments: 0..<100)
  func mutation(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    for _ in 0..<100 {
      var bytes = annotated
      for _ in 0..<Int.random(in: 1...6, using: &generator) {
        let place = Int.random(in: 0..<bytes.count, using: &generator)
        bytes[place] =
          Bool.random(using: &generator)
          ? UInt8.random(in: 0...255, using: &generator)
          : [0, 1, 3, 4, 5, 0x7f, 0xff].randomElement(using: &generator) ?? 0
      }
      if Bool.random(using: &generator) {
        bytes.removeLast(Int.random(in: 0..<bytes.count, using: &generator))
      }
      let ports = try? FlowMessage.ports(bytes)
      // The quick look refuses nothing that the whole reading takes.
      if (try? FlowMessage.flow(bytes)) != nil { #expect(ports != nil) }
    }
  }
}
