import Firewall
import TestSupport

/// Every counter of a host at one time.
struct Counters {
  var rules: [Place: RuleCounters] = [:]
  var accepted = RuleCounters(packets: 0, bytes: 0)

  /// Adds those of a ruleset.
  ///
  /// iptables-nft-save prints base chains that were never loaded and so count nothing.
  mutating func add(_ ruleset: Ruleset, loaded save: String) {
    let shown = Place.chains(of: save)
    for table in ruleset.tables {
      for chain in table.chains where shown.contains("\(table.name) \(chain.name)") {
        var place = Place(
          backend: ruleset.backend, table: table.name, chain: chain.name, index: 0)
        if chain.policy != nil { rules[place] = chain.counters }
        for (index, rule) in chain.rules.enumerated() {
          place.index = index + 1
          rules[place] = rule.counters
        }
      }
    }
  }
}

extension Place {
  init(_ rule: RuleReference) {
    self.init(backend: rule.backend, table: rule.table, chain: rule.chain, index: rule.index)
  }

  /// The chains a save declares, each as its table and name.
  static func chains(of save: String) -> Set<String> {
    var table = ""
    var result: Set<String> = []
    for line in save.split(separator: "\n") {
      if line.first == "*" { table = String(line.dropFirst()) }
      guard line.first == ":", let name = line.dropFirst().split(separator: " ").first else {
        continue
      }
      result.insert("\(table) \(name)")
    }
    return result
  }
}

/// Tells from two readings which packets of a batch a rule counted.
enum Counting {
  /// Attributes what was counted between two readings.
  ///
  /// - Parameters:
  ///   - count: How many packets were sent in between, of the lengths
  ///     ``FirewallScenario/length(of:)`` gives.
  ///   - before: The first reading.
  ///   - after: The second.
  ///   - isAlone: Whether it was one packet, whose length then says nothing.
  /// - Returns: Each packet's fate, or `nil` when some rule counted one packet more than three times
  ///   and they can't be told apart.
  static func fates(
    _ count: Int, _ before: Counters, _ after: Counters, isAlone: Bool
  ) -> [PacketFate]? {
    var result = Array(repeating: PacketFate(), count: count)
    for (place, counters) in after.rules {
      let times = times(count, before.rules[place], counters, isAlone)
      guard let times else { return nil }
      for (number, times) in times.enumerated() where times > 0 {
        result[number].counts[place] = times
      }
    }
    guard let times = times(count, before.accepted, after.accepted, isAlone) else { return nil }
    for (number, times) in times.enumerated() { result[number].isAccepted = times > 0 }
    return result
  }

  private static func times(
    _ count: Int, _ before: RuleCounters?, _ after: RuleCounters, _ isAlone: Bool
  ) -> [UInt64]? {
    let packets = after.packets - (before?.packets ?? 0)
    if isAlone { return [packets] }
    let bytes = after.bytes - (before?.bytes ?? 0)
    guard bytes >= packets * 64 else { return nil }
    let digits = (0..<count).map { (bytes - packets * 64) >> (2 * UInt64($0)) & 3 }
    // A digit that overflowed into the next shows in the sum.
    return digits.reduce(0, +) == packets ? digits : nil
  }
}
