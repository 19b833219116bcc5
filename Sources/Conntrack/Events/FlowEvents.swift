public import Netlink
import Synchronization

/// What happens to the flows of a query, as it happens.
///
/// ```swift
/// let events = try FlowEvents.open(FlowEventFilter())
/// for try await event in events {
///   if case .update(let flow) = event { print(flow.original) }
/// }
/// ```
///
/// Events of other flows are dropped in the kernel by their ports. A flow that began while nobody
/// listened may never send one (facts B6): open the events first, then dump, and join both with
/// ``DumpMerge``. Losses are never silent: ``FlowEvent/loss(_:)`` stands where events are missing, and
/// a dump that begins then makes the knowledge whole again.
///
/// A thread of its own receives; it ends with ``stop()``, with the last reference, and when the task
/// that iterates is cancelled. One task can iterate at a time. Needs `CAP_NET_ADMIN` in the user
/// namespace the network namespace belongs to. Corresponds to `conntrack -E` and `conntrack -E expect`.
public final class FlowEvents: AsyncSequence, Sendable {
  /// One event.
  public typealias Element = FlowEvent
  /// Why the events end early.
  public typealias Failure = ConntrackError

  /// How much may wait to be read.
  public struct Buffering: Sendable, Hashable {
    /// Bytes of the socket's receive buffer to begin with (`SO_RCVBUFFORCE`, doubled by the kernel).
    public var receiveBuffer: Int
    /// Bytes the receive buffer may grow to: it is doubled after each loss.
    public var largestReceiveBuffer: Int
    /// Events that may wait for the task that iterates; beyond them is a loss.
    public var backlog: Int

    /// Makes a choice.
    ///
    /// - Parameters:
    ///   - receiveBuffer: Bytes to begin with.
    ///   - largestReceiveBuffer: Bytes to grow to; not beyond the beginning if smaller.
    ///   - backlog: Events.
    public init(
      receiveBuffer: Int = 4 << 20, largestReceiveBuffer: Int = 64 << 20, backlog: Int = 65_536
    ) {
      self.receiveBuffer = receiveBuffer
      self.largestReceiveBuffer = largestReceiveBuffer
      self.backlog = backlog
    }
  }

  /// What has come so far.
  public struct Counts: Sendable, Hashable, Codable {
    /// Messages that passed the kernel's filter.
    public var received: UInt64 = 0
    /// Events that were asked for, losses included.
    public var given: UInt64 = 0
    /// Times that events were lost, of any kind.
    public var losses: UInt64 = 0
    /// Events dropped because the backlog was full.
    public var dropped: UInt64 = 0
    /// Messages that made no sense.
    public var malformed: UInt64 = 0

    /// Counts nothing yet.
    public init() {}
  }

  private let queue: EventQueue
  private let wakeUp: WakeUp
  private let thread: Mutex<NamespaceThread<Void>?>

  private init(
    _ queue: EventQueue, _ wakeUp: WakeUp, _ thread: consuming sending NamespaceThread<Void>
  ) {
    self.queue = queue
    self.wakeUp = wakeUp
    self.thread = Mutex(thread)
  }

  deinit { stop() }

  /// Begins to listen: what happens after it returns is heard.
  ///
  /// - Parameters:
  ///   - filter: Which events.
  ///   - buffering: How much may wait.
  ///   - namespace: The network namespace whose table it is.
  /// - Returns: The events.
  /// - Throws: ``ConntrackError``.
  public static func open(
    _ filter: FlowEventFilter = FlowEventFilter(), buffering: Buffering = Buffering(),
    in namespace: NetworkNamespace = .current
  ) throws(ConntrackError) -> FlowEvents {
    do throws(NetlinkError) {
      let listener = try NetlinkListener.open(
        .netfilter, groups: filter.groups, filter: EventProgram.compile(filter),
        receiveBuffer: buffering.receiveBuffer, in: namespace)
      let queue = EventQueue(capacity: Swift.max(1, buffering.backlog))
      let wakeUp = try WakeUp()
      let reader = EventReader(listener, filter, buffering, queue, wakeUp)
      let thread = try NamespaceThread.start(in: .current) { reader.run() }
      return FlowEvents(queue, wakeUp, thread)
    } catch {
      throw ConntrackError(error)
    }
  }

  /// What has come so far.
  public var counts: Counts { queue.counts }

  /// Stops listening: the thread has ended and the socket is closed when it returns, within
  /// milliseconds.
  ///
  /// Whoever iterates gets what is pending, then the end. The second time nothing happens.
  public func stop() {
    queue.end()
    wakeUp.wake()
    if let thread = thread.withLock({ $0.take() }) {
      // It only fails where a namespace has to be entered.
      try? thread.join()
    }
  }

  /// Makes whoever waits for ``batches`` get an empty one, so that it looks at its clock.
  public func nudge() { queue.push([]) }

  /// The events in groups, as they were received: what a fast reader should use.
  ///
  /// A group may be empty.
  public var batches: Batches { Batches(events: self) }

  /// Begins to iterate.
  public func makeAsyncIterator() -> Iterator { Iterator(batches: batches.makeAsyncIterator()) }

  /// Reads one event after the other.
  public struct Iterator: AsyncIteratorProtocol {
    var batches: Batches.Iterator
    private var batch: ArraySlice<FlowEvent> = []

    init(batches: Batches.Iterator) {
      self.batches = batches
    }

    /// The next event, or `nil` at the end.
    public mutating func next(
      isolation actor: isolated (any Actor)? = #isolation
    ) async throws(ConntrackError) -> FlowEvent? {
      while batch.isEmpty {
        guard let next = try await batches.next(isolation: actor) else { return nil }
        batch = next[...]
      }
      return batch.removeFirst()
    }
  }

  /// The events in groups.
  public struct Batches: AsyncSequence, Sendable {
    /// The events that came together.
    public typealias Element = [FlowEvent]
    /// Why the events end early.
    public typealias Failure = ConntrackError

    let events: FlowEvents

    /// Begins to iterate.
    public func makeAsyncIterator() -> Iterator { Iterator(events: events) }

    /// Reads one group after the other.
    public struct Iterator: AsyncIteratorProtocol {
      let events: FlowEvents

      /// The next group, or `nil` at the end.
      public mutating func next(
        isolation actor: isolated (any Actor)? = #isolation
      ) async throws(ConntrackError) -> [FlowEvent]? {
        let events = events
        let delivery = await withTaskCancellationHandler {
          await events.queue.take()
        } onCancel: {
          events.queue.end()
          events.wakeUp.wake()
        }
        switch delivery {
        case .events(let batch): return batch
        case .end: return nil
        case .failure(let error): throw error
        }
      }
    }
  }
}
