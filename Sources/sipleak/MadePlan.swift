import SIPLeak
import Synchronization

/// The last plan that a run has made, and what came of it: what a failure is a failure of.
final class MadePlan: Sendable {
  private struct State {
    var plan: BlockPlan?
    var time: Double?
    var outcome: Enforcement.Outcome?
  }
  private let state = Mutex(State())

  /// Takes a plan in place of an earlier one.
  ///
  /// - Parameters:
  ///   - plan: The plan.
  ///   - time: When the host was read, in seconds since 1970 UTC.
  func take(_ plan: BlockPlan, at time: Double) {
    state.withLock { $0 = State(plan: plan, time: time) }
  }

  /// Takes what came of applying it.
  func take(_ outcome: Enforcement.Outcome) {
    state.withLock { $0.outcome = outcome }
  }

  /// Prints the document of a failure.
  func print(_ error: SIPLeakError) {
    let state = state.withLock { $0 }
    let json = PlanJSON(
      error, plan: state.plan, time: state.time, outcome: state.outcome)
    if let line = try? json.line() { Console.print(line) }
  }
}
