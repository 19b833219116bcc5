import Addressing
import Conntrack
import Firewall
import HostNetwork

/// Judges flows one at a time against one observation.
struct FlowJudge {
  let observation: Observation
  let policy: AuditPolicy
  var evaluation: RepeatedEvaluation
  /// The same rules whatever timed sets hold and whatever the hour.
  private var timeless: RepeatedEvaluation
  let comparison: SampleComparison?
  let localAddresses: Set<IPAddress>
  private var routes: [RouteQuestion: Route]
  /// The interfaces a packet from outside may come by.
  let ways: [String]
  var blockability: Blockability
  /// Flows by their original tuple: an expected one names its master so.
  private let flowsByTuple: [FlowTuple: Flow]
  private(set) var stateRules: [RuleReference] = []
  /// Peers of flows to SIP whose next packet the rules certainly admit as NEW.
  private(set) var admitted: Set<IPAddress> = []
  private var sipRulesByEndpoint: [SIPPlace: [RuleReference]] = [:]

  private struct RouteQuestion: Hashable {
    var peer: IPAddress
    var local: IPAddress
  }
  private struct SIPPlace: Hashable {
    var family: AddressFamily
    var transport: IPProtocol
    var port: UInt16
    var path: PacketPath
  }

  init(_ observation: Observation, policy: AuditPolicy) {
    self.observation = observation
    self.policy = policy
    let snapshot = observation.sample.firewall.snapshot
    evaluation = RepeatedEvaluation(Evaluation(snapshot))
    timeless = RepeatedEvaluation(Evaluation(snapshot.atAnyTime))
    comparison = observation.earlier.map {
      SampleComparison(before: $0, after: observation.sample)
    }
    localAddresses = Set(observation.network.addresses.map(\.address))
    routes = Dictionary(
      observation.network.peerRoutes.compactMap { entry in
        // Where it is only assumed, the rules have to agree on every interface.
        guard entry.isInterfaceCertain != false else { return nil }
        return entry.route.map { (RouteQuestion(peer: entry.peer, local: entry.local), $0) }
      }, uniquingKeysWith: { first, _ in first })
    ways = observation.ways
    // Only expected flows and expectations name another one.
    let isNamed =
      !observation.expectations.isEmpty || observation.sample.flows.contains { $0.master != nil }
    flowsByTuple = Dictionary(
      isNamed ? observation.sample.flows.map { ($0.original, $0) } : [],
      uniquingKeysWith: { first, _ in first })
    blockability = Blockability(observation, policy: policy)
  }

  /// The flow seen from the SIP endpoint, or `nil` if it does not concern SIP.
  func sides(of flow: Flow) -> FlowSides? {
    FlowSides(flow, endpoints: observation.endpoints) {
      // All of 127.0.0.0/8 is ours, though only one address of it is on the interface.
      localAddresses.contains($0) || $0.isLoopback
    }
  }

  /// What is to be said of a flow, or `nil` when nothing is.
  mutating func finding(for flow: Flow, sides: FlowSides) -> Finding? {
    let held = flow.status.contains(.seenReply) || flow.status.contains(.expected)
    // Opened by the peer and never answered: still NEW, so the rules apply to each packet.
    if sides.origin == .peer, !held { return nil }
    if flow.status.contains(.dying) || flow.status.contains(.template) { return nil }
    if Self.isOver(flow) { return nil }
    if policy.trusted.contains(sides.peer.address) { return nil }

    let packet = packet(of: flow, sides)
    let path = path(to: sides)
    let asNew = unlessTranslatedUnseen(
      evaluation.walk(packet.asNew, to: path, byAnyOf: ways).judgedWhereAsked, flow, sides)
    let asHeld = unlessOffloaded(
      evaluation.walk(packet.asHeld, to: path, byAnyOf: ways), flow)
    // A rule has the peer's packets looked up in another zone: they are not of this flow, and it
    // lets nobody in. That they come to zone 0 no rule says: something else may have set the zone.
    if let zone = asHeld.zone, zone != packet.zone, zone != 0 { return nil }
    if asHeld.isCertain, asHeld.verdict == .accept, let rule = asHeld.decidingRule,
      rule != asNew.decidingRule, !stateRules.contains(rule)
    {
      stateRules.append(rule)
    }
    if asNew.isCertain, asNew.verdict == .accept { admitted.insert(sides.peer.address) }
    guard
      let judged = Judgement.of(
        flow, sides: sides, expected: expected(flow, sides), asNew: asNew, asHeld: asHeld,
        hasTrust: policy.hasTrust,
        mayBeAdmittedAgain: {
          let any = timeless.walk(packet.asNew, to: path, byAnyOf: ways).judgedWhereAsked
          return !(any.isCertain && any.verdict.isRefused)
        })
    else { return nil }

    let answer = blockability.answer(for: sides.peer.address, wire: sides.wire, cause: judged.cause)
    var finding = Finding(
      cause: judged.cause, level: judged.level, grade: grade(flow),
      transport: flow.original.transport, family: flow.family, zone: flow.zone, peer: sides.peer,
      delivered: sides.delivered, wire: sides.wire, origin: sides.origin,
      asNew: JudgedVerdict(asNew), asHeld: JudgedVerdict(asHeld), isBlockable: answer == nil,
      notBlockableBecause: answer, why: judged.why, flow: flow,
      increments: comparison?.increments(
        flow: flow, origin: sides.origin, held: asHeld.decidingRule, new: asNew.decidingRule,
        sipRules: sipRules(family: flow.family, transport: flow.original.transport, sides, path)))
    for rule in asNew.unknowns.compactMap(\.rule) where !finding.hangsOn.contains(rule) {
      finding.hangsOn.append(rule)
    }
    return finding
  }

  /// The packets the peer of a flow would send next.
  func packet(of flow: Flow, _ sides: FlowSides) -> PeerPacket {
    PeerPacket(
      sides: sides, flow: flow, ingress: ingress(sides),
      egress: path(to: sides) == .forward ? observation.egress(to: sides.delivered.address) : nil,
      masterHelper: flow.master.flatMap { flowsByTuple[$0]?.helper })
  }

  /// Whose call a flow belongs to, if a helper expected it.
  private func expected(_ flow: Flow, _ sides: FlowSides) -> Judgement.Expected {
    guard let master = flow.master else {
      return flow.status.contains(.expected) ? .byUnknown : .no
    }
    return isOwn(sides.peer.address, of: master) ? .byItsOwn(master) : .byAnother(master)
  }

  /// Whether an address is the far end of a flow that a helper looks into.
  func isOwn(_ peer: IPAddress, of master: FlowTuple) -> Bool {
    guard !localAddresses.contains(peer) else { return false }
    // The far end as its packets carry it stands in the reply of one that this host translated.
    let reply = flowsByTuple[master]?.reply
    return [master.source, master.destination, reply?.source, reply?.destination].contains(peer)
  }

  /// The flow that a helper looked into, as far as it was read.
  func flow(openedBy tuple: FlowTuple) -> Flow? { flowsByTuple[tuple] }

  /// Whether a TCP flow's next packet would have to begin a new one (facts C14).
  private static func isOver(_ flow: Flow) -> Bool {
    // TCP_CONNTRACK_TIME_WAIT 7, TCP_CONNTRACK_CLOSE 8.
    flow.original.transport == .tcp && (flow.tcpState == 7 || flow.tcpState == 8)
  }

  private func grade(_ flow: Flow) -> Grade {
    if flow.status.contains(.assured) { return .assured }
    return flow.status.contains(.seenReply) ? .established : .latent
  }

  /// Takes the route back to a peer that the observation did not ask for.
  mutating func learn(_ entry: NetworkFacts.PeerRoute) {
    guard entry.isInterfaceCertain != false, let route = entry.route else { return }
    routes[RouteQuestion(peer: entry.peer, local: entry.local)] = route
  }

  /// The interface the peer's packets come by, or `nil` when that is not certain.
  func ingress(_ sides: FlowSides) -> String? {
    ingress(sides.peer.address, to: sides.wire.address)
  }

  func ingress(_ peer: IPAddress, to local: IPAddress) -> String? {
    routes[RouteQuestion(peer: peer, local: local)]?.interface
  }

  func path(to sides: FlowSides) -> PacketPath { path(to: sides.delivered.address) }

  func path(to address: IPAddress) -> PacketPath {
    localAddresses.contains(address) || address.isLoopback ? .input : .forward
  }

  private mutating func sipRules(
    family: AddressFamily, transport: IPProtocol, _ sides: FlowSides, _ path: PacketPath
  ) -> [RuleReference] {
    let place = SIPPlace(
      family: family, transport: transport, port: sides.delivered.port, path: path)
    if let known = sipRulesByEndpoint[place] { return known }
    let rules = observation.sample.firewall.snapshot.rulesAccepting(
      family: family, transport: transport, port: sides.delivered.port)
    sipRulesByEndpoint[place] = rules
    return rules
  }
}
