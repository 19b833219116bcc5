public import Addressing

/// What was observed of a host's packet filters: everything the walk may ask.
public struct FirewallSnapshot: Sendable {
  /// Every ruleset that was read: one per backend and family in use.
  ///
  /// A family with no ruleset and no entry in ``unseen`` has no iptables rules at all.
  public var rulesets: [Ruleset]
  /// Every ipset, or `nil` when they could not be read: then a match on a set is unknown.
  public var sets: [AddressSet]?
  /// Why sets can neither be read nor made here, or `nil` where they can.
  ///
  /// With no rule that asks a set, ``sets`` is then empty all the same: none decides anything.
  public var setsUnavailable: String?
  /// The lists of `-m recent`, or `nil` when they were not read.
  ///
  /// They are read only when some rule asks one. A list that is not here is unknown to the walk.
  public var recentLists: [RecentList]?
  /// Filters that exist and are not in ``rulesets``.
  ///
  /// Each keeps a packet that passes its hooks from being certainly accepted.
  public var unseen: [UnseenFilter]
  /// The host's own addresses, for `addrtype`; `nil`: not known.
  public var localAddresses: [IPAddress]?
  /// The addresses of each interface in the kernel's order, for `REDIRECT`, which leads to the first
  /// of the interface a packet came in by (facts F2); `nil`: not known.
  public var interfaceAddresses: [String: [IPAddress]]?
  /// The time of the reading in seconds since 1970 UTC, for `-m time`; `nil`: not known.
  public var time: Int64?

  /// Makes a snapshot.
  public init(
    rulesets: [Ruleset], sets: [AddressSet]? = nil, unseen: [UnseenFilter] = [],
    localAddresses: [IPAddress]? = nil, time: Int64? = nil, recentLists: [RecentList]? = nil
  ) {
    self.rulesets = rulesets
    self.sets = sets
    self.unseen = unseen
    self.localAddresses = localAddresses
    self.time = time
    self.recentLists = recentLists
  }
}
