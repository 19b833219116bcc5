public import Addressing

/// What was observed of a host's packet filters: everything the walk may ask.
public struct FirewallSnapshot: Sendable {
  /// Every ruleset that was read: one per backend and family in use.
  ///
  /// A family with no ruleset and no entry in ``unseen`` has no iptables rules at all.
  public var rulesets: [Ruleset]
  /// Every ipset, or `nil` when they could not be read: then a match on a set is unknown.
  public var sets: [AddressSet]?
  /// Filters that exist and are not in ``rulesets``.
  ///
  /// Each keeps a packet that passes its hooks from being certainly accepted.
  public var unseen: [UnseenFilter]
  /// The host's own addresses, for `addrtype`; `nil`: not known.
  public var localAddresses: [IPAddress]?
  /// The time of the reading in seconds since 1970 UTC, for `-m time`; `nil`: not known.
  public var time: Int64?

  /// Makes a snapshot.
  public init(
    rulesets: [Ruleset], sets: [AddressSet]? = nil, unseen: [UnseenFilter] = [],
    localAddresses: [IPAddress]? = nil, time: Int64? = nil
  ) {
    self.rulesets = rulesets
    self.sets = sets
    self.unseen = unseen
    self.localAddresses = localAddresses
    self.time = time
  }
}
