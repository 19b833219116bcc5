import Addressing
public import Firewall

/// Where our rules go and the text that puts them there.
struct Placement {
  var rules: [BlockPlan.RestoreText] = []
  var obstacles: [String] = []
  private let snapshot: FirewallSnapshot
  /// The backend asked for; `nil` leaves the choice to the rules.
  private let wanted: Backend?
  private let standing: StandingRules
  /// Whether no jump is made that does not stand.
  private var isReverting = false
  /// Tables that have their text, or need none.
  private var done: Set<PlainRule.Place> = []

  /// Places the blocks of a plan, and renews what plain rules hold beside them.
  ///
  /// - Parameters:
  ///   - request: What is asked.
  ///   - snapshot: What stands.
  ///   - audit: The findings: a block before the state rule stands where they are let in.
  ///   - entries: Who is blocked.
  ///   - standing: What becomes of the plain rules that stand.
  init(
    _ request: BlockRequest, snapshot: FirewallSnapshot, audit: Audit,
    entries: [BlockPlan.Entry], standing: StandingRules
  ) {
    self.snapshot = snapshot
    self.standing = standing
    wanted = request.backend
    for family in AddressFamily.allCases {
      let ours = entries.filter { $0.address.family == family }
      if !ours.isEmpty {
        switch request.place {
        case .raw: placeRaw(family, blocks(ours))
        case .beforeStateRule: placeBeforeStateRule(family, ours, audit)
        }
      }
      renewPlain(family)
    }
  }

  /// Renews hooks that are gone while our sets still hold members: after a reload of the firewall,
  /// or where another version of sipleak made them in another shape; and what plain rules hold.
  ///
  /// - Parameters:
  ///   - snapshot: What stands.
  ///   - standing: What becomes of the plain rules that stand.
  ///   - restored: Plain blocks that are put back in raw.
  init(
    renewing snapshot: FirewallSnapshot, standing: StandingRules, restored: [PlainBlock] = []
  ) {
    self.snapshot = snapshot
    self.standing = standing
    wanted = nil
    for family in AddressFamily.allCases {
      let restored = restored.filter { $0.prefix.family == family }
      if !restored.isEmpty { placeRaw(family, restored) }
      renewMembers(family)
      renewPlain(family)
    }
  }

  /// Writes plain rules again with some of them taken away or put back as they were, and nothing else.
  ///
  /// A jump that is gone stays so: whoever took it may have let somebody in again whom we block.
  init(reverting snapshot: FirewallSnapshot, standing: StandingRules) {
    self.snapshot = snapshot
    self.standing = standing
    wanted = nil
    isReverting = true
    for family in AddressFamily.allCases { renewPlain(family) }
  }

  private mutating func renewMembers(_ family: AddressFamily) {
    guard let set = snapshot.ownSet(family), OwnObjects.owns(set), !set.entries.isEmpty
    else { return }
    let raw = snapshot.rulesets.filter { $0.family == family }.flatMap { ruleset in
      Hooks.tables.compactMap(ruleset.table)
    }
    let chains = raw.compactMap { $0.chain(OwnObjects.dropChain) }.filter(OwnObjects.owns)
    // A block before the state rule stands where the flows were; that cannot be derived again.
    guard !chains.isEmpty || !snapshot.hasOwnHook(family) else { return }
    placeRaw(family, [])
  }

  /// Writes again what plain rules hold in tables that have no text yet: without what is over, in
  /// the set's shape where the blocks move into it, and complete where a crash left half of it.
  private mutating func renewPlain(_ family: AddressFamily) {
    for place in standing.places(family) where !done.contains(place) {
      if Hooks.tables.contains(place.table) {
        placeRaw(family, [], backend: place.backend)
      } else {
        add(
          Hooks.beforeStateRules(
            [], peers(family, standing.blocks(in: [place]), isRaw: false),
            backend: place.backend, table: place.table, family: family))
      }
    }
  }

  /// Who is blocked by rules of a family: our set, or each of the blocks that stand there.
  private func peers(
    _ family: AddressFamily, _ blocks: [PlainBlock], isRaw: Bool
  ) -> PeerRules {
    if standing.isPlain { return .each(blocks.sorted()) }
    let members = snapshot.ownSet(family)?.entries ?? []
    let moved = standing.kept.filter { $0.prefix.family == family }
    let inner: Set<IPAddress> = Set(
      (blocks + moved).compactMap(\.inner) + members.compactMap { OwnObjects.inner($0.comment) }
    ).filter { $0.family == family }
    // A transport whose last member has run out keeps its rule: no reason to write anything.
    let chains = snapshot.rulesets.filter { $0.family == family }.compactMap {
      $0.table("raw")?.chain(OwnObjects.dropChain)
    }.filter(OwnObjects.owns)
    let transports = [IPProtocol.udp, .tcp].filter { transport in
      (blocks + moved).contains { $0.transport == transport }
        || members.contains { $0.element.contains(",\(transport):") }
        || isRaw
          && chains.contains { chain in
            chain.rules.contains { $0.asks("set") && $0.text.contains("-p \(transport) ") }
          }
    }
    return .members(
      of: family, transports: transports, inner: inner.sorted())
  }

  /// The blocks of entries as rules of their own; for a set, one of each kind that rules are made for.
  private func blocks(_ entries: [BlockPlan.Entry]) -> [PlainBlock] {
    struct Kind: Hashable {
      var transport: IPProtocol
      var inner: IPAddress?
    }
    var seen: Set<Kind> = []
    return entries.filter {
      standing.isPlain || seen.insert(Kind(transport: $0.transport, inner: $0.inner)).inserted
    }.map { PlainBlock($0, from: standing.time) }
  }

  private mutating func placeRaw(
    _ family: AddressFamily, _ new: [PlainBlock], backend given: Backend? = nil
  ) {
    let used = snapshot.rulesets.filter { $0.family == family }
    // A drop in either backend is final; act where ours stands already, else on the one in use
    // (facts D8).
    let backend =
      given ?? wanted
      ?? used.first { $0.table("raw")?.chain(OwnObjects.dropChain) != nil }?.backend
      ?? Backend.allCases.first { backend in
        used.contains { $0.backend == backend && !$0.isWithoutRules }
      } ?? .nft
    let places = Hooks.tables.map {
      PlainRule.Place(backend: backend, family: family, table: $0)
    }
    let peers = peers(
      family, standing.blocks(in: places, besides: new), isRaw: true)
    // A table that a listener has made for a moment is nobody's.
    let bare = snapshot.withoutProbes.rulesets.first {
      $0.backend == backend && $0.family == family
    }
    func table(_ name: String) -> Table? { bare?.table(name) }
    add(
      Hooks.raw(
        peers, backend: backend, family: family,
        makesTable: table("raw").map(OwnObjects.made) ?? true))
    // What stood there for a block that is over goes too.
    guard !peers.rules(.dropToInside).isEmpty || standing.places(family).contains(places[1]) else {
      return
    }
    add(
      Hooks.forward(
        peers, backend: backend, family: family,
        makesTable: table("mangle").map(OwnObjects.made) ?? true))
  }

  private mutating func placeBeforeStateRule(
    _ family: AddressFamily, _ entries: [BlockPlan.Entry], _ audit: Audit
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
    let places = rules.map { rule in
      var standing = rule
      standing.index = snapshot.standingIndex(of: rule, family: family)
      return standing
    }
    let tables = Dictionary(grouping: places) { "\($0.backend.rawValue) \($0.table)" }
    for (_, group) in tables.sorted(by: { $0.key < $1.key }) {
      let place = PlainRule.Place(
        backend: group[0].backend, family: family, table: group[0].table)
      let blocks = standing.blocks(
        in: [place], besides: self.blocks(entries))
      add(
        Hooks.beforeStateRules(
          group, peers(family, blocks, isRaw: false), backend: place.backend,
          table: place.table, family: family))
    }
  }

  private mutating func add(_ hooks: Hooks) {
    done.insert(
      PlainRule.Place(backend: hooks.backend, family: hooks.family, table: hooks.table))
    let table = snapshot.rulesets.first {
      $0.backend == hooks.backend && $0.family == hooks.family
    }?.table(hooks.table)
    for own in hooks.chains {
      if let chain = table?.chain(own.name), !chain.rules.isEmpty, !OwnObjects.owns(chain) {
        obstacles.append("a chain \(own.name) exists in \(hooks.table) that is not ours")
        return
      }
    }
    let hooks = isReverting ? hooks.withoutNewJumps(in: table) : hooks
    if hooks.stand(in: table) { return }
    rules += hooks.restoreTexts(replacing: table)
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
