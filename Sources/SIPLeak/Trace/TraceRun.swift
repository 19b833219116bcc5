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
  static let lockSeconds = 5

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
      let sample = await sample(plan, seconds: remaining, stop: stop, report)
      let removed = try await removeMarkers(.run(plan))
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
          .undone,
          stop.isStopped
            ? "interrupted just as the rules had changed"
            : "the rules change too often to be traced",
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

  private func sample(
    _ plan: TracePlan, seconds: Double, stop: TraceStop,
    _ report: @Sendable (Enforcement.Step) -> Void
  ) async -> Sample {
    let clock = ContinuousClock()
    var began = clock.now
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
      // What comes before these two readings is seen by some markers only, and the time to count
      // begins here.
      began = clock.now
      report(Enforcement.Step(name: "counting", text: "what comes from now on"))
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
}
