/// How a table's lines stood in its file: what writing them back byte for byte needs beyond the
/// rules' own bytes.
struct TableLayout: Sendable {
  enum Line: Sendable {
    /// `*filter`, written plainly.
    case header
    /// `COMMIT`, written plainly.
    case commit
    /// Anything that says nothing about a chain or rule, without its newline.
    case text([UInt8])
    /// `:NAME POLICY [packets:bytes]` of consecutive chains, written plainly.
    case chains(first: Int, count: Int)
    /// The next rules of one chain, written plainly.
    case rules(chain: Int, count: Int)
    /// A chain written in another way, with what it said.
    case oddChain(Int, policy: String?, counters: RuleCounters?, text: [UInt8])
    /// The next rule of a chain written in another way, with what it said.
    case oddRule(chain: Int, bytes: [UInt8], counters: RuleCounters?, text: [UInt8])
  }

  var lines: [Line] = []
  /// Whether lines end in CR LF; lines that end differently are odd.
  var usesCRLF = false

  mutating func addChain(_ index: Int) {
    if case .chains(let first, let count) = lines.last, first + count == index {
      lines[lines.count - 1] = .chains(first: first, count: count + 1)
    } else {
      lines.append(.chains(first: index, count: 1))
    }
  }

  mutating func addRule(chain: Int) {
    if case .rules(chain, let count) = lines.last {
      lines[lines.count - 1] = .rules(chain: chain, count: count + 1)
    } else {
      lines.append(.rules(chain: chain, count: 1))
    }
  }

  /// Whether the lines still account for every rule of the chains.
  func fits(_ chains: [Chain]) -> Bool {
    var rules = Array(repeating: 0, count: chains.count)
    for line in lines {
      switch line {
      case .header, .commit, .text: break
      case .chains(let first, let count): if first + count > chains.count { return false }
      case .oddChain(let index, _, _, _): if index >= chains.count { return false }
      case .rules(let chain, let count):
        if chain >= chains.count { return false }
        rules[chain] += count
      case .oddRule(let chain, _, _, _):
        if chain >= chains.count { return false }
        rules[chain] += 1
      }
    }
    return zip(rules, chains).allSatisfy { $0 == $1.rules.count } && chains.count == chainCount
  }

  /// How many chains the table had, undeclared ones included.
  var chainCount = 0
}
