import Addressing
import Firewall

extension TracePlan {
  /// The tables in words: `filter`, or `raw and filter (nft, IPv4)`.
  var tablesInWords: String {
    let names = transactions.map { "\($0.backend.rawValue) \($0.table)" }
    return names.joined(separator: ", ")
  }

  /// Whether a table as it is now holds the rules it was planned on and all of its markers, each at
  /// its place.
  func stands(_ table: Table, in transaction: Transaction) -> Bool {
    guard
      let planned = snapshot.rulesets.first(where: {
        $0.backend == transaction.backend && $0.family == transaction.family
      })?.table(table.name)
    else { return false }
    var own: [String: [Int: Int]] = [:]
    for marker in markers
    where marker.backend == transaction.backend && marker.table == table.name
      && subjects[marker.subject].packet.family == transaction.family
    {
      own[marker.chain, default: [:]][marker.before, default: 0] += 1
    }
    // Only chains with markers: what changes in others moves no marker, and some programs change theirs
    // all the time.
    for (name, wanted) in own {
      guard let chain = table.chain(name), let old = planned.chain(name), old.policy == chain.policy
      else { return false }
      var places: [Int: Int] = [:]
      var rules: [[UInt8]] = []
      for rule in chain.rules {
        if TraceMarker.isMarker(rule) {
          places[rules.count + 1, default: 0] += 1
        } else {
          rules.append(rule.bytes)
        }
      }
      guard rules == old.rules.map(\.bytes), places == wanted else {
        return false
      }
    }
    return true
  }
}
