public import Addressing

/// Which of the two kernel interfaces a ruleset lives in.
///
/// A host can use both at once (facts D7).
public enum Backend: String, Sendable, Hashable, Codable, CaseIterable {
  /// nf_tables, written by `iptables-nft`.
  case nft
  /// ip_tables, written by `iptables-legacy`.
  case legacy
}

/// Packets and bytes that a rule or a policy has counted.
public struct RuleCounters: Sendable, Hashable, Codable {
  /// Number of packets.
  public var packets: UInt64
  /// Number of bytes.
  public var bytes: UInt64

  /// Makes counters.
  public init(packets: UInt64, bytes: UInt64) {
    self.packets = packets
    self.bytes = bytes
  }
}

/// One family's rules of one backend, as `iptables-save -c` prints them.
public struct Ruleset: Sendable {
  /// The kernel interface the rules were read from.
  public var backend: Backend
  /// IPv4 for `iptables-save`, IPv6 for `ip6tables-save`.
  public var family: AddressFamily
  /// The tables in the order they were read.
  public var tables: [Table]
  /// Lines after the last table, kept for writing back.
  public var trailer: [[UInt8]] = []
  /// Whether the file's last line was ended.
  var endsWithNewline = true

  /// Makes a ruleset of tables.
  public init(backend: Backend, family: AddressFamily, tables: [Table] = []) {
    self.backend = backend
    self.family = family
    self.tables = tables
  }

  /// The table of a name, such as `filter`.
  public func table(_ name: String) -> Table? { tables.first { $0.name == name } }
}

/// A table: `raw`, `mangle`, `nat`, `filter`, `security`.
public struct Table: Sendable {
  /// The table's name.
  public var name: String
  /// The chains in the order they were declared.
  public var chains: [Chain] { didSet { frozen = nil } }
  /// Comment lines before the table, kept for writing back.
  public var leader: [[UInt8]] = []
  /// How the lines stood in the file the table was read from.
  var layout: TableLayout?
  /// The lines themselves, when they say it in another order than the chains hold it (`-I`, `-F`).
  ///
  /// Any change of the chains drops them.
  var frozen: [UInt8]?

  /// Makes a table.
  public init(name: String, chains: [Chain] = []) {
    self.name = name
    self.chains = chains
  }

  /// The chain of a name.
  public func chain(_ name: String) -> Chain? { chains.first { $0.name == name } }
}

/// A chain: built in (with a policy) or made by a user.
public struct Chain: Sendable {
  /// The chain's name, byte for byte except that invalid UTF-8 is replaced.
  public var name: String
  /// `ACCEPT` or `DROP` for a built-in chain, `nil` for a user's.
  public var policy: String?
  /// What the policy has counted, if counters were printed.
  public var counters: RuleCounters?
  /// The rules in order; rule N of `iptables` is at index N - 1.
  public var rules: [Rule]

  /// Makes a chain.
  public init(
    name: String, policy: String? = nil, counters: RuleCounters? = nil, rules: [Rule] = []
  ) {
    self.name = name
    self.policy = policy
    self.counters = counters
    self.rules = rules
  }
}
