public import Addressing

/// What the operator told the audit; nothing of it is needed for a right answer.
public struct AuditPolicy: Sendable, Hashable {
  /// Sources that belong: their flows are no findings, and everybody else admitted is one.
  public var trusted: PrefixSet
  /// Sources that are never blocked, beyond the trusted.
  public var protected: PrefixSet

  /// Makes a policy.
  public init(trusted: PrefixSet = PrefixSet(), protected: PrefixSet = PrefixSet()) {
    self.trusted = trusted
    self.protected = protected
  }

  /// Whether any source is configured as trusted.
  public var hasTrust: Bool { !trusted.isEmpty }
}
