public import Addressing

/// What the operator told the audit; nothing of it is needed for a right answer.
public struct AuditPolicy: Sendable, Hashable {
  /// Sources that belong: their flows are no findings, and everybody else admitted is one.
  public var trusted: PrefixSet
  /// Sources that are never blocked, beyond the trusted.
  public var protected: PrefixSet
  /// Both, each with its reason and what named it, where that is known.
  public private(set) var sources: [ProtectedSource] = []
  /// Interfaces whose links are inside: who is on them is never blocked.
  public private(set) var inside: [String] = []
  /// What should have named sources and could not be read or resolved.
  public private(set) var gaps: [TrustGap] = []
  /// What is worth saying of how they were found.
  public private(set) var notes: [String] = []

  /// Makes a policy.
  public init(trusted: PrefixSet = PrefixSet(), protected: PrefixSet = PrefixSet()) {
    self.trusted = trusted
    self.protected = protected
  }

  /// Makes a policy of sources with their reasons.
  ///
  /// - Parameters:
  ///   - sources: Trusted and protected sources.
  ///   - inside: Interfaces whose links are inside.
  ///   - gaps: What could not be read or resolved.
  ///   - notes: What is worth saying.
  public init(
    sources: [ProtectedSource], inside: [String] = [], gaps: [TrustGap] = [], notes: [String] = []
  ) {
    trusted = PrefixSet(sources.filter(\.reason.isTrust).map(\.prefix))
    protected = PrefixSet(sources.filter { !$0.reason.isTrust }.map(\.prefix))
    self.sources = sources
    self.inside = inside
    self.gaps = gaps
    self.notes = notes
  }

  /// Whether any source is configured as trusted.
  public var hasTrust: Bool { !trusted.isEmpty }
}
