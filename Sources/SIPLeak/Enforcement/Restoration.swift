import Addressing
import Firewall

extension Enforcement {
  /// Makes our empty sets where they are missing, so that a saved ruleset that names them loads.
  ///
  /// - Throws: ``SIPLeakError`` with the code `unchanged`.
  public func makeSets() async throws(SIPLeakError) {
    let lock = try RunLock.take()
    do throws(FirewallError) {
      try await FirewallHost.restoreSets(Array(SavedBlocks.setText([]).utf8), access.tools)
    } catch {
      throw SIPLeakError(
        .unchanged, "our sets could not be made: \(error)", advice: error.advice ?? "",
        detail: error.standardError ?? "")
    }
    _ = consume lock
  }

  /// Puts saved blocks back, with the time they have left, and the rules that ask our sets.
  ///
  /// Idempotent: a block that stands keeps its own time.
  ///
  /// - Parameters:
  ///   - saved: The blocks.
  ///   - time: Now, in seconds since 1970 UTC.
  ///   - report: Called with each step as it is done.
  /// - Throws: ``SIPLeakError``.
  public func restore(
    _ saved: SavedBlocks, at time: Double, report: @Sendable (Step) -> Void
  ) async throws(SIPLeakError) {
    let lock = try RunLock.take()
    var hasWritten = false
    do throws(FirewallError) {
      let before = try await FirewallHost.snapshot(access.tools).snapshot
      let standing = Set(
        AddressFamily.allCases.flatMap { before.ownSet($0)?.entries.map(\.element) ?? [] })
      let blocks = saved.remaining(at: time).filter { !standing.contains($0.element) }
      guard !blocks.isEmpty || !standing.isEmpty else { return }
      for family in AddressFamily.allCases {
        if let set = before.ownSet(family), !OwnObjects.owns(set) {
          throw FirewallError(
            .toolFailed, operation: "put blocks back",
            found: "a set named \(set.name) that sipleak did not make")
        }
      }
      hasWritten = true
      try await FirewallHost.restoreSets(Array(SavedBlocks.setText(blocks).utf8), access.tools)
      for block in blocks { report(Step(name: "blocked", text: block.element)) }
      let now = try await FirewallHost.snapshot(access.tools)
      if let problem = now.problems.first {
        throw FirewallError(.toolFailed, operation: "read all of the firewall", found: problem)
      }
      let placement = Placement(renewing: now.snapshot)
      if let obstacle = placement.obstacles.first {
        throw FirewallError(.toolFailed, operation: "put our rules back", found: obstacle)
      }
      for rules in placement.rules {
        try await FirewallHost.restore(
          Array(rules.text.utf8), backend: rules.backend, family: rules.family, testOnly: false,
          waitSeconds: 30, access.tools)
        report(
          Step(name: "renewed", text: "our rules in \(rules.family.rawValue) \(rules.table)"))
      }
    } catch {
      throw SIPLeakError(
        hasWritten ? .notUndone : .unchanged, "blocks could not all be put back: \(error)",
        advice: "`sipleak audit` shows what stands; `sipleak block --apply` puts hooks back.",
        detail: error.standardError ?? "")
    }
    _ = consume lock
  }
}
