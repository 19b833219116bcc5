extension Ruleset {
  /// The filters that `iptables-nft-save` says it leaves out, in its `# Table … is incompatible` and
  /// `… contains incompatible base-chains` lines (facts D9).
  ///
  /// They are all that a save alone tells of native nft rules; what they do to which packets is not
  /// known.
  public var noticedFilters: [UnseenFilter] {
    incompatibleTables.map { table in
      UnseenFilter(
        family: family, backend: backend, table: table, hooks: Self.hooks[table] ?? [],
        why: "it holds native nft rules that iptables does not show")
    }
      + tablesWithForeignChains.map { table in
        UnseenFilter(
          family: family, backend: backend, table: table,
          why: "it holds native nft chains that iptables does not show")
      }
  }

  private static let hooks = [
    "raw": ["prerouting", "output"], "filter": ["input", "forward", "output"],
    "nat": ["prerouting", "input", "output", "postrouting"],
    "security": ["input", "forward", "output"],
    "mangle": ["prerouting", "input", "forward", "output", "postrouting"],
  ]
}
