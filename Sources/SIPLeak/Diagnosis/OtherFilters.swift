import Addressing
import Conntrack
import Firewall

extension Differential {
  /// Whether something that `iptables -L` does not show lets somebody in: another table, the other
  /// backend, a native nft chain.
  ///
  /// Judged by asking what the filter table of one backend alone would do: a drop anywhere is final
  /// (facts D8), so other places can let a packet in only by marks, translation or untracking.
  mutating func otherFilters() -> Explanation {
    let misprinted = snapshot.unseen.filter(\.isMisprint)
    var shown: [AddressFamily: RepeatedEvaluation] = [:]
    for family in AddressFamily.allCases {
      let backends = Set(
        snapshot.rulesets.filter { $0.family == family && !$0.isWithoutRules }.map(\.backend))
      guard let main = Backend.allCases.first(where: backends.contains) else { continue }
      shown[family] = RepeatedEvaluation(Evaluation(snapshot.onlyFilter(of: main, family)))
    }
    let evidence = elsewhere()
    for arrival in allArrivals() where arrival.isAccepted {
      guard var alone = shown[arrival.source.family] else { continue }
      let walk = alone.walk(arrival.packet, to: arrival.door.path)
      shown[arrival.source.family] = alone
      guard walk.isCertain, walk.verdict.isRefused else { continue }
      let by = arrival.walk.path.map(\.rule).filter {
        $0.index > 0 && ($0.table != "filter" || $0.backend != walk.decidingRule?.backend)
      }
      let whom = suspects.contains(arrival.source) ? "\(arrival.source)" : "anybody"
      return Explanation(
        .otherFilters, .supported,
        "\(by.first?.named ?? "another table") lets \(whom) past "
          + (walk.decidingRule?.named ?? "the filter table"),
        by.map { Evidence("takes part in letting it in", rule: $0) } + evidence,
        command: walkCommand(arrival))
    }
    if let first = misprinted.first {
      return Explanation(
        .otherFilters, .cannotTell,
        "\(first.backend.rawValue) table \(first.table) is not as iptables prints it: \(first.why)",
        evidence, command: "nft list ruleset")
    }
    let spots = audit.blindSpots.filter { $0.kind == "unseen-filter" }
    if let first = spots.first {
      return Explanation(
        .otherFilters, .cannotTell, first.text,
        evidence + spots.dropFirst().map { Evidence($0.text) }, command: "nft list ruleset")
    }
    let rulesets = snapshot.rulesets.filter { !$0.isWithoutRules }
    let backends = Set(rulesets.map(\.backend)).count
    let tables = Set(rulesets.flatMap(\.tables).filter(\.holdsRules).map(\.name))
      .subtracting(["filter"]).sorted()
    let beside =
      tables.isEmpty ? "no rule outside the filter table" : "\(Listing.words(tables)) let nobody in"
    return Explanation(
      .otherFilters, .ruledOut,
      backends > 1 ? "both backends hold rules, and a drop in either is final; \(beside)" : beside,
      evidence)
  }

  /// What is there besides the filter table of one backend.
  private func elsewhere() -> [Evidence] {
    var result: [Evidence] = []
    for ruleset in snapshot.rulesets {
      for table in ruleset.tables where table.name != "filter" && table.holdsRules {
        let count = table.chains.map(\.rules.count).reduce(0, +)
        result.append(
          Evidence(
            "\(ruleset.family.rawValue) \(ruleset.backend.rawValue) table \(table.name): "
              + Listing.count(count, "rule")))
      }
    }
    if Set(snapshot.rulesets.filter { !$0.isWithoutRules }.map(\.backend)).count > 1 {
      result.append(Evidence("rules in both backends; each tool lists its own only"))
    }
    return result
      + snapshot.unseen.map {
        Evidence("\($0.backend.rawValue) table \($0.table): \($0.why)")
      }
  }
}

extension Table {
  /// Whether any chain holds a rule that is not ours.
  fileprivate var holdsRules: Bool {
    chains.contains { $0.rules.contains { !OwnObjects.owns($0) } }
  }
}

extension FirewallSnapshot {
  /// What a person sees who lists one backend's filter table only.
  fileprivate func onlyFilter(of backend: Backend, _ family: AddressFamily) -> FirewallSnapshot {
    var copy = self
    copy.unseen = []
    copy.rulesets = rulesets.filter { $0.backend == backend && $0.family == family }.map {
      var ruleset = $0
      ruleset.tables = ruleset.tables.filter { $0.name == "filter" }
      return ruleset
    }
    return copy
  }
}
