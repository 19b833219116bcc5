import CNetfilter
import Glibc
import SystemPackage

/// Which part of the kernel a netlink socket talks to.
///
/// Corresponds to the third argument of `socket(AF_NETLINK, …)`.
public enum NetlinkProtocol: Int32, Sendable, Hashable {
  /// Addresses, links, routes (`NETLINK_ROUTE`).
  case route = 0
  /// Sockets (`NETLINK_SOCK_DIAG`).
  case socketDiagnosis = 4
  /// Connection tracking and the rest of nfnetlink (`NETLINK_NETFILTER`).
  case netfilter = 12
}

/// What a dump said about itself.
public struct NetlinkDump: Sendable, Hashable {
  /// Number of messages handed on.
  public var messages: UInt64 = 0
  /// Whether the kernel noticed a change that may have lost or doubled entries.
  ///
  /// `NLM_F_DUMP_INTR`. ctnetlink never sets it (facts I11).
  public var isInterrupted = false
  /// Whether the closure ended it early.
  public var isStopped = false
}

/// A netlink socket in a given network namespace.
///
/// One request at a time; every answer is matched by sequence number and must come from the kernel.
/// A dump that is left before its end leaves the socket unusable: close it, open another.
public struct NetlinkSocket: ~Copyable {
  let descriptor: Int32
  let portID: UInt32
  var sequence: UInt32 = 0
  var isBusy = false
  /// Kept between requests: making it anew costs more than a route lookup does.
  var buffer: [UInt8] = []

  /// No dump message of a current kernel is longer than 32 KiB; links with many virtual functions
  /// can be.
  private static let bufferSize = 128 * 1024

  private init(owning descriptor: Int32, portID: UInt32) {
    self.descriptor = descriptor
    self.portID = portID
  }

  deinit {
    close(descriptor)
  }

  /// Opens a socket.
  ///
  /// Opening needs no privilege; `CAP_SYS_ADMIN` if the namespace is another than the current one.
  ///
  /// - Parameters:
  ///   - protocol: What to talk to.
  ///   - namespace: The network namespace the socket belongs to for its whole life.
  /// - Returns: The socket.
  /// - Throws: ``NetlinkError`` with code `namespace`, `thread` or `open`.
  public static func open(
    _ protocol: NetlinkProtocol, in namespace: NetworkNamespace = .current
  ) throws(NetlinkError) -> NetlinkSocket {
    let number = `protocol`.rawValue
    // A descriptor stays in the namespace it was made in, whichever thread uses it.
    switch try namespace.enter({ Self.openHere(number) }) {
    case .success(let opened):
      return NetlinkSocket(owning: opened.descriptor, portID: opened.portID)
    case .failure(let error):
      throw NetlinkError(.open, operation: "open a netlink socket", errno: error)
    }
  }

  private static func openHere(
    _ number: Int32
  ) -> Result<(descriptor: Int32, portID: UInt32), Errno> {
    let kind = Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(AF_NETLINK, kind, number)
    guard descriptor >= 0 else { return .failure(Errno(rawValue: errno)) }
    var one: Int32 = 1
    // Both only improve error messages; kernels before 4.12 don't know them.
    for option in [NETLINK_EXT_ACK, NETLINK_CAP_ACK] {
      unsafe setsockopt(descriptor, SOL_NETLINK, Int32(option), &one, 4)
    }
    // Bounds a wait that should never happen: the kernel answers within the call to sendto.
    var timeout = timeval(tv_sec: 30, tv_usec: 0)
    unsafe setsockopt(
      descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    var address = sockaddr_nl()
    address.nl_family = UInt16(AF_NETLINK)
    var length = socklen_t(MemoryLayout<sockaddr_nl>.size)
    let failure: Errno? = unsafe withUnsafeMutablePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { plain in
        guard unsafe bind(descriptor, plain, length) == 0,
          unsafe getsockname(descriptor, plain, &length) == 0
        else { return Errno(rawValue: errno) }
        return nil
      }
    }
    if let failure {
      close(descriptor)
      return .failure(failure)
    }
    return .success((descriptor, address.nl_pid))
  }

  /// Sends a request and waits for its acknowledgement.
  ///
  /// - Parameters:
  ///   - request: The request; `NLM_F_REQUEST` and `NLM_F_ACK` are added.
  ///   - operation: What is being done, for error messages.
  ///   - body: Called for every message that comes before the acknowledgement, with its payload.
  /// - Throws: ``NetlinkError``; with code `refused` and the kernel's error number if it said no.
  public mutating func request(
    _ request: NetlinkRequest, operation: String,
    _ body: (NetlinkMessage, RawSpan) -> Void = { _, _ in }
  ) throws(NetlinkError) {
    try send(request, flags: UInt16(NLM_F_REQUEST | NLM_F_ACK), operation: operation)
    _ = try receive(isDump: false, operation: operation) {
      body($0, $1)
      return true
    }
  }

  /// Sends a dump request and hands on every message of the answer.
  ///
  /// A walk that returns little runs wholly inside this call's `sendto` (facts I9).
  ///
  /// - Parameters:
  ///   - request: The request; `NLM_F_REQUEST` and `NLM_F_DUMP` are added.
  ///   - operation: What is being done, for error messages.
  ///   - body: Called for every message with its payload; `false` ends the dump.
  /// - Returns: What the dump said about itself.
  /// - Throws: ``NetlinkError``; messages may have been handed on before.
  public mutating func dump(
    _ request: NetlinkRequest, operation: String, _ body: (NetlinkMessage, RawSpan) -> Bool
  ) throws(NetlinkError) -> NetlinkDump {
    try send(request, flags: UInt16(NLM_F_REQUEST | NLM_F_DUMP), operation: operation)
    return try receive(isDump: true, operation: operation, body)
  }

  private mutating func send(
    _ request: NetlinkRequest, flags: UInt16, operation: String
  ) throws(NetlinkError) {
    guard !isBusy else { throw NetlinkError(.busy, operation: operation) }
    guard !request.isOversized else { throw NetlinkError(.invalidRequest, operation: operation) }
    sequence &+= 1
    try send(
      request.finished(flags: flags, sequence: sequence, portID: portID), operation: operation)
  }

  func send(_ bytes: [UInt8], operation: String) throws(NetlinkError) {
    while true {
      let (sent, error) = unsafe bytes.withUnsafeBytes { buffer in
        let sent = unsafe Glibc.send(descriptor, buffer.baseAddress, buffer.count, 0)
        return (sent, Errno(rawValue: errno))
      }
      if sent == bytes.count { return }
      if sent < 0, error == .interrupted { continue }
      throw NetlinkError(.send, operation: operation, errno: sent < 0 ? error : nil)
    }
  }

  private mutating func receive(
    isDump: Bool, operation: String, _ body: (NetlinkMessage, RawSpan) -> Bool
  ) throws(NetlinkError) -> NetlinkDump {
    // Stays set when this is left by an error: answers may be on their way still.
    isBusy = true
    var result = NetlinkDump()
    var buffer = takeBuffer()
    defer { self.buffer = buffer }
    while true {
      let count = try receiveDatagram(into: &buffer, operation: operation)
      let bytes = unsafe buffer.span.bytes.extracting(0..<count)
      var cursor = MessageCursor()
      while true {
        let next: NetlinkMessage?
        do { next = try cursor.next(in: bytes) } catch {
          throw NetlinkError(.malformed, operation: operation)
        }
        guard let message = next else { break }
        // Leftovers of somebody else's question.
        guard message.sequence == sequence, message.portID == portID else { continue }
        if message.flags & UInt16(NLM_F_DUMP_INTR) != 0 { result.isInterrupted = true }
        switch Self.step(message, bytes, isDump: isDump) {
        case .done:
          isBusy = false
          return result
        case .failed(let errno, let text):
          isBusy = false
          throw NetlinkError(.refused, operation: operation, errno: errno, message: text)
        case .broken(let code):
          throw NetlinkError(code, operation: operation)
        case .skip:
          continue
        case .data:
          result.messages += 1
          if !body(message, bytes.extracting(message.payload)) {
            result.isStopped = true
            return result
          }
        }
      }
    }
  }

  /// The buffer, no longer part of the socket, so that the two can be used side by side.
  mutating func takeBuffer() -> [UInt8] {
    var taken: [UInt8] = []
    swap(&taken, &buffer)
    return taken.isEmpty ? [UInt8](repeating: 0, count: Self.bufferSize) : taken
  }

  func receiveDatagram(
    into buffer: inout [UInt8], operation: String
  ) throws(NetlinkError) -> Int {
    while true {
      var sender = sockaddr_nl()
      var length = socklen_t(MemoryLayout<sockaddr_nl>.size)
      let (count, error) = unsafe buffer.withUnsafeMutableBytes { bytes in
        unsafe withUnsafeMutablePointer(to: &sender) { pointer in
          unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { plain in
            // MSG_TRUNC gives the datagram's true length even if it doesn't fit.
            let count = unsafe recvfrom(
              descriptor, bytes.baseAddress, bytes.count, Int32(MSG_TRUNC), plain,
              &length)
            return (count, Errno(rawValue: errno))
          }
        }
      }
      if count < 0 {
        switch error {
        case .interrupted: continue
        case .noBufferSpace: throw NetlinkError(.overrun, operation: operation, errno: error)
        case .wouldBlock: throw NetlinkError(.timedOut, operation: operation, errno: error)
        default: throw NetlinkError(.receive, operation: operation, errno: error)
        }
      }
      guard count <= buffer.count else { throw NetlinkError(.truncated, operation: operation) }
      // Port 0 is the kernel; other processes can address this socket too.
      if sender.nl_pid == 0 { return count }
    }
  }
}

extension NetlinkSocket {
  /// What one message means for the exchange it is part of.
  enum Step: Equatable {
    case data
    case done
    case skip
    case failed(Errno, String?)
    case broken(NetlinkError.Code)
  }

  /// Tells data from control messages.
  ///
  /// - Parameters:
  ///   - message: The header.
  ///   - bytes: The datagram it is from.
  ///   - isDump: Whether the request was a dump, which `NLMSG_DONE` ends; others an acknowledgement.
  /// - Returns: What to do.
  static func step(_ message: NetlinkMessage, _ bytes: RawSpan, isDump: Bool) -> Step {
    switch Int32(message.type) {
    case NLMSG_NOOP:
      return .skip
    case NLMSG_OVERRUN:
      return .broken(.overrun)
    case NLMSG_ERROR:
      guard message.payload.count >= 20,
        let code = bytes.number(Int32.self, at: message.payload.lowerBound)
      else { return .broken(.malformed) }
      if code == 0 { return isDump ? .skip : .done }
      return .failed(systemError(code), explanation(message, bytes))
    case NLMSG_DONE:
      // The error of a dump that failed half-way stands in the payload; old kernels leave it out.
      guard let code = bytes.number(Int32.self, at: message.payload.lowerBound),
        message.payload.count >= 4, code < 0
      else { return .done }
      return .failed(systemError(code), nil)
    case ..<16:
      return .skip
    default:
      return .data
    }
  }

  private static func systemError(_ code: Int32) -> Errno {
    Errno(rawValue: code == .min ? .max : abs(code))
  }

  private static func explanation(_ message: NetlinkMessage, _ bytes: RawSpan) -> String? {
    guard message.flags & UInt16(NLM_F_ACK_TLVS) != 0,
      let quoted = bytes.number(UInt32.self, at: message.payload.lowerBound + 4)
    else { return nil }
    // The request is quoted whole, or its header alone (NLM_F_CAPPED).
    let isCapped = message.flags & UInt16(NLM_F_CAPPED) != 0
    let length = isCapped ? 16 : (Int(quoted) + 3) & ~3
    guard length <= message.payload.count - 4 else { return nil }
    var cursor = AttributeCursor(
      (message.payload.lowerBound + 4 + length)..<message.payload.upperBound)
    while let attribute = try? cursor.next(in: bytes) {
      if attribute.type == UInt16(NLMSGERR_ATTR_MSG.rawValue) { return attribute.string(in: bytes) }
    }
    return nil
  }
}
