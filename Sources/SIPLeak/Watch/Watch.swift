import Addressing
public import Conntrack
import FoundationEssentials
import HostNetwork
import Netlink
import Synchronization

/// Follows a host's flows to SIP and says what an audit would, as it comes and goes.
///
/// Events are filtered in the kernel to flows of SIP ports that are answered, expected or opened by this
/// host: nobody else can be a finding. Each is judged against the newest reading of the rules. The host
/// is read again when nf_tables' generation has changed and settled, after a loss of events, after an
/// expectation came or went, and at the latest after ``interval``: sets, `recent` lists and legacy
/// tables change without a word, and flows older than the watch end without an event (facts B6).
/// Changes nothing. Needs `CAP_NET_ADMIN`.
public struct Watch: Sendable {
  /// Which ports count as SIP.
  public var endpoints: SIPEndpoints
  /// Whom the operator trusts.
  public var policy: AuditPolicy
  /// Which host.
  public var access: HostAccess
  /// Seconds after which everything is read again at the latest.
  public var interval: Double
  /// Seconds to watch, or `nil` for until it is stopped.
  public var length: Double?
  /// How many events may wait.
  public var buffering: FlowEvents.Buffering

  /// Makes a watch that has not begun.
  public init(
    _ endpoints: SIPEndpoints = SIPEndpoints(), policy: AuditPolicy = AuditPolicy(),
    access: HostAccess = HostAccess(), interval: Double = 30, length: Double? = nil,
    buffering: FlowEvents.Buffering = FlowEvents.Buffering()
  ) {
    self.endpoints = endpoints
    self.policy = policy
    self.access = access
    self.interval = interval
    self.length = length
    self.buffering = buffering
  }

  /// Ends a watch from outside, such as from a signal.
  public final class Stop: Sendable {
    private struct State {
      var isStopped = false
      var events: FlowEvents?
    }
    private let state = Mutex(State())

    /// Makes one that has not been used.
    public init() {}

    /// Ends the watch it was given to, now or as soon as it begins.
    public func stop() {
      let events = state.withLock { state in
        state.isStopped = true
        return state.events
      }
      events?.nudge()
    }

    var isStopped: Bool { state.withLock { $0.isStopped } }

    func attach(_ events: FlowEvents) {
      state.withLock { $0.events = events }
    }
  }

  /// Which events can matter: by the delivered side, and none of flows that hold nothing open.
  var filter: FlowEventFilter {
    FlowEventFilter(query: endpoints.query, leavesOutUnanswered: true)
  }

  /// Watches until the time is up, it is stopped, or the task is cancelled.
  ///
  /// - Parameters:
  ///   - stop: What ends it from outside.
  ///   - report: Takes what there is to say; `false` ends the watch.
  /// - Returns: What was seen.
  /// - Throws: ``SIPLeakError`` when events or the first reading can't be had, or the socket fails.
  public func run(
    stop: Stop = Stop(), _ report: (WatchReport) -> Bool
  ) async throws(SIPLeakError) -> WatchSummary {
    let events: FlowEvents
    do throws(ConntrackError) {
      events = try FlowEvents.open(filter, buffering: buffering, in: access.namespace)
    } catch {
      throw SIPLeakError(listening: error)
    }
    stop.attach(events)
    // A quarter of a second is how long a change of the rules may stay unnoticed.
    let clock = Task {
      while !Task.isCancelled {
        try? await Task.sleep(for: .milliseconds(250))
        events.nudge()
      }
    }
    defer {
      clock.cancel()
      events.stop()
    }
    let run = try WatchRun(self, events)
    var batches = events.batches.makeAsyncIterator()
    while !stop.isStopped, !run.isOver {
      let batch: [FlowEvent]?
      do throws(ConntrackError) { batch = try await batches.next() } catch {
        throw SIPLeakError(listening: error)
      }
      guard let batch, try run.take(batch, report) else { break }
    }
    return run.finish()
  }
}

extension SIPLeakError {
  init(listening error: ConntrackError) {
    self.init(
      error.isPermissionDenied ? .permissionDenied : .unreadable, "\(error)",
      advice: error.isPermissionDenied ? SIPLeakError.needsRoot : error.advice ?? "",
      detail: error.message ?? "")
  }
}
