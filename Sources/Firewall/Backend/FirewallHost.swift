/// What was read of a host's packet filters, and what could not be.
public struct FirewallReading: Sendable {
  /// What was understood.
  public var snapshot: FirewallSnapshot
  /// The raw texts by file name, as ``FirewallHost/reading(files:)`` takes them back.
  public var files: [String: [UInt8]]
  /// What could not be read or understood, one sentence each; empty when the reading is complete.
  public var problems: [String]
  /// The texts among them that were had and not understood, with their places.
  public var errors: [FirewallError]

  /// Makes a reading.
  public init(
    snapshot: FirewallSnapshot, files: [String: [UInt8]] = [:], problems: [String] = [],
    errors: [FirewallError] = []
  ) {
    self.snapshot = snapshot
    self.files = files
    self.problems = problems
    self.errors = errors
  }
}

/// The packet filters of a host: both iptables backends, both families, sets, and what native
/// nftables adds to them.
public enum FirewallHost {
  /// Reads everything that can decide about a packet, and changes nothing.
  ///
  /// Runs `iptables-nft-save -c`, `iptables-legacy-save -c`, the same for IPv6, `ipset save`,
  /// `nft -j -t list ruleset` and, for a named set of ports, protocols or interfaces that rules ask,
  /// `nft -j list set`; what that prints is put in front of the ruleset's. The legacy tools are run only for a family whose
  /// `/proc/net/ip_tables_names` names tables, for merely listing would create them (facts D7).
  /// What exists and cannot be read becomes an ``UnseenFilter`` and a problem, never an empty
  /// firewall. Needs CAP_NET_ADMIN, and CAP_NET_RAW for the legacy backend.
  ///
  /// - Parameter context: Where the tools are run.
  /// - Returns: The snapshot, the raw texts, and what was missed.
  /// - Throws: ``FirewallError`` when nothing could be read: `permissionDenied`, or `toolNotFound`
  ///   when neither iptables nor nft is installed.
  public static func snapshot(_ context: ToolContext) async throws(FirewallError)
    -> FirewallReading
  {
    var parts = try await FirewallObservation(context: context).read()
    var assembly = FirewallAssembly(parts)
    try assembly.run()
    parts.unreadable = assembly.unreadable
    assembly.reading.files = parts.files
    return assembly.reading
  }

  /// Reads a saved observation the same way.
  ///
  /// - Parameter files: The texts by name: `ipv4.nft.save`, `ipv6.nft.save`, `ipv4.legacy.save`,
  ///   `ipv6.legacy.save`, `sets.save`, `nft.json`, `firewall.status`. Others are ignored. A family
  ///   for which no text is given is reported as unseen.
  /// - Returns: What ``snapshot(_:)`` returned when the texts were observed.
  /// - Throws: ``FirewallError`` with file, line and column for a malformed text.
  public static func reading(files: [String: [UInt8]]) throws(FirewallError) -> FirewallReading {
    let parts = FirewallParts(files: files)
    var assembly = FirewallAssembly(parts)
    assembly.isStrict = true
    try assembly.run()
    assembly.reading.files = files
    return assembly.reading
  }

  /// Whether `ipset` is installed and may be used here.
  ///
  /// - Parameter context: Where it would be run.
  /// - Returns: `false` also when the kernel has no sets.
  public static func ipsetAvailable(_ context: ToolContext) async -> Bool {
    guard let result = try? await context.run("ipset", ["list", "-n"]) else { return false }
    return result.isSuccess
  }
}
