import Addressing
import CNetfilter
import Netlink

/// The kernel-side half of a ``FlowEventFilter``: a program over the message's attributes.
///
/// nfct_filter of libnetfilter_conntrack knows protocols, addresses and marks, but no ports. What the
/// program does not find it lets pass, so a message laid out otherwise is tested in user space.
enum EventProgram {
  /// Where a message's attributes begin: behind `nlmsghdr` and `nfgenmsg`.
  private static let attributes: UInt32 = 20
  /// Where `nfgenmsg` has the family.
  private static let family: UInt32 = 16
  /// The byte of `nlmsg_type` that holds the subsystem: the type stands in host order.
  private static var subsystem: UInt32 { UInt16(1).littleEndian == 1 ? 5 : 4 }

  /// Compiles a filter.
  static func compile(_ filter: FlowEventFilter) -> SocketFilter {
    var program = SocketFilter()
    program.loadByte(at: subsystem)
    program.run(flows(filter), if: UInt32(NFNL_SUBSYS_CTNETLINK))
    program.run(expectations(filter), if: UInt32(NFNL_SUBSYS_CTNETLINK_EXP))
    program.pass()
    guard program.instructions.count > SocketFilter.limit else { return program }
    // Too many ports to list: only transports are told apart here.
    var fewer = filter
    fewer.query.ports = Set(0...UInt16.max)
    return compile(fewer)
  }

  private static func flows(_ filter: FlowEventFilter) -> SocketFilter {
    let query = filter.query
    var program = SocketFilter()
    dropOtherFamilies(&program, query)
    keepTransport(&program, tuple: ConntrackAttribute.originalTuple, in: .first)
    keepTransport(&program, tuple: ConntrackAttribute.replyTuple, in: .second)
    dropOtherTransports(&program, query, slot: .first)
    let source = ConntrackAttribute.Transport.sourcePort
    let destination = ConntrackAttribute.Transport.destinationPort
    if query.places.contains(.originalSource) {
      passPorts(&program, query, slot: .first, place: source)
    }
    if filter.leavesOutUnanswered {
      program.findAttribute(ConntrackAttribute.status, from: attributes)
      program.passIfZero()
      program.loadPayload(UInt32.self)
      program.drop(
        unlessAnyOf: FlowStatus.seenReply.rawValue | FlowStatus.expected.rawValue)
    }
    if query.places.contains(.originalDestination) {
      passPorts(&program, query, slot: .first, place: destination)
    }
    if query.places.contains(.replySource) {
      passPorts(&program, query, slot: .second, place: source)
    }
    if query.places.contains(.replyDestination) {
      passPorts(&program, query, slot: .second, place: destination)
    }
    program.drop()
    return program
  }

  private static func expectations(_ filter: FlowEventFilter) -> SocketFilter {
    var program = SocketFilter()
    dropOtherFamilies(&program, filter.query)
    keepTransport(&program, tuple: ConntrackAttribute.Expect.tuple, in: .first)
    dropOtherTransports(&program, filter.query, slot: .first)
    passPorts(
      &program, filter.query, slot: .first, place: ConntrackAttribute.Transport.destinationPort)
    // With nat the port it is delivered to stands elsewhere.
    program.findAttribute(UInt16(CTA_EXPECT_NAT.rawValue), from: attributes)
    var drop = SocketFilter()
    drop.drop()
    program.run(drop, if: 0)
    program.pass()
    return program
  }

  private static func dropOtherFamilies(_ program: inout SocketFilter, _ query: FlowQuery) {
    program.loadByte(at: family)
    program.drop(unlessIn: query.families.map(\.rawNumber))
  }

  /// Keeps the offset of a tuple's `CTA_TUPLE_PROTO`.
  private static func keepTransport(
    _ program: inout SocketFilter, tuple: UInt16, in slot: SocketFilter.Slot
  ) {
    program.findAttribute(tuple, from: attributes)
    program.passIfZero()
    program.findNested(ConntrackAttribute.Tuple.transport)
    program.passIfZero()
    program.keep(in: slot)
  }

  private static func dropOtherTransports(
    _ program: inout SocketFilter, _ query: FlowQuery, slot: SocketFilter.Slot
  ) {
    program.load(slot)
    program.findNested(ConntrackAttribute.Transport.number)
    program.passIfZero()
    program.loadPayload(UInt8.self)
    let numbers = query.transports.filter(\.hasPorts).map(\.rawValue).sorted()
    program.drop(unlessIn: numbers)
  }

  private static func passPorts(
    _ program: inout SocketFilter, _ query: FlowQuery, slot: SocketFilter.Slot, place: UInt16
  ) {
    program.load(slot)
    program.findNested(place)
    program.passIfZero()
    program.loadPayload(UInt16.self)
    for range in ranges(query.ports) { program.pass(ifIn: range) }
  }

  /// The ports as runs of neighbours.
  static func ranges(_ ports: Set<UInt16>) -> [ClosedRange<UInt16>] {
    var result: [ClosedRange<UInt16>] = []
    for port in ports.sorted() {
      if let last = result.last, last.upperBound < port, last.upperBound + 1 == port {
        result[result.count - 1] = last.lowerBound...port
      } else {
        result.append(port...port)
      }
    }
    return result
  }
}
