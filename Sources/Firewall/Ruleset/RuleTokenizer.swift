/// A word of a rule line: a range of the file and how it was quoted.
struct Token {
  /// The first byte, the opening quote included.
  var start: Int
  /// One past the last byte, the closing quote included.
  var end: Int
  /// Where a quoted part begins (the byte after `"`), or -1.
  var quoted: Int
  /// Whether the quoted part has a backslash.
  var hasEscape: Bool

  /// Whether the whole word is quoted, so that it is text and never an operator.
  var isText: Bool { quoted == start + 1 }
}

/// The bytes of a file, with the means to point at a place in them.
struct SourceText {
  let bytes: [UInt8]
  let name: String
  var operation = "read the rules"

  /// The 1-based line and column (in bytes) of an offset.
  func place(_ offset: Int) -> (line: Int, column: Int) {
    var line = 1
    var begin = 0
    for index in 0..<min(offset, bytes.count) where bytes[index] == UInt8(ascii: "\n") {
      line += 1
      begin = index + 1
    }
    return (line, offset - begin + 1)
  }

  func error(
    at offset: Int, expected: String, found: String? = nil, code: FirewallError.Code = .malformed,
    advice: String? = nil
  ) -> FirewallError {
    let (line, column) = place(offset)
    return FirewallError(
      code, operation: operation, file: name, line: line, column: column,
      expected: expected, found: found, advice: advice)
  }

  func string(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

  /// A token's meaning: quotes and escapes removed.
  func text(_ token: Token) -> String {
    if token.quoted < 0 { return string(token.start..<token.end) }
    let inner = token.quoted..<(token.end - 1)
    if token.isText && !token.hasEscape { return string(inner) }
    var result = Array(bytes[token.start..<(token.quoted - 1)])
    var escaped = false
    for byte in bytes[inner] {
      if byte == UInt8(ascii: "\\") && !escaped {
        escaped = true
      } else {
        result.append(byte)
        escaped = false
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  func error(at token: Token, expected: String) -> FirewallError {
    error(at: token.start, expected: expected, found: "\"\(text(token))\"")
  }
}

extension SourceText {
  /// The longest rule or comment line taken, in bytes; the kernel's own limit is far below.
  static let longestLine = 1 << 20

  /// Splits the rule at `start` into words, across lines where a quoted text holds a newline.
  ///
  /// Saves print a newline in a comment raw (facts H1), chain and interface names unquoted whatever
  /// they hold (H3, H4). So a quote opens only where a word begins, or after `--option=`; anywhere
  /// else it is a character. It closes at the next unescaped quote, on whatever line, and a blank
  /// must follow: a file that breaks this is refused rather than guessed at.
  ///
  /// - Returns: One past the newline that ends the rule, and the end of the line without its
  ///   newline.
  func tokenize(from start: Int, into tokens: inout [Token]) throws(FirewallError) -> (
    next: Int, end: Int
  ) {
    tokens.removeAll(keepingCapacity: true)
    let count = bytes.count
    var index = start
    while true {
      while index < count, bytes[index] == UInt8(ascii: " ") || bytes[index] == UInt8(ascii: "\t") {
        index += 1
      }
      if index == count { return (count, count) }
      if isLineEnd(index) {
        if bytes[index] == UInt8(ascii: "\n") { return (index + 1, index) }
        return index + 1 == count ? (count, count) : (index + 2, index + 1)
      }
      if index - start > Self.longestLine { throw tooLong(start) }
      var token = Token(start: index, end: index, quoted: -1, hasEscape: false)
      if bytes[index] == UInt8(ascii: "\"") {
        index = try closeQuote(index, lineStart: start, token: &token)
      } else {
        let isLong =
          index + 1 < count && bytes[index] == UInt8(ascii: "-")
          && bytes[index + 1] == UInt8(ascii: "-")
        while index < count {
          let byte = bytes[index]
          if byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\n") {
            break
          }
          if byte == UInt8(ascii: "\r") && isLineEnd(index) { break }
          if byte == UInt8(ascii: "\""), isLong, bytes[index - 1] == UInt8(ascii: "=") {
            index = try closeQuote(index, lineStart: start, token: &token)
            break
          }
          index += 1
        }
        if index - start > Self.longestLine { throw tooLong(start) }
        // At the end of a line it would be taken for the line's own.
        if bytes[index - 1] == UInt8(ascii: "\r") {
          throw error(at: index - 1, expected: "a word that does not end in a carriage return")
        }
      }
      token.end = index
      tokens.append(token)
    }
  }

  /// Whether a line ends here: a newline, or a carriage return right before one or before the end.
  func isLineEnd(_ index: Int) -> Bool {
    if bytes[index] == UInt8(ascii: "\n") { return true }
    if bytes[index] != UInt8(ascii: "\r") { return false }
    return index + 1 == bytes.count || bytes[index + 1] == UInt8(ascii: "\n")
  }

  func tooLong(_ offset: Int) -> FirewallError {
    error(
      at: offset, expected: "a line of at most \(Self.longestLine) bytes", code: .tooLarge)
  }

  private func closeQuote(_ open: Int, lineStart: Int, token: inout Token) throws(FirewallError)
    -> Int
  {
    token.quoted = open + 1
    var index = open + 1
    while index < bytes.count {
      switch bytes[index] {
      case UInt8(ascii: "\\"):
        token.hasEscape = true
        index += 2
        continue
      case UInt8(ascii: "\""):
        index += 1
        guard
          index == bytes.count || bytes[index] == UInt8(ascii: " ")
            || bytes[index] == UInt8(ascii: "\t") || isLineEnd(index)
        else {
          throw error(at: index, expected: "a blank after the closing quote")
        }
        return index
      default: index += 1
      }
      if index - lineStart > Self.longestLine { throw tooLong(lineStart) }
    }
    throw error(
      at: open, expected: "a closing quote", found: "the end of the file",
      advice: "The file is cut short, or a text in it was quoted by hand and never closed.")
  }
}
