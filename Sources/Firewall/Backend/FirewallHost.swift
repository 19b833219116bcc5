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
  /// `nft -j list set`, and reads `/proc/net/xt_recent` if a rule uses `-m recent`; what that prints is put in front of the ruleset's. The legacy tools are run only for a family whose
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

  /// Reads all but the sets, which are known otherwise.
  ///
  /// Listing the entries of large sets takes longer than all the rest: ipset looks up the protocol of
  /// each in a file.
  ///
  /// - Parameters:
  ///   - context: Where the tools are run.
  ///   - sets: The sets as they are known to be.
  /// - Returns: What ``snapshot(_:)`` returns, with these sets in it.
  /// - Throws: ``FirewallError`` as ``snapshot(_:)``.
  public static func snapshot(
    _ context: ToolContext, sets: [AddressSet]
  ) async throws(FirewallError) -> FirewallReading {
    var assembly = FirewallAssembly(
      try await FirewallObservation(context: context, listsSets: false).read())
    try assembly.run()
    assembly.reading.snapshot.sets = sets
    return assembly.reading
  }

  /// How many entries a set has, by its header alone.
  ///
  /// Corresponds to `ipset list -t NAME`. What has run out is counted until the kernel clears it away.
  ///
  /// - Parameters:
  ///   - set: The set's name.
  ///   - context: Where ipset is run.
  /// - Returns: The number.
  /// - Throws: ``FirewallError``, also when there is no such set.
  public static func entryCount(
    of set: String, _ context: ToolContext
  ) async throws(FirewallError) -> Int {
    let result = try await context.run("ipset", ["list", "-t", set])
    guard result.isSuccess else {
      throw await context.failure(result, operation: "read the header of the set \(set)")
    }
    let word = "Number of entries: "
    let lines = String(decoding: result.output, as: UTF8.self).split(separator: "\n")
    guard let line = lines.first(where: { $0.hasPrefix(word) }),
      let count = Int(line.dropFirst(word.count))
    else {
      throw FirewallError(
        .toolFailed, operation: "read the header of the set \(set)",
        expected: "a line `\(word)NUMBER`")
    }
    return count
  }

  /// Reads a saved observation the same way.
  ///
  /// - Parameter files: The texts by name: `ipv4.nft.save`, `ipv6.nft.save`, `ipv4.legacy.save`,
  ///   `ipv6.legacy.save`, `sets.save`, `nft.json`, `recent.lists`,
  ///   `firewall.status`. Others are ignored. A family
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
