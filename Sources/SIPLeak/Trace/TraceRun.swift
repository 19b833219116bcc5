import Addressing
import Firewall
import Glibc
import Synchronization

/// Ends a trace before its time: from a signal, or because the caller has seen enough.
public final class TraceStop: Sendable {
  private let isSet = Mutex(false)

  /// Makes a stop that is not set.
  public init() {}

  /// Ends the trace; its markers are taken out and what was counted is reported.
  public func stop() { isSet.withLock { $0 = true } }

  /// Whether it was asked for, or the task was cancelled.
  var isStopped: Bool { isSet.withLock { $0 } || Task.isCancelled }
}

/// Puts markers into a firewall, lets them count, and takes them out again.
///
/// Markers have no target, so no packet's fate changes; other rules keep their counters (facts D2).
/// They go in and out in one transaction a table. Whatever ends the run, an error, a signal or a
/// firewall that changes meanwhile, they are taken out by their own full text and never by position;
/// only a kill leaves them, harmless, for the next trace. Holds the run lock throughout. Needs
/// CAP_NET_ADMIN.
public struct TraceRun: Sendable {
  /// How the host is reached.
  public var access: HostAccess
  /// How long to count.
  public var seconds: Double
  /// Ends earlier when so many packets of every subject have come.
  public var packets: UInt64?
  /// Whether a marker stands before every rule.
  public var marksEveryRule: Bool
  /// How often it begins anew when the rules change under it.
  private static let attempts = 4
  /// Seconds to wait for the xtables lock, which only the legacy tools take.
  private static let lockSeconds = 5

  /// Makes a run.
  public init(
    access: HostAccess = HostAccess(), seconds: Double = 10, packets: UInt64? = nil,
    marksEveryRule: Bool = false
  ) {
    self.access = access
    self.seconds = seconds
    self.packets = packets
    self.marksEveryRule = marksEveryRule
  }

  /// A word for the comments of one run.
  public static func newID() -> String {
    String(UInt32.random(in: 1...UInt32.max), radix: 16)
  }

  /// Reads the host and plans, changing nothing.
  ///
  /// - Parameters:
  ///   - request: Whose packets.
  ///   - endpoints: Which ports count as SIP.
  ///   - id: The run's word.
  /// - Returns: The plan.
  /// - Throws: ``SIPLeakError`` when the host cannot be read.
  public func plan(
    _ request: TraceRequest, endpoints: SIPEndpoints, id: String = newID()
  ) async throws(SIPLeakError) -> TracePlan {
    let observation = try await Observation.live(request.endpoints(endpoints), access: access)
    return TracePlan(request, observation: observation, id: id, marksEveryRule: marksEveryRule)
  }

  /// Traces.
  ///
  /// - Parameters:
  ///   - request: Whose packets.
  ///   - endpoints: Which ports count as SIP.
  ///   - stop: Ends it early.
  ///   - report: Called with each step as it is done.
  /// - Returns: What the kernel did.
  /// - Throws: ``SIPLeakError``: `unchanged` when nothing was put in, `undone` when it failed and the
  ///   markers are out again, `notUndone` when some still stand.
  public func run(
    _ request: TraceRequest, endpoints: SIPEndpoints, stop: TraceStop = TraceStop(),
    report: @Sendable (Enforcement.Step) -> Void = { _ in }
  ) async throws(SIPLeakError) -> TraceResult {
    let lock = try RunLock.take()
    try await removeLeftovers(report)
    var notes: [String] = []
    var remaining = seconds
    for attempt in 1...Self.attempts {
      let plan = try await plan(request, endpoints: endpoints)
      if let obstacle = plan.obstacles.first {
        throw SIPLeakError(.unchanged, obstacle, advice: "Nothing was changed.")
      }
      if stop.isStopped, attempt == 1 {
        throw SIPLeakError(.unchanged, "interrupted", advice: "Nothing was changed.")
      }
      try await insert(plan)
      if attempt == 1 {
        let count = plan.markers.count
        report(
          Enforcement.Step(
            name: "marked", text: "\(count) rules that only count, in \(plan.tablesInWords)"))
      }
      // From here on they stand, and go whatever happens.
      let sample = await sample(plan, seconds: remaining, stop: stop)
      let removed = try await remove(plan, after: sample)
      report(Enforcement.Step(name: "removed", text: "\(removed) rules that only counted"))
      switch sample {
      case .failed(let error):
        throw SIPLeakError(
          .undone, "the markers could not be read: \(error)",
          advice: "They were taken out again. \(error.advice ?? "")",
          detail: error.standardError ?? "")
      case .changed(let after) where attempt < Self.attempts && !stop.isStopped:
        remaining = max(1, remaining - after)
        notes.append(
          "the rules changed \(Quantity.duration(after)) into the trace; they were read again and "
            + "it began anew")
        report(Enforcement.Step(name: "changed", text: notes[notes.count - 1]))
      case .changed:
        throw SIPLeakError(
          .undone, "the rules change too often to be traced",
          advice: "The markers were taken out again. Try when the firewall stands still.")
      case .counted(let readings, let after, let isInterrupted):
        let analysis = TraceAnalysis(plan: plan, readings: readings)
        _ = consume lock
        return TraceResult(
          subjects: plan.subjects.indices.map(analysis.answer), seconds: after,
          isInterrupted: isInterrupted, notes: plan.notes + notes)
      }
    }
    throw SIPLeakError(.undone, "the rules change too often to be traced")
  }

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

  // MARK: In

  private func insert(_ plan: TracePlan) async throws(SIPLeakError) {
    // The last tables first: whatever an early marker counts, the later ones see as well.
    for transaction in plan.transactions.reversed() {
      do throws(FirewallError) {
        try await FirewallHost.restore(
          Array(transaction.insert.utf8), backend: transaction.backend,
          family: transaction.family, testOnly: false, waitSeconds: Self.lockSeconds,
          access.tools)
      } catch {
        let removed = try await removeMarkers(.run(plan))
        throw SIPLeakError(
          removed == 0 ? .unchanged : .undone, "the markers could not be put in: \(error)",
          advice: (removed == 0 ? "Nothing was changed. " : "They were taken out again. ")
            + (error.advice ?? "The rules may have changed meanwhile; try again."),
          detail: error.standardError ?? "")
      }
    }
  }

  // MARK: Counting

  private enum Sample {
    case counted(TraceReadings, seconds: Double, isInterrupted: Bool)
    case changed(after: Double)
    case failed(FirewallError)
  }

  private func sample(_ plan: TracePlan, seconds: Double, stop: TraceStop) async -> Sample {
    let clock = ContinuousClock()
    let began = clock.now
    func elapsed() -> Double {
      let parts = (clock.now - began).components
      return Double(parts.seconds) + Double(parts.attoseconds) / 1e18
    }
    // A task of its own: the last readings are needed although ours may be cancelled.
    func read() async throws(FirewallError) -> TraceCounts? {
      switch await Task(operation: { await self.counts(plan) }).value {
      case .success(let counts): return counts
      case .failure(let error): throw error
      }
    }
    do throws(FirewallError) {
      guard let first = try await read(), let second = try await read() else {
        return .changed(after: elapsed())
      }
      let pause = packets == nil ? 1.0 : 0.2
      while elapsed() < seconds, !stop.isStopped {
        let until = min(seconds, elapsed() + pause)
        while elapsed() < until, !stop.isStopped {
          try? await Task.sleep(for: .milliseconds(20))
        }
        guard elapsed() < seconds, !stop.isStopped else { break }
        guard let now = try await read() else { return .changed(after: elapsed()) }
        if let packets, isEnough(now, plan, packets) { break }
      }
      let isInterrupted = stop.isStopped
      let length = elapsed()
      guard let third = try await read(), let fourth = try await read() else {
        return .changed(after: length)
      }
      return .counted(
        TraceReadings(start: (first, second), end: (third, fourth)), seconds: length,
        isInterrupted: isInterrupted)
    } catch {
      return .failed(error)
    }
  }

  private func isEnough(_ counts: TraceCounts, _ plan: TracePlan, _ wanted: UInt64) -> Bool {
    plan.subjects.indices.allSatisfy { subject in
      plan.markers.contains { $0.subject == subject && counts[$0] >= wanted }
    }
  }

  /// Reads the plan's tables; `nil` when a rule other than our markers came, went or changed.
  private func counts(_ plan: TracePlan) async -> Result<TraceCounts?, FirewallError> {
    var tables: [Table] = []
    // In the order of the path: what lies between two tables is then seen by the later one.
    for transaction in plan.transactions {
      do throws(FirewallError) {
        guard
          let table = try await FirewallHost.table(
            transaction.table, backend: transaction.backend, family: transaction.family,
            access.tools),
          plan.stands(table, in: transaction)
        else { return .success(nil) }
        tables.append(table)
      } catch {
        return .failure(error)
      }
    }
    return .success(TraceCounts(tables, id: plan.id))
  }

  // MARK: Out

  private enum Which: Sendable {
    case any
    case run(TracePlan)
  }

  private func remove(
    _ plan: TracePlan, after sample: Sample
  ) async throws(SIPLeakError) -> Int {
    switch await Task(operation: { await self.removal(.run(plan)) }).value {
    case .success(let count): return count
    case .failure(let error): throw error
    }
  }

  private func removeMarkers(_ which: Which) async throws(SIPLeakError) -> Int {
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

extension TracePlan {
  /// The tables in words: `filter`, or `raw and filter (nft, IPv4)`.
  var tablesInWords: String {
    let names = transactions.map { "\($0.backend.rawValue) \($0.table)" }
    return names.joined(separator: ", ")
  }

  /// Whether a table as it is now holds the rules it was planned on and all of its markers, each at
  /// its place.
  func stands(_ table: Table, in transaction: Transaction) -> Bool {
    guard
      let planned = snapshot.rulesets.first(where: {
        $0.backend == transaction.backend && $0.family == transaction.family
      })?.table(table.name)
    else { return false }
    var own: [String: [Int: Int]] = [:]
    for marker in markers
    where marker.backend == transaction.backend && marker.table == table.name
      && subjects[marker.subject].packet.family == transaction.family
    {
      own[marker.chain, default: [:]][marker.before, default: 0] += 1
    }
    let names = Set(table.chains.map(\.name))
    guard names == Set(planned.chains.map(\.name)) else { return false }
    for chain in table.chains {
      guard let old = planned.chain(chain.name), old.policy == chain.policy else { return false }
      var places: [Int: Int] = [:]
      var rules: [[UInt8]] = []
      for rule in chain.rules {
        if TraceMarker.isMarker(rule) {
          places[rules.count + 1, default: 0] += 1
        } else {
          rules.append(rule.bytes)
        }
      }
      guard rules == old.rules.map(\.bytes), places == own[chain.name] ?? [:] else {
        return false
      }
    }
    return true
  }
}
