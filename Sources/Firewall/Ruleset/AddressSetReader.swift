internal import Addressing

/// Reads what `ipset save` prints.
public enum AddressSetReader {
  /// Reads every set with its entries.
  ///
  /// All types; `timeout`, `packets`, `bytes`, `comment`, `nomatch` of an entry are understood, its
  /// `skbmark`, `skbprio` and `skbqueue` read over. A comment may hold any byte but `"`, a newline
  /// too, so it cannot forge an entry (facts E8).
  ///
  /// - Parameters:
  ///   - bytes: The text.
  ///   - source: Its name in errors.
  /// - Returns: The sets in the order they are created.
  /// - Throws: ``FirewallError`` of code `malformed` or `tooLarge`, with line and column.
  public static func read(_ bytes: [UInt8], source: String) throws(FirewallError) -> [AddressSet] {
    guard bytes.count <= RulesetReader.largestFile else {
      throw FirewallError(
        .tooLarge, operation: "read the sets", file: source,
        expected: "at most \(RulesetReader.largestFile) bytes", found: "\(bytes.count)")
    }
    let text = SourceText(bytes: bytes, name: source, operation: "read the sets")
    if let zero = bytes.firstIndex(of: 0) {
      throw text.error(at: zero, expected: "text", found: "a NUL byte")
    }
    var reading = AddressSetReading(source: text)
    return try reading.read()
  }
}

private struct AddressSetReading {
  let source: SourceText
  var sets: [AddressSet] = []
  var indices: [String: Int] = [:]
  var words: [Range<Int>] = []
  /// The word that is the comment's text without its quotes, if there is one.
  var comment: Int?
  var at = 0

  init(source: SourceText) { self.source = source }

  mutating func read() throws(FirewallError) -> [AddressSet] {
    var position = 0
    while position < source.bytes.count {
      let start = position
      position = try split(position)
      guard let first = words.first else { continue }
      at = 1
      switch source.string(first) {
      case "create", "-N": try create()
      case "add", "-A": try add()
      case "COMMIT" where words.count == 1: break
      case let other where other.hasPrefix("#"): break
      default:
        throw source.error(
          at: max(start, first.lowerBound), expected: "create or add", found: source.string(first))
      }
    }
    return sets
  }

  /// Splits the line at `start` into words; the word after `comment` may be quoted over lines.
  private mutating func split(_ start: Int) throws(FirewallError) -> Int {
    let bytes = source.bytes
    words.removeAll(keepingCapacity: true)
    comment = nil
    var index = start
    while index < bytes.count {
      if source.isLineEnd(index) {
        return min(index + (bytes[index] == UInt8(ascii: "\n") ? 1 : 2), bytes.count)
      }
      if bytes[index] == UInt8(ascii: " ") || bytes[index] == UInt8(ascii: "\t") {
        index += 1
        continue
      }
      let open = index
      if bytes[index] == UInt8(ascii: "\""), let last = words.last,
        source.string(last) == "comment"
      {
        index += 1
        while index < bytes.count, bytes[index] != UInt8(ascii: "\"") {
          index += 1
          if index - start > SourceText.longestLine { throw source.tooLong(start) }
        }
        guard index < bytes.count else {
          throw source.error(
            at: open, expected: "a closing quote", found: "the end of the file",
            advice: "The file is cut short.")
        }
        comment = words.count
        words.append((open + 1)..<index)
        index += 1
        continue
      }
      while index < bytes.count, bytes[index] != UInt8(ascii: " "),
        bytes[index] != UInt8(ascii: "\t"), !source.isLineEnd(index)
      { index += 1 }
      words.append(open..<index)
      if index - start > SourceText.longestLine { throw source.tooLong(start) }
      // A comment line may hold anything.
      if words.count == 1, bytes[open] == UInt8(ascii: "#") {
        while index < bytes.count, !source.isLineEnd(index) { index += 1 }
      }
    }
    return index
  }

  private func errorHere(_ expected: String) -> FirewallError {
    if at < words.count {
      return source.error(
        at: words[at].lowerBound, expected: expected, found: source.string(words[at]))
    }
    return source.error(
      at: words.last?.upperBound ?? 0, expected: expected, found: "the end of the line")
  }

  private mutating func word(_ expected: String) throws(FirewallError) -> String {
    guard at < words.count, !words[at].isEmpty || comment == at else {
      throw errorHere(expected)
    }
    at += 1
    return source.string(words[at - 1])
  }

  private mutating func number<Number: FixedWidthInteger>(_ expected: String) throws(FirewallError)
    -> Number
  {
    guard at < words.count, let value = Number(source.string(words[at])) else {
      throw errorHere(expected)
    }
    at += 1
    return value
  }

  private mutating func create() throws(FirewallError) {
    let name = try word("a set's name")
    guard indices[name] == nil else {
      at = 1
      throw errorHere("each set once")
    }
    let type = try word("a set's type")
    // A name with a blank in it is printed as it is.
    guard ["hash:", "bitmap:", "list:"].contains(where: type.hasPrefix) else {
      at -= 1
      throw errorHere("a set's type")
    }
    var set = AddressSet(name: name, type: type, family: nil)
    if type.hasPrefix("bitmap:ip") { set.family = .ipv4 }
    while at < words.count {
      let option = try word("an option")
      if option == "family" {
        switch try word("inet or inet6") {
        case "inet": set.family = .ipv4
        case "inet6": set.family = .ipv6
        default:
          at -= 1
          throw errorHere("inet or inet6")
        }
      } else if option != "-exist" && option != "-!" {
        set.createOptions.append(option)
      }
    }
    indices[name] = sets.count
    sets.append(set)
  }

  private mutating func add() throws(FirewallError) {
    let name = try word("a set's name")
    guard let index = indices[name] else {
      at = 1
      throw errorHere("a set created before")
    }
    var entry = AddressSet.Entry(element: try word("an entry"))
    var packets: UInt64?
    var bytes: UInt64?
    while at < words.count {
      switch try word("an option of an entry") {
      case "timeout": entry.timeout = try number("seconds")
      case "packets": packets = try number("a number of packets")
      case "bytes": bytes = try number("a number of bytes")
      case "comment": entry.comment = try word("a comment")
      case "nomatch": entry.isException = true
      case "skbmark", "skbprio", "skbqueue": _ = try word("a value")
      case "-exist", "-!": break
      default:
        at -= 1
        throw errorHere("timeout, packets, bytes, comment or nomatch")
      }
    }
    if packets != nil || bytes != nil {
      entry.counters = RuleCounters(packets: packets ?? 0, bytes: bytes ?? 0)
    }
    sets[index].entries.append(entry)
  }
}
