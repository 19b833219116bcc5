public import Addressing
public import Conntrack
public import Firewall

/// Why a flow is worth a person's attention; each finding has exactly one.
public enum Cause: String, Sendable, Hashable, Codable, CaseIterable {
  /// A helper let it in.
  case expected
  /// Our side sent first: a trunk we register to, or a lure.
  case hostOpened = "host-opened"
  /// Refused now, but a `recent` list, a timed set or the hour could admit it again.
  case lapsed
  /// The peer opened it, today's rules would refuse it, and the state rule lets it through.
  case establishedBypass = "established-bypass"
  /// Admission hangs on payload, rate or geography.
  case conditional
  /// Accepted as NEW by a rule although trust is configured and the peer is not in it.
  case admitted
  /// No rule decides: open policy, or a family without rules.
  case unfiltered
  /// The verdict hangs on something that is not known.
  case undecided
}

/// How bad it is.
public enum Level: String, Sendable, Hashable, Codable {
  /// Somebody is in who should not be.
  case leak
  /// A person should look.
  case look
}

/// How firmly the flow stands.
public enum Grade: String, Sendable, Hashable, Codable, CaseIterable {
  /// The kernel marked it ASSURED.
  case assured
  /// Seen in both directions; passes the state rule just as well (facts B3).
  case established
  /// Opened by this host and not answered yet: the peer's first packet already passes (facts A3).
  case latent
}

/// A verdict with what decided it.
public struct JudgedVerdict: Sendable, Hashable, Codable {
  /// What happens to the packet.
  public var verdict: Verdict
  /// Whether every possible course agrees.
  public var isCertain: Bool
  /// The rule or policy that decides.
  ///
  /// Kept once for all findings that it decides alike.
  @Boxed public var rule: RuleReference?

  /// Makes a verdict of a walk's outcomes.
  public init(_ walk: Walk) {
    verdict = walk.verdict
    isCertain = walk.isCertain
    rule = walk.decidingRule
  }

  /// Makes a verdict.
  public init(verdict: Verdict, isCertain: Bool, rule: RuleReference?) {
    self.verdict = verdict
    self.isCertain = isCertain
    self.rule = rule
  }

  private enum Key: String, CodingKey { case verdict, isCertain, rule }

  /// Reads a verdict.
  public init(from decoder: any Decoder) throws {
    let object = try decoder.container(keyedBy: Key.self)
    verdict = try object.decode(Verdict.self, forKey: .verdict)
    isCertain = try object.decode(Bool.self, forKey: .isCertain)
    rule = try object.decodeIfPresent(RuleReference.self, forKey: .rule)
  }

  /// Writes the verdict.
  public func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(verdict, forKey: .verdict)
    try object.encode(isCertain, forKey: .isCertain)
    try object.encodeIfPresent(rule, forKey: .rule)
  }
}

/// One thing the audit says.
public struct Finding: Sendable, Hashable {
  /// The cause.
  public var cause: Cause
  /// The level.
  public var level: Level
  /// The grade; `nil` when no flow stands behind the finding.
  public var grade: Grade?
  /// The transport protocol.
  public var transport: IPProtocol
  /// The address family.
  public var family: AddressFamily
  /// The conntrack zone.
  public var zone: UInt16
  /// The other end; `nil` for a finding about the whole host or an expectation of anybody.
  ///
  /// Port 0 stands for any where only an expectation is behind the finding.
  public var peer: Endpoint?
  /// Where the peer's packets arrive after translation.
  public var delivered: Endpoint
  /// Where they are addressed on the wire.
  public var wire: Endpoint
  /// Who opened the flow.
  public var origin: FlowSides.Origin?
  /// What the rules would do if the next packet began a flow.
  public var asNew: JudgedVerdict
  /// What they do with it as part of the flow that stands.
  public var asHeld: JudgedVerdict
  /// Whether the peer's address may be blocked without cutting anybody who may come in.
  public var isBlockable: Bool
  /// Why it may not, when it may not.
  public var notBlockableBecause: String?
  /// The cause in a sentence, with what it hangs on.
  public var why: String
  /// The flow.
  public var flow: Flow?
  /// The expectation, for a finding about one that nobody has used yet.
  @Boxed public var expectation: Expectation? = nil
  /// What moved between two samples.
  @Boxed public var increments: Increments? = nil
  /// The rules that leave the verdict as NEW open.
  var hangsOn: [RuleReference] = []

  /// When the peer's latest block ran out, if it was blocked before and came back; seconds since
  /// 1970 UTC.
  public var reopened: Double?
  /// When an audit first saw it, if a history says so; seconds since 1970 UTC.
  public var firstSeen: Double?

  /// Whether wire and delivered side differ.
  public var isTranslated: Bool { wire != delivered }

  /// The peer's port; `nil` for any, as an expectation may have it.
  public var peerPort: UInt16? {
    peer.flatMap { expectation != nil && $0.port == 0 ? nil : $0.port }
  }

  /// The same finding about the whole host, without the flow that showed it.
  var aboutHost: Finding {
    var copy = self
    copy.grade = nil
    copy.zone = 0
    copy.peer = nil
    copy.origin = nil
    copy.asHeld = asNew
    copy.isBlockable = false
    copy.notBlockableBecause = "it is no address but the whole host"
    copy.flow = nil
    copy.increments = nil
    return copy
  }
}

/// Something the answer cannot see, as part of the answer.
public struct BlindSpot: Sendable, Hashable, Codable {
  /// A short stable name, such as `accounting-off`.
  public var kind: String
  /// What is not seen, in a sentence, and the command that would help where one exists.
  public var text: String

  /// Makes a blind spot.
  public init(_ kind: String, _ text: String) {
    self.kind = kind
    self.text = text
  }
}
