public import Addressing
import Synchronization
public import SystemPackage

/// A SIP server on a host that answers every request, as a telephone system does to strangers too.
public final class SIPServer: Sendable {
  /// How a server answers and what it sends by itself.
  public struct Behavior: Sendable {
    /// Whether requests are answered at all.
    public var answers: Bool
    /// Time between a request and its answer.
    ///
    /// With 30 ms a deleted flow is reopened by the answer that was still on its way (facts C3).
    public var answerDelay: Duration
    /// Whether the answer to an INVITE is sent again until it is acknowledged.
    ///
    /// After 0.5, 1.5, 3.5, 7.5 s and then every 4 s up to 32 s, as RFC 3261 §13.3.1.4 has it.
    public var retransmitsAnswers: Bool
    /// Time between two keepalives (OPTIONS), or `nil` for none.
    public var keepaliveInterval: Duration?
    /// Who gets keepalives; empty means everybody who ever sent a request.
    public var keepalivePeers: [Endpoint]
    /// Whether answers go where the Via says rather than where the request came from.
    ///
    /// Then one packet with an allowed, forged source opens a flow to anybody (facts A3b).
    public var answersSentBy: Bool

    /// Makes a behaviour; by default requests are answered at once and nothing else is sent.
    ///
    /// - Parameters:
    ///   - answers: Whether requests are answered.
    ///   - answerDelay: Time between a request and its answer.
    ///   - retransmitsAnswers: Whether answers to INVITE are repeated until acknowledged.
    ///   - keepaliveInterval: Time between two keepalives, or `nil`.
    ///   - keepalivePeers: Who gets keepalives; empty for everybody who sent a request.
    ///   - answersSentBy: Whether answers go where the Via says.
    public init(
      answers: Bool = true, answerDelay: Duration = .zero, retransmitsAnswers: Bool = false,
      keepaliveInterval: Duration? = nil, keepalivePeers: [Endpoint] = [],
      answersSentBy: Bool = false
    ) {
      self.answersSentBy = answersSentBy
      self.answers = answers
      self.answerDelay = answerDelay
      self.retransmitsAnswers = retransmitsAnswers
      self.keepaliveInterval = keepaliveInterval
      self.keepalivePeers = keepalivePeers
    }
  }

  /// A message that reached the server: proof that a packet got through the firewall.
  public struct Reception: Sendable {
    /// When it was read.
    public var time: ContinuousClock.Instant
    /// Where it came from.
    public var source: Endpoint
    /// The method of a request, the status of a response, or empty for anything else.
    public var message: String
  }

  /// The address and port it is bound to.
  public let local: Endpoint
  private let book: Book
  private let loop: DatagramLoop

  /// Starts a server.
  ///
  /// - Parameters:
  ///   - host: The host it runs on.
  ///   - address: The address to bind: the host's IPv4 address by default, `::` for both families.
  ///   - port: The port to bind.
  ///   - behavior: How it answers.
  /// - Returns: The server; it runs until it or the lab is closed.
  /// - Throws: ``LabError`` when the port is taken or the host isn't proved private.
  public static func start(
    on host: LabHost, address: IPAddress? = nil, port: UInt16 = 5060,
    behavior: Behavior = Behavior()
  ) throws(LabError) -> SIPServer {
    let local = Endpoint(address ?? host.address4, port)
    let book = Book(local: local, behavior: behavior)
    let loop = try DatagramLoop.start(
      bindingTo: local, on: host, reportsErrors: false,
      onDatagram: { loop, bytes, source in book.receive(bytes, from: source, on: loop) })
    if let interval = behavior.keepaliveInterval {
      loop.schedule(behavior.keepalivePeers.map { book.keepalive(to: $0, every: interval) })
    }
    return SIPServer(local: local, book: book, loop: loop)
  }

  private init(local: Endpoint, book: Book, loop: DatagramLoop) {
    self.local = local
    self.book = book
    self.loop = loop
  }

  /// Every message received, in order; the oldest are dropped beyond 200,000.
  ///
  /// Whoever sees one here sees its answer sent, unless that is to wait.
  public var received: [Reception] { book.receptions.withLock { $0 } }

  /// How many messages came from an address.
  public func count(from address: IPAddress) -> Int {
    received.count { $0.source.address == address }
  }

  /// How many datagrams the kernel refused to send, by error.
  ///
  /// `EPERM` means a rule dropped them on the way out.
  public var sendFailures: [Errno: Int] { loop.failures }

  /// Sends a request from the server's own port: what opens a flow from the inside.
  ///
  /// - Parameters:
  ///   - method: The method, such as `OPTIONS`.
  ///   - peer: Where it goes.
  /// - Throws: ``LabError`` when the kernel refuses it.
  public func send(_ method: String = "OPTIONS", to peer: Endpoint) throws(LabError) {
    let bytes = SIPMessage.request(method, from: local, to: peer, callID: book.newCallID())
    if let error = loop.send(bytes, to: peer) {
      throw LabError(.system, "send to \(peer)", errno: error)
    }
  }

  /// Waits until enough messages have come from an address.
  ///
  /// - Parameters:
  ///   - count: How many messages, counted from the start.
  ///   - address: Where from.
  ///   - limit: How long to wait.
  /// - Returns: Whether they came in time.
  public func received(
    _ count: Int, from address: IPAddress, within limit: Duration = .seconds(60)
  ) async -> Bool {
    let end = ContinuousClock.now + limit
    while self.count(from: address) < count {
      guard ContinuousClock.now < end, !Task.isCancelled else { return false }
      await pause(.milliseconds(5))
    }
    return true
  }

  /// Waits until every message that has come to the socket is among those received.
  public func settle() async { await loop.drain() }

  /// Stops the server and closes its socket.
  public func close() { loop.close() }
}

/// What a server knows and how it reacts; on the loop's thread.
private final class Book: Sendable {
  let receptions = Mutex<[SIPServer.Reception]>([])
  private let peers = Mutex<Set<Endpoint>>([])
  private let calls = Mutex(0)
  private let local: Endpoint
  private let behavior: SIPServer.Behavior

  init(local: Endpoint, behavior: SIPServer.Behavior) {
    self.local = local
    self.behavior = behavior
  }

  func newCallID() -> String {
    let number = calls.withLock { number in
      number += 1
      return number
    }
    return "pbx-\(number)"
  }

  func keepalive(to peer: Endpoint, every interval: Duration) -> DatagramLoop.Outgoing {
    DatagramLoop.Outgoing(
      due: .now + interval,
      bytes: SIPMessage.request("OPTIONS", from: local, to: peer, callID: newCallID()),
      destination: peer, interval: interval)
  }

  func receive(_ bytes: [UInt8], from source: Endpoint, on loop: DatagramLoop) {
    let message = SIPMessage(bytes)
    let name = message?.method ?? message?.status.map(String.init) ?? ""
    // Received and answered in one: nobody sees the one without the other.
    receptions.withLock { list in
      if list.count >= 200_000 { list.removeFirst(100_000) }
      list.append(.init(time: .now, source: source, message: name))
      if let message { react(to: message, from: source, on: loop) }
    }
  }

  private func react(to message: SIPMessage, from source: Endpoint, on loop: DatagramLoop) {
    guard let method = message.method else { return }
    let call = "\(source) \(message.header("call-id") ?? "")"
    if method == "ACK" {
      loop.cancel(call)
      return
    }
    if behavior.answers {
      let end = behavior.answersSentBy ? message.sentBy ?? source : source
      answer(message, method, to: end, call: call, on: loop)
    }
    if let interval = behavior.keepaliveInterval, behavior.keepalivePeers.isEmpty,
      peers.withLock({ $0.count < 256 && $0.insert(source).inserted })
    {
      loop.schedule([keepalive(to: source, every: interval)])
    }
  }

  private func answer(
    _ message: SIPMessage, _ method: String, to source: Endpoint, call: String,
    on loop: DatagramLoop
  ) {
    let known = ["INVITE", "OPTIONS", "REGISTER", "BYE", "CANCEL"].contains(method)
    let bytes = known ? message.answer(200, "OK") : message.answer(501, "Not Implemented")
    if behavior.answerDelay <= .zero {
      loop.send(bytes, to: source)
    } else {
      loop.schedule([.init(due: .now + behavior.answerDelay, bytes: bytes, destination: source)])
    }
    guard behavior.retransmitsAnswers, method == "INVITE" else { return }
    // T1 doubling up to T2, for 64*T1.
    var delay = 0.5
    var after = delay
    var repeats: [DatagramLoop.Outgoing] = []
    while after <= 32 {
      repeats.append(
        .init(
          due: .now + behavior.answerDelay + .seconds(after), bytes: bytes, destination: source,
          key: call))
      delay = min(delay * 2, 4)
      after += delay
    }
    loop.cancel(call)
    loop.schedule(repeats)
  }
}
