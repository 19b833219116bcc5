public import Addressing

/// Where a rule stands, with what an operator needs to find it.
public struct RuleReference: Sendable, Hashable, Codable {
  /// The backend whose ruleset holds it.
  public var backend: Backend
  /// The table.
  public var table: String
  /// The chain.
  public var chain: String
  /// 1-based position as `iptables -I CHAIN N` counts; 0 stands for the policy.
  public var index: Int
  /// The rule as the save format prints it, or `policy DROP`.
  ///
  /// Not escaped for terminals.
  public var text: String
  /// The rule's counters when it was read.
  public var counters: RuleCounters?

  /// Makes a reference.
  public init(
    backend: Backend, table: String, chain: String, index: Int, text: String,
    counters: RuleCounters? = nil
  ) {
    self.backend = backend
    self.table = table
    self.chain = chain
    self.index = index
    self.text = text
    self.counters = counters
  }
}

/// A packet's fate.
public enum Verdict: String, Sendable, Hashable, Codable {
  /// Let through by every table.
  case accept
  /// Silently discarded.
  case drop
  /// Discarded with an answer.
  case reject
  /// Decided by something the ruleset does not show, or not decided at all.
  case unknown

  /// DROP and REJECT are one answer.
  public var isRefused: Bool { self == .drop || self == .reject }
}

/// Why a match or a verdict could not be decided.
public struct UnknownReason: Sendable, Hashable, Codable {
  /// What kind of thing is missing; the audit's causes `lapsed` and `conditional` come from these.
  public enum Kind: String, Sendable, Hashable, Codable {
    /// Hangs on what is in the packet: string, u32, bpf, length.
    case payload
    /// Hangs on a rate or a random choice: limit, hashlimit, statistic, quota, connlimit.
    case rate
    /// Hangs on memory that changes by itself: recent, a set with timeouts, the hour.
    case memory
    /// Hangs on where an address is said to be: geoip, asn.
    case geography
    /// A fact of the packet or host that was not observed.
    case fact
    /// A match, target or option that is not understood.
    case unrecognized
    /// A verdict given outside the ruleset: NFQUEUE, native nft chains, an unread backend.
    case outside
  }

  /// The kind.
  public var kind: Kind
  /// One sentence part, such as `match "geoip" is not evaluated`.
  public var text: String
  /// The rule that asks, if one does.
  public var rule: RuleReference?

  /// Makes a reason.
  public init(_ kind: Kind, _ text: String, rule: RuleReference? = nil) {
    self.kind = kind
    self.text = text
    self.rule = rule
  }
}

/// One way a packet may fare.
public struct Outcome: Sendable, Hashable {
  /// The verdict.
  public var verdict: Verdict
  /// The rule or policy that gave it.
  ///
  /// For an accepted packet: the one in the filter table (the last that decided), or the last table
  /// walked when no filter table exists.
  public var rule: RuleReference?

  /// Makes an outcome.
  public init(_ verdict: Verdict, rule: RuleReference?) {
    self.verdict = verdict
    self.rule = rule
  }
}

/// A rule met on the way.
public struct RuleHit: Sendable, Hashable {
  /// The rule or policy.
  public var rule: RuleReference
  /// Whether it matches in every outcome; otherwise it may.
  public var isCertain: Bool

  /// Makes a hit.
  public init(_ rule: RuleReference, isCertain: Bool) {
    self.rule = rule
    self.isCertain = isCertain
  }
}

/// What destination a packet has once the nat table is done with it.
///
/// The endpoint asked about is ``Packet/delivered``, or the one on the wire if that is `nil`.
public enum Translation: Sendable, Hashable {
  /// The endpoint asked about.
  case asAsked
  /// Certainly another one; `nil` when it is one of several.
  ///
  /// The verdict is still that of the path asked about, with the new destination.
  case elsewhere(Endpoint?)
  /// Perhaps another one.
  case uncertain
}

/// All a ruleset can do with a packet.
public struct Walk: Sendable {
  /// Every possible outcome; one when all is known.
  ///
  /// The first is the one if no condition holds that is not known to hold.
  public var outcomes: [Outcome]
  /// Every rule or policy that counts the packet or may, in order, over all tables on the path.
  public var path: [RuleHit]
  /// Why outcomes differ or are unknown.
  public var unknowns: [UnknownReason]
  /// Whether some lookup could have gone otherwise at another time (a `recent` list, a timed set,
  /// the hour) although it was decided from what was observed.
  public var dependsOnMemory: [UnknownReason]
  /// Where the nat table, evaluated afresh for a NEW packet, sends it.
  public var translation: Translation
  /// The conntrack zone that the raw table has the packet looked up in.
  ///
  /// `nil`: not known, or dropped before. A held packet that is looked up in another zone than its
  /// flow's does not belong to that flow.
  public var zone: UInt16?

  /// Makes a walk.
  public init(
    outcomes: [Outcome], path: [RuleHit], unknowns: [UnknownReason],
    dependsOnMemory: [UnknownReason] = [], translation: Translation = .asAsked
  ) {
    self.outcomes = outcomes
    self.path = path
    self.unknowns = unknowns
    self.dependsOnMemory = dependsOnMemory
    self.translation = translation
  }

  /// Where the packet certainly goes instead of the endpoint asked about, if that is known.
  public var redirectedTo: Endpoint? {
    if case .elsewhere(let endpoint) = translation { endpoint } else { nil }
  }

  /// Whether all possible outcomes agree; DROP and REJECT agree.
  public var isCertain: Bool {
    guard let first = outcomes.first?.verdict, first != .unknown else { return false }
    return outcomes.allSatisfy { $0.verdict == first || ($0.verdict.isRefused && first.isRefused) }
  }

  /// The verdict all outcomes agree on (that of the first of them), or `unknown`.
  public var verdict: Verdict { isCertain ? outcomes[0].verdict : .unknown }

  /// The rule that decides the first outcome.
  public var decidingRule: RuleReference? { outcomes.first?.rule }

  /// Whether the packet may be let through.
  public var mayAccept: Bool {
    outcomes.contains { $0.verdict == .accept || $0.verdict == .unknown }
  }
}
