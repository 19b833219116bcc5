public import Addressing

/// How much one run may block, and whom without being named.
///
/// Limits are what makes a mistake small: a firewall read in a bad moment, a carrier that changed its
/// network. More than the limit is no reason to block the first few of them: it is a sign that
/// something else is wrong, so none is blocked and it is said.
public struct BlockLimits: Sendable, Hashable {
  /// The most new sources one run may block; `nil` for no limit.
  public var perRun: Int?
  /// The most sources that may be blocked at the same time, standing ones included; `nil` for the
  /// sets' own limit of a million.
  public var total: Int?
  /// The least grade a finding must have: `latent` takes all.
  public var grade: Grade
  /// The causes that are blocked without being named; `nil` for every leak.
  ///
  /// Only leaks are blocked without being named, whatever stands here.
  public var causes: Set<Cause>?
  /// Sources that were welcome a short while ago, so that nobody who watches is needed: never
  /// blocked unless named.
  public var welcome: Set<IPAddress>
  /// Why it is not known who was welcome, in words; then nobody is blocked unless named.
  public var welcomeGap: String?
  /// How often each source's blocks have run out before; each doubles the time of the next.
  public var offences: [IPAddress: Int]

  /// The longest time doubling leads to: 24 days, near the most a set entry can have (facts E8).
  public static let longestDoubled: UInt32 = 24 * 86400

  /// Makes limits; none unless given.
  public init(
    perRun: Int? = nil, total: Int? = nil, grade: Grade = .latent, causes: Set<Cause>? = nil,
    welcome: Set<IPAddress> = [], welcomeGap: String? = nil, offences: [IPAddress: Int] = [:]
  ) {
    self.perRun = perRun
    self.total = total
    self.grade = grade
    self.causes = causes
    self.welcome = welcome
    self.welcomeGap = welcomeGap
    self.offences = offences
  }

  /// Why a finding is not blocked without being named, or `nil`.
  func objection(to finding: Finding) -> String? {
    if let causes, !causes.contains(finding.cause) {
      return "\(finding.cause.rawValue) is not among the causes asked for"
    }
    if let given = finding.grade, !(given >= grade) {
      return "\(given.rawValue), and \(grade.rawValue) is asked for"
    }
    if let peer = finding.peer?.address, welcome.contains(peer) {
      return "this host sent to it, or the rules admitted it, within the last 24 h"
    }
    return nil
  }

  /// Seconds a source is blocked for: the asked time, doubled for each time it came back.
  func seconds(_ asked: UInt32, for source: IPAddress) -> UInt32 {
    guard asked > 0, let times = offences[source], times > 0 else { return asked }
    let doubled = UInt64(asked) << UInt64(min(times, 31))
    return max(asked, UInt32(clamping: min(doubled, UInt64(Self.longestDoubled))))
  }

  /// Why this many sources are too many, or `nil`.
  ///
  /// - Parameters:
  ///   - new: Sources that would be blocked and are not.
  ///   - standing: Sources that are blocked now.
  /// - Returns: The sentence.
  func objection(new: Int, standing: Int) -> String? {
    if let perRun, new > perRun {
      return "\(new) new sources are more than the \(perRun) of one run (--at-most): none is "
        + "blocked; look at `sipleak diagnose` first"
    }
    if let total, new > 0, standing + new > total {
      return "\(new) new sources beside \(standing) standing ones are more than \(total) in all "
        + "(--at-most-total): none is blocked"
    }
    return nil
  }
}

extension Grade: Comparable {
  /// `latent`, then `established`, then `assured`.
  public static func < (left: Grade, right: Grade) -> Bool { left.rank < right.rank }

  private var rank: Int {
    switch self {
    case .latent: 0
    case .established: 1
    case .assured: 2
    }
  }
}
