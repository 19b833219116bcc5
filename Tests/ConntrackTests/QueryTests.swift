import Addressing
import Netlink
import TestSupport
import Testing

@testable import Conntrack

private func entry(
  _ transport: IPProtocol, _ originalSource: UInt16, _ originalDestination: UInt16,
  _ replySource: UInt16, _ replyDestination: UInt16
) -> Flow {
  let here = IPAddress(ipv4: 0xc000_0205)
  let there = IPAddress(ipv4: 0xcb00_7142)
  return Flow(
    original: FlowTuple(
      source: there, destination: here, transport: transport, sourcePort: originalSource,
      destinationPort: originalDestination),
    reply: FlowTuple(
      source: here, destination: there, transport: transport, sourcePort: replySource,
      destinationPort: replyDestination), status: .confirmed, id: 1)
}

extension Flow {
  fileprivate var ports: FlowMessage.Ports {
    FlowMessage.Ports(
      transport: original.transport.rawValue, originalSource: original.sourcePort,
      originalDestination: original.destinationPort, replySource: reply.sourcePort,
      replyDestination: reply.destinationPort)
  }
}

@Suite("A query")
struct QueryTests {
  @Test(
    "finds a port in each of the four places, and only there and of its transport",
    arguments: [
      (entry(.udp, 24376, 5060, 5060, 24376), true),  // peer-opened
      (entry(.udp, 5060, 24376, 24376, 5060), true),  // host-opened (facts A3)
      (entry(.udp, 24376, 5070, 5060, 24376), true),  // redirected to it (facts A5)
      (entry(.udp, 24376, 5060, 5090, 24376), true),  // redirected away (facts A5b)
      (entry(.udp, 5060, 24376, 24376, 6060), true),  // source translated (facts A5c)
      (entry(.udp, 6060, 24376, 24376, 5060), true),  // translated to it
      (entry(.udp, 24376, 40000, 40000, 24376), false),  // RTP
      (entry(.tcp, 24376, 5060, 5060, 24376), false),  // another transport
      (entry(.icmp, 5060, 5060, 5060, 5060), false),  // no ports at all
    ])
  func places(flow: Flow, isWanted: Bool) {
    let query = FlowQuery(transports: [.udp, .icmp], ports: [5060])
    #expect(query.matches(flow) == isWanted)
    #expect(CompiledQuery(query).matches(flow.ports) == isWanted)
  }

  @Test("narrowed to places finds no others, compiled or not", arguments: 0..<50)
  func agreement(seed: Int) {
    var generator = SeededGenerator(seed: UInt64(seed))
    let ports: [UInt16] = [0, 5060, 5061, 65535, 7]
    for _ in 0..<200 {
      func port() -> UInt16 { ports.randomElement(using: &generator) ?? 0 }
      let query = FlowQuery(
        transports: [.udp, .sctp], ports: Set(ports.shuffled(using: &generator).prefix(2)),
        places: Set(
          FlowQuery.PortPlace.allCases.filter { _ in Bool.random(using: &generator) }))
      let transport = [IPProtocol.udp, .tcp, .sctp].randomElement(using: &generator) ?? .udp
      let flow = entry(transport, port(), port(), port(), port())
      #expect(query.matches(flow) == CompiledQuery(query).matches(flow.ports))
    }
  }
}

@Suite("A query with other ports for one transport")
struct PortsByTransportTests {
  @Test("asks each transport for its own, in the kernel and again")
  func ports() {
    var query = FlowQuery(
      transports: [.udp, .tcp], ports: [5060, 5061], places: FlowQuery.deliveredSide)
    query.portsByTransport = [.udp: [5060], .tcp: [5061]]
    for (flow, isWanted) in [
      (entry(.udp, 24376, 5060, 5060, 24376), true), (entry(.tcp, 24376, 5061, 5061, 24376), true),
      (entry(.udp, 24376, 5061, 5061, 24376), false),
      (entry(.tcp, 5060, 24376, 24376, 5060), false),
    ] {
      #expect(query.matches(flow) == isWanted)
      #expect(CompiledQuery(query).matches(flow.ports) == isWanted)
    }
    let plan = WalkPlan(
      query, .portPlaces, release: KernelRelease(6, 1), entries: 1_000_000, buckets: 262_144)
    #expect(
      Set(plan.filters)
        == Set([
          KernelFilter(transport: .udp, place: .originalSource, port: 5060),
          KernelFilter(transport: .udp, place: .replySource, port: 5060),
          KernelFilter(transport: .tcp, place: .originalSource, port: 5061),
          KernelFilter(transport: .tcp, place: .replySource, port: 5061),
        ]))
    query.portsByTransport[.tcp] = []
    #expect(!CompiledQuery(query).matches(entry(.tcp, 24376, 5061, 5061, 24376).ports))
    let udp = WalkPlan(
      query, .transports, release: KernelRelease(6, 1), entries: 1, buckets: 262_144)
    #expect(udp.filters == [KernelFilter(transport: .udp)])
  }
}

@Suite("Flows found by several walks")
struct FoundFlowsTests {
  @Test("are kept once each, though two share an id")
  func doubles() {
    var found = FoundFlows()
    let flows = (0..<4).map { entry(.udp, 24376 + $0, 5060, 5060, 24376 + $0) }
    #expect(flows.allSatisfy { $0.id == 1 })
    for isNew in [true, false] {
      for flow in flows {
        let wasNew = found.insert(flow)
        #expect(wasNew == isNew)
      }
    }
    #expect(found.flows == flows)
    var other = flows[0]
    other.zone = 5
    let ofOtherZone = found.insert(other)
    other.id = 2
    let ofOtherID = found.insert(other)
    let again = found.insert(other)
    #expect((ofOtherZone, ofOtherID, again) == (true, true, false))
    #expect(found.flows.count == 6)
  }
}

@Suite("A kernel release")
struct KernelReleaseTests {
  @Test(
    "is read from what uname prints",
    arguments: [
      ("6.1.0-18-amd64", KernelRelease(6, 1, 0)),
      ("5.15.167.4-microsoft", KernelRelease(5, 15, 167)),
      ("6.18", KernelRelease(6, 18)), ("4.19.0+", KernelRelease(4, 19)), ("6", nil), ("", nil),
      ("x.y", nil), ("99999999999999999999.1", nil),
    ])
  func parsing(text: String, expected: KernelRelease?) {
    #expect(KernelRelease(text) == expected)
  }

  @Test(
    "tells whether filters on the reply tuple find anything (facts I6)",
    arguments: [
      (KernelRelease(5, 7), false, false), (KernelRelease(5, 8), true, false),
      (KernelRelease(5, 10, 82), true, false), (KernelRelease(5, 10, 83), true, true),
      (KernelRelease(5, 11, 99), true, false), (KernelRelease(5, 15, 5), true, false),
      (KernelRelease(5, 15, 6), true, true), (KernelRelease(5, 16), true, true),
      (KernelRelease(6, 1), true, true),
    ])
  func capabilities(release: KernelRelease, tuples: Bool, replies: Bool) {
    #expect(release.filtersTuples == tuples)
    #expect(release.filtersReplyTuples == replies)
  }
}

@Suite("A plan of walks")
struct WalkPlanTests {
  private let million: UInt32 = 1_000_000
  private let modern = KernelRelease(6, 1)

  @Test("asks an old or unknown kernel for everything")
  func oldKernel() {
    for release in [nil, KernelRelease(5, 7)] {
      let plan = WalkPlan(
        FlowQuery(), .portPlaces, release: release, entries: million, buckets: million)
      #expect(plan == .everything)
    }
  }

  @Test("uses no reply filter where it loses entries, unless no reply place is asked for")
  func brokenReplies() {
    let release = KernelRelease(5, 15, 0)
    let plan = WalkPlan(
      FlowQuery(), .portPlaces, release: release, entries: million, buckets: million)
    #expect(plan.strategy == .transports)
    #expect(plan.filters == [KernelFilter(transport: .udp)])
    let originals = FlowQuery(places: [.originalSource])
    #expect(
      WalkPlan(originals, .portPlaces, release: release, entries: million, buckets: million)
        .strategy == .portPlaces)
  }

  @Test(
    "takes what costs least: a small table whole, a large one by port and direction",
    arguments: [
      (10, 1_048_576, FlowDump.Strategy.everything), (5000, 262_144, .everything),
      (5000, 65_536, .transports), (100_000, 262_144, .portPlaces),
      (1_000_000, 1_048_576, .portPlaces), (250_000, 65_536, .portPlaces),
    ] as [(UInt32, UInt32, FlowDump.Strategy)])
  func cost(entries: UInt32, buckets: UInt32, strategy: FlowDump.Strategy) {
    let query = FlowQuery(places: FlowQuery.deliveredSide)
    let plan = WalkPlan(query, release: modern, entries: entries, buckets: buckets)
    #expect(plan.strategy == strategy)
    #expect(plan.filters.count == (strategy == .portPlaces ? 2 : 1))
  }

  @Test("makes one walk for one place")
  func onePlace() {
    let plan = WalkPlan(
      FlowQuery(places: [.replySource]), release: modern, entries: million, buckets: million)
    #expect(plan.filters == [KernelFilter(transport: .udp, place: .replySource, port: 5060)])
  }

  @Test("covers every place, port and transport, and those without port filters wholly")
  func coverage() {
    let query = FlowQuery(transports: [.udp, .sctp, .icmp], ports: [5060, 5061])
    let plan = WalkPlan(query, .portPlaces, release: modern, entries: 0, buckets: 0)
    #expect(plan.filters.count == 2 * 4 + 1)
    #expect(Set(plan.filters).count == plan.filters.count)
    #expect(plan.filters.contains(KernelFilter(transport: .sctp)))
    #expect(!plan.filters.contains { $0.transport == .icmp })
  }

  @Test("of a query that nothing can match walks nothing")
  func empty() {
    for query in [
      FlowQuery(transports: []), FlowQuery(transports: [.icmp]), FlowQuery(ports: []),
      FlowQuery(places: []),
    ] {
      #expect(
        WalkPlan(query, release: modern, entries: 1, buckets: 1).filters.isEmpty)
    }
  }

  @Test("sends ports with the protocol, flags in host order, and never address bits (facts I4)")
  func filterBytes() {
    var request = NetlinkRequest.conntrack(ConntrackMessage.getFlow, family: .ipv6)
    KernelFilter(transport: .udp, place: .replySource, port: 5060).append(to: &request)
    #expect(
      Array(request.bytes[16...]) == [
        10, 0, 0, 0,  // AF_INET6
        24, 0, 2, 0x80,  // CTA_TUPLE_REPLY
        20, 0, 2, 0x80,  // CTA_TUPLE_PROTO
        5, 0, 1, 0, 17, 0, 0, 0,  // CTA_PROTO_NUM
        6, 0, 2, 0, 0x13, 0xc4, 0, 0,  // CTA_PROTO_SRC_PORT
        12, 0, 25, 0x80,  // CTA_FILTER, nest flag set
        8, 0, 2, 0, 0x18, 0, 0, 0,  // CTA_FILTER_REPLY_FLAGS: PROTO_NUM | SRC_PORT
      ])
    var everything = NetlinkRequest.conntrack(ConntrackMessage.getFlow, family: .ipv4)
    KernelFilter.none.append(to: &everything)
    #expect(everything.bytes.count == 20)
  }
}

@Suite("A table's size")
struct TableSizeTests {
  @Test("that changed while it was read is worth reading again; unknown is said (facts I11)")
  func doubt() {
    func size(_ buckets: UInt32?) -> TableSize {
      TableSize(entries: 1, buckets: buckets, release: nil)
    }
    #expect(TableSize.doubt(before: size(1024), after: size(1024)) == nil)
    #expect(TableSize.doubt(before: size(nil), after: size(1024)) == nil)
    #expect(TableSize.doubt(before: size(1024), after: size(2048))?.isWorthAnotherTry == true)
    #expect(TableSize.doubt(before: size(nil), after: size(nil))?.isWorthAnotherTry == false)
  }

  @Test(
    "that settles gives a complete answer; one that doesn't is given up after three readings",
    arguments: [
      ([8, 8], 1, true), ([8, 9, 9], 2, true), ([8, 9, 8, 8], 3, true), ([8, 9, 8, 9], 3, false),
    ]
      as [([UInt32], Int, Bool)])
  func settling(buckets: [UInt32], readings: Int, isComplete: Bool) throws {
    var left = buckets[...]
    var count = 0
    let dump = try FlowTable.readSettled { () throws(ConntrackError) in
      TableSize(entries: nil, buckets: left.popFirst(), release: nil)
    } _: { (_) throws(ConntrackError) in
      count += 1
      return FlowDump(flows: [], walked: UInt64(count))
    }
    #expect(count == readings)
    #expect(dump.walked == UInt64(readings))
    #expect(dump.isComplete == isComplete)
    #expect(dump.reasons.isEmpty == isComplete)
    #expect(left.isEmpty)
  }

  @Test(
    "is a number and a newline",
    arguments: [
      ("262144\n", 262144), ("0", 0), ("", nil), ("\n", nil), ("-1\n", nil), ("1 2\n", nil),
      ("4294967296\n", nil),
    ] as [(String, UInt32?)])
  func parsing(text: String, expected: UInt32?) {
    #expect(SysctlNumber.parse(text) == expected)
  }
}
