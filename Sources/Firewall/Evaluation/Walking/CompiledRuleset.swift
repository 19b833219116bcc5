import Addressing

/// A rule as a walk sees it: where its conditions lie, and what it does.
struct CompiledRule: Sendable {
  /// Within ``CompiledRuleset/conditions``.
  var conditions: Range<Int>
  var action: TargetAction
  /// Whether a condition can depend on memory.
  var remembers: Bool
}

/// What most rules ask first, where long chains can be passed by in a few instructions a rule.
struct RuleGuard: Sendable {
  private var source: UInt128 = 0
  private var mask: UInt128 = 0
  private var transport: UInt8 = 0
  private var lowestPort: UInt16 = 0
  private var highestPort = UInt16.max

  /// Takes the plain source address and port and the plain protocol out of a rule's conditions.
  init(_ conditions: [Condition]) {
    for condition in conditions {
      switch condition {
      case .source(let address, let mask, isInverted: false):
        source = address
        self.mask = mask
      case .transport(let number, isInverted: false): transport = number
      case .sourcePort(let low, let high, isInverted: false):
        lowestPort = low
        highestPort = high
      default: break
      }
    }
  }

  /// Whether a packet certainly does not match the rule; otherwise nothing is said.
  func rejects(_ situation: Situation) -> Bool {
    if situation.source & mask != source { return true }
    if transport != 0, situation.transport != transport { return true }
    guard let port = situation.guardedPort else { return false }
    return port < lowestPort || port > highestPort
  }
}

/// A chain as a walk sees it.
struct CompiledChain: Sendable {
  /// Within ``CompiledRuleset/rules``.
  var rules: Range<Int>
  /// Whether packets that reach the end are let through; only base chains have an end of that kind.
  var accepts: Bool
  /// Where the syntax stands.
  var table: Int
  var chain: Int
}

/// A ruleset with its rules compiled once for all packets.
struct CompiledRuleset: Sendable {
  /// What was read, with the base chains that a table has although the text does not show them.
  let source: Ruleset
  private(set) var conditions: [Condition] = []
  private(set) var rules: [CompiledRule] = []
  private(set) var guards: [RuleGuard] = []
  private(set) var chains: [CompiledChain] = []
  /// Whether a rule makes the kernel track connections.
  private(set) var tracksConnections = false
  /// Chains by table and name.
  private var places: [String: [String: Int]] = [:]

  init(_ ruleset: Ruleset, sets: SetTables, recent: RecentTables = .unread) {
    var source = ruleset
    for index in source.tables.indices {
      for name in Self.baseChains[source.tables[index].name] ?? []
      where source.tables[index].chain(name) == nil {
        source.tables[index].chains.append(Chain(name: name, policy: "ACCEPT"))
      }
    }
    self.source = source
    var compiler = ConditionCompiler(
      family: source.family, backend: source.backend, sets: sets, recent: recent)
    for (tableIndex, table) in source.tables.enumerated() {
      var named: [String: Int] = [:]
      var targets: [String: Int] = [:]
      for (index, chain) in table.chains.enumerated() where named[chain.name] == nil {
        named[chain.name] = chains.count + index
        if !Self.isBuiltIn(chain) { targets[chain.name] = chains.count + index }
      }
      // A table may stand twice in a file; the first wins, as `Ruleset.table` answers.
      if places[table.name] == nil { places[table.name] = named }
      let targetCompiler = TargetCompiler(family: source.family, chains: targets)
      for (chainIndex, chain) in table.chains.enumerated() {
        let start = rules.count
        compiler.place = RecentTables.Place(
          family: source.family, backend: source.backend, table: table.name, chain: chain.name,
          isBase: Self.isBuiltIn(chain))
        for (index, rule) in chain.rules.enumerated() {
          compiler.place?.index = index
          let first = conditions.count
          let compiled = compiler.conditions(of: rule)
          if Self.tracks(rule, compiled) { tracksConnections = true }
          conditions += compiled
          guards.append(RuleGuard(compiled))
          rules.append(
            CompiledRule(
              conditions: first..<conditions.count,
              action: targetCompiler.action(of: rule.target),
              remembers: compiled.contains(where: \.mayRemember)))
        }
        chains.append(
          CompiledChain(
            rules: start..<rules.count,
            // Without a printed policy the kernel's own default holds.
            accepts: chain.policy != "DROP", table: tableIndex, chain: chainIndex))
      }
    }
  }

  /// The base chains of the kernel's tables.
  private static let baseChains = [
    "raw": ["PREROUTING", "OUTPUT"],
    "mangle": ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
    "nat": ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
    "filter": ["INPUT", "FORWARD", "OUTPUT"],
    "security": ["INPUT", "FORWARD", "OUTPUT"],
  ]

  static func isBuiltIn(_ chain: Chain) -> Bool {
    chain.policy != nil || HookPoint.baseChains.contains(chain.name)
  }

  /// Whether loading the rule turns tracking on for its family (facts A1, A1c).
  ///
  /// `CT --notrack` alone asks for nothing that would.
  private static func tracks(_ rule: Rule, _ conditions: [Condition]) -> Bool {
    let targets = [
      "CT", "CONNMARK", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", "SYNPROXY",
      "CONNSECMARK",
    ]
    return conditions.contains(where: \.asksConnection)
      || rule.matches.contains {
        ["connlimit", "connlabel", "state", "conntrack"].contains($0.name)
      }
      || rule.target.map { target in
        targets.contains(target.name) && !target.options.contains { $0.name == "--notrack" }
      } == true
  }

  /// The place of a chain.
  func chain(_ name: String, table: String) -> Int? { places[table]?[name] }

  /// The same rules with other conditions: `change`, asked for each index in order, gives the one to
  /// put there, or `nil` to leave it.
  func replacing(_ change: (Int) -> Condition?) -> CompiledRuleset {
    var result = self
    for index in conditions.indices {
      if let other = change(index) { result.conditions[index] = other }
    }
    result.guards = rules.map { RuleGuard(Array(result.conditions[$0.conditions])) }
    return result
  }

  func syntax(_ chain: Int) -> Chain {
    source.tables[chains[chain].table].chains[chains[chain].chain]
  }

  /// A rule's position and text for a person; index 0 is the policy.
  func reference(chain: Int, index: Int) -> RuleReference {
    let syntax = syntax(chain)
    let table = source.tables[chains[chain].table].name
    guard index > 0 else {
      return RuleReference(
        backend: source.backend, table: table, chain: syntax.name, index: 0,
        text: "policy \(chains[chain].accepts ? "ACCEPT" : "DROP")", counters: syntax.counters)
    }
    let rule = syntax.rules[index - 1]
    return RuleReference(
      backend: source.backend, table: table, chain: syntax.name, index: index, text: rule.text,
      counters: rule.counters)
  }

  /// Whether a rule's conditions hold.
  func truth(_ rule: CompiledRule, _ situation: Situation, _ variant: Variant) -> Truth {
    var result = Truth.yes
    for index in rule.conditions {
      switch conditions[index].truth(situation, variant) {
      case .no: return .no
      case .unknown: result = .unknown
      case .yes: break
      }
    }
    return result
  }
}
