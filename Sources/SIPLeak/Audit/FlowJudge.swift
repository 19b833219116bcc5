import Addressing
import Conntrack
import Firewall
import HostNetwork

/// Judges flows one at a time against one observation.
struct FlowJudge {
  let observation: Observation
  let policy: AuditPolicy
  var evaluation: RepeatedEvaluation
  /// The same rules whatever timed sets hold and whatever the hour; `nil`: not asked yet.
  private var timeless: RepeatedEvaluation?
  /// What the rules said of flows like others.
  var verdicts = FlowVerdicts()
  let comparison: SampleComparison?
  let localAddresses: Set<IPAddress>
  /// The interfaces that peers' packets certainly come by.
  private var interfaces: [PeerEnds: String] = [:]
  /// The interfaces a packet from outside may come by.
  let ways: [String]
  var blockability: Blockability
  /// Flows by their original tuple: an expected one names its master so.
  private let flowsByTuple: [FlowTuple: Flow]
  private(set) var stateRules: [RuleReference] = []
  /// Peers of flows to SIP whose next packet the rules certainly admit as NEW.
  private(set) var admitted: Set<IPAddress> = []
  private var sipRulesByEndpoint: [SIPPlace: [RuleReference]] = [:]

  private struct SIPPlace: Hashable {
    var family: AddressFamily
    var transport: IPProtocol
    var port: UInt16
    var path: PacketPath
  }

  /// Makes a judge.
  ///
  /// - Parameters:
  ///   - observation: What was read.
  ///   - policy: Whom the operator trusts.
  ///   - sortsSources: Whether flows of one kind are judged by one walk; the answers are the same.
  init(_ observation: Observation, policy: AuditPolicy, sortsSources: Bool = true) {
    self.observation = observation
    self.policy = policy
    let snapshot = observation.sample.firewall.snapshot
    evaluation = RepeatedEvaluation(Evaluation(snapshot))
    comparison = observation.earlier.map {
      SampleComparison(before: $0, after: observation.sample)
    }
    localAddresses = Set(observation.network.addresses.map(\.address))
    ways = observation.ways
    // Only expected flows and expectations name another one.
    let isNamed =
      !observation.expectations.isEmpty || observation.sample.flows.contains { $0.master != nil }
    flowsByTuple = Dictionary(
      isNamed ? observation.sample.flows.map { ($0.original, $0) } : [],
      uniquingKeysWith: { first, _ in first })
    blockability = Blockability(observation, policy: policy)
    verdicts.sources.isOn = sortsSources
    blockability.sources.isOn = sortsSources
    // The first of several for one peer stands.
    interfaces.reserveCapacity(observation.network.peerRoutes.count)
    for entry in observation.network.peerRoutes.reversed() { learn(entry) }
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

    let verdict = verdict(on: flow, sides)
    if verdict.isOfAnotherZone { return nil }
    if let rule = verdict.stateRule, !stateRules.contains(rule) { stateRules.append(rule) }
    if verdict.isAdmitted { admitted.insert(sides.peer.address) }
    let judged: Judgement
    switch verdict.meaning {
    case .nothing: return nil
    case .judged(let known): judged = known
    case .open:
      guard
        let own = Judgement.of(
          flow, sides: sides, expected: expected(flow, sides), asNew: verdict.asNew,
          asHeld: verdict.asHeld, hasTrust: policy.hasTrust,
          mayBeAdmittedAgain: { mayBeAdmittedAgain(flow, sides) })
      else { return nil }
      judged = own
    }
    let answer = blockability.answer(for: sides.peer.address, wire: sides.wire, cause: judged.cause)
    var finding = Finding(
      cause: judged.cause, level: judged.level, grade: grade(flow),
      transport: flow.original.transport, family: flow.family, zone: flow.zone, peer: sides.peer,
      delivered: sides.delivered, wire: sides.wire, origin: sides.origin,
      asNew: verdict.judgedNew, asHeld: verdict.judgedHeld, isBlockable: answer == nil,
      notBlockableBecause: answer, why: judged.why, flow: flow,
      increments: comparison?.increments(
        flow: flow, origin: sides.origin, held: verdict.judgedHeld.rule,
        new: verdict.judgedNew.rule,
        sipRules: sipRules(
          family: flow.family, transport: flow.original.transport, sides, path(to: sides))))
    finding.hangsOn = verdict.hangsOn
    return finding
  }

  /// What the rules say of a flow, walked only where no flow of its kind was judged before.
  private mutating func verdict(on flow: Flow, _ sides: FlowSides) -> FlowVerdict {
    let kinds = verdicts.sources.kinds(flow.family, evaluation.evaluation)
    guard let kind = kinds.flatMap({ FlowKind(flow, sides, ingress: ingress(sides), $0) }) else {
      return walkedVerdict(on: flow, sides)
    }
    if let known = verdicts[kind] { return known }
    let made = walkedVerdict(on: flow, sides)
    verdicts.remember(made, kind)
    return made
  }

  private mutating func walkedVerdict(on flow: Flow, _ sides: FlowSides) -> FlowVerdict {
    verdicts.walks += 1
    let packet = packet(of: flow, sides)
    let path = path(to: sides)
    let asNew = unlessTranslatedUnseen(
      evaluation.walk(packet.asNew, to: path, byAnyOf: ways).judgedWhereAsked, flow, sides)
    let asHeld = unlessOffloaded(evaluation.walk(packet.asHeld, to: path, byAnyOf: ways), flow)
    return FlowVerdict(asNew: asNew, asHeld: asHeld, zone: packet.zone) { asNew, asHeld in
      guard case .no = expected(flow, sides) else { return .open }
      var isOpen = false
      let judged = Judgement.of(
        flow, sides: sides, expected: .no, asNew: asNew, asHeld: asHeld,
        hasTrust: policy.hasTrust,
        mayBeAdmittedAgain: {
          isOpen = true
          return false
        })
      return isOpen ? .open : judged.map { .judged($0) } ?? .nothing
    }
  }

  /// Whether some state of what changes by itself would admit the peer as NEW.
  private mutating func mayBeAdmittedAgain(_ flow: Flow, _ sides: FlowSides) -> Bool {
    if timeless == nil {
      timeless = RepeatedEvaluation(Evaluation(observation.sample.firewall.snapshot.atAnyTime))
    }
    let packet = packet(of: flow, sides).asNew
    let (path, ways) = (path(to: sides), ways)
    guard let any = timeless?.walk(packet, to: path, byAnyOf: ways).judgedWhereAsked else {
      return true
    }
    return !(any.isCertain && any.verdict.isRefused)
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
    // Where it is only assumed, the rules have to agree on every interface.
    guard entry.isInterfaceCertain != false, let route = entry.route else { return }
    interfaces[PeerEnds(peer: entry.peer, local: entry.local)] = route.interface
  }

  /// The interface the peer's packets come by, or `nil` when that is not certain.
  func ingress(_ sides: FlowSides) -> String? {
    ingress(sides.peer.address, to: sides.wire.address)
  }

  func ingress(_ peer: IPAddress, to local: IPAddress) -> String? {
    interfaces[PeerEnds(peer: peer, local: local)]
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
