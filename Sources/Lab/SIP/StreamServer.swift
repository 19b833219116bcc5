public import Addressing
import Glibc
import Netlink
import Synchronization
import SystemPackage

/// A SIP server over TCP that answers whatever arrives, as SIP or as SIP over TLS would.
///
/// What is inside does not matter to a firewall: 5061 is served like 5060.
public final class StreamServer: Sendable {
  private struct State {
    var received: [IPAddress: Int] = [:]
    var isClosed = false
    var isDone = false
  }

  /// The address and port it listens on.
  public let local: Endpoint
  private let state = Mutex(State())
  private let endpoints: Endpoints
  private let listener: Int32

  /// Starts a server.
  ///
  /// - Parameters:
  ///   - host: The host it runs on.
  ///   - address: The address to bind; the host's IPv4 address by default.
  ///   - port: The port to bind.
  ///   - keepalive: Time between two keepalives to everybody connected, or `nil` for none.
  /// - Returns: The server; it runs until it or the lab is closed.
  /// - Throws: ``LabError`` when the port is taken or the host isn't proved private.
  public static func start(
    on host: LabHost, address: IPAddress? = nil, port: UInt16 = 5060, keepalive: Duration? = nil
  ) throws(LabError) -> StreamServer {
    let local = Endpoint(address ?? host.address4, port)
    try Isolation.prove(host.namespace)
    let listener = try host.namespace.perform { () throws(LabError) in
      let listener = try StreamSocket.open(bindingTo: local)
      guard listen(listener, 8) == 0 else {
        let code = Errno(rawValue: errno)
        Glibc.close(listener)
        throw LabError(.system, "listen at \(local)", errno: code)
      }
      return listener
    }
    let server = StreamServer(local, listener, host.endpoints)
    do {
      try startThread("start a server's thread") { server.run(keepalive: keepalive) }
    } catch {
      Glibc.close(listener)
      throw error
    }
    host.endpoints.add(server)
    return server
  }

  private init(_ local: Endpoint, _ listener: Int32, _ endpoints: Endpoints) {
    self.local = local
    self.listener = listener
    self.endpoints = endpoints
  }

  /// How many messages came from an address: proof that its packets got through the firewall.
  public func count(from address: IPAddress) -> Int {
    state.withLock { $0.received[address] ?? 0 }
  }

  /// Closes the server and its connections.
  public func close() {
    let wasOpen = state.withLock { state in
      defer { state.isClosed = true }
      return !state.isClosed
    }
    guard wasOpen else { return }
    while !state.withLock({ $0.isDone }) { usleep(200) }
    endpoints.remove(self)
  }

  private func run(keepalive: Duration?) {
    var connections: [(descriptor: Int32, peer: IPAddress)] = []
    var nextKeepalive = keepalive.map { ContinuousClock.now + $0 }
    while !state.withLock({ $0.isClosed }) {
      var files = ([listener] + connections.map(\.descriptor)).map {
        pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
      }
      // Looked at often enough to be closed soon and to keep its intervals.
      _ = unsafe poll(&files, nfds_t(files.count), 10)
      for index in connections.indices.reversed() where files[index + 1].revents != 0 {
        let connection = connections[index]
        guard let bytes = StreamSocket.receive(connection.descriptor) else { continue }
        if bytes.isEmpty {
          Glibc.close(connection.descriptor)
          connections.remove(at: index)
          continue
        }
        state.withLock { $0.received[connection.peer, default: 0] += 1 }
        let answer = SIPMessage(bytes)?.answer(200, "OK")
        if let answer { StreamSocket.send(connection.descriptor, answer) }
      }
      if files[0].revents != 0, let connection = StreamSocket.accept(listener) {
        connections.append(connection)
      }
      if let keepalive, let due = nextKeepalive, due <= .now {
        for connection in connections {
          StreamSocket.send(connection.descriptor, Array("\r\n\r\n".utf8))
        }
        nextKeepalive = .now + keepalive
      }
    }
    for descriptor in connections.map(\.descriptor) + [listener] { Glibc.close(descriptor) }
    state.withLock { $0.isDone = true }
  }
}

extension StreamServer: OpenEndpoint {}
