import Addressing
public import Firewall

/// Where our rules go and the text that puts them there.
struct Placement {
  var rules: [BlockPlan.RestoreText] = []
  var obstacles: [String] = []
  private let snapshot: FirewallSnapshot
  /// The backend asked for; `nil` leaves the choice to the rules.
  private let wanted: Backend?

  /// Places the blocks of a plan.
  init(
    _ request: BlockRequest, snapshot: FirewallSnapshot, audit: Audit,
    entries: [BlockPlan.Entry]
  ) {
    self.snapshot = snapshot
    wanted = request.backend
    for family in AddressFamily.allCases {
      let ours = entries.filter { $0.address.family == family }
      guard !ours.isEmpty else { continue }
      let transports = transports(family, Set(ours.map(\.transport)))
      switch request.place {
      case .raw: placeRaw(family, transports, inner: Set(ours.compactMap(\.inner)))
      case .beforeStateRule: placeBeforeStateRule(family, ours, transports, audit)
      }
    }
  }

  /// Renews hooks that are gone while our sets still hold members: after a reload of the firewall,
  /// or where another version of sipleak made them in another shape.
  init(renewing snapshot: FirewallSnapshot) {
    self.snapshot = snapshot
    wanted = nil
    for family in AddressFamily.allCases {
      guard let set = snapshot.ownSet(family), OwnObjects.owns(set), !set.entries.isEmpty
      else { continue }
      let raw = snapshot.rulesets.filter { $0.family == family }.compactMap { $0.table("raw") }
      let standing = raw.compactMap { $0.chain(OwnObjects.dropChain) }.filter(OwnObjects.owns)
      // A block before the state rule stands where the flows were; that cannot be derived again.
      guard !standing.isEmpty || !snapshot.hasOwnHook(family) else { continue }
      // A transport whose last member has run out keeps its rule: no reason to write anything.
      let kept = [IPProtocol.tcp, .udp].filter { transport in
        standing.contains { $0.rules.contains { $0.text.contains("-p \(transport) ") } }
      }
      placeRaw(family, transports(family, Set(kept)), inner: [])
    }
  }

  private mutating func placeRaw(
    _ family: AddressFamily, _ transports: [IPProtocol], inner: Set<IPAddress>
  ) {
    let members = snapshot.ownSet(family)?.entries ?? []
    let inner = inner.union(members.compactMap { OwnObjects.inner($0.comment) }).sorted()
    let used = snapshot.rulesets.filter { $0.family == family }
    // A drop in either backend is final; act where ours stands already, else on the one in use
    // (facts D8).
    let backend =
      wanted ?? used.first { $0.table("raw")?.chain(OwnObjects.dropChain) != nil }?.backend
      ?? Backend.allCases.first { backend in
        used.contains { $0.backend == backend && !$0.isWithoutRules }
      } ?? .nft
    // A table that a listener has made for a moment is nobody's.
    let bare = snapshot.withoutProbes.rulesets.first {
      $0.backend == backend && $0.family == family
    }
    func table(_ name: String) -> Table? { bare?.table(name) }
    add(
      Hooks.raw(
        backend: backend, family: family, transports: transports, inner: inner,
        makesTable: table("raw").map(OwnObjects.made) ?? true))
    guard !inner.isEmpty else { return }
    add(
      Hooks.forward(
        backend: backend, family: family, transports: transports, inner: inner,
        makesTable: table("mangle").map(OwnObjects.made) ?? true))
  }

  private mutating func placeBeforeStateRule(
    _ family: AddressFamily, _ entries: [BlockPlan.Entry], _ transports: [IPProtocol],
    _ audit: Audit
  ) {
    let filled = Set(
      snapshot.rulesets.filter { $0.family == family && !$0.isWithoutRules }.map(\.backend))
    // Which of two firewalls a rule goes into is the operator's to say, not ours to guess.
    if wanted == nil, filled.count > 1 {
      obstacles.append(
        "both iptables backends hold \(family == .ipv4 ? "IPv4" : "IPv6") rules; say which with "
          + "--backend nft or --backend legacy, or use --where raw")
      return
    }
    let blocked = Set(entries.map(\.address))
    var rulesByPeer: [IPAddress: [RuleReference]] = [:]
    for finding in audit.findings where finding.asHeld.verdict == .accept {
      guard let peer = finding.peer?.address, blocked.contains(peer),
        let rule = finding.asHeld.rule
      else { continue }
      if rulesByPeer[peer]?.contains(rule) != true { rulesByPeer[peer, default: []].append(rule) }
    }
    var rules: Set<RuleReference> = []
    for address in blocked.sorted() {
      let letIn = rulesByPeer[address] ?? []
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
      if let wanted, let other = letIn.first(where: { $0.backend != wanted }) {
        obstacles.append(
          "the rule that lets \(address) in, \(other.place), is of the \(other.backend.rawValue) "
            + "backend; use --backend \(other.backend.rawValue) or --where raw")
        return
      }
      rules.formUnion(letIn)
    }
    // The audit counts positions without the markers of a trace that may stand.
    let standing = rules.map { rule in
      var standing = rule
      standing.index = snapshot.standingIndex(of: rule, family: family)
      return standing
    }
    let tables = Dictionary(grouping: standing) { "\($0.backend.rawValue) \($0.table)" }
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
