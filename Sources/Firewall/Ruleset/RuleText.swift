/// The bytes of a rule as `-A` alone would say it: without counters, position and address lists.
struct RuleText {
  private let source: SourceText
  private let tokens: [Token]
  private let parsed: ParsedLine

  init(_ source: SourceText, _ tokens: [Token], _ parsed: ParsedLine) {
    self.source = source
    self.tokens = tokens
    self.parsed = parsed
  }

  /// The addresses a word lists, or one `nil` when there is no such word.
  func list(_ token: Int?) -> [String?] {
    guard let token else { return [nil] }
    return source.text(tokens[token]).split(separator: ",").map(String.init)
  }

  func bytes(source from: String? = nil, destination to: String? = nil) -> [UInt8] {
    guard let first = tokens.first, let last = tokens.last else { return [] }
    var result: [UInt8] = []
    var begin = first.start
    if case .insert = parsed.command {
      result += "-A".utf8
      // `-IINPUT` and `--insert=INPUT` have no word of their own for the chain.
      let command = source.text(first)
      if command == "-I" || command == "--insert", tokens.count > 1 {
        result.append(UInt8(ascii: " "))
        result += source.bytes[tokens[1].start..<tokens[1].end]
      } else {
        let equals = command.hasPrefix("--") ? command.firstIndex(of: "=") : nil
        let name = equals.map { command[command.index(after: $0)...] } ?? command.dropFirst(2)
        // A name that begins with a quote would open one as a word of its own.
        if name.utf8.first != UInt8(ascii: "\"") { result.append(UInt8(ascii: " ")) }
        result += name.utf8
      }
      let begins = parsed.firstOption
      guard begins < tokens.count, parsed.counterTokens != begins..<tokens.count else {
        return result
      }
      result.append(UInt8(ascii: " "))
      begin = tokens[parsed.firstOption].start
    }
    var edits: [(range: Range<Int>, text: String)] = []
    if let from, let at = parsed.listedSource {
      edits.append((tokens[at].start..<tokens[at].end, from))
    }
    if let to, let at = parsed.listedDestination {
      edits.append((tokens[at].start..<tokens[at].end, to))
    }
    if let counters = parsed.counterTokens, counters.lowerBound > 0 {
      if counters.upperBound < tokens.count {
        edits.append((tokens[counters.lowerBound].start..<tokens[counters.upperBound].start, ""))
      } else {
        edits.append((tokens[counters.lowerBound - 1].end..<last.end, ""))
      }
    }
    if edits.isEmpty && result.isEmpty { return Array(source.bytes[begin..<last.end]) }
    for edit in edits.sorted(by: { $0.range.lowerBound < $1.range.lowerBound }) {
      result += source.bytes[begin..<edit.range.lowerBound]
      result += edit.text.utf8
      begin = edit.range.upperBound
    }
    result += source.bytes[begin..<last.end]
    return result
  }
}
