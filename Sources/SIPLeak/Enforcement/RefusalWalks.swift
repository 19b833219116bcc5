import Conntrack
import Firewall

/// Whether rules refuse what blocked peers send, walked once for all peers no rule tells apart.
///
/// The answers are those of a walk for every packet: what is of no kind is walked by itself.
struct RefusalWalks {
  /// What becomes of a peer's packets.
  enum Answer: Equatable {
    /// All are certainly refused, the first by this rule.
    case refused(RuleReference?)
    /// One is not, by this rule.
    case letIn(RuleReference?)
  }

  private var rules: RepeatedEvaluation
  private var sources = SortedSources()
  private var known: [FlowKind: Answer] = [:]
  private let packets: BlockedPackets
  private let ways: [String]

  /// Prepares the walks.
  ///
  /// - Parameters:
  ///   - packets: What the peers send.
  ///   - rules: The rules that are to refuse it.
  ///   - sortsSources: Whether one walk answers for a kind.
  init(_ packets: BlockedPackets, rules: RepeatedEvaluation, sortsSources: Bool = true) {
    self.packets = packets
    self.rules = rules
    ways = packets.judge.ways
    sources.isOn = sortsSources
  }

  /// What becomes of the packets of an entry's peer, by its place in the plan.
  mutating func answer(of number: Int) -> Answer {
    var decided: RuleReference?
    let flows = packets.flows(of: number)
    for (flow, sides) in flows {
      switch answer(to: flow, sides) {
      case .letIn(let rule): return .letIn(rule)
      case .refused(let rule): decided = decided ?? rule
      }
    }
    guard flows.isEmpty else { return .refused(decided) }
    for (packet, path) in packets.packetsWithoutFlow(of: number) {
      switch walked(packet, path) {
      case .letIn(let rule): return .letIn(rule)
      case .refused(let rule): decided = decided ?? rule
      }
    }
    return .refused(decided)
  }

  private mutating func answer(to flow: Flow, _ sides: FlowSides) -> Answer {
    let judge = packets.judge
    let kinds = sources.kinds(flow.family, rules.evaluation)
    let kind = kinds.flatMap { FlowKind(flow, sides, ingress: judge.ingress(sides), $0) }
    if let kind, let answer = known[kind] { return answer }
    let answer = walked(judge.packet(of: flow, sides).asHeld, judge.path(to: sides))
    if let kind {
      // Where every flow is of a kind of its own, they must not fill the memory.
      if known.count >= FlowVerdicts.limit { known.removeAll(keepingCapacity: true) }
      known[kind] = answer
    }
    return answer
  }

  private mutating func walked(_ packet: Packet, _ path: PacketPath) -> Answer {
    let walk = rules.walk(packet, to: path, byAnyOf: ways)
    return walk.isCertain && walk.verdict.isRefused
      ? .refused(walk.decidingRule) : .letIn(walk.decidingRule)
  }
}
