public import Firewall

/// What the kernel did with each subject's packets.
public struct TraceResult: Sendable {
  /// What can be said of the walk's prediction.
  public enum Answer: String, Sendable, Hashable, Codable {
    /// Every packet left where the walk says.
    case proven
    /// The walk left several ways open, and the kernel took one of them.
    case measured
    /// The packets left where the walk says of another state: the flow had ended, or had begun.
    case otherState = "other-state"
    /// The kernel did something else than the walk says: a bug of ours, or something unseen.
    case disagrees
    /// No packet came, so nothing is proven.
    case noPackets = "no-packets"
  }

  /// Where packets left, for good.
  public struct Exit: Sendable, Hashable {
    /// The rule, or the policy (index 0); the first of several where they could not be told apart.
    public var rule: RuleReference
    /// The last rule it may have been.
    public var through: Int
    /// What became of them; `unknown` where the rules don't say.
    public var verdict: Verdict
    /// How many.
    public var packets: UInt64
  }

  /// What one chain saw.
  public struct Passage: Sendable, Hashable {
    /// One rule with a marker on both sides.
    public struct Step: Sendable, Hashable {
      /// The rule, or the policy.
      public var rule: RuleReference
      /// The last rule of a stretch without markers.
      public var through: Int
      /// Packets that came to it.
      public var came: UInt64
      /// Packets that left the chain at it, be it for another chain.
      public var left: UInt64
      /// Whether it is the rule an operator looks for: it could decide.
      public var isMarkedByWalk: Bool
    }
    /// The backend, table and chain.
    public var backend: Backend
    /// The table.
    public var table: String
    /// The chain.
    public var chain: String
    /// Packets that entered it.
    public var came: UInt64
    /// Its rules, in order, and the policy of a base chain.
    public var steps: [Step]
  }

  /// Packets that vanished between two hooks, where no rule of iptables stands.
  public struct Gap: Sendable, Hashable {
    /// The last chain that saw them.
    public var after: String
    /// The first that did not.
    public var before: String
    /// How many, at least.
    public var packets: UInt64
  }

  /// One subject's answer.
  public struct OfSubject: Sendable {
    /// What was traced.
    public var subject: TraceSubject
    /// How many packets came.
    public var packets: UInt64
    /// The answer.
    public var answer: Answer
    /// Where they left.
    public var exits: [Exit]
    /// Where they vanished.
    public var gaps: [Gap]
    /// What each chain saw, in the order of the path.
    public var passages: [Passage]
  }

  /// The answers.
  public var subjects: [OfSubject]
  /// Seconds that markers counted.
  public var seconds: Double
  /// Whether it was ended before its time by a signal.
  public var isInterrupted: Bool
  /// What a person should know, in sentences.
  public var notes: [String]

  /// The worst of the answers: a disagreement, else silence, else anything proven.
  public var exitStatus: Int32 {
    if subjects.contains(where: { $0.answer == .disagrees }) { return 2 }
    return subjects.contains { $0.answer != .noPackets } ? 0 : 3
  }
}
