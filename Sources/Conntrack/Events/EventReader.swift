import Netlink

/// The thread's work: receive, decode, hand over.
///
/// One datagram is one event. Receiving many in one call, and sleeping a little when there were few,
/// costs a quarter of the processor that waiting for each would.
final class EventReader: Sendable {
  private let listener: NetlinkListener
  private let filter: FlowEventFilter
  private let buffering: FlowEvents.Buffering
  private let queue: EventQueue
  private let wakeUp: WakeUp

  init(
    _ listener: consuming NetlinkListener, _ filter: FlowEventFilter,
    _ buffering: FlowEvents.Buffering, _ queue: EventQueue, _ wakeUp: WakeUp
  ) {
    self.listener = listener
    self.filter = filter
    self.buffering = buffering
    self.queue = queue
    self.wakeUp = wakeUp
  }

  /// Reads until it is woken up to stop, or the socket fails.
  func run() {
    let batch = ReceiveBatch()
    var loss = Loss()
    var size = buffering.receiveBuffer
    var nap = Self.nap(listener.setReceiveBuffer(size))
    while listener.wait(wakeUp) {
      var isRested = false
      while !isRested {
        var received = Received()
        let reception: NetlinkListener.Reception
        do {
          reception = try listener.receive(batch) { received.take($0, $1, filter) }
        } catch {
          queue.end(ConntrackError(error))
          return
        }
        switch reception {
        case .overrun:
          loss.begin()
          queue.push([]) { $0.losses += 1 }
          if size < buffering.largestReceiveBuffer {
            size = min(size * 2, buffering.largestReceiveBuffer)
            nap = Self.nap(listener.setReceiveBuffer(size))
          }
        case .full: if wakeUp.wait(milliseconds: 0) { return }
        case .some, .empty: isRested = true
        }
        // Said when the buffer is empty: until then the kernel may drop more without a word, and a
        // dump would begin too early.
        if loss.isDue(isEmpty: isRested) { received.events.append(.loss(.receiveBuffer)) }
        received.hand(to: queue)
      }
      if nap > 0, wakeUp.wait(milliseconds: nap) { return }
    }
  }

  /// Milliseconds to sleep when few events came: half as long as a receive buffer lasts.
  ///
  /// An event takes about 1 KiB of it, and 100,000 a second are more than a kernel with two
  /// processors sends. The kernel gives what `net.core.rmem_max` allows where more is not permitted.
  static func nap(_ receiveBuffer: Int) -> Int32 {
    Int32(clamping: min(10, receiveBuffer / 1024 / 100 / 2))
  }

  /// A loss that has been noticed and not been told yet.
  private struct Loss {
    private var since: ContinuousClock.Instant?

    mutating func begin() {
      since = since ?? .now
    }

    /// Whether to tell it now; under a load that never lets the buffer run dry, every second.
    mutating func isDue(isEmpty: Bool) -> Bool {
      guard let began = since else { return false }
      if isEmpty {
        since = nil
        return true
      }
      guard began.duration(to: .now) > .seconds(1) else { return false }
      since = .now
      return true
    }
  }

  /// What one batch held.
  private struct Received {
    var events: [FlowEvent] = []
    var messages: UInt64 = 0
    var malformed: UInt64 = 0

    mutating func take(
      _ message: NetlinkMessage?, _ payload: RawSpan, _ filter: FlowEventFilter
    ) {
      messages += 1
      do throws(MalformedNetlink) {
        guard let message else { throw MalformedNetlink(offset: 0) }
        if let event = try FlowEvent.decode(message, payload, filter) { events.append(event) }
      } catch {
        malformed += 1
        // A message that can't be read may have been the one that mattered.
        if events.last != .loss(.malformed) { events.append(.loss(.malformed)) }
      }
    }

    func hand(to queue: EventQueue) {
      guard messages > 0 || !events.isEmpty else { return }
      let (messages, malformed, given) = (messages, malformed, UInt64(events.count))
      queue.push(events) { counts in
        counts.received += messages
        counts.malformed += malformed
        counts.given += given
        if malformed > 0 { counts.losses += 1 }
      }
    }
  }
}
