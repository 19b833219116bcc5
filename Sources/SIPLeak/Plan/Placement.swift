import Addressing
public import Firewall

/// Where our rules go and the text that puts them there.
struct Placement {
  var rules: [BlockPlan.RestoreText] = []
  var obstacles: [String] = []
  private let snapshot: FirewallSnapshot

  /// Places the blocks of a plan.
  init(
    _ place: BlockRequest.Place, snapshot: FirewallSnapshot, audit: Audit,
    entries: [BlockPlan.Entry]
  ) {
    self.snapshot = snapshot
    for family in AddressFamily.allCases {
      let ours = entries.filter { $0.address.family == family }
      guard !ours.isEmpty else { continue }
      let transports = transports(family, Set(ours.map(\.transport)))
      switch place {
      case .raw: placeRaw(family, transports)
      case .beforeStateRule: placeBeforeStateRule(family, ours, transports, audit)
      }
    }
  }

  /// Renews hooks that are gone while our sets still hold members: after a reload of the firewall.
  init(renewing snapshot: FirewallSnapshot) {
    self.snapshot = snapshot
    for family in AddressFamily.allCases {
      guard let set = snapshot.ownSet(family), OwnObjects.owns(set), !set.entries.isEmpty,
        !snapshot.hasOwnHook(family)
      else { continue }
      placeRaw(family, transports(family, []))
    }
  }

  private mutating func placeRaw(_ family: AddressFamily, _ transports: [IPProtocol]) {
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
        makesTable: table.map(OwnObjects.made) ?? true))
  }

  private mutating func placeBeforeStateRule(
    _ family: AddressFamily, _ entries: [BlockPlan.Entry], _ transports: [IPProtocol],
    _ audit: Audit
  ) {
    var rules: [RuleReference] = []
    for address in Set(entries.map(\.address)).sorted() {
      let letIn = audit.findings.filter {
        $0.peer?.address == address && $0.asHeld.verdict == .accept
      }.compactMap(\.asHeld.rule)
      guard !letIn.isEmpty else {
        obstacles.append(
          "no state rule lets \(address) in now, so there is nothing to stand before; use "
            + "--where raw")
        return
      }
      if let policy = letIn.first(where: { $0.index == 0 }) {
        obstacles.append(
          "\(address) is let in by the policy of \(policy.chain), not by a state rule; use "
            + "--where raw")
        return
      }
      // The audit counts positions without the markers of a trace that may stand.
      rules += letIn.map { rule in
        var standing = rule
        standing.index = snapshot.standingIndex(of: rule, family: family)
        return standing
      }
    }
    let tables = Dictionary(grouping: rules) { "\($0.backend.rawValue) \($0.table)" }
    for (_, group) in tables.sorted(by: { $0.key < $1.key }) {
      add(
        Hooks.beforeStateRules(
          group, backend: group[0].backend, table: group[0].table, family: family,
          transports: transports))
    }
  }

  private mutating func add(_ hooks: Hooks) {
    let table = snapshot.rulesets.first {
      $0.backend == hooks.backend && $0.family == hooks.family
    }?.table(hooks.table)
    for own in hooks.chains {
      if let chain = table?.chain(own.name), !chain.rules.isEmpty, !OwnObjects.owns(chain) {
        obstacles.append("a chain \(own.name) exists in \(hooks.table) that is not ours")
        return
      }
    }
    if hooks.stand(in: table) { return }
    rules.append(hooks.restoreText(replacing: table))
  }

  /// The transports of a plan and those our set names already, so that a new plan keeps their rules.
  private func transports(_ family: AddressFamily, _ planned: Set<IPProtocol>) -> [IPProtocol] {
    let elements = snapshot.ownSet(family)?.entries.map(\.element) ?? []
    let standing = [IPProtocol.tcp, .udp].filter { transport in
      elements.contains { $0.contains(",\(transport):") }
    }
    return planned.union(standing).sorted { $0.rawValue > $1.rawValue }
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
