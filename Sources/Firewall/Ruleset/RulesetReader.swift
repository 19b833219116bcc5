public import Addressing

/// Reads what `iptables-save` and `ip6tables-save` print and what `iptables-restore` takes.
///
/// Both backends' saves, with or without counters; `iptables -S` (`-P`, `-N`, `-c` inside a rule),
/// which belongs to the filter table for want of a name; files written by hand, with long options,
/// options in any order, `!` before or after them, several addresses in one rule, `-I`, CRLF.
/// Matches, targets and options that are not known are kept.
public enum RulesetReader {
  /// The largest text taken, in bytes: 256 MiB, some two million rules.
  public static let largestFile = 256 << 20

  /// Reads one family's rules of one backend.
  ///
  /// Fails closed: what cannot be understood with certainty is an error with line and column, never
  /// a guess. A quoted text may hold newlines, so a comment cannot forge a rule (facts H1).
  ///
  /// - Parameters:
  ///   - bytes: The text.
  ///   - source: Its name in errors.
  ///   - backend: The kernel interface it was read from.
  ///   - family: IPv4 for `iptables-save`, IPv6 for `ip6tables-save`.
  /// - Returns: The rules; ``Ruleset/write()`` gives `bytes` back.
  /// - Throws: ``FirewallError`` of code `malformed` or `tooLarge`, with the place and what was
  ///   expected there.
  public static func read(
    _ bytes: [UInt8], source: String, backend: Backend, family: AddressFamily
  ) throws(FirewallError) -> Ruleset {
    guard bytes.count <= largestFile else {
      throw FirewallError(
        .tooLarge, operation: "read the rules", file: source,
        expected: "at most \(largestFile) bytes", found: "\(bytes.count)")
    }
    let text = SourceText(bytes: bytes, name: source)
    if let zero = bytes.firstIndex(of: 0) {
      throw text.error(at: zero, expected: "text", found: "a NUL byte")
    }
    var reading = RulesetReading(text, Ruleset(backend: backend, family: family))
    return try reading.read()
  }
}

extension Ruleset {
  /// The tables that the tool refused to print because native nft rules stand in them.
  ///
  /// `iptables-nft-save` prints only a comment for such a table and succeeds (facts D9): it is not
  /// empty, it is unseen.
  public var incompatibleTables: [String] { noticedTables("is incompatible, use 'nft' tool") }

  /// The tables that hold base chains of native nft beside iptables' own.
  public var tablesWithForeignChains: [String] {
    noticedTables("contains incompatible base-chains")
  }

  private func noticedTables(_ notice: String) -> [String] {
    var names: [String] = []
    for line in tables.flatMap(\.leader) + trailer {
      let text = String(decoding: line, as: UTF8.self)
      guard text.hasPrefix("# Table "), text.contains("' " + notice) else { continue }
      let quoted = text.dropFirst("# Table ".count)
      // 1.8.9 writes `filter', others 'filter'.
      guard quoted.hasPrefix("`") || quoted.hasPrefix("'") else { continue }
      names.append(String(quoted.dropFirst().prefix { $0 != "'" }))
    }
    return names
  }
}
