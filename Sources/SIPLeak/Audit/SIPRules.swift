import Addressing
import Firewall

extension FirewallSnapshot {
  /// The filter-table rules that accept a port by naming it: what an operator calls "my SIP rules".
  ///
  /// Their counters stand still while a leaked flow talks; that is the proof. Found by the options
  /// that name ports, not by evaluation, because no one packet meets them all.
  func rulesAccepting(
    family: AddressFamily, transport: IPProtocol, port: UInt16
  ) -> [RuleReference] {
    rulesets.filter { $0.family == family }.flatMap { ruleset in
      (ruleset.table("filter")?.chains ?? []).flatMap { chain in
        chain.rules.enumerated().compactMap { position, rule -> RuleReference? in
          guard rule.target?.name == "ACCEPT", rule.names(port: port) else { return nil }
          return RuleReference(
            backend: ruleset.backend, table: "filter", chain: chain.name, index: position + 1,
            text: rule.text, counters: rule.counters)
        }
      }
    }
  }
}

extension Rule {
  /// Whether a destination-port option of the rule covers the port.
  func names(port: UInt16) -> Bool {
    matches.contains { clause in
      clause.options.contains { option in
        ["--dport", "--dports", "--ports"].contains(option.name) && !option.isInverted
          && option.arguments.contains { $0.coversPort(port) }
      }
    }
  }
}

extension String {
  /// Whether a list such as `5000:5070,6000` covers the port.
  fileprivate func coversPort(_ port: UInt16) -> Bool {
    split(separator: ",").contains { part in
      let ends = part.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard let first = ends.first else { return false }
      let low = first.isEmpty ? 0 : UInt16(first)
      let high = ends.count == 2 ? (ends[1].isEmpty ? UInt16.max : UInt16(ends[1])) : low
      guard let low, let high, low <= high else { return false }
      return (low...high).contains(port)
    }
  }
}
