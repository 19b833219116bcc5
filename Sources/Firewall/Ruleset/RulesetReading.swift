internal import Addressing

/// The lines of a ruleset's text, one after the other.
struct RulesetReading {
  private let source: SourceText
  private var ruleset: Ruleset
  private var parser: RuleParser
  private var position = 0
  private var line = 1
  /// Lines outside a table.
  private var loose: [[UInt8]] = []
  private var tableNames: Set<String> = []
  /// The table being read.
  private var table: Table?
  private var tableStart = 0
  private var chains: [Chain] = []
  private var chainIndex: [String: Int] = [:]
  /// Chains that have had rules since all were flushed; one may stand here twice.
  private var filled: [Int] = []
  /// Rules inserted at the head of a chain, last first: most insertions are, and each would push
  /// down the whole chain.
  private var heads: [Int: [Rule]] = [:]
  private var growth: RulesetGrowth
  private var layout = TableLayout()
  /// `iptables -S` names no table and has no COMMIT.
  private var isListing = false
  /// The order of the lines is not the order of the rules.
  private var isReordered = false
  /// The chain of the line before, for rules come in runs.
  private var lastChain = -1

  init(_ source: SourceText, _ ruleset: Ruleset) {
    self.source = source
    self.ruleset = ruleset
    growth = RulesetGrowth(fileSize: source.bytes.count)
    parser = RuleParser(source: source, family: ruleset.family)
  }

  mutating func read() throws(FirewallError) -> Ruleset {
    let bytes = source.bytes
    ruleset.endsWithNewline = bytes.isEmpty || bytes.last == UInt8(ascii: "\n")
    while position < bytes.count {
      var first = position
      while first < bytes.count,
        bytes[first] == UInt8(ascii: " ") || bytes[first] == UInt8(ascii: "\t")
      { first += 1 }
      if first == bytes.count || source.isLineEnd(first) || bytes[first] == UInt8(ascii: "#") {
        keep(try wholeLine())
        continue
      }
      switch bytes[first] {
      case UInt8(ascii: "*"): try beginTable()
      case UInt8(ascii: ":"): try declareChain()
      case UInt8(ascii: "C") where source.bytes[first...].starts(with: "COMMIT".utf8):
        try commit()
      case UInt8(ascii: "["), UInt8(ascii: "-"): try rule(first)
      default:
        throw source.error(
          at: first, expected: "*table, :chain, a rule, COMMIT or a comment",
          found: source.string(first..<min(first + 20, endOfLine(first))))
      }
    }
    if table != nil {
      guard isListing else {
        throw source.error(
          at: bytes.count, expected: "COMMIT", found: "the end of the file",
          advice: "The file is cut short: a table without COMMIT would not be loaded either.")
      }
      finishTable()
    }
    ruleset.trailer = loose
    return ruleset
  }

  // MARK: lines

  private func endOfLine(_ start: Int) -> Int {
    var end = start
    while end < source.bytes.count, source.bytes[end] != UInt8(ascii: "\n") { end += 1 }
    return end
  }

  /// Takes the line at `position`, without its newline.
  private mutating func wholeLine() throws(FirewallError) -> Range<Int> {
    let end = endOfLine(position)
    if end - position > SourceText.longestLine { throw source.tooLong(position) }
    let range = position..<end
    position = min(end + 1, source.bytes.count)
    line += 1
    return range
  }

  private mutating func keep(_ range: Range<Int>) {
    let text = Array(source.bytes[range])
    if table == nil {
      loose.append(text)
    } else {
      layout.lines.append(.text(text))
    }
  }

  /// The line's words without its line end, and whether it ends as the table's lines do.
  private func trimmed(_ range: Range<Int>) -> (range: Range<Int>, isPlain: Bool) {
    let hasReturn = !range.isEmpty && source.bytes[range.upperBound - 1] == UInt8(ascii: "\r")
    let end = range.upperBound - (hasReturn ? 1 : 0)
    return (range.lowerBound..<end, hasReturn == layout.usesCRLF)
  }

  private func words(_ range: Range<Int>) -> [Range<Int>] {
    var words: [Range<Int>] = []
    var index = range.lowerBound
    while index < range.upperBound {
      if isBlank(source.bytes[index]) {
        index += 1
        continue
      }
      let start = index
      while index < range.upperBound, !isBlank(source.bytes[index]) { index += 1 }
      words.append(start..<index)
    }
    return words
  }

  private func isBlank(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
  }

  // MARK: tables

  private mutating func beginTable() throws(FirewallError) {
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

  private mutating func openTable(_ name: String, start: Int) {
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

  private mutating func commit() throws(FirewallError) {
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

  private mutating func finishTable() {
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

  private mutating func declareChain() throws(FirewallError) {
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

  private mutating func add(_ chain: Chain) -> Int {
    chains.append(chain)
    chainIndex[chain.name] = chains.count - 1
    return chains.count - 1
  }

  /// `[packets:bytes]` at an offset: the value, where it ends, and whether it is printed plainly.
  private func bracketed(_ start: Int) throws(FirewallError) -> (RuleCounters, Int, Bool) {
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

  // MARK: rules

  private mutating func rule(_ first: Int) throws(FirewallError) {
    let start = position
    let startLine = line
    if table == nil {
      guard ruleset.tables.isEmpty, source.bytes[first] == UInt8(ascii: "-") else {
        throw source.error(at: first, expected: "*table before a rule")
      }
      isListing = true
      layout = TableLayout()
      openTable("filter", start: start)
    }
    var counters: RuleCounters?
    var isPlain = first == start
    var command = first
    if source.bytes[first] == UInt8(ascii: "[") {
      let (value, end, canonical) = try bracketed(first)
      counters = value
      isPlain = isPlain && canonical && end < source.bytes.count && source.bytes[end] == 0x20
      command = end
    }
    let (next, end) = try source.tokenize(from: command, into: &parser.tokens)
    if parser.tokens.count > RulesetGrowth.mostWords {
      throw source.error(
        at: parser.tokens[RulesetGrowth.mostWords].start,
        expected: "at most \(RulesetGrowth.mostWords) words in a rule", code: .tooLarge)
    }
    let isCounted = counters != nil
    if let token = parser.tokens.first {
      isPlain = isPlain && token.start == (isCounted ? command + 1 : start)
    }
    let known = chainIndex
    let parsed = try parser.parse(at: command) {
      known[$0] != nil || BaseOptions.builtInChains.contains($0)
    }
    if let inside = parsed.counters {
      guard !isCounted else {
        throw source.error(
          at: parser.tokens[parsed.counterTokens?.lowerBound ?? 0], expected: "counters once")
      }
      counters = inside
    }
    position = next
    line += 1 + newlines(command..<end)
    let last = parser.tokens.last?.end ?? end
    let hasReturn = end > start && source.bytes[end - 1] == UInt8(ascii: "\r")
    isPlain =
      isPlain && hasReturn == layout.usesCRLF && last == end - (hasReturn ? 1 : 0)
    try apply(parsed, counters, line: startLine, text: start..<end, isPlain: isPlain)
  }

  private mutating func apply(
    _ parsed: ParsedLine, _ counters: RuleCounters?, line: Int, text: Range<Int>, isPlain: Bool
  ) throws(FirewallError) {
    if parsed.isForOtherFamily {
      layout.lines.append(.text(Array(source.bytes[text])))
      return
    }
    switch parsed.command {
    case .append(let name):
      let chain = try chain(name)
      if parsed.listedSource == nil && parsed.listedDestination == nil {
        let bytes = RuleText(source, parser.tokens, parsed).bytes()
        fill(chain)
        chains[chain].rules.append(
          Rule(
            counters: counters, matches: parsed.matches, target: parsed.target, bytes: bytes,
            line: line))
        if isPlain && parsed.counterTokens == nil {
          layout.addRule(chain: chain)
        } else {
          layout.lines.append(
            .oddRule(
              chain: chain, bytes: bytes, counters: counters, text: Array(source.bytes[text])))
        }
        return
      }
      isReordered = true
      fill(chain)
      chains[chain].rules += try expanded(parsed, counters, line: line)
    case .insert(let name, let position):
      let chain = try chain(name)
      let count = chains[chain].rules.count + (heads[chain]?.count ?? 0)
      guard position <= count + 1 else {
        throw source.error(
          at: parser.tokens[min(2, parser.tokens.count - 1)],
          expected: "a position from 1 to \(count + 1)")
      }
      isReordered = true
      fill(chain)
      // Each of several addresses is inserted at the same place, so the last comes out first.
      let rules = try expanded(parsed, counters, line: line)
      if position == 1 {
        heads[chain, default: []] += rules
        return
      }
      let pushed = count - position + 1 + (heads[chain] == nil ? 0 : count)
      guard growth.move(pushed) else {
        throw source.error(
          at: parser.tokens[0].start, expected: "fewer insertions into long chains",
          code: .tooLarge, advice: "Give the rules in their order, by -A.")
      }
      putHead(on: chain)
      chains[chain].rules.insert(contentsOf: rules.reversed(), at: position - 1)
    case .newChain(let name):
      guard chainIndex[name] == nil else {
        throw source.error(at: parser.tokens[0].start, expected: "each chain once", found: name)
      }
      let index = add(Chain(name: name))
      layout.lines.append(
        .oddChain(index, policy: nil, counters: nil, text: Array(source.bytes[text])))
    case .policy(let name, let policy):
      let index = chainIndex[name] ?? add(Chain(name: name))
      guard BaseOptions.builtInChains.contains(name) else {
        throw source.error(
          at: parser.tokens[0].start, expected: "a built-in chain after -P", found: name)
      }
      let before = chains[index]
      chains[index].policy = policy
      if let counters { chains[index].counters = counters }
      // The line that declared it says otherwise, and must come back as it stood.
      if before.policy != policy || before.counters != chains[index].counters { isReordered = true }
      layout.lines.append(
        .oddChain(
          index, policy: policy, counters: chains[index].counters, text: Array(source.bytes[text])))
    case .flush(let name):
      isReordered = true
      if let name {
        empty(try chain(name))
      } else {
        for index in filled { empty(index) }
        filled = []
      }
    }
  }

  /// Says that a chain is about to have rules.
  private mutating func fill(_ chain: Int) {
    if chains[chain].rules.isEmpty && heads[chain] == nil { filled.append(chain) }
  }

  private mutating func empty(_ chain: Int) {
    chains[chain].rules = []
    heads[chain] = nil
  }

  private mutating func putHead(on chain: Int) {
    guard let head = heads.removeValue(forKey: chain) else { return }
    chains[chain].rules.insert(contentsOf: head.reversed(), at: 0)
  }

  private mutating func chain(_ name: String) throws(FirewallError) -> Int {
    if let index = chainIndex[name] { return index }
    guard BaseOptions.builtInChains.contains(name) else {
      let token = parser.tokens[min(1, parser.tokens.count - 1)]
      throw source.error(at: token, expected: "a chain declared before")
    }
    return add(Chain(name: name))
  }

  /// One rule for each pair of the addresses that `-s a,b -d c,d` lists, as the kernel holds them.
  private mutating func expanded(_ parsed: ParsedLine, _ counters: RuleCounters?, line: Int)
    throws(FirewallError) -> [Rule]
  {
    let text = RuleText(source, parser.tokens, parsed)
    let sources = text.list(parsed.listedSource)
    let destinations = text.list(parsed.listedDestination)
    let pairs = sources.count * destinations.count
    guard pairs <= RulesetGrowth.mostPairs else {
      throw source.error(
        at: parser.tokens[0].start,
        expected: "at most \(RulesetGrowth.mostPairs) pairs of addresses", code: .tooLarge)
    }
    if pairs > 1 {
      let length = text.bytes(source: sources[0], destination: destinations[0]).count
      guard growth.expand(into: pairs, of: length) else {
        throw source.error(
          at: parser.tokens[0].start, expected: "fewer addresses in the lists of this file",
          code: .tooLarge, advice: "An address set holds them better.")
      }
    }
    var rules: [Rule] = []
    for from in sources {
      for to in destinations {
        var matches = parsed.matches
        if !matches.isEmpty {
          for index in matches[0].options.indices {
            if matches[0].options[index].name == "-s", let from {
              matches[0].options[index].arguments = [from]
            }
            if matches[0].options[index].name == "-d", let to {
              matches[0].options[index].arguments = [to]
            }
          }
        }
        rules.append(
          Rule(
            counters: counters, matches: matches, target: parsed.target,
            bytes: text.bytes(source: from, destination: to), line: line))
      }
    }
    return rules
  }

  private func newlines(_ range: Range<Int>) -> Int {
    // Only a quoted word can hold one.
    var count = 0
    for token in parser.tokens where token.quoted >= 0 {
      for byte in source.bytes[token.quoted..<token.end] where byte == UInt8(ascii: "\n") {
        count += 1
      }
    }
    return count
  }
}
