extension Enforcement {
  /// How often a plan is made at most where somebody keeps changing the firewall.
  public static let attempts = 5

  /// Reads, plans and applies, and does all of it again while the firewall changes in between.
  ///
  /// Another program that changes rules often (fail2ban, a script) would keep a block from being made
  /// at all. A plan is never applied on what is not so any more: each attempt makes its own. The pause
  /// before it grows from a tenth of a second, so that a reload comes to its end.
  ///
  /// - Parameters:
  ///   - attempts: How often at most, the first time included.
  ///   - report: Called before each further attempt with its number, from 2.
  ///   - body: Reads, plans and applies; ``SIPLeakError/isStale`` of its error asks for another attempt.
  /// - Returns: What the body returned.
  /// - Throws: What the body threw at last.
  public static func whileStale<R>(
    attempts: Int = Enforcement.attempts, report: (Int) -> Void = { _ in },
    _ body: () async throws -> R
  ) async throws -> R {
    var attempt = 1
    while true {
      do {
        return try await body()
      } catch let error as SIPLeakError where error.isStale && attempt < attempts {
        try await Task.sleep(for: .milliseconds(100 * attempt))
        attempt += 1
        report(attempt)
      }
    }
  }
}
