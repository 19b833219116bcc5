public import Addressing

extension FirewallHost {
  /// Removes an nf_tables table of iptables that holds nothing but empty built-in chains.
  ///
  /// `iptables-nft` makes a table with its first rule and never deletes it: `iptables-save` goes on
  /// printing it, empty. Its `-X` refuses a built-in chain that holds a rule (`nft delete chain`
  /// does not), so a rule somebody added meanwhile keeps chain and table. Give only a table that we
  /// made.
  ///
  /// - Parameters:
  ///   - table: The table, as just read; nothing is done unless it is empty.
  ///   - family: IPv4 or IPv6.
  ///   - marks: Chains of the caller's that mark the table as made by him; they go in any case, and
  ///     with the table where it goes, so that the mark stands as long as there is something to be
  ///     known by it.
  ///   - context: Where the tools are run.
  /// - Returns: Whether the table is gone.
  /// - Throws: ``FirewallError`` when `nft` cannot be run.
  public static func removeEmptyTable(
    _ table: Table, family: AddressFamily, marks: [String] = [], _ context: ToolContext
  ) async throws(FirewallError) -> Bool {
    let others = table.chains.filter { !marks.contains($0.name) }
    let isEmpty = others.allSatisfy { $0.rules.isEmpty && $0.policy == "ACCEPT" }
    for chain in isEmpty ? others : [] {
      // A chain that iptables-save prints and that is not there is refused, which is as good.
      let text = "*\(table.name)\n-X \(chain.name)\nCOMMIT\n"
      try? await restore(
        Array(text.utf8), backend: .nft, family: family, testOnly: false, waitSeconds: 0, context)
    }
    let words = ["table", family == .ipv4 ? "ip" : "ip6", table.name]
    if isEmpty, !marks.isEmpty,
      let left = try? await context.run("nft", ["-j", "list"] + words), left.isSuccess,
      NftChainNames.areAll(of: left.output, among: marks)
    {
      return try await context.run("nft", ["delete"] + words, purpose: .write).isSuccess
    }
    if !marks.isEmpty {
      let lines = marks.flatMap { ["-F \($0)", "-X \($0)"] }
      let text = (["*\(table.name)"] + lines + ["COMMIT"]).map { $0 + "\n" }.joined()
      try await restore(
        Array(text.utf8), backend: .nft, family: family, testOnly: false, waitSeconds: 0, context)
    }
    guard isEmpty else { return false }
    let left = try await context.run("nft", ["list"] + words)
    let text = String(decoding: left.output, as: UTF8.self)
    guard left.isSuccess, text.filter({ !$0.isWhitespace }) == words.joined() + "{}" else {
      return false
    }
    return try await context.run("nft", ["delete"] + words, purpose: .write).isSuccess
  }
}

extension FirewallHost {
  /// Whether a chain is the first thing that an nf_tables table has ever held.
  ///
  /// The kernel numbers whatever comes into a table from 1 on and gives no number twice, so whoever
  /// made that chain has found the table without anything in it, if it was there at all.
  ///
  /// - Parameters:
  ///   - chain: The chain's name.
  ///   - table: The table's name.
  ///   - family: IPv4 or IPv6.
  ///   - context: Where the tools are run.
  /// - Returns: Whether it is; `false` also where that cannot be told.
  public static func isOldest(
    _ chain: String, in table: String, family: AddressFamily, _ context: ToolContext
  ) async -> Bool {
    let words = ["-j", "list", "table", family == .ipv4 ? "ip" : "ip6", table]
    guard let listed = try? await context.run("nft", words), listed.isSuccess else { return false }
    return NftChainNames.number(of: chain, in: listed.output) == 1
  }
}

/// What a table holds, as `nft -j list table` prints it.
private enum NftChainNames {
  /// The number that the kernel gave a chain, `nil` where it is not told.
  static func number(of chain: String, in json: [UInt8]) -> Double? {
    var number: Double?
    var reader = JSONReader(json, name: "nft -j list table", operation: "look into a table")
    do throws(FirewallError) {
      try reader.elements(of: "nftables") { element in
        guard element["chain"]?["name"]?.string == chain else { return }
        number = element["chain"]?["handle"]?.number
      }
      return number
    } catch {
      return nil
    }
  }

  /// Whether a table holds nothing but chains of some names and their rules.
  static func areAll(of json: [UInt8], among names: [String]) -> Bool {
    var isOnlyThose = true
    var reader = JSONReader(json, name: "nft -j list table", operation: "look into a table")
    do throws(FirewallError) {
      try reader.elements(of: "nftables") { element in
        if element["metainfo"] != nil || element["table"] != nil { return }
        let name = element["chain"]?["name"]?.string ?? element["rule"]?["chain"]?.string
        if !(name.map(names.contains) ?? false) { isOnlyThose = false }
      }
      return isOnlyThose
    } catch {
      return false
    }
  }
}
