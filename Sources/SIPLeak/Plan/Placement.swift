import Addressing
public import Firewall

/// Where our rules go and the text that puts them there.
struct Placement {
  var rules: [BlockPlan.RestoreText] = []
  var obstacles: [String] = []

  init(
    _ place: BlockRequest.Place, snapshot: FirewallSnapshot, audit: Audit,
    entries: [BlockPlan.Entry]
  ) {
    for family in AddressFamily.allCases {
      let ours = entries.filter { $0.address.family == family }
      guard !ours.isEmpty else { continue }
      let transports = Set(ours.map(\.transport)).union(Self.blockedTransports(snapshot, family))
        .sorted { $0.rawValue > $1.rawValue }
      switch place {
      case .raw:
        let used = snapshot.rulesets.filter { $0.family == family }
        // A drop in either backend is final; act where ours stands already, else on the one in use
        // (facts D8).
        let backend =
          used.first { $0.table("raw")?.chain(OwnObjects.dropChain) != nil }?.backend
          ?? Backend.allCases.first { backend in
            used.contains { $0.backend == backend && !$0.isWithoutRules }
          } ?? .nft
        let table = used.first { $0.backend == backend }?.table("raw")
        add(
          Hooks.raw(
            backend: backend, family: family, transports: transports,
            makesTable: table.map(OwnObjects.made) ?? true), snapshot: snapshot)
      case .beforeStateRule:
        placeBeforeStateRule(
          family, entries: ours, transports: transports, snapshot: snapshot, audit: audit)
      }
    }
  }

  private mutating func placeBeforeStateRule(
    _ family: AddressFamily, entries: [BlockPlan.Entry], transports: [IPProtocol],
    snapshot: FirewallSnapshot, audit: Audit
  ) {
    let addresses = Set(entries.map(\.address))
    let stateRules = audit.findings.compactMap { finding -> RuleReference? in
      guard let peer = finding.peer?.address, addresses.contains(peer), finding.family == family,
        finding.asHeld.verdict == .accept
      else { return nil }
      return finding.asHeld.rule
    }
    guard let first = stateRules.first else {
      let names = addresses.sorted().map(\.description).joined(separator: ", ")
      obstacles.append(
        "no state rule lets \(names) in now, so there is nothing to stand before; use --where raw")
      return
    }
    // One chain, one jump a family: several state rules would need several.
    for other in stateRules where other != first {
      obstacles.append(
        "the peers are let in by different rules (\(first.place) and \(other.place)); block them "
          + "one at a time or use --where raw")
      return
    }
    guard first.index > 0 else {
      obstacles.append(
        "the peer is let in by the policy of \(first.chain), not by a state rule; use --where raw")
      return
    }
    add(
      Hooks.beforeStateRule(first, family: family, transports: transports), snapshot: snapshot)
  }

  private mutating func add(_ hooks: Hooks, snapshot: FirewallSnapshot) {
    let ruleset = snapshot.rulesets.first {
      $0.backend == hooks.backend && $0.family == hooks.family
    }
    let table = ruleset?.table(hooks.table)
    for hook in hooks.chains {
      if let chain = table?.chain(hook.name), chain.rules.contains(where: { !OwnObjects.owns($0) })
      {
        obstacles.append(
          "a chain \(hook.name) exists in \(hooks.table) with rules that are not ours")
        return
      }
    }
    if hooks.stand(in: table) { return }
    rules.append(hooks.restoreText(replacing: table))
  }

  /// Transports that our set names already, so that a new plan keeps their rules.
  private static func blockedTransports(
    _ snapshot: FirewallSnapshot, _ family: AddressFamily
  ) -> [IPProtocol] {
    let elements = snapshot.ownSet(family)?.entries.map(\.element) ?? []
    return [IPProtocol.tcp, .udp].filter { transport in
      elements.contains { $0.contains(",\(transport):") }
    }
  }
}

extension RuleReference {
  /// The place as a person names it: `filter INPUT 3`.
  public var place: String { "\(table) \(chain) \(index)" }
}

extension Ruleset {
  /// Whether no chain holds a rule and no policy drops.
  var isWithoutRules: Bool {
    tables.allSatisfy { $0.chains.allSatisfy { $0.rules.isEmpty && $0.policy != "DROP" } }
  }
}
