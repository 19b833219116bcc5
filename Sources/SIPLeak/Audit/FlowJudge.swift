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
  private let routes: [RouteQuestion: Route]
  /// The interfaces a packet from outside may come by.
  let ways: [String]
  private var blockability: Blockability
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

    let packet = PeerPacket(sides: sides, flow: flow, ingress: ingress(sides))
    let path = path(to: sides)
    let asNew = evaluation.walk(packet.asNew, to: path, byAnyOf: ways).judgedWhereAsked
    let asHeld = evaluation.walk(packet.asHeld, to: path, byAnyOf: ways)
    if asHeld.isCertain, asHeld.verdict == .accept, let rule = asHeld.decidingRule,
      rule != asNew.decidingRule, !stateRules.contains(rule)
    {
      stateRules.append(rule)
    }
    if asNew.isCertain, asNew.verdict == .accept { admitted.insert(sides.peer.address) }
    guard
      let judged = Judgement.of(
        flow, sides: sides, asNew: asNew, asHeld: asHeld, hasTrust: policy.hasTrust,
        mayBeAdmittedAgain: {
          let any = timeless.walk(packet.asNew, to: path, byAnyOf: ways).judgedWhereAsked
          return !(any.isCertain && any.verdict.isRefused)
        })
    else { return nil }

    let answer = blockability.answer(for: sides.peer.address, wire: sides.wire, cause: judged.cause)
    return Finding(
      cause: judged.cause, level: judged.cause.level(flow, sides), grade: grade(flow),
      transport: flow.original.transport, family: flow.family, zone: flow.zone, peer: sides.peer,
      delivered: sides.delivered, wire: sides.wire, origin: sides.origin,
      asNew: JudgedVerdict(asNew), asHeld: JudgedVerdict(asHeld), isBlockable: answer == nil,
      notBlockableBecause: answer, why: judged.why, flow: flow,
      increments: comparison?.increments(
        flow: flow, origin: sides.origin, held: asHeld.decidingRule, new: asNew.decidingRule,
        sipRules: sipRules(family: flow.family, transport: flow.original.transport, sides, path)))
  }

  /// Whether a TCP flow's next packet would have to begin a new one (facts C14).
  private static func isOver(_ flow: Flow) -> Bool {
    // TCP_CONNTRACK_TIME_WAIT 7, TCP_CONNTRACK_CLOSE 8.
    flow.original.transport == .tcp && (flow.tcpState == 7 || flow.tcpState == 8)
  }

  private func grade(_ flow: Flow) -> Grade {
    if flow.status.contains(.assured) { return .assured }
    return flow.status.contains(.seenReply) ? .established : .latent
  }

  /// The interface the peer's packets come by, or `nil` when that is not certain.
  func ingress(_ sides: FlowSides) -> String? {
    routes[RouteQuestion(peer: sides.peer.address, local: sides.wire.address)]?.interface
  }

  func path(to sides: FlowSides) -> PacketPath {
    localAddresses.contains(sides.delivered.address) || sides.delivered.address.isLoopback
      ? .input : .forward
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

extension Walk {
  /// The walk with a packet that the nat table sends elsewhere counted as refused.
  ///
  /// The question is whether it would reach the endpoint of the flow that stands.
  var judgedWhereAsked: Walk {
    switch translation {
    case .asAsked: return self
    case .elsewhere:
      guard isCertain, verdict == .accept else { return self }
      let rule = path.last { $0.rule.table == "nat" && $0.rule.index > 0 }?.rule
      var changed = self
      changed.outcomes = [Outcome(.drop, rule: rule ?? decidingRule)]
      return changed
    case .uncertain:
      guard !(isCertain && verdict.isRefused) else { return self }
      var changed = self
      changed.outcomes.append(Outcome(.unknown, rule: nil))
      changed.unknowns.append(
        UnknownReason(.fact, "whether the nat table sends it elsewhere is not known"))
      return changed
    }
  }
}
