import Addressing
public import Firewall
import Glibc
public import SystemPackage

/// Where the rules that `explain` walks come from: this host, or files.
public struct ExplainSource: Sendable {
  /// A file of `iptables-save`.
  public var ruleset: FilePath?
  /// A file of `ip6tables-save`.
  public var ruleset6: FilePath?
  /// A file of `ipset save`.
  public var sets: FilePath?

  /// Makes a source; without any file it is this host.
  public init(ruleset: FilePath? = nil, ruleset6: FilePath? = nil, sets: FilePath? = nil) {
    self.ruleset = ruleset
    self.ruleset6 = ruleset6
    self.sets = sets
  }

  /// Reads the rules, without the markers of a trace: positions are those an operator knows.
  ///
  /// - Parameter access: Which namespace, when it is a host.
  /// - Returns: What a walk may ask.
  /// - Throws: ``SIPLeakError`` with file, line and column where there is one.
  public func snapshot(
    access: HostAccess = HostAccess()
  ) async throws(SIPLeakError) -> FirewallSnapshot {
    guard ruleset != nil || ruleset6 != nil else {
      do throws(FirewallError) {
        return try await FirewallHost.snapshot(access.tools).snapshot.withoutProbes
      } catch {
        throw SIPLeakError(reading: error)
      }
    }
    var snapshot = FirewallSnapshot(rulesets: [])
    do throws(FirewallError) {
      try Self.add(ruleset, .ipv4, to: &snapshot)
      try Self.add(ruleset6, .ipv6, to: &snapshot)
      if let sets {
        snapshot.sets = try AddressSetReader.read(
          try InputFile.read(sets.string), source: sets.string)
      }
    } catch {
      throw SIPLeakError(.badFile, "\(error)", advice: error.advice ?? "")
    }
    return snapshot.withoutProbes
  }
}

extension ExplainSource {
  /// Reads a family's file, with what it says it leaves out; without a file nothing is known of the
  /// family.
  private static func add(
    _ path: FilePath?, _ family: AddressFamily, to snapshot: inout FirewallSnapshot
  ) throws(FirewallError) {
    guard let path else {
      let option = family == .ipv4 ? "--ruleset" : "--ruleset6"
      snapshot.unseen.append(
        UnseenFilter(
          family: family, backend: .nft, table: "any",
          why: "no \(family.rawValue) rules were given (\(option))"))
      return
    }
    let ruleset = try read(path, family)
    snapshot.rulesets.append(ruleset)
    snapshot.unseen += ruleset.noticedFilters
  }

  /// Reads one file; its first lines say which backend printed it.
  ///
  /// `iptables-nft-save` signs with `(nf_tables)`; what is unsigned or older is the other one's.
  private static func read(
    _ path: FilePath, _ family: AddressFamily
  ) throws(FirewallError) -> Ruleset {
    let bytes = try InputFile.read(path.string)
    let head = String(decoding: bytes.prefix(400), as: UTF8.self)
    return try RulesetReader.read(
      bytes, source: path.string, backend: head.contains("(nf_tables)") ? .nft : .legacy,
      family: family)
  }
}

/// Files that a user names.
public enum InputFile {
  /// The most that is read: 256 MiB.
  public static let limit = 256 << 20

  /// Reads a whole file; `-` is standard input.
  ///
  /// - Parameter name: The path.
  /// - Returns: Its bytes.
  /// - Throws: `FirewallError` when it cannot be opened or is larger than ``limit``.
  public static func read(_ name: String) throws(FirewallError) -> [UInt8] {
    do {
      let file =
        name == "-"
        ? FileDescriptor.standardInput : try FileDescriptor.open(FilePath(name), .readOnly)
      defer { if name != "-" { try? file.close() } }
      var bytes: [UInt8] = []
      var chunk = [UInt8](repeating: 0, count: 1 << 16)
      while true {
        let count = try unsafe chunk.withUnsafeMutableBytes { try unsafe file.read(into: $0) }
        if count == 0 { return bytes }
        bytes += chunk.prefix(count)
        if bytes.count > limit { break }
      }
    } catch {
      throw FirewallError(
        .system, operation: "read \(name)", errno: error as? Errno,
        advice: "Give a file that can be read.")
    }
    throw FirewallError(
      .tooLarge, operation: "read \(name)", file: name, expected: "at most 256 MiB",
      advice: "Give a smaller file.")
  }
}
