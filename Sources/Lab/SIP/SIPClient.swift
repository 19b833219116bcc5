public import Addressing
import Synchronization
public import SystemPackage

/// A telephone, carrier or scanner on a host: sends requests from one fixed port and hears answers.
public final class SIPClient: Sendable {
  /// What became of a request.
  public enum Answer: Sendable, Hashable {
    /// It was answered with this status.
    case answered(status: Int)
    /// An ICMP error came back, as a REJECT rule sends it: `EHOSTUNREACH`, `EACCES`, `ECONNREFUSED`.
    case refused(Errno)
    /// Nothing came back in time.
    case silence

    /// Whether there was a SIP answer.
    public var isAnswered: Bool {
      if case .answered = self { true } else { false }
    }
  }

  private struct State {
    var answers: [String: Int] = [:]
    var refusals: [Errno] = []
    var received: [Endpoint: Int] = [:]
    var sent = 0
    var isSending = false
  }

  /// The address and port requests are sent from.
  public let local: Endpoint
  private let loop: DatagramLoop
  private let state: SharedState

  /// Opens a client.
  ///
  /// - Parameters:
  ///   - host: The host it runs on.
  ///   - address: The address to bind; the host's IPv4 address by default.
  ///   - port: The port to send from.
  /// - Returns: The client; it lasts until it or the lab is closed.
  /// - Throws: ``LabError`` when the port is taken or the host isn't proved private.
  public static func open(
    on host: LabHost, address: IPAddress? = nil, port: UInt16 = 24376
  ) throws(LabError) -> SIPClient {
    let local = Endpoint(address ?? host.address4, port)
    let state = SharedState()
    let loop = try DatagramLoop.start(
      bindingTo: local, on: host, reportsErrors: true,
      onDatagram: { _, bytes, source in
        let message = SIPMessage(bytes)
        state.value.withLock { state in
          state.received[source, default: 0] += 1
          if let status = message?.status, let call = message?.header("call-id") {
            state.answers[call] = status
          }
        }
      },
      onFailure: { error in state.value.withLock { $0.refusals.append(error) } })
    return SIPClient(local: local, loop: loop, state: state)
  }

  private init(local: Endpoint, loop: DatagramLoop, state: SharedState) {
    self.local = local
    self.loop = loop
    self.state = state
  }

  /// How many requests were sent.
  public var sentCount: Int { state.value.withLock { $0.sent } }

  /// How many datagrams came back, answers and requests alike.
  public var receivedCount: Int { state.value.withLock { $0.received.values.reduce(0, +) } }

  /// How many ICMP errors came back.
  public var refusedCount: Int { state.value.withLock { $0.refusals.count } }

  /// Sends one request and doesn't wait.
  ///
  /// - Parameters:
  ///   - method: The method.
  ///   - peer: Where it goes.
  ///   - sentBy: Where its Via wants the answer; where it comes from unless given.
  /// - Throws: ``LabError`` when the kernel refuses to send it.
  public func send(
    _ method: String = "OPTIONS", to peer: Endpoint, sentBy: Endpoint? = nil
  ) throws(LabError) {
    _ = try post(method, to: peer, sentBy: sentBy)
  }

  /// Sends one request and waits for what comes back.
  ///
  /// On a busy machine it waits longer: the limit is counted in looks, each of which takes two
  /// milliseconds at least, so that whoever answers gets its turn as often as this does.
  ///
  /// - Parameters:
  ///   - method: The method.
  ///   - peer: Where it goes.
  ///   - limit: How long to wait at least.
  /// - Returns: The answer, the refusal or silence.
  /// - Throws: ``LabError`` when the kernel refuses to send it.
  public func request(
    _ method: String = "OPTIONS", to peer: Endpoint, within limit: Duration = .milliseconds(500)
  ) async throws(LabError) -> Answer {
    let refusedBefore = refusedCount
    let call = try post(method, to: peer)
    var looks = Looks(within: limit)
    while true {
      let answer = state.value.withLock { state -> Answer? in
        if let status = state.answers.removeValue(forKey: call) { return .answered(status: status) }
        if state.refusals.count > refusedBefore, let last = state.refusals.last {
          return .refused(last)
        }
        return nil
      }
      if let answer { return answer }
      guard await looks.again() else { return .silence }
    }
  }

  /// Sends several requests at an interval and doesn't wait for answers.
  ///
  /// - Parameters:
  ///   - count: How many.
  ///   - interval: Time between two.
  ///   - method: The method.
  ///   - peer: Where they go.
  /// - Throws: ``LabError`` when the kernel refuses to send one.
  public func burst(
    _ count: Int, every interval: Duration, _ method: String = "OPTIONS", to peer: Endpoint
  ) async throws(LabError) {
    for index in 0..<count {
      _ = try post(method, to: peer)
      guard index + 1 < count, !Task.isCancelled else { return }
      await pause(interval)
    }
  }

  /// Sends requests from now on until ``stopSending()``, on the client's own thread.
  ///
  /// - Parameters:
  ///   - interval: Time between two.
  ///   - method: The method.
  ///   - peer: Where they go.
  public func keepSending(
    every interval: Duration, _ method: String = "OPTIONS", to peer: Endpoint
  ) {
    loop.schedule([
      .init(
        due: .now, bytes: SIPMessage.request(method, from: local, to: peer, callID: newCallID()),
        destination: peer, interval: interval, key: Self.sendingKey)
    ])
  }

  /// Ends what ``keepSending(every:_:to:)`` began.
  public func stopSending() { loop.cancel(Self.sendingKey) }

  /// Closes the client.
  public func close() { loop.close() }

  private static let sendingKey = "keep sending"

  private func post(
    _ method: String, to peer: Endpoint, sentBy: Endpoint? = nil
  ) throws(LabError) -> String {
    let call = newCallID()
    let bytes = SIPMessage.request(method, from: local, to: peer, callID: call, sentBy: sentBy)
    if let error = loop.send(bytes, to: peer) {
      throw LabError(
        error == .badFileDescriptor ? .closed : .system, "send to \(peer)", errno: error)
    }
    return call
  }

  private func newCallID() -> String {
    let number = state.value.withLock { state in
      state.sent += 1
      return state.sent
    }
    return "\(local.port)-\(number)"
  }

  private final class SharedState: Sendable {
    let value = Mutex(State())
  }
}

/// Looks for something again and again, so many times as fit into a time on a machine that is idle.
///
/// A clock would run out on one that is busy, with nobody having had a turn.
struct Looks {
  private var left: Int

  init(within limit: Duration) {
    left = max(1, Int(limit / .milliseconds(2)))
  }

  /// Waits a moment for the next look.
  ///
  /// - Returns: Whether there is one; not when all were taken or the task is cancelled.
  mutating func again() async -> Bool {
    guard left > 0, !Task.isCancelled else { return false }
    left -= 1
    await pause(.milliseconds(2))
    return true
  }
}

/// Sleeps; returns early when the task is cancelled.
func pause(_ duration: Duration) async {
  try? await Task.sleep(for: duration)
}
