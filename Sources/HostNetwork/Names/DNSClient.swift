public import Addressing
import Glibc

/// Asks name servers, many questions at once, within one bounded time.
///
/// UDP, and TCP where an answer was cut off. A server that says nothing for a second, or fails, gives
/// way to the next. Corresponds to `res_nquery(3)`, which knows no bound over several questions.
public struct DNSClient: Sendable {
  /// The servers, in the order they are asked.
  public var servers: [Endpoint]
  /// How long one server is waited for.
  static let patience = Duration.milliseconds(1000)
  /// The most questions that are asked at the same time.
  static let mostAtOnce = 256

  /// Makes a client of the host's name servers; the local host's where none is named, as libc does.
  ///
  /// - Parameter servers: The servers' addresses.
  public init(servers: [IPAddress] = HostNetwork.resolvers()) {
    let all = servers.isEmpty ? [IPAddress(ipv4: 0x7f00_0001)] : servers
    self.servers = all.map { Endpoint($0, 53) }
  }

  /// Makes a client of servers on any port.
  public init(endpoints: [Endpoint]) { servers = endpoints }

  /// Asks, and waits for all answers or the time.
  ///
  /// - Parameters:
  ///   - questions: What to ask.
  ///   - deadline: When to give up.
  /// - Returns: The answers that came; a question without one could not be answered.
  public func ask(
    _ questions: Set<DNSQuestion>, until deadline: ContinuousClock.Instant
  ) -> [DNSQuestion: DNSAnswer] {
    guard !servers.isEmpty else { return [:] }
    var answers: [DNSQuestion: DNSAnswer] = [:]
    var failures: [DNSQuestion: DNSAnswer] = [:]
    var waiting = questions.sorted { ($0.name, $0.kind.rawValue) < ($1.name, $1.kind.rawValue) }
      .prefix(Self.mostAtOnce).map { Pending($0) }
    defer { for pending in waiting { pending.exchange?.close() } }
    while !waiting.isEmpty, ContinuousClock.now < deadline {
      let now = ContinuousClock.now
      for index in waiting.indices where now >= waiting[index].next {
        waiting[index].begin(servers, patience: min(Self.patience, deadline - now))
      }
      Exchange.wait(
        waiting.compactMap(\.exchange),
        until: min(deadline, waiting.map(\.next).min() ?? deadline))
      for index in waiting.indices.reversed() {
        guard let answer = waiting[index].take() else { continue }
        let question = waiting[index].question
        if answer.isTruncated {
          waiting[index].overTCP()
          continue
        }
        guard answer.isKnown else {
          // Another server may know; this one's failure is remembered should none.
          failures[question] = answer
          waiting[index].failures += 1
          if waiting[index].failures < servers.count {
            waiting[index].next = now
            continue
          }
          waiting[index].exchange?.close()
          waiting.remove(at: index)
          continue
        }
        answers[question] = answer
        waiting[index].exchange?.close()
        waiting.remove(at: index)
      }
    }
    return failures.merging(answers) { _, answer in answer }
  }

  /// A question on its way from server to server.
  private struct Pending {
    let question: DNSQuestion
    var exchange: Exchange?
    var next = ContinuousClock.now
    var asked = 0
    var failures = 0
    private var patience = Duration.zero
    private var isTCP = false

    init(_ question: DNSQuestion) { self.question = question }

    mutating func begin(_ servers: [Endpoint], patience: Duration) {
      exchange?.close()
      self.patience = patience
      isTCP = false
      exchange = Exchange(question, to: servers[asked % servers.count], isTCP: false)
      asked += 1
      // Where the socket cannot even be opened, the next server is tried a moment later.
      next = ContinuousClock.now + (exchange == nil ? min(patience, .milliseconds(50)) : patience)
    }

    mutating func overTCP() {
      guard !isTCP, let server = exchange?.server else { return }
      exchange?.close()
      isTCP = true
      exchange = Exchange(question, to: server, isTCP: true)
      next = ContinuousClock.now + patience
    }

    mutating func take() -> DNSAnswer? {
      guard var current = exchange else { return nil }
      defer { exchange = current }
      guard let bytes = current.read() else {
        if current.isOver {
          current.close()
          // Refused at once: no need to wait.
          next = min(next, ContinuousClock.now + .milliseconds(50))
        }
        return nil
      }
      for message in bytes {
        if let answer = DNSMessage.answer(message, to: question, id: current.id) {
          guard !(answer.isTruncated && isTCP) else { continue }
          return answer
        }
      }
      return nil
    }
  }
}

/// One query to one server over a socket of its own, so that its port is one more secret.
private struct Exchange {
  let id: UInt16
  let server: Endpoint
  private let isTCP: Bool
  private var descriptor: Int32
  private var outgoing: [UInt8]
  private var incoming: [UInt8] = []
  private(set) var isOver = false

  init?(_ question: DNSQuestion, to server: Endpoint, isTCP: Bool) {
    id = UInt16.random(in: .min ... .max)
    self.server = server
    self.isTCP = isTCP
    let query = DNSMessage.query(question, id: id)
    let length = UInt16(query.count)
    outgoing =
      isTCP ? [UInt8(length >> 8), UInt8(truncatingIfNeeded: length)] + query : query
    let type = (isTCP ? SOCK_STREAM : SOCK_DGRAM).rawValue
    let flags = SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
    descriptor = socket(
      server.address.family == .ipv4 ? AF_INET : AF_INET6, Int32(type | flags), 0)
    guard descriptor >= 0 else { return nil }
    // Connected: the kernel drops what others send, and tells when nobody listens.
    guard Self.connect(descriptor, server) == 0 || errno == EINPROGRESS else {
      Glibc.close(descriptor)
      return nil
    }
    if !isTCP { write() }
  }

  func close() { if !isOver, descriptor >= 0 { Glibc.close(descriptor) } }

  private static func connect(_ descriptor: Int32, _ server: Endpoint) -> Int32 {
    if server.address.family == .ipv4 {
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = server.port.bigEndian
      address.sin_addr.s_addr = UInt32(truncatingIfNeeded: server.address.bits).bigEndian
      return unsafe withUnsafePointer(to: &address) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
    }
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_port = server.port.bigEndian
    unsafe withUnsafeMutableBytes(of: &address.sin6_addr) {
      unsafe $0.copyBytes(from: server.address.networkBytes)
    }
    return unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
      }
    }
  }

  private mutating func write() {
    guard !outgoing.isEmpty else { return }
    let count = unsafe outgoing.withUnsafeBytes {
      unsafe send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
    }
    if count > 0 { outgoing.removeFirst(min(count, outgoing.count)) }
    if count < 0, errno != EAGAIN, errno != EINTR, errno != ENOTCONN { end() }
  }

  private mutating func end() {
    guard !isOver else { return }
    Glibc.close(descriptor)
    isOver = true
  }

  /// The messages that have come, or `nil` for none yet.
  mutating func read() -> [[UInt8]]? {
    guard !isOver else { return nil }
    if isTCP { write() }
    guard !isOver else { return nil }
    var buffer = [UInt8](repeating: 0, count: 65536)
    let count = unsafe buffer.withUnsafeMutableBytes {
      unsafe recv(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT))
    }
    guard count > 0 else {
      if count == 0 && isTCP
        || count < 0 && errno != EAGAIN && errno != EINTR
          && errno != ENOTCONN
      {
        end()
      }
      return nil
    }
    guard isTCP else { return [Array(buffer[..<count])] }
    incoming += buffer[..<count]
    guard incoming.count >= 2 else { return nil }
    let length = Int(incoming[0]) << 8 | Int(incoming[1])
    guard incoming.count >= 2 + length else { return nil }
    return [Array(incoming[2..<2 + length])]
  }

  /// Waits until any of some can be read, or written where something is left to write.
  static func wait(_ exchanges: [Exchange], until moment: ContinuousClock.Instant) {
    var entries = exchanges.filter { !$0.isOver }.map { exchange in
      pollfd(
        fd: exchange.descriptor,
        events: Int16(POLLIN) | (exchange.outgoing.isEmpty ? 0 : Int16(POLLOUT)), revents: 0)
    }
    let left = moment - ContinuousClock.now
    let milliseconds =
      left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000
    _ = unsafe poll(
      &entries, nfds_t(entries.count), Int32(clamping: max(1, min(milliseconds + 1, 10_000))))
  }
}
