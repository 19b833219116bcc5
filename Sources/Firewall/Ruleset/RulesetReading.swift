internal import Addressing

/// The lines of a ruleset's text, one after the other.
struct RulesetReading {
  let source: SourceText
  var ruleset: Ruleset
  var parser: RuleParser
  var position = 0
  var line = 1
  /// Lines outside a table.
  var loose: [[UInt8]] = []
  var tableNames: Set<String> = []
  /// The table being read.
  var table: Table?
  var tableStart = 0
  var chains: [Chain] = []
  var chainIndex: [String: Int] = [:]
  /// Chains that have had rules since all were flushed; one may stand here twice.
  var filled: [Int] = []
  /// Rules inserted at the head of a chain, last first: most insertions are, and each would push
  /// down the whole chain.
  var heads: [Int: [Rule]] = [:]
  var growth: RulesetGrowth
  var layout = TableLayout()
  /// `iptables -S` names no table and has no COMMIT.
  var isListing = false
  /// The order of the lines is not the order of the rules.
  var isReordered = false
  /// The chain of the line before, for rules come in runs.
  var lastChain = -1

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

  func endOfLine(_ start: Int) -> Int {
    var end = start
    while end < source.bytes.count, source.bytes[end] != UInt8(ascii: "\n") { end += 1 }
    return end
  }

  /// Takes the line at `position`, without its newline.
  mutating func wholeLine() throws(FirewallError) -> Range<Int> {
    let end = endOfLine(position)
    if end - position > SourceText.longestLine { throw source.tooLong(position) }
    let range = position..<end
    position = min(end + 1, source.bytes.count)
    line += 1
    return range
  }

  mutating func keep(_ range: Range<Int>) {
    let text = Array(source.bytes[range])
    if table == nil {
      loose.append(text)
    } else {
      layout.lines.append(.text(text))
    }
  }

  /// The line's words without its line end, and whether it ends as the table's lines do.
  func trimmed(_ range: Range<Int>) -> (range: Range<Int>, isPlain: Bool) {
    let hasReturn = !range.isEmpty && source.bytes[range.upperBound - 1] == UInt8(ascii: "\r")
    let end = range.upperBound - (hasReturn ? 1 : 0)
    return (range.lowerBound..<end, hasReturn == layout.usesCRLF)
  }

  func words(_ range: Range<Int>) -> [Range<Int>] {
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

  func isBlank(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
  }

  // MARK: rules

  mutating func rule(_ first: Int) throws(FirewallError) {
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

  func newlines(_ range: Range<Int>) -> Int {
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
