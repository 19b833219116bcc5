import Addressing
public import Firewall

/// The state rules a packet meets: those that accept it as part of a flow, found by meaning.
public enum StateRules {
  /// The rules, in the order they are met.
  ///
  /// A state rule accepts the packet as ESTABLISHED or RELATED and would not accept it as NEW,
  /// however it is spelled.
  ///
  /// - Parameters:
  ///   - question: The packet, in any state.
  ///   - evaluation: The rules.
  /// - Returns: The rules, each once.
  public static func met(by question: PacketQuestion, in evaluation: Evaluation) -> [RuleReference]
  {
    var fresh = question.packet
    fresh.connection = .new
    let asNew = evaluation.walk(fresh, to: question.path)
    let accepting = Set(asNew.outcomes.filter { $0.verdict == .accept }.compactMap(\.rule))
    var rules: [RuleReference] = []
    for state in [PacketState.establishedOriginal, .establishedReply, .related] {
      var held = question.packet
      let source = held.sourcePort.map { Endpoint(held.source, $0) }
      let destination = held.destinationPort.map { Endpoint(held.destination, $0) }
      held.connection = state.facts(source: source, destination: destination)
      for outcome in evaluation.walk(held, to: question.path).outcomes
      where outcome.verdict == .accept {
        guard let rule = outcome.rule, rule.index > 0, !accepting.contains(rule),
          !rules.contains(rule)
        else { continue }
        rules.append(rule)
      }
    }
    return rules
  }
}
