import Addressing
import Firewall

/// The answers about a whole ruleset, for a person.
public enum RulesetQuestionsText {
  /// Prefixes listed of each kind; JSON has them all.
  private static let limit = 20

  /// The text.
  ///
  /// - Parameters:
  ///   - questions: The answers.
  ///   - style: Colour and width.
  /// - Returns: Lines, each ending in a newline.
  public static func text(_ questions: RulesetQuestions, style: TextStyle) -> String {
    let name = "\(questions.target.transport)/\(questions.target.port)"
    var lines: [String] = []
    for answer in questions.answers {
      lines.append(
        style.bold("\(answer.family == .ipv4 ? "IPv4" : "IPv6"): who may begin a flow to \(name)"))
      lines += sources(answer.sources, style: style)
      if !answer.ranges.isEmpty {
        lines.append("  accept rules that cover \(name) without naming it:")
        lines += answer.ranges.map { "    \(place($0.rule))  \(coverage($0.coverage))" }
      }
      lines.append("")
    }
    if questions.answers.isEmpty { lines += ["No iptables rules.", ""] }
    let shadowed = questions.shadowed.entries
    lines.append(
      shadowed.isEmpty
        ? "No rule stands behind one that takes all its packets."
        : style.bold("Rules that never see a packet"))
    for entry in shadowed.prefix(limit) {
      let takers = entry.takenBy.map { place($0) }.joined(separator: ", ")
      lines.append("  \(place(entry.rule))  taken by \(takers)")
    }
    if shadowed.count > limit { lines.append("  … and \(shadowed.count - limit) more") }
    if !questions.shadowed.isComplete { lines.append("  (not every rule could be compared)") }
    return lines.map { $0 + "\n" }.joined()
  }

  private static func sources(_ sources: AcceptedSources, style: TextStyle) -> [String] {
    var lines: [String] = []
    let doubtful = sources.possibly.subtracting(sources.certainly)
    if sources.possibly.isEmpty { lines.append("  nobody") }
    for admission in sources.admissions {
      let rule = admission.rule.map(place) ?? "no rule"
      if !admission.certainly.isEmpty {
        let who = people(admission.certainly, sources.question.family)
        lines += style.wrapped("certainly, by \(rule): \(who)", indent: 2)
      }
      let maybe = admission.possibly.subtracting(admission.certainly)
      if !maybe.isEmpty {
        let who = people(maybe, sources.question.family)
        lines += style.wrapped("possibly, by \(rule): \(who)", indent: 2)
      }
    }
    if !doubtful.isEmpty {
      var seen: Set<String> = []
      for reason in sources.reasons where seen.insert(reason.text).inserted {
        lines += style.wrapped(
          "not certain because " + EscapedText.terminal(reason.text), indent: 4)
      }
    }
    return lines
  }

  /// The prefixes, or those left out where they are fewer.
  private static func people(_ set: PrefixSet, _ family: AddressFamily) -> String {
    let inside = set.prefixes
    let all = IPPrefix(IPAddress(family: family, bits: 0), length: 0).map { PrefixSet([$0]) }
    let outside = (all ?? PrefixSet()).subtracting(set).prefixes
    guard outside.count < inside.count else { return list(inside) }
    return outside.isEmpty ? "everybody" : "everybody but " + list(outside)
  }

  private static func list(_ prefixes: [IPPrefix]) -> String {
    let shown = prefixes.prefix(limit).map(\.description).joined(separator: ", ")
    return prefixes.count > limit ? shown + ", … \(prefixes.count - limit) more" : shown
  }

  private static func place(_ rule: RuleReference) -> String { EscapedText.terminal(rule.place) }

  private static func coverage(_ coverage: PortRangeRules.Entry.Coverage) -> String {
    switch coverage {
    case .range(let range): "ports \(range.lowerBound):\(range.upperBound)"
    case .everyPort: "every port"
    case .everything: "every protocol and port"
    }
  }
}
