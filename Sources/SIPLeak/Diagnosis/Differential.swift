import Addressing
import Conntrack
import Firewall
import HostNetwork

/// What all explanations are judged from; what several of them ask is computed once.
struct Differential {
  /// A flow that concerns SIP.
  struct SIPFlow {
    var flow: Flow
    var sides: FlowSides

    var ends: Evidence.FlowEnds {
      Evidence.FlowEnds(peer: sides.peer, wire: sides.wire, origin: sides.origin, id: flow.id)
    }
  }

  /// A place where SIP is reached.
  struct Door: Hashable {
    var transport: IPProtocol
    var wire: Endpoint
    /// Where the nat table delivers, if flows showed that it does.
    var delivered: Endpoint?
    var path: PacketPath

    var family: AddressFamily { wire.address.family }
    /// The port that the filter table sees.
    var port: UInt16 { delivered?.port ?? wire.port }
  }

  /// What the rules do with a source's first packet, from any port, at one door and by one way.
  struct Arrival {
    var source: IPAddress
    var door: Door
    var way: InboundWays.Way
    var packet: Packet
    var walk: Walk

    var isAccepted: Bool { walk.isCertain && walk.verdict == .accept }
    var isRefused: Bool { walk.isCertain && walk.verdict.isRefused }
  }

  /// Peers that are walked one by one at most; the rest has the findings' own verdicts.
  static let mostSuspects = 64
  /// Rules listed as evidence; text and JSON stay readable with ten thousand.
  static let mostEvidence = 100
  /// Things listed in a sentence.
  static let listed = 4

  let audit: Audit
  let observation: Observation
  let policy: AuditPolicy
  /// The address the question is about.
  let peer: IPAddress?
  let keepalive: Double?
  /// TTLs or hop limits that were heard of peers, the most frequent first.
  var heardHopLimits: [IPAddress: [UInt8]] = [:]
  let snapshot: FirewallSnapshot
  var evaluation: RepeatedEvaluation
  let localAddresses: Set<IPAddress>
  /// The flows that concern SIP; those of the peer only, if one is named.
  let flows: [SIPFlow]
  /// The same of the findings that a flow stands behind.
  let findings: [Finding]
  let ways: InboundWays
  let doors: [Door]
  private var arrivalsBySource: [IPAddress: [Arrival]] = [:]
  var knownAdmissions: [Admission]?
  private var knownStrangers: [IPAddress]?

  init(
    _ audit: Audit, of observation: Observation, policy: AuditPolicy, peer: IPAddress?,
    keepalive: Double?
  ) {
    self.audit = audit
    self.observation = observation
    self.policy = policy
    self.peer = peer
    self.keepalive = keepalive
    snapshot = observation.sample.firewall.snapshot
    evaluation = RepeatedEvaluation(Evaluation(snapshot))
    let local = Set(observation.network.addresses.map(\.address))
    localAddresses = local
    let all = observation.sample.flows.compactMap { flow in
      FlowSides(
        flow, endpoints: observation.endpoints, isLocal: { local.contains($0) || $0.isLoopback }
      ).map { SIPFlow(flow: flow, sides: $0) }
    }
    doors = Self.doors(of: observation, flows: all, local: local)
    flows = peer.map { peer in all.filter { $0.sides.peer.address == peer } } ?? all
    findings = audit.findings.filter { finding in
      finding.flow != nil && (peer == nil || finding.peer?.address == peer)
    }
    ways = InboundWays(observation)
  }

  // MARK: Who is asked about

  /// The named peer, or every peer of a finding.
  var suspects: [IPAddress] {
    if let peer { return [peer] }
    return Array(Set(findings.compactMap { $0.peer?.address })).sorted()
  }

  /// Addresses nobody's rules have a reason to name, in families that have a door; those that some
  /// rule admits and not all of them are no strangers here.
  mutating func strangers() -> [IPAddress] {
    if let knownStrangers { return knownStrangers }
    let admissions = admissions()
    let result = families.flatMap { family -> [IPAddress] in
      let all = FlowJudge.strangers(family).filter { !localAddresses.contains($0) }
      let unnamed = all.filter { stranger in
        !admissions.contains { one in
          one.family == family && one.possibly.contains(stranger)
            && !all.allSatisfy(one.possibly.contains)
        }
      }
      return unnamed.isEmpty ? all : unnamed
    }
    knownStrangers = result
    return result
  }

  /// The families that have a door.
  var families: [AddressFamily] {
    Set(doors.map(\.family)).sorted { $0.bitWidth < $1.bitWidth }
  }

  /// Whose first packet is walked: the named peer; else the peers that are not certainly refused as
  /// NEW, and strangers.
  mutating func newcomers() -> [IPAddress] {
    if let peer { return [peer] }
    let open = findings.filter { !($0.asNew.isCertain && $0.asNew.verdict.isRefused) }
    return Array(Set(open.compactMap { $0.peer?.address }).sorted().prefix(Self.mostSuspects))
      + strangers()
  }

  // MARK: First packets

  /// What becomes of a source's first packet at every door of its family, by every way a route
  /// leads to it.
  mutating func arrivals(of source: IPAddress) -> [Arrival] {
    if let known = arrivalsBySource[source] { return known }
    var result: [Arrival] = []
    for door in doors where door.family == source.family {
      for way in ways.leading(to: source) { result.append(arrival(of: source, at: door, by: way)) }
    }
    arrivalsBySource[source] = result
    return result
  }

  /// What becomes of a source's first packet at one door and by one way.
  mutating func arrival(of source: IPAddress, at door: Door, by way: InboundWays.Way) -> Arrival {
    var packet = Packet(
      transport: door.transport, source: source, destination: door.wire.address, sourcePort: nil,
      destinationPort: door.wire.port, inInterface: way.interface, connection: .new)
    packet.delivered = door.delivered
    let walk = evaluation.walk(packet, to: door.path).judgedWhereAsked
    return Arrival(source: source, door: door, way: way, packet: packet, walk: walk)
  }

  /// All first packets of those whose first packet is walked.
  mutating func allArrivals() -> [Arrival] { newcomers().flatMap { arrivals(of: $0) } }

  /// A packet as part of an answered flow that its source opened.
  func held(_ arrival: Arrival) -> Packet {
    var packet = arrival.packet
    var facts = ConnectionFacts(state: .established, direction: .original)
    facts.zone = 0
    packet.connection = facts
    return packet
  }

  // MARK: Doors

  private static func doors(
    of observation: Observation, flows: [SIPFlow], local: Set<IPAddress>
  ) -> [Door] {
    var result: [Door] = []
    func add(_ door: Door) { if !result.contains(door) { result.append(door) } }
    let transports = observation.endpoints.transports.sorted { $0.rawValue > $1.rawValue }
    for family in AddressFamily.allCases {
      for transport in transports {
        for port in observation.endpoints.ports(of: transport) {
          if let address = principalAddress(
            observation, family, transport, port, flows: flows, local: local)
          {
            add(
              Door(
                transport: transport, wire: Endpoint(address, port), delivered: nil, path: .input))
          }
          for address in observation.endpoints.addresses.sorted()
          where address.family == family {
            add(
              Door(
                transport: transport, wire: Endpoint(address, port), delivered: nil,
                path: local.contains(address) ? .input : .forward))
          }
        }
      }
    }
    // What flows show of translated doors; a few are as good as all.
    for flow in flows.prefix(10_000) where flow.sides.isTranslated && result.count < 64 {
      let inner = flow.sides.delivered
      add(
        Door(
          transport: flow.flow.original.transport, wire: flow.sides.wire, delivered: inner,
          path: local.contains(inner.address) ? .input : .forward))
    }
    return result
  }

  /// The address SIP is spoken at: where most flows go, where a socket is bound, or the first one.
  private static func principalAddress(
    _ observation: Observation, _ family: AddressFamily, _ transport: IPProtocol, _ port: UInt16,
    flows: [SIPFlow], local: Set<IPAddress>
  ) -> IPAddress? {
    var counts: [IPAddress: Int] = [:]
    for flow in flows
    where !flow.sides.isTranslated && flow.sides.wire.port == port
      && flow.flow.original.transport == transport && flow.sides.wire.address.family == family
      && local.contains(flow.sides.wire.address)
    {
      counts[flow.sides.wire.address, default: 0] += 1
    }
    if let most = counts.max(by: { ($0.value, $1.key) < ($1.value, $0.key) }) { return most.key }
    let bound = observation.network.listeners.first { listener in
      listener.transport == transport && listener.address.port == port
        && listener.address.address.family == family && !listener.address.address.isUnspecified
        && !listener.address.address.isLoopback && local.contains(listener.address.address)
    }
    return bound?.address.address ?? observation.localAddress(family)
  }
}
