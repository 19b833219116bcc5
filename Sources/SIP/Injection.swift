/// A text in a message that is meant for something behind the telephone system: its database, shell,
/// web pages or logs.
///
/// Evidence and no proof: it says what was written, not whether anything took it.
public struct Injection: Sendable, Hashable {
  /// What it is meant for.
  public enum Kind: String, Sendable, Hashable, Codable, CaseIterable {
    /// A condition or statement for a database: `'or'x'='x`.
    case sql
    /// A command for a shell: `$(…)`, `` `…` ``, `;wget`.
    case shell
    /// A script for a browser: `<script`.
    case script
    /// Conversions for a C program's printf: `%n%n`.
    case format
    /// Line breaks in an escaped form, to begin a header of one's own.
    case lineBreak = "line-break"
    /// A look-up for a logging library: `${jndi:`.
    case lookup
    /// A way out of a folder: `../../`.
    case path
  }

  /// What it is meant for.
  public var kind: Kind
  /// The header it stands in, or `Request-URI`.
  public var place: String
  /// The value it stands in, as written; not escaped for terminals.
  public var text: String
}

extension Injection {
  /// Looks through the start line and every header that is free text or names somebody.
  ///
  /// - Parameter head: The message.
  /// - Returns: At most one of a kind and header.
  public static func attempts(in head: MessageHead) -> [Injection] {
    var values: [(String, [UInt8])] = []
    if let uri = head.requestURI { values.append(("Request-URI", Array(uri.text.utf8))) }
    // Media types and lists of methods hold `*/*` and the like, and nobody puts them in a database.
    values += head.fields.filter { !$0.name.hasPrefix("Accept") }.map { ($0.name, $0.value) }
    var result: [Injection] = []
    var seen: Set<String> = []
    for (place, value) in values where value.contains(where: isSuspicious) {
      let raw = value.map(\.lowercased)
      let plain = raw.contains(0x25) ? raw[...].percentDecoded.map(\.lowercased) : raw
      for kind in Kind.allCases where kind.isIn(raw: raw, plain: plain) {
        guard seen.insert("\(kind) \(place)").inserted else { continue }
        result.append(
          Injection(kind: kind, place: place, text: String(decoding: value, as: UTF8.self)))
      }
    }
    return result
  }
}

extension Injection {
  /// Every attempt needs one of these; most headers have none.
  private static func isSuspicious(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x20...0x2f, 0x3a...0x3e, 0x5c, 0x60, 0x7c, 0x5f: true
    default: false
    }
  }
}

extension Injection.Kind {
  /// - Parameters:
  ///   - raw: The value in lower case.
  ///   - plain: The same with its percent escapes resolved.
  /// - Returns: Whether it holds an attempt of this kind.
  func isIn(raw: [UInt8], plain: [UInt8]) -> Bool {
    switch self {
    case .sql: return SQLAttempt.isIn(plain)
    case .shell: return Self.isShell(plain)
    case .script:
      return Self.scripts.contains { plain.contains($0) }
    case .format: return Self.conversions(raw) >= 2
    case .lineBreak: return raw.contains("%0d%0a") || raw.contains("%0a%0d")
    case .lookup: return plain.contains("${jndi:") || plain.contains("${${")
    case .path:
      return plain.contains("../../") || plain.contains("..\\..\\")
        || plain.contains("/etc/passwd")
    }
  }

  private static let scripts: [StaticString] = [
    "<script", "javascript:", "<img", "<svg", "onerror=", "<iframe",
  ]

  private static let commands: Set<String> = [
    "bash", "cat", "chmod", "curl", "echo", "id", "nc", "perl", "ping", "python", "rm", "sh",
    "sleep", "touch", "uname", "wget", "whoami",
  ]

  /// A command substitution, or a separator right before a command.
  private static func isShell(_ text: [UInt8]) -> Bool {
    if text.contains("$("), let close = text.lastIndex(of: 0x29),
      let open = text.firstIndex(of: 0x24), open < close
    {
      return true
    }
    if let open = text.firstIndex(of: 0x60),
      let close = text[(open + 1)...].firstIndex(of: 0x60), close > open + 1,
      text[(open + 1)..<close].first?.isLetter == true
    {
      return true
    }
    // `;tag=…` is a parameter: only a command followed by a blank, an end or a pipe counts.
    for at in text.indices where ";|&".utf8.contains(text[at]) {
      let rest = text[(at + 1)...].drop(while: \.isBlank)
      let word = rest.prefix { $0.isLetter }
      guard word.endIndex < text.endIndex, [0x20, 0x09, 0x24, 0x7c].contains(text[word.endIndex]),
        word.count <= 6
      else { continue }
      if commands.contains(word.text) { return true }
    }
    return false
  }

  /// How many printf conversions there are that are no percent escapes: `%n`, `%5$s`, `%x`.
  private static func conversions(_ text: [UInt8]) -> Int {
    var count = 0
    for at in text.indices where text[at] == 0x25 {
      let rest = text[(at + 1)...].drop { $0.isDigit || $0 == 0x24 || $0 == 0x2e }.first
      if let rest, "nsxp".utf8.contains(rest), at == 0 || text[at - 1] != 0x25 { count += 1 }
    }
    return count
  }
}

extension [UInt8] {
  /// Whether a text stands somewhere in it.
  fileprivate func contains(_ text: StaticString) -> Bool {
    let count = text.utf8CodeUnitCount
    guard count > 0, self.count >= count else { return false }
    // Plain loops: this runs some forty times a header, and the standard search is far slower.
    return unsafe withUnsafeBufferPointer { all in
      let wanted = unsafe UnsafeBufferPointer(start: text.utf8Start, count: count)
      var at = 0
      while at <= all.count - count {
        var offset = 0
        while unsafe offset < count && all[at + offset] == wanted[offset] { offset += 1 }
        if offset == count { return true }
        at += 1
      }
      return false
    }
  }
}

/// Signs of a text that was written for a database.
private enum SQLAttempt {
  private static let statements: [StaticString] = [
    "union select", "union all select", "sleep(", "benchmark(", "waitfor delay", "drop table",
    "information_schema", "xp_cmdshell", "load_file(", "into outfile", "pg_sleep(",
  ]

  static func isIn(_ text: [UInt8]) -> Bool {
    let flat = flattened(text)
    if flat.contains(where: { $0 == 0x27 || $0 == 0x22 }) {
      for at in flat.indices where flat[at] == 0x27 || flat[at] == 0x22 {
        if isCondition(flat[(at + 1)...]) || isCut(flat, at) { return true }
      }
    }
    return statements.contains { flat.contains($0) }
      // A keyword cut in two by a comment, as filters are got around with.
      || text.contains("/**/")
  }

  /// Comments and runs of blanks or `+` read as one blank.
  private static func flattened(_ text: [UInt8]) -> [UInt8] {
    var flat: [UInt8] = []
    var at = 0
    // Where no comment closes any more, none is looked for: the walk stays linear.
    var mayClose = true
    while at < text.count {
      if mayClose, text[at] == 0x2f, at + 1 < text.count, text[at + 1] == 0x2a {
        if let end = text[(at + 2)...].firstRange(of: [0x2a, 0x2f]) {
          at = end.upperBound
          if flat.last != 0x20 { flat.append(0x20) }
          continue
        }
        mayClose = false
      }
      if text[at].isBlank || text[at] == 0x2b {
        if flat.last != 0x20 { flat.append(0x20) }
      } else {
        flat.append(text[at])
      }
      at += 1
    }
    return flat
  }

  /// `or … =`, `and … =`, `|| … =` right behind a quote.
  private static func isCondition(_ rest: ArraySlice<UInt8>) -> Bool {
    let rest = rest.drop { $0 == 0x20 || $0 == 0x29 }.prefix(64)
    for word in ["or", "and", "||", "&&", "xor", "like"] {
      guard rest.starts(with: word.utf8) else { continue }
      let behind = rest.dropFirst(word.utf8.count)
      guard let next = behind.first, !next.isLetter, next != 0x2d else { continue }
      // A display name may begin with such a word; behind it the URI and parameters begin.
      if behind.prefix(while: { !"<;,".utf8.contains($0) }).contains(0x3d) { return true }
    }
    return false
  }

  /// A quote with a comment or a further statement behind it, to cut off the rest.
  private static func isCut(_ text: [UInt8], _ at: Int) -> Bool {
    guard text[at] == 0x27 else { return false }
    let rest = text[(at + 1)...].drop { $0 == 0x20 || $0 == 0x29 }
    if rest.starts(with: "--".utf8) || rest.starts(with: "#".utf8) { return true }
    guard rest.first == 0x3b else { return false }
    let word = rest.dropFirst().drop { $0 == 0x20 }.prefix { $0.isLetter }
    return ["drop", "insert", "select", "update", "delete", "exec"].contains(word.text)
  }
}
