/// Where tables begin and end, and the chains they declare.
extension RulesetReading {
  // MARK: tables

  mutating func beginTable() throws(FirewallError) {
    let start = position
    if table != nil {
      throw source.error(
        at: start, expected: isListing ? "a line of iptables -S" : "COMMIT before the next table",
        found: source.string(start..<min(start + 20, endOfLine(start))))
    }
    let whole = try wholeLine()
    layout = TableLayout()
    layout.usesCRLF =
      whole.upperBound > whole.lowerBound
      && source.bytes[whole.upperBound - 1] == UInt8(ascii: "\r")
    let (range, _) = trimmed(whole)
    let words = words(range)
    guard words.count == 1, words[0].count > 1, source.bytes[words[0].lowerBound] == 0x2A else {
      throw source.error(at: start, expected: "*table and nothing else on the line")
    }
    let name = source.string((words[0].lowerBound + 1)..<words[0].upperBound)
    guard name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      throw source.error(at: start + 1, expected: "a table's name")
    }
    guard tableNames.insert(name).inserted else {
      throw source.error(
        at: start, expected: "each table once", found: "a second *\(name)",
        advice: "Loading this would throw away the first one's rules.")
    }
    openTable(name, start: start)
    if words[0] == range {
      layout.lines.append(.header)
    } else {
      layout.lines.append(.text(Array(source.bytes[whole])))
    }
  }

  mutating func openTable(_ name: String, start: Int) {
    var table = Table(name: name)
    table.leader = loose
    loose = []
    self.table = table
    tableStart = start
    chains = []
    chainIndex = [:]
    filled = []
    heads = [:]
    lastChain = -1
    isReordered = false
  }

  mutating func commit() throws(FirewallError) {
    let start = position
    let whole = try wholeLine()
    let (range, isPlain) = trimmed(whole)
    let words = words(range)
    guard words.count == 1, source.string(words[0]) == "COMMIT" else {
      throw source.error(
        at: start, expected: "COMMIT and nothing else on the line", found: source.string(range))
    }
    guard table != nil, !isListing else {
      throw source.error(at: start, expected: "*table before COMMIT")
    }
    if words[0] == range && isPlain {
      layout.lines.append(.commit)
    } else {
      layout.lines.append(.text(Array(source.bytes[whole])))
    }
    finishTable()
  }

  mutating func finishTable() {
    guard var table else { return }
    for chain in Array(heads.keys) { putHead(on: chain) }
    layout.chainCount = chains.count
    table.chains = chains
    table.layout = layout
    if isReordered {
      var text = Array(source.bytes[tableStart..<position])
      if text.last != UInt8(ascii: "\n") { text.append(UInt8(ascii: "\n")) }
      table.frozen = text
    }
    ruleset.tables.append(table)
    self.table = nil
    chains = []
  }

  // MARK: chains

  mutating func declareChain() throws(FirewallError) {
    let start = position
    guard table != nil else {
      throw source.error(at: start, expected: "*table before a chain")
    }
    let whole = try wholeLine()
    let (range, isPlain) = trimmed(whole)
    let words = words(range)
    let colon = words[0].lowerBound
    guard words[0].count > 1 else {
      throw source.error(at: colon + 1, expected: "a chain's name")
    }
    guard words[0].count <= 29 else {
      throw source.error(at: colon + 1, expected: "a chain name of 1 to 28 bytes")
    }
    guard words.count >= 2 else {
      throw source.error(
        at: range.upperBound, expected: "a policy: ACCEPT, DROP or -",
        found: "the end of the line")
    }
    let name = source.string((colon + 1)..<words[0].upperBound)
    let policy: String?
    switch source.string(words[1]) {
    case "ACCEPT": policy = "ACCEPT"
    case "DROP": policy = "DROP"
    case "-": policy = nil
    case let other:
      throw source.error(
        at: words[1].lowerBound, expected: "a policy: ACCEPT, DROP or -", found: other)
    }
    var counters: RuleCounters?
    var isCanonical = isPlain && words[0].lowerBound == range.lowerBound
    if words.count >= 3 {
      let (value, end, canonical) = try bracketed(words[2].lowerBound)
      guard end == words[2].upperBound else {
        throw source.error(at: end, expected: "a blank after the counters")
      }
      counters = value
      isCanonical = isCanonical && canonical
    }
    guard words.count <= 3 else {
      throw source.error(at: words[3].lowerBound, expected: "the end of the line")
    }
    // Plain is: one blank between, nothing after.
    let length = words.reduce(words.count - 1) { $0 + $1.count }
    isCanonical =
      isCanonical && length == range.count && !source.bytes[range].contains(UInt8(ascii: "\t"))
    // Invalid UTF-8 is replaced in the name, so the name alone does not give the line back.
    isCanonical =
      isCanonical && name.utf8.elementsEqual(source.bytes[(colon + 1)..<words[0].upperBound])
    let text = isCanonical ? [] : Array(source.bytes[whole])
    if let known = chainIndex[name] {
      // Invalid bytes are replaced, and é is equal to e with an accent: two chains in the kernel.
      guard !name.unicodeScalars.contains("\u{FFFD}"),
        name.utf8.elementsEqual(chains[known].name.utf8)
      else {
        throw source.error(
          at: colon + 1, expected: "chain names that differ as text", found: name)
      }
      // Declaring a chain again sets a policy or, for a user's chain, empties it (facts E2).
      if let policy {
        chains[known].policy = policy
      } else if !BaseOptions.builtInChains.contains(name) {
        empty(known)
      }
      chains[known].counters = counters
      isReordered = true
      return
    }
    let index = add(Chain(name: name, policy: policy, counters: counters))
    if isCanonical {
      layout.addChain(index)
    } else {
      layout.lines.append(.oddChain(index, policy: policy, counters: counters, text: text))
    }
  }

  mutating func add(_ chain: Chain) -> Int {
    chains.append(chain)
    chainIndex[chain.name] = chains.count - 1
    return chains.count - 1
  }

  /// `[packets:bytes]` at an offset: the value, where it ends, and whether it is printed plainly.
  func bracketed(_ start: Int) throws(FirewallError) -> (RuleCounters, Int, Bool) {
    let bytes = source.bytes
    func number(_ from: Int) -> (UInt64, Int)? {
      var index = from
      var value: UInt64 = 0
      while index < bytes.count, bytes[index] >= 0x30, bytes[index] <= 0x39 {
        let (product, over) = value.multipliedReportingOverflow(by: 10)
        let (sum, more) = product.addingReportingOverflow(UInt64(bytes[index] - 0x30))
        if over || more { return nil }
        value = sum
        index += 1
      }
      return index == from ? nil : (value, index)
    }
    func isPlain(_ from: Int, _ end: Int) -> Bool { end - from == 1 || bytes[from] != 0x30 }
    guard start < bytes.count, bytes[start] == UInt8(ascii: "["),
      let (packets, middle) = number(start + 1), middle < bytes.count,
      bytes[middle] == UInt8(ascii: ":"), let (count, end) = number(middle + 1),
      end < bytes.count, bytes[end] == UInt8(ascii: "]")
    else { throw source.error(at: start, expected: "counters: [packets:bytes]") }
    return (
      RuleCounters(packets: packets, bytes: count), end + 1,
      isPlain(start + 1, middle) && isPlain(middle + 1, end)
    )
  }
}
