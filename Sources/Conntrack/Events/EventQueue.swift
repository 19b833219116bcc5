import Synchronization

/// Between the thread that receives events and the task that reads them.
final class EventQueue: Sendable {
  /// What the reader gets.
  enum Delivery: Sendable {
    case events([FlowEvent])
    case end
    case failure(ConntrackError)
  }

  private struct State {
    var pending: [FlowEvent] = []
    /// The backlog was full: everything is dropped until the reader has come for what is pending, so
    /// that the dump it then makes is younger than the last event dropped.
    var isOverflowing = false
    var isEnded = false
    var failure: ConntrackError?
    var waiter: CheckedContinuation<Delivery, Never>?
    var counts = FlowEvents.Counts()
  }

  private let state = Mutex(State())
  private let capacity: Int

  init(capacity: Int) {
    self.capacity = capacity
  }

  var counts: FlowEvents.Counts { state.withLock { $0.counts } }

  /// Whether somebody waits.
  var isWaited: Bool { state.withLock { $0.waiter != nil } }

  /// Hands over events, or an empty list as a sign of life.
  func push(_ events: [FlowEvent], _ counting: (inout FlowEvents.Counts) -> Void = { _ in }) {
    let waiter: CheckedContinuation<Delivery, Never>? = state.withLock { state in
      counting(&state.counts)
      guard !state.isEnded else { return nil }
      if let waiter = state.waiter {
        state.waiter = nil
        return waiter
      }
      if state.isOverflowing {
        state.counts.dropped += UInt64(events.count)
      } else if state.pending.count + events.count > capacity {
        state.isOverflowing = true
        state.counts.dropped += UInt64(events.count)
        state.counts.losses += 1
        state.pending.append(.loss(.backlog))
      } else {
        state.pending += events
      }
      return nil
    }
    waiter?.resume(returning: .events(events))
  }

  /// Ends the sequence behind what is pending; with an error if there is one.
  func end(_ failure: ConntrackError? = nil) {
    let (waiter, delivery) = state.withLock {
      state -> (CheckedContinuation<Delivery, Never>?, Delivery) in
      if !state.isEnded {
        state.isEnded = true
        state.failure = failure
      }
      let waiter = state.waiter
      state.waiter = nil
      return (waiter, state.failure.map { .failure($0) } ?? .end)
    }
    waiter?.resume(returning: delivery)
  }

  /// Waits for events, or takes those that are pending.
  func take() async -> Delivery {
    await withCheckedContinuation { continuation in
      let delivery: Delivery? = state.withLock { state in
        if !state.pending.isEmpty {
          let events = state.pending
          state.pending = []
          state.isOverflowing = false
          return .events(events)
        }
        if state.isEnded {
          defer { state.failure = nil }
          return state.failure.map { .failure($0) } ?? .end
        }
        if state.waiter != nil {
          // Two tasks iterate: the second ends.
          return .end
        }
        state.waiter = continuation
        return nil
      }
      if let delivery { continuation.resume(returning: delivery) }
    }
  }
}
