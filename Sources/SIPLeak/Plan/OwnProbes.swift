import Addressing
public import Firewall

/// Rules of ours that stand for a moment and decide nothing: markers of a trace and rules that log.
///
/// Whoever judges, compares or gives positions does so as if they were not there: they come and go
/// while others work, and an operator counts without them.
enum OwnProbes {
  static func owns(_ rule: Rule) -> Bool {
    TraceMarker.isMarker(rule) || ListenRules.owns(rule)
  }

  /// Whether a table is there for our probes alone.
  fileprivate static func made(_ table: Table) -> Bool {
    let rules = table.chains.flatMap(\.rules)
    return rules.contains { $0.comment?.hasSuffix("table made") ?? false }
      && rules.allSatisfy(owns) && table.chains.allSatisfy { $0.policy == "ACCEPT" }
  }
}

extension FirewallSnapshot {
  /// The firewall as it is without probes: its positions are those an operator knows.
  public var withoutProbes: FirewallSnapshot {
    var copy = self
    for ruleset in copy.rulesets.indices {
      for table in copy.rulesets[ruleset].tables.indices {
        for chain in copy.rulesets[ruleset].tables[table].chains.indices
        where copy.rulesets[ruleset].tables[table].chains[chain].rules.contains(
          where: OwnProbes.owns)
        {
          copy.rulesets[ruleset].tables[table].chains[chain].rules.removeAll(where: OwnProbes.owns)
        }
      }
      // What was made for them goes with them, so that it counts as nobody's.
      let before = rulesets[ruleset].tables
      if before.contains(where: OwnProbes.made) {
        copy.rulesets[ruleset].tables = zip(before, copy.rulesets[ruleset].tables).compactMap {
          OwnProbes.made($0) ? nil : $1
        }
      }
    }
    return copy
  }

  /// The position a rule has among the rules that stand, given the one it has without probes.
  func standingIndex(of rule: RuleReference, family: AddressFamily) -> Int {
    guard rule.index > 0,
      let chain = rulesets.first(where: { $0.backend == rule.backend && $0.family == family })?
        .table(rule.table)?.chain(rule.chain)
    else { return rule.index }
    var left = rule.index
    for (offset, standing) in chain.rules.enumerated() where !OwnProbes.owns(standing) {
      left -= 1
      if left == 0 { return offset + 1 }
    }
    return rule.index
  }
}

extension Observation {
  /// The observation with its rules as they are without probes.
  var withoutProbes: Observation {
    var copy = self
    copy.sample.firewall.snapshot = sample.firewall.snapshot.withoutProbes
    if let snapshot = earlier?.firewall.snapshot {
      copy.earlier?.firewall.snapshot = snapshot.withoutProbes
    }
    return copy
  }
}
