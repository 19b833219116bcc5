import Addressing

/// The lists of `-m recent`, and which rules change them on a packet's way.
///
/// Whether an earlier rule really matches is not looked at: that it stands where the packet may
/// meet it first is enough to make a list unknown. Base chains are compared by hook, table and
/// position; a rule in a user chain, whose place in a walk is not worked out, may come before any
/// other and before itself.
struct RecentTables: Sendable {
  /// What can be said of a list where a rule asks it.
  enum Answer {
    case unread
    /// A rule may have changed it for this very packet.
    case changed
    /// Rules disagree about the mask, which is the list's and not the rule's.
    case masked
    case known([IPAddress: [RecentList.Entry]], mask: IPAddress?)
  }

  /// Where a rule stands.
  struct Place: Sendable, Hashable {
    var family: AddressFamily
    var backend: Backend
    var table: String
    var chain: String
    var isBase: Bool
    var index = 0
  }

  private struct Use {
    var changes: [Place] = []
    var mask: IPAddress?
    var isMaskCertain = true
    var isFirst = true
  }

  /// By the bytes of the name: Swift takes differently composed letters for equal, the kernel not.
  private var lists: [[UInt8]: [IPAddress: [RecentList.Entry]]]?
  private var uses: [[UInt8]: Use] = [:]

  /// No lists: every one is unread.
  static let unread = RecentTables()

  private init() {}

  init(_ snapshot: FirewallSnapshot) {
    guard let read = snapshot.recentLists, !read.isEmpty else { return }
    var lists: [[UInt8]: [IPAddress: [RecentList.Entry]]] = [:]
    // Names of other bytes than UTF-8 cannot be told apart any more.
    for list in read where !list.name.unicodeScalars.contains("\u{fffd}") {
      lists[Array(list.name.utf8)] = Dictionary(grouping: list.entries, by: \.address)
    }
    self.lists = lists
    for ruleset in snapshot.rulesets {
      for table in ruleset.tables {
        for chain in table.chains {
          var place = Place(
            family: ruleset.family, backend: ruleset.backend, table: table.name,
            chain: chain.name, isBase: CompiledRuleset.isBuiltIn(chain))
          for (index, rule) in chain.rules.enumerated() {
            place.index = index
            for clause in rule.matches where clause.name == "recent" { note(clause, place) }
          }
        }
      }
    }
  }

  private mutating func note(_ clause: MatchClause, _ place: Place) {
    var name = "DEFAULT"
    var mask: IPAddress?
    var isMaskCertain = true
    var isChange = false
    for option in clause.options.map(Option.init) {
      switch option.name {
      case "--name": name = option.only ?? name
      case "--set", "--update", "--remove", "--reap": isChange = true
      case "--mask":
        mask = option.only.flatMap { IPAddress($0) }
        isMaskCertain = mask?.family == place.family
        let all: UInt128 = place.family == .ipv4 ? 0xffff_ffff : .max
        if mask?.bits == all { mask = nil }
      default: break
      }
    }
    let key = Array(name.utf8)
    var use = uses[key] ?? Use()
    if isChange { use.changes.append(place) }
    if !isMaskCertain || !use.isFirst && use.mask != mask { use.isMaskCertain = false }
    use.mask = mask
    use.isFirst = false
    uses[key] = use
  }

  /// What is known of a list where the rule at a place asks it.
  ///
  /// `isChange` says whether the clause that asks changes the list itself, after asking.
  func list(_ name: String, at place: Place?, isChange: Bool) -> Answer {
    let key = Array(name.utf8)
    guard let place, let entries = lists?[key], let use = uses[key] else { return .unread }
    guard use.isMaskCertain else { return .masked }
    if let mask = use.mask {
      // The mask is that of the rule that made the list, and that one may be gone.
      let isMasked = entries.keys.allSatisfy {
        $0.family == mask.family && $0.bits & ~mask.bits == 0
      }
      guard isMasked else { return .masked }
    }
    let own = use.changes.filter { $0 == place }.count
    // Of two clauses on the list in one rule, the first may change what the second asks.
    if own > (isChange ? 1 : 0)
      || use.changes.contains(where: { $0 != place && Self.mayPrecede($0, place) })
    {
      return .changed
    }
    if own == 1, !place.isBase { return .changed }
    return .known(entries, mask: use.mask)
  }

  private static func mayPrecede(_ first: Place, _ second: Place) -> Bool {
    guard first.family == second.family else { return false }
    guard first.isBase, second.isBase else { return true }
    guard first.chain != "OUTPUT" else { return false }
    let isSameChain = first.table == second.table && first.chain == second.chain
    if isSameChain, first.backend == second.backend { return first.index < second.index }
    // A packet that meets INPUT is not forwarded.
    if first.chain == "INPUT", second.chain != "INPUT" { return false }
    guard let one = rank(first), let other = rank(second) else { return true }
    return one <= other
  }

  /// The order of the hooks, then that of the tables at one.
  private static func rank(_ place: Place) -> Int? {
    guard let hook = ["PREROUTING", "INPUT", "FORWARD", "POSTROUTING"].firstIndex(of: place.chain),
      let table = ["raw", "mangle", "nat", "filter", "security"].firstIndex(of: place.table)
    else { return nil }
    // The nat table comes last at INPUT.
    return hook * 10 + (place.table == "nat" && place.chain == "INPUT" ? 9 : table)
  }
}
