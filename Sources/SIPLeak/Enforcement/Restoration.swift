import Addressing
import Firewall
import HostNetwork

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
  /// Without sets they are rules of their own, in raw. A block of a peer that the rules admit by now,
  /// or of which that cannot be told, is left out: it would cut somebody who may come in, and what it
  /// was made against, a flow older than a rule, no boot leaves.
  ///
  /// Idempotent: a block that stands keeps its own time.
  ///
  /// - Parameters:
  ///   - saved: The blocks.
  ///   - time: Now, in seconds since 1970 UTC.
  ///   - endpoints: Which ports count as SIP.
  ///   - policy: Whom never to block.
  ///   - report: Called with each step as it is done.
  /// - Returns: The blocks that were left out.
  /// - Throws: ``SIPLeakError``.
  @discardableResult
  public func restore(
    _ saved: SavedBlocks, at time: Double, endpoints: SIPEndpoints = SIPEndpoints(),
    policy: AuditPolicy = AuditPolicy(), report: @Sendable (Step) -> Void
  ) async throws(SIPLeakError) -> [SavedBlocks.Block] {
    let lock = try RunLock.take()
    var hasWritten = false
    var leftOut: [SavedBlocks.Block] = []
    do throws(FirewallError) {
      let reading = try await FirewallHost.snapshot(access.tools)
      let before = reading.snapshot
      let own = before.ownBlocks(at: time).filter { !$0.isOver }
      let standing = Set(own.map(\.element))
      let candidates = saved.remaining(at: time).filter { !standing.contains($0.element) }
      guard !candidates.isEmpty || !standing.isEmpty else { return [] }
      for family in AddressFamily.allCases {
        if let set = before.ownSet(family), !OwnObjects.owns(set) {
          throw FirewallError(
            .toolFailed, operation: "put blocks back",
            found: "a set named \(set.name) that sipleak did not make")
        }
      }
      try complete(reading)
      let host = Observation.withoutFlows(reading, endpoints, access: access)
      if let problem = host.problems.first {
        throw FirewallError(.toolFailed, operation: "read all of the host", found: problem)
      }
      var admission = BlockAdmission(host, policy: policy)
      // Nothing cuts these while no hook stands.
      for block in own where !block.isHooked {
        guard let why = admission.answer(block.prefix, port: block.port) else { continue }
        throw FirewallError(
          .toolFailed, operation: "put our rules back",
          found: "they would cut \(block.element): \(why); sipleak unblock \(block.prefix.address)")
      }
      var blocks: [SavedBlocks.Block] = []
      for block in candidates {
        let target = OwnObjects.parse(block.element)
        if let target, let why = admission.answer(target.prefix, port: target.port) {
          leftOut.append(block)
          report(Step(name: "left out", text: "\(block.element): \(why)"))
        } else {
          blocks.append(block)
        }
      }
      guard !blocks.isEmpty || !standing.isEmpty else { return leftOut }
      let placement: Placement
      if before.setsUnavailable != nil {
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
    return leftOut
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

/// Whether blocks may be put back on a host, judged as when they were made.
private struct BlockAdmission {
  private let host: Observation
  private let gaps: [String]
  private var blockability: Blockability
  private var prefixes: PrefixBlockability

  init(_ host: Observation, policy: AuditPolicy) {
    self.host = host
    // Nobody looks on at boot.
    gaps = ProtectedSet(host, policy: policy).objections(areNamed: false)
    blockability = Blockability(host, policy: policy)
    prefixes = PrefixBlockability(host, policy: policy)
  }

  /// Why a block must not be put back now, or `nil`.
  mutating func answer(_ prefix: IPPrefix, port: UInt16) -> String? {
    if let gap = gaps.first { return gap }
    guard let local = host.localAddress(prefix.family) else {
      return "what the rules do with it cannot be told, as this host has no "
        + "\(prefix.family == .ipv4 ? "IPv4" : "IPv6") address that others can reach; is the network up?"
    }
    guard
      let why = blockability.answer(
        for: prefix.address, wire: Endpoint(local, port), cause: .hostOpened)
        ?? prefixes.standingObjection(to: prefix)
    else { return nil }
    let isRouted = host.network.routedPrefixes?.contains { $0.prefix.contains(prefix.address) }
    return isRouted == false
      ? why + " (no route leads to it now, so it is taken to come by any interface)" : why
  }
}
