import Addressing
import Glibc
import Netlink
import Synchronization
import SystemPackage

/// A socket on a host with a thread of its own that reads it and sends what is due.
final class DatagramLoop: OpenEndpoint {
  /// A datagram to be sent at some time.
  struct Outgoing: Sendable {
    var due: ContinuousClock.Instant
    var bytes: [UInt8]
    var destination: Endpoint
    /// Sent again after this time, for ever.
    var interval: Duration?
    /// The name by which it can be called off.
    var key: String?
  }

  private struct State {
    var pending = OutgoingQueue()
    var failures: [Errno: Int] = [:]
    var isClosed = false
    /// How often somebody has asked for what waits in the socket to be read, and up to which of them
    /// that was done.
    var asked = 0
    var drained = 0
  }

  private let socket: DatagramSocket
  private let wakeRead: Int32
  private let wakeWrite: Int32
  private let state = Mutex(State())
  private let endpoints: Endpoints
  private let finished = DatagramThread()

  /// Opens a socket in a host's namespace and begins to read it.
  ///
  /// - Parameters:
  ///   - local: The address and port to bind.
  ///   - host: The host.
  ///   - reportsErrors: Whether ICMP errors come to `onFailure`.
  ///   - onDatagram: Called on the loop's thread.
  ///   - onFailure: Called on the loop's thread for each ICMP error.
  /// - Returns: The running loop.
  /// - Throws: ``LabError`` when the namespace isn't private or the socket can't be bound.
  static func start(
    bindingTo local: Endpoint, on host: LabHost, reportsErrors: Bool,
    onDatagram: @escaping @Sendable (DatagramLoop, [UInt8], Endpoint) -> Void,
    onFailure: @escaping @Sendable (Errno) -> Void = { _ in }
  ) throws(LabError) -> DatagramLoop {
    try Isolation.prove(host.namespace)
    let socket = try host.namespace.perform { () throws(LabError) in
      try DatagramSocket(bindingTo: local, reportsErrors: reportsErrors)
    }
    var ends: [Int32] = [-1, -1]
    guard unsafe pipe(&ends) == 0 else {
      let code = Errno(rawValue: errno)
      Glibc.close(socket.descriptor)
      throw LabError(.system, "make a pipe", errno: code)
    }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    let loop = DatagramLoop(socket, wake: (ends[0], ends[1]), host.endpoints)
    do {
      try loop.finished.start { loop.run(onDatagram, onFailure) }
    } catch {
      for descriptor in [socket.descriptor] + ends { Glibc.close(descriptor) }
      throw error
    }
    host.endpoints.add(loop)
    return loop
  }

  private init(
    _ socket: DatagramSocket, wake: (read: Int32, write: Int32), _ endpoints: Endpoints
  ) {
    self.socket = socket
    wakeRead = wake.read
    wakeWrite = wake.write
    self.endpoints = endpoints
  }

  /// How many datagrams could not be sent, by error: `EPERM` is a firewall's drop on the way out.
  var failures: [Errno: Int] { state.withLock { $0.failures } }

  /// Sends a datagram at once.
  ///
  /// - Returns: Why the kernel didn't take it, or `nil`.
  @discardableResult
  func send(_ bytes: [UInt8], to destination: Endpoint) -> Errno? {
    state.withLock { state -> Errno? in
      guard !state.isClosed else { return .badFileDescriptor }
      // An ICMP error for an earlier datagram may be handed over here instead: try again then.
      // `EPERM` is a firewall's and would count a second packet at its rule.
      for isLast in [false, true] {
        guard let error = socket.sendWhenReady(bytes, to: destination) else { return nil }
        guard isLast || error == .notPermitted else { continue }
        state.failures[error, default: 0] += 1
        return error
      }
      return nil
    }
  }

  /// Waits until everything that was in the socket has been read and handled.
  func drain() async {
    let number = state.withLock { state in
      state.asked += 1
      return state.asked
    }
    wake()
    while !state.withLock({ $0.isClosed || $0.drained >= number }) { await pause(.milliseconds(1)) }
  }

  /// Sends datagrams when they are due.
  func schedule(_ datagrams: [Outgoing]) {
    guard !datagrams.isEmpty else { return }
    state.withLock { state in
      for datagram in datagrams { state.pending.add(datagram) }
    }
    wake()
  }

  /// Calls off the datagrams of a key.
  func cancel(_ key: String) {
    state.withLock { $0.pending.cancel(key) }
  }

  /// Ends the thread and closes the socket; does nothing the second time.
  func close() {
    let wasOpen = state.withLock { state in
      defer { state.isClosed = true }
      return !state.isClosed
    }
    guard wasOpen else { return }
    wake()
    finished.join()
    for descriptor in [socket.descriptor, wakeRead, wakeWrite] { Glibc.close(descriptor) }
    endpoints.remove(self)
  }

  private func wake() {
    var byte: UInt8 = 1
    _ = unsafe write(wakeWrite, &byte, 1)
  }

  private func run(
    _ onDatagram: (DatagramLoop, [UInt8], Endpoint) -> Void, _ onFailure: (Errno) -> Void
  ) {
    var buffer = [UInt8](repeating: 0, count: 65536)
    while let wait = sendDue() {
      let (asked, isAsked) = state.withLock { ($0.asked, $0.asked > $0.drained) }
      var files = [
        pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0),
        pollfd(fd: wakeRead, events: Int16(POLLIN), revents: 0),
      ]
      // Whoever asked has waked it, so there is no second wake to wait for.
      _ = unsafe poll(&files, 2, isAsked ? 0 : wait)
      if files[1].revents != 0 {
        var bytes = [UInt8](repeating: 0, count: 64)
        _ = unsafe read(wakeRead, &bytes, bytes.count)
      }
      if files[0].revents != 0 {
        reading: while true {
          switch socket.receive(into: &buffer) {
          case .datagram(let bytes, let source): onDatagram(self, bytes, source)
          case .failure: continue
          case .nothing: break reading
          }
        }
        for error in socket.errorQueue() { onFailure(error) }
      }
      state.withLock { $0.drained = asked }
    }
  }

  /// Sends what is due.
  ///
  /// - Returns: Milliseconds until more is due, -1 for never; `nil` when closed.
  private func sendDue() -> Int32? {
    let now = ContinuousClock.now
    let due = state.withLock { state -> [Outgoing]? in
      guard !state.isClosed else { return nil }
      let due = state.pending.take(until: now)
      for var datagram in due {
        guard let interval = datagram.interval else { continue }
        datagram.due += interval
        state.pending.add(datagram)
      }
      return due
    }
    guard let due else { return nil }
    for datagram in due { send(datagram.bytes, to: datagram.destination) }
    let next = state.withLock { $0.pending.nextDue }
    guard let next else { return -1 }
    let left = (next - .now).components
    let milliseconds = left.seconds * 1000 + left.attoseconds / 1_000_000_000_000_000 + 1
    return Int32(clamping: max(0, milliseconds))
  }
}

/// A thread that can be joined from any other.
private final class DatagramThread: Sendable {
  private let done = Mutex(false)
  private let isStarted = Mutex(false)

  func start(_ body: @escaping @Sendable () -> Void) throws(LabError) {
    try startThread("start a socket's thread") {
      body()
      self.done.withLock { $0 = true }
    }
    isStarted.withLock { $0 = true }
  }

  /// Waits until the body has ended; it ends within a moment of being told.
  func join() {
    guard isStarted.withLock({ $0 }) else { return }
    while !done.withLock({ $0 }) { usleep(200) }
  }
}
