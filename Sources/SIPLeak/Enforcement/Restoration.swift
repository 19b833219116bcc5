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
  /// Without sets they are rules of their own, in raw.
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
      let reading = try await FirewallHost.snapshot(access.tools)
      let before = reading.snapshot
      let own = before.ownBlocks(at: time).filter { !$0.isOver }
      let standing = Set(own.map(\.element))
      let blocks = saved.remaining(at: time).filter { !standing.contains($0.element) }
      guard !blocks.isEmpty || !standing.isEmpty else { return }
      for family in AddressFamily.allCases {
        if let set = before.ownSet(family), !OwnObjects.owns(set) {
          throw FirewallError(
            .toolFailed, operation: "put blocks back",
            found: "a set named \(set.name) that sipleak did not make")
        }
      }
      let placement: Placement
      if before.setsUnavailable != nil {
        try complete(reading)
        placement = try plainPlacement(before, SavedBlocks.plain(blocks, from: time), at: time)
      } else {
        hasWritten = true
        // Plain blocks that stand move into the set, as with the next block.
        let moved = own.filter { $0.holder == .rules }.map(SavedBlocks.Block.init)
        try await FirewallHost.restoreSets(
          Array(SavedBlocks.setText(blocks + moved).utf8), access.tools)
        let now = try await FirewallHost.snapshot(access.tools)
        try complete(now)
        placement = Placement(
          renewing: now.snapshot,
          standing: StandingRules(now.snapshot, at: time, isPlain: false))
      }
      if let obstacle = placement.obstacles.first {
        throw FirewallError(.toolFailed, operation: "put our rules back", found: obstacle)
      }
      for (number, rules) in placement.rules.enumerated() {
        try await FirewallHost.restore(
          Array(rules.text.utf8), backend: rules.backend, family: rules.family, testOnly: false,
          waitSeconds: 30, access.tools)
        hasWritten = true
        if placement.rules[(number + 1)...].contains(where: rules.isOfSameTable) { continue }
        report(
          Step(name: "renewed", text: "our rules in \(rules.family.rawValue) \(rules.table)"))
      }
      for block in blocks { report(Step(name: "blocked", text: block.element)) }
    } catch {
      throw SIPLeakError(
        hasWritten ? .notUndone : .unchanged, "blocks could not all be put back: \(error.reason)",
        advice: "`sipleak audit` shows what stands; `sipleak block --apply` puts hooks back.",
        detail: error.standardError ?? "")
    }
    _ = consume lock
  }

  private func complete(_ reading: FirewallReading) throws(FirewallError) {
    guard let problem = reading.problems.first else { return }
    throw FirewallError(.toolFailed, operation: "read all of the firewall", found: problem)
  }

  /// Where blocks go as rules of their own, on a host without sets; within their limit.
  private func plainPlacement(
    _ snapshot: FirewallSnapshot, _ blocks: [PlainBlock], at time: Double
  ) throws(FirewallError) -> Placement {
    let standing = StandingRules(snapshot, at: time, isPlain: true)
    let known = Set(standing.kept.map(\.prefix))
    let new = Set(blocks.map(\.prefix)).subtracting(known).count
    if let why = PlainBlock.objection(new: new, standing: known.count, isAsked: false) {
      throw FirewallError(.toolFailed, operation: "put blocks back", found: why)
    }
    return Placement(renewing: snapshot, standing: standing, restored: blocks)
  }
}
