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

/// A filter at a netfilter hook that the iptables tools do not show, or show wrongly (facts D9).
public struct UnseenFilter: Sendable, Hashable, Codable {
  /// The address family it sees; `nil`: both (inet, netdev).
  public var family: AddressFamily?
  /// The backend it belongs to.
  public var backend: Backend
  /// The table, as that backend names it.
  public var table: String
  /// The chain, if one is known.
  public var chain: String?
  /// The hooks in the kernel's lower-case names (`prerouting`, `input`, `forward`, `output`,
  /// `postrouting`, `ingress`); empty: not known, so all of them.
  public var hooks: [String]
  /// Why it is not seen, in words for a person.
  public var why: String
  /// Whether the ruleset does show this chain, but with rules that are printed wrongly or missing.
  ///
  /// Then what is shown proves nothing: neither that a packet is accepted nor that it is refused.
  public var isMisprint: Bool

  /// Makes an unseen filter.
  public init(
    family: AddressFamily?, backend: Backend, table: String, chain: String? = nil,
    hooks: [String] = [], why: String, isMisprint: Bool = false
  ) {
    self.family = family
    self.backend = backend
    self.table = table
    self.chain = chain
    self.hooks = hooks
    self.why = why
    self.isMisprint = isMisprint
  }
}
