public import Addressing

/// A list of who belongs: a file of `--trust-file`, or what a `--trust-command` printed.
///
/// Plain lists have an address, a prefix or a host name a line; `#` and `;` begin comments. Lines of
/// Asterisk's `acl.conf` (`permit=`, `deny=`) may stand among them. What Asterisk prints for
/// `pjsip show contacts`, `sip show peers` and `acl show NAME` is known by its headings.
public struct TrustList: Sendable, Hashable {
  /// One entry.
  public struct Entry: Sendable, Hashable {
    /// What it names.
    public enum Subject: Sendable, Hashable {
      /// Addresses.
      case prefix(IPPrefix)
      /// A host whose addresses must be asked for.
      case name(TrunkName)
    }
    /// What it names.
    public var subject: Subject
    /// Whether it is where a registered phone or peer is reached.
    public var isContact: Bool
    /// The line it is on, from 1.
    public var line: Int
  }

  /// A line that cannot be understood; nothing of the list is used then.
  public struct Problem: Error, Sendable, Hashable {
    /// The line, from 1.
    public var line: Int
    /// The column in bytes, from 1.
    public var column: Int
    /// What is wrong with what stands there; not escaped for terminals.
    public var what: String
    /// What was expected.
    public var expected: String

    /// `LINE:COLUMN: what; what was expected`.
    public var description: String { "\(line):\(column): \(what); expected \(expected)" }
  }

  /// The entries, in order.
  public var entries: [Entry]
  /// Contacts whose address was cut off by the width of the table they were printed in.
  public var cutOff: [Int]

  /// The most bytes a list may have.
  public static let largest = 1 << 20

  /// Reads a list.
  ///
  /// - Parameters:
  ///   - bytes: The text; colour codes are skipped.
  ///   - allowsWide: Whether prefixes wider than /8, or /32 for IPv6, are taken.
  /// - Throws: ``Problem``, for the first line that cannot be understood.
  public init(_ bytes: [UInt8], allowsWide: Bool = false) throws(Problem) {
    let text = Self.withoutColours(bytes)
    let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map {
      Line($0.last == UInt8(ascii: "\r") ? $0.dropLast() : $0)
    }
    entries = []
    cutOff = []
    switch Self.form(lines) {
    case .contacts: try readContacts(lines)
    case .peers(let heading, let column): try readPeers(lines, after: heading, column)
    case .shownACL: try readShownACL(lines, allowsWide)
    case .plain: try readPlain(lines, allowsWide)
    }
  }

  private enum Form {
    case contacts, shownACL, plain
    case peers(heading: Int, column: Int)
  }

  private static func form(_ lines: [Line]) -> Form {
    for (index, line) in lines.enumerated() {
      if line.words.first?.text == "Contact:" { return .contacts }
      if line.text.trimmed == "No objects found." { return .contacts }
      if line.words.first?.text == "Name/username",
        let host = line.words.first(where: { $0.text == "Host" })
      {
        return .peers(heading: index, column: host.column)
      }
      if line.words.first?.text == "ACL:" { return .shownACL }
    }
    return .plain
  }

  /// Terminal sequences (`ESC [ … letter`) gone, as `asterisk -rx` prints them with `-c` or a terminal.
  private static func withoutColours(_ bytes: [UInt8]) -> [UInt8] {
    guard bytes.contains(0x1b) else { return bytes }
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count)
    var index = 0
    while index < bytes.count {
      guard bytes[index] == 0x1b, index + 1 < bytes.count, bytes[index + 1] == 0x5b else {
        result.append(bytes[index])
        index += 1
        continue
      }
      index += 2
      // Parameters, then one final byte; a sequence never runs over its line.
      while index < bytes.count, (0x20...0x3f).contains(bytes[index]) { index += 1 }
      if index < bytes.count, (0x40...0x7e).contains(bytes[index]) { index += 1 }
    }
    return result
  }
}

extension TrustList {
  /// A line with its words and their columns.
  struct Line {
    var text: String
    var words: [(text: String, column: Int)]
    var bytes: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) {
      self.bytes = bytes
      text = String(decoding: bytes, as: UTF8.self)
      words = bytes.split(whereSeparator: { $0 == 0x20 || $0 == 0x09 }).map {
        (String(decoding: $0, as: UTF8.self), $0.startIndex - bytes.startIndex + 1)
      }
    }
  }

  private static let plainExpected =
    "one address, prefix or host name a line, or permit=/deny= of an ACL"

  private mutating func readPlain(_ lines: [Line], _ allowsWide: Bool) throws(Problem) {
    var acl = ACL()
    for (index, line) in lines.enumerated() {
      let number = index + 1
      var words = line.words
      if let comment = words.firstIndex(where: { $0.text.hasPrefix("#") || $0.text.hasPrefix(";") })
      {
        words = Array(words[..<comment])
      }
      guard let first = words.first else { continue }
      if first.text.hasPrefix("[") {
        guard let end = words.last, end.text.contains("]") else {
          throw Problem(
            line: number, column: first.column, what: "a section without its end",
            expected: "[name]")
        }
        // Each section of an ACL file is a list of its own.
        entries += try acl.entries(allowsWide)
        acl = ACL(isSection: true)
        continue
      }
      if try acl.take(words, line: number) { continue }
      guard words.count == 1 else {
        throw Problem(
          line: number, column: words[1].column, what: "a second word on the line",
          expected: Self.plainExpected)
      }
      entries.append(
        Entry(
          subject: try Self.subject(first.text, line: number, column: first.column, allowsWide),
          isContact: false, line: number))
    }
    entries += try acl.entries(allowsWide)
  }

  static func subject(
    _ word: String, line: Int, column: Int, _ allowsWide: Bool
  ) throws(Problem) -> Entry.Subject {
    if let given = IPPrefix(word) {
      let start = word.split(separator: "/").first.flatMap { IPAddress(String($0)) }
      guard given.address == start else {
        throw Problem(
          line: line, column: column, what: "\"\(word)\" is an address within a prefix",
          expected: "the prefix \(given), or the address alone")
      }
      return .prefix(try narrow(given.unmapped, line: line, column: column, allowsWide))
    }
    guard let name = TrunkName(word), name.address == nil else {
      throw Problem(
        line: line, column: column, what: "\"\(word)\" is neither", expected: plainExpected)
    }
    return .name(name)
  }

  static func narrow(
    _ prefix: IPPrefix, line: Int, column: Int, _ allowsWide: Bool
  ) throws(Problem) -> IPPrefix {
    guard allowsWide || !prefix.isTooWide else {
      throw Problem(
        line: line, column: column, what: "\(prefix) is a large part of the internet",
        expected: "\(IPPrefix.widest(prefix.family)) or narrower, or --yes-really")
    }
    return prefix
  }
}

extension IPPrefix {
  /// Whether it is wider than /8, or /32 for IPv6: more likely a mistake than meant.
  public var isTooWide: Bool { length < (family == .ipv4 ? 8 : 32) }

  /// The widest length that is taken without asking again, such as `/8`.
  static func widest(_ family: AddressFamily) -> String { family == .ipv4 ? "/8" : "/32" }
}

extension StringProtocol {
  /// Without blanks at both ends.
  var trimmed: String {
    let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0 == "\r" }
    return String(drop(while: isBlank).reversed().drop(while: isBlank).reversed())
  }
}
