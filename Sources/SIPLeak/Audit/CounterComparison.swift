import Addressing
import Firewall

/// The counters of two readings of one firewall beside each other.
///
/// A rule is found again by its text and by which of equal rules it is, so one that was inserted
/// above does not hide its growth: others keep their counters (facts D2). A counter that shrank was
/// set to nothing meanwhile, by `-Z` or by rules loaded anew; then what the other counters of its
/// chain show is no growth either, and is not given.
struct CounterComparison {
  private struct Place: Hashable {
    var backend: Backend
    var family: AddressFamily
    var table: String
    var chain: String
  }

  /// One chain in both readings.
  private struct Pair {
    /// What each rule had counted before; `nil` for a rule that was not there.
    var rules: [RuleCounters?]
    /// What the policy had counted before.
    var policy: RuleCounters?
    /// Whether some counter shrank.
    var isReset = false
  }

  private let pairs: [Place: Pair]
  /// Whether any rule, chain or policy came, went or changed.
  let rulesChanged: Bool
  /// The chains whose counters were reset, as `filter INPUT`, in order.
  let resetChains: [String]

  /// Compares two readings.
  init(_ before: FirewallSnapshot, _ after: FirewallSnapshot) {
    var pairs: [Place: Pair] = [:]
    var changed = before.rulesets.count != after.rulesets.count
    var resets: [String] = []
    for now in after.rulesets {
      let old = before.rulesets.first { $0.backend == now.backend && $0.family == now.family }
      if old?.tables.map(\.name) != now.tables.map(\.name) { changed = true }
      for table in now.tables {
        let oldTable = old?.table(table.name)
        if oldTable?.chains.map(\.name) != table.chains.map(\.name) { changed = true }
        let oldChains = Dictionary(
          oldTable?.chains.map { ($0.name, $0) } ?? [], uniquingKeysWith: { first, _ in first })
        for chain in table.chains {
          let (pair, isSame) = Self.pair(oldChains[chain.name], chain)
          if !isSame { changed = true }
          if pair.isReset { resets.append("\(table.name) \(chain.name)") }
          pairs[
            Place(
              backend: now.backend, family: now.family, table: table.name, chain: chain.name)] =
            pair
        }
      }
    }
    self.pairs = pairs
    rulesChanged = changed
    var seen: Set<String> = []
    resetChains = resets.filter { seen.insert($0).inserted }
  }

  private static func pair(_ old: Chain?, _ now: Chain) -> (Pair, isSame: Bool) {
    guard let old else {
      return (Pair(rules: now.rules.map { _ in nil }, policy: nil), false)
    }
    var pair = Pair(rules: [], policy: old.counters)
    let isSame =
      old.rules.count == now.rules.count
      && zip(old.rules, now.rules).allSatisfy { $0.bytes == $1.bytes }
    if isSame {
      pair.rules = old.rules.map(\.counters)
    } else {
      // The first of equal rules is the first of them afterwards, as long as they are as many.
      let oldByText = Dictionary(grouping: old.rules, by: \.bytes)
      let count = Dictionary(grouping: now.rules, by: \.bytes).mapValues(\.count)
      var met: [[UInt8]: Int] = [:]
      pair.rules = now.rules.map { rule in
        let index = met[rule.bytes, default: 0]
        met[rule.bytes] = index + 1
        guard let same = oldByText[rule.bytes], same.count == count[rule.bytes] else { return nil }
        return same[index].counters
      }
    }
    func shrank(_ before: RuleCounters?, _ after: RuleCounters?) -> Bool {
      guard let before, let after else { return false }
      return after.packets < before.packets
    }
    pair.isReset =
      zip(pair.rules, now.rules).contains { shrank($0, $1.counters) }
      || shrank(old.counters, now.counters)
    return (pair, isSame && old.policy == now.policy)
  }

  /// The growth of a rule or policy as it is in the later reading.
  func growth(_ rule: RuleReference, family: AddressFamily) -> Increments.OfRule {
    let place = Place(
      backend: rule.backend, family: family, table: rule.table, chain: rule.chain)
    func unknown(_ why: Increments.OfRule.Unknown) -> Increments.OfRule {
      Increments.OfRule(rule: rule, packets: nil, unknown: why)
    }
    guard let now = rule.counters else { return unknown(.notCounted) }
    guard let pair = pairs[place] else { return unknown(.notThere) }
    if pair.isReset { return unknown(.reset) }
    let old: RuleCounters?
    if rule.index == 0 {
      old = pair.policy
    } else {
      old = pair.rules.indices.contains(rule.index - 1) ? pair.rules[rule.index - 1] : nil
    }
    guard let old else { return unknown(.notThere) }
    guard now.packets >= old.packets else { return unknown(.reset) }
    return Increments.OfRule(rule: rule, packets: now.packets - old.packets)
  }
}
