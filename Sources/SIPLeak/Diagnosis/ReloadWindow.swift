import Addressing
import Conntrack
import Firewall

extension Differential {
  /// Whether the rules are reloaded in a way that leaves them open for a moment (facts A1).
  ///
  /// A window leaves no trace but its flows. What can be proved: counters that are younger than a
  /// flow, counters that shrank between two readings, a script that flushes.
  mutating func reloadWindow() -> Explanation {
    let leaks = findings.filter { $0.cause == .establishedBypass && $0.origin == .peer }
    if peer != nil, leaks.isEmpty {
      return Explanation(
        .reloadWindow, .ruledOut, "it has no flow that only a window could have opened")
    }
    let scripts = observation.reloadScripts ?? []
    let open = openPolicies()
    var evidence = scripts.prefix(Self.listed).map {
      Evidence("\($0.path):\($0.line) flushes: \($0.text)")
    }
    evidence += open.map { Evidence("lets everything in while the rules are gone", rule: $0) }
    if let nat = snapshot.rules(table: "nat", where: { !OwnObjects.owns($0) }).first {
      evidence.append(
        Evidence("keeps tracking on while the filter table is empty", rule: nat.reference))
    }
    evidence.append(
      Evidence(
        "iptables-restore replaces a table in one step and opens nothing; a script that flushes "
          + "should set the policy to DROP first"))
    let restore = restoreCommand(open)
    if let younger = younger(leaks) {
      return Explanation(
        .reloadWindow, .supported, younger.text, [younger] + evidence, command: restore)
    }
    if let loaded = loadedBetween() {
      return Explanation(
        .reloadWindow, .supported, loaded, evidence, command: restore)
    }
    if let script = scripts.first, let policy = open.first {
      return Explanation(
        .reloadWindow, .supported,
        "\(script.path):\(script.line) flushes, and \(policy.named) is ACCEPT", evidence,
        command: restore)
    }
    // A rule that came or went, as fail2ban's do all day, is no reload.
    if !(leaks.isEmpty && open.isEmpty), let earlier = observation.earlier,
      !Stability.isSame(earlier.firewall.snapshot, snapshot)
    {
      return Explanation(
        .reloadWindow, .cannotTell,
        "the rules changed between the two readings; whether that left them open is not known",
        evidence, command: restore)
    }
    if let policy = open.first {
      return Explanation(
        .reloadWindow, .cannotTell,
        leaks.isEmpty
          ? "\(policy.named) is ACCEPT: any flush would open it"
          : "\(policy.named) is ACCEPT: a flush opens it; so would an allowlist that was narrowed",
        evidence, command: restore)
    }
    guard leaks.isEmpty else {
      return Explanation(
        .reloadWindow, .cannotTell,
        "the policy is DROP now; the allowlist may have been narrowed, or the policy set later",
        evidence, command: "sipleak diagnose --sample 5s")
    }
    return Explanation(
      .reloadWindow, .ruledOut,
      hasRules ? "the policy is DROP: flushing opens nothing" : "there are no rules to reload",
      scripts.isEmpty ? [] : evidence)
  }

  private var hasRules: Bool {
    snapshot.rulesets.contains { ruleset in
      ruleset.table("filter")?.chains.contains { !$0.rules.isEmpty } == true
    }
  }

  /// The policies that would let SIP in, were the rules gone; only where rules refuse now.
  private func openPolicies() -> [RuleReference] {
    Set(doors.map { [$0.family.rawValue, $0.path.rawValue] }).sorted { $0[0] < $1[0] }
      .flatMap { door -> [RuleReference] in
        snapshot.rulesets.filter { $0.family.rawValue == door[0] }.compactMap { ruleset in
          guard let chain = ruleset.table("filter")?.chain(door[1]), !chain.rules.isEmpty,
            chain.policy == "ACCEPT"
          else { return nil }
          return RuleReference(
            backend: ruleset.backend, table: "filter", chain: chain.name, index: 0,
            text: "policy ACCEPT", counters: chain.counters)
        }
      }
  }

  /// A state rule that has counted less than the flows it lets in: it is younger than they are.
  ///
  /// All but the first packet of a flow that its peer opened pass there. Restoring without `-c`
  /// begins counters anew (facts D2).
  private func younger(_ leaks: [Finding]) -> Evidence? {
    let byRule = Dictionary(grouping: leaks.filter { $0.asHeld.rule?.counters != nil }) {
      $0.asHeld.rule
    }
    for (rule, found) in byRule {
      guard let rule, let counted = rule.counters?.packets, rule.index > 0 else { continue }
      let sent = found.compactMap { $0.flow?.originalCounters?.packets }.map { $0 &- min($0, 1) }
        .reduce(UInt64(0)) { $0.addingReportingOverflow($1).partialValue }
      // Readings are not of one moment; a few packets may lie between them.
      guard sent > counted, sent - counted > max(4, sent / 100) else { continue }
      return Evidence(
        "\(found.count == 1 ? "its flow has" : "the flows have") \(Quantity.grouped(sent + 1)) "
          + "packets, \(rule.place) counted \(Quantity.grouped(counted)): the rules were loaded "
          + "after it began", rule: rule, flow: found.first?.ends)
    }
    return nil
  }

  /// What shows that the rules were loaded between two readings, in words.
  private func loadedBetween() -> String? {
    guard let earlier = observation.earlier else { return nil }
    let comparison = SampleComparison(before: earlier, after: observation.sample)
    for rule in audit.stateRules {
      for family in AddressFamily.allCases {
        guard comparison.growth(rule, family: family).unknown == .reset else { continue }
        return "\(rule.place) counted less than before: the rules were loaded anew in between"
      }
    }
    return nil
  }

  private func restoreCommand(_ open: [RuleReference]) -> String {
    let family = findings.first?.family ?? doors.first?.family ?? .ipv4
    // Whose file it is only the operator knows; one that is old would undo what was added since.
    let name = family == .ipv4 ? "iptables" : "ip6tables"
    return open.first.map { "\(tool($0, family))-restore < FILE" } ?? "\(name)-restore < FILE"
  }
}
