public import Addressing

/// Rules that no packet reaches, because an earlier rule takes all they match.
///
/// Only what is certain is listed: a rule stands here if every packet it could match certainly
/// matches one earlier rule of its chain which ends the packet's way, by itself or in the chain it
/// calls. Rules that several earlier ones shadow only together, or through marks, lists that change
/// or limits, are not found.
public struct ShadowedRules: Sendable {
  /// A rule with what shadows it.
  public struct Entry: Sendable, Hashable {
    /// The family of the ruleset.
    public var family: AddressFamily
    /// The rule that never sees a packet.
    public var rule: RuleReference
    /// The earlier rule of the same chain; if that is a jump, followed by the rules of the chains
    /// it leads to, up to the one that takes the packets.
    public var takenBy: [RuleReference]
  }

  /// Comparisons after which the search ends.
  static let comparisonLimit = 10_000_000

  /// The rules, in the order of the ruleset.
  public private(set) var entries: [Entry] = []
  /// Whether every rule was looked at; `false` for rulesets too large to compare all, and where a
  /// table is known to be printed otherwise than it is.
  public private(set) var isComplete = true
  private var comparisons = 0

  /// Searches every chain of every table.
  ///
  /// - Parameter snapshot: What was observed.
  public init(in snapshot: FirewallSnapshot) {
    var changed: Set<String> = []
    var asked: Set<String> = []
    for table in snapshot.rulesets.flatMap(\.tables) {
      for rule in table.chains.flatMap(\.rules) {
        for clause in rule.matches where clause.name == "set" {
          asked.formUnion(clause.options.compactMap(\.arguments.first))
        }
        if rule.target?.name == "SET" {
          changed.formUnion(rule.target?.options.compactMap(\.arguments.first) ?? [])
        }
      }
    }
    // What is in the sets does not matter, only what kind they are.
    let kinds = snapshot.sets?.map {
      AddressSet(
        name: $0.name, type: $0.type, family: $0.family, createOptions: $0.createOptions,
        entries: $0.type == "list:set" ? $0.entries : [])
    }
    let sets = SetTables(kinds, asked: asked, changedByRules: changed)
    for ruleset in snapshot.rulesets {
      for table in ruleset.tables {
        let isMisprinted = snapshot.unseen.contains {
          $0.isMisprint && $0.backend == ruleset.backend
            && ($0.family == nil || $0.family == ruleset.family)
            && $0.table.split(separator: " ").last.map(String.init) == table.name
        }
        guard !isMisprinted else {
          isComplete = false
          continue
        }
        search(
          BoxedTable(table, backend: ruleset.backend, family: ruleset.family, sets: sets), ruleset)
      }
    }
  }

  private mutating func search(_ table: BoxedTable, _ ruleset: Ruleset) {
    for (chain, boxed) in table.chains.enumerated() {
      for (index, rule) in boxed.rules.enumerated() where !rule.box.isEmpty {
        guard comparisons < Self.comparisonLimit else {
          isComplete = false
          return
        }
        guard
          let places = taker(
            of: rule.box, in: chain, before: index, table, isCalled: false, [chain])
        else { continue }
        entries.append(
          Entry(
            family: ruleset.family, rule: Self.reference((chain, index), table.table, ruleset),
            takenBy: places.map { Self.reference($0, table.table, ruleset) }))
      }
    }
  }

  /// The first rule of a chain before a position that takes all packets of a box, and the rules in
  /// called chains that do it for a jump.
  ///
  /// In a called chain RETURN takes nothing, but leads back.
  private mutating func taker(
    of box: RuleBox, in chain: Int, before end: Int, _ table: BoxedTable, isCalled: Bool,
    _ active: Set<Int>
  ) -> [(chain: Int, index: Int)]? {
    let boxed = table.chains[chain]
    for index in table.candidates(chain, covering: box, before: end).sorted() {
      comparisons += 1
      guard comparisons < Self.comparisonLimit else { return nil }
      let rule = boxed.rules[index]
      guard box.isCovered(by: rule.box) else { continue }
      var places = [(chain, index)]
      switch rule.action {
      case .accept, .refuse, .translate, .translateSource:
        break
      case .return:
        if isCalled { return nil }
      case .goto(let target):
        // Where the packets go from there matters only to the caller's rules.
        if isCalled {
          guard let more = takes(all: box, target, table, active) else { return nil }
          places += more
        }
      case .jump(let target):
        guard let more = takes(all: box, target, table, active) else { continue }
        places += more
      default:
        continue
      }
      if isCalled, leaks(box, boxed, before: index, table, active) { return nil }
      return places
    }
    return nil
  }

  private mutating func takes(
    all box: RuleBox, _ chain: Int, _ table: BoxedTable, _ active: Set<Int>
  ) -> [(chain: Int, index: Int)]? {
    guard !active.contains(chain) else { return nil }
    return taker(
      of: box, in: chain, before: .max, table, isCalled: true, active.union([chain]))
  }

  /// Whether some of the box may go back to the calling chain before a position.
  private mutating func leaks(
    _ box: RuleBox, _ boxed: BoxedTable.BoxedChain, before end: Int, _ table: BoxedTable,
    _ active: Set<Int>
  ) -> Bool {
    for index in boxed.leaks {
      if index >= end { return false }
      comparisons += 1
      let rule = boxed.rules[index]
      if rule.box.isApart(from: box) { continue }
      if case .goto(let target) = rule.action, takes(all: box, target, table, active) != nil {
        continue
      }
      return true
    }
    return false
  }

  private static func reference(
    _ place: (chain: Int, index: Int), _ table: Table, _ ruleset: Ruleset
  ) -> RuleReference {
    let chain = table.chains[place.chain]
    let rule = chain.rules[place.index]
    return RuleReference(
      backend: ruleset.backend, table: table.name, chain: chain.name, index: place.index + 1,
      text: rule.text, counters: rule.counters)
  }
}
