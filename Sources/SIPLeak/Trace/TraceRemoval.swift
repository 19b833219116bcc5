import Addressing
import Firewall

// Taking markers out: by their own full text as it is read at that moment, never by position.
extension TraceRun {
  /// Takes out the markers of interrupted traces.
  ///
  /// - Returns: How many there were.
  /// - Throws: ``SIPLeakError`` when some still stand, or the firewall cannot be read.
  public func clean() async throws(SIPLeakError) -> Int {
    let lock = try RunLock.take()
    let count = try await removeMarkers(.any)
    _ = consume lock
    return count
  }

  /// Takes out what interrupted traces have left and says so; the lock must be held.
  func removeLeftovers(
    _ report: @Sendable (Enforcement.Step) -> Void
  ) async throws(SIPLeakError) {
    let left = try await removeMarkers(.any)
    if left > 0 {
      report(Enforcement.Step(name: "removed", text: "\(left) markers of an interrupted trace"))
    }
  }

  /// Takes out whatever markers stand; the lock must be held.
  func removeStanding() async throws(SIPLeakError) -> Int { try await removeMarkers(.any) }

  /// Which markers.
  enum Which: Sendable {
    case any
    case run(TracePlan)
  }

  /// Takes markers out, whatever becomes of our task.
  func removeMarkers(_ which: Which) async throws(SIPLeakError) -> Int {
    switch await Task(operation: { await self.removal(which) }).value {
    case .success(let count): return count
    case .failure(let error): throw error
    }
  }

  /// Takes markers out by what is read now, until none is left: a reload may have taken some, and
  /// a transaction that deletes an absent rule fails whole (facts E1).
  private func removal(_ which: Which) async -> Result<Int, SIPLeakError> {
    var removed = 0
    var last: FirewallError?
    for attempt in 0..<6 {
      if attempt > 0 { try? await Task.sleep(for: .milliseconds(50 << attempt)) }
      do throws(FirewallError) {
        let standing = try await standing(which)
        if standing.isEmpty { return .success(removed) }
        for entry in standing {
          let lines = entry.markers.map(\.deletion)
          let text = TracePlan.transaction(entry.table, lines)
          try await FirewallHost.restore(
            Array(text.utf8), backend: entry.backend, family: entry.family, testOnly: false,
            waitSeconds: Self.lockSeconds, access.tools)
          removed += lines.count
          await removeMadeTable(entry)
        }
      } catch {
        if error.isPermissionDenied { return .failure(SIPLeakError(reading: error)) }
        last = error
      }
    }
    return .failure(
      SIPLeakError(
        .notUndone, "markers of ours still stand: \(last?.description ?? "they came back")",
        advice: "They count and decide nothing. `sipleak trace --clean` takes them out.",
        detail: last?.standardError ?? ""))
  }

  /// A table that a TRACE rule has made goes with it, if nobody has put anything into it.
  private func removeMadeTable(_ entry: Standing) async {
    guard entry.backend == .nft,
      entry.markers.contains(where: { $0.comment?.hasSuffix(" table made") ?? false }),
      let table = try? await FirewallHost.table(
        entry.table, backend: entry.backend, family: entry.family, access.tools)
    else { return }
    _ = try? await FirewallHost.removeEmptyTable(table, family: entry.family, access.tools)
  }

  private struct Standing {
    var backend: Backend
    var family: AddressFamily
    var table: String
    var markers: [Rule]
  }

  private func standing(_ which: Which) async throws(FirewallError) -> [Standing] {
    switch which {
    case .any:
      let snapshot = try await FirewallHost.snapshot(access.tools).snapshot
      return snapshot.rulesets.flatMap { ruleset in
        ruleset.tables.map { table in
          Standing(
            backend: ruleset.backend, family: ruleset.family, table: table.name,
            markers: table.traceMarkers().map(\.rule))
        }
      }.filter { !$0.markers.isEmpty }
    case .run(let plan):
      var result: [Standing] = []
      for transaction in plan.transactions {
        let table = try await FirewallHost.table(
          transaction.table, backend: transaction.backend, family: transaction.family,
          access.tools)
        let markers = table?.traceMarkers(of: plan.id).map(\.rule) ?? []
        guard !markers.isEmpty else { continue }
        result.append(
          Standing(
            backend: transaction.backend, family: transaction.family, table: transaction.table,
            markers: markers))
      }
      return result
    }
  }
}
