public import Addressing
import Glibc
import Netlink
import Synchronization
public import SystemPackage

/// A telephone or scanner that speaks SIP over TCP from one fixed port.
public final class StreamClient: Sendable {
  /// What became of a connection attempt.
  public enum Opening: Sendable, Hashable {
    /// It stands.
    case connected
    /// An error came back, as a REJECT rule or a closed port sends it.
    case refused(Errno)
    /// Nothing came back in time.
    case silence
  }

  /// The address and port it speaks from.
  public let local: Endpoint
  private let descriptor: Int32
  private let endpoints: Endpoints
  private let isOpen = Mutex(true)
  private let calls = Mutex(0)

  /// Opens a client that is not connected yet.
  ///
  /// - Parameters:
  ///   - host: The host it runs on.
  ///   - address: The address to bind; the host's IPv4 address by default.
  ///   - port: The port to speak from.
  /// - Returns: The client; it lasts until it or the lab is closed.
  /// - Throws: ``LabError`` when the port is taken or the host isn't proved private.
  public static func open(
    on host: LabHost, address: IPAddress? = nil, port: UInt16 = 24376
  ) throws(LabError) -> StreamClient {
    let local = Endpoint(address ?? host.address4, port)
    try Isolation.prove(host.namespace)
    let descriptor = try host.namespace.perform { () throws(LabError) in
      try StreamSocket.open(bindingTo: local)
    }
    let client = StreamClient(local, descriptor, host.endpoints)
    host.endpoints.add(client)
    return client
  }

  private init(_ local: Endpoint, _ descriptor: Int32, _ endpoints: Endpoints) {
    self.local = local
    self.descriptor = descriptor
    self.endpoints = endpoints
  }

  /// Connects.
  ///
  /// - Parameters:
  ///   - peer: Where to.
  ///   - limit: How long to wait; the attempt goes on in the kernel afterwards.
  /// - Returns: What became of it.
  public func connect(to peer: Endpoint, within limit: Duration = .seconds(1)) async -> Opening {
    var looks = Looks(within: limit)
    var failure = StreamSocket.connect(descriptor, to: peer)
    while failure == .nowInProgress || failure == .alreadyInProcess {
      guard await looks.again() else { return .silence }
      failure = StreamSocket.connect(descriptor, to: peer)
    }
    guard let failure, failure != .socketIsConnected else { return .connected }
    return .refused(failure)
  }

  /// Sends a request on the connection and waits for anything to come back.
  ///
  /// - Parameters:
  ///   - method: The method.
  ///   - peer: Whom it names.
  ///   - limit: How long to wait.
  /// - Returns: Whether an answer came; keepalives are none.
  public func request(
    _ method: String = "OPTIONS", to peer: Endpoint, within limit: Duration = .seconds(10)
  ) async -> Bool {
    let number = calls.withLock { number in
      number += 1
      return number
    }
    let call = "stream-\(local.port)-\(number)"
    StreamSocket.send(
      descriptor, SIPMessage.request(method, from: local, to: peer, callID: call))
    var looks = Looks(within: limit)
    var text = ""
    while true {
      if let bytes = StreamSocket.receive(descriptor) {
        text += String(decoding: bytes, as: UTF8.self)
        if text.contains("Call-ID: \(call)\r\n") { return true }
        if bytes.isEmpty { return false }
      }
      guard await looks.again() else { return false }
    }
  }

  /// Closes the client.
  public func close() {
    let wasOpen = isOpen.withLock { isOpen in
      defer { isOpen = false }
      return isOpen
    }
    guard wasOpen else { return }
    Glibc.close(descriptor)
    endpoints.remove(self)
  }
}

extension StreamClient: OpenEndpoint {}
