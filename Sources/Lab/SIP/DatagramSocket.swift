import Addressing
import Glibc
import SystemPackage

/// A UDP socket that speaks in endpoints.
///
/// It is closed by its owner: the thread that reads it outlives any scope here.
struct DatagramSocket: Sendable {
  let descriptor: Int32
  let family: AddressFamily

  /// Opens and binds a socket in the calling thread's network namespace.
  ///
  /// - Parameters:
  ///   - local: The address and port to bind; `[::]` takes IPv4 as well.
  ///   - reportsErrors: Whether ICMP errors are reported (`IP_RECVERR`): a client wants to hear a
  ///     REJECT, a server goes on as servers do.
  /// - Throws: ``LabError`` with the system's reason.
  init(bindingTo local: Endpoint, reportsErrors: Bool) throws(LabError) {
    let isIPv6 = local.address.family == .ipv6
    descriptor = socket(
      isIPv6 ? AF_INET6 : AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    family = local.address.family
    guard descriptor >= 0 else {
      throw LabError(.system, "open a socket", errno: Errno(rawValue: errno))
    }
    var options: [(level: Int, name: Int32, value: Int32)] = []
    if isIPv6 {
      options.append((IPPROTO_IPV6, IPV6_V6ONLY, local.address.isUnspecified ? 0 : 1))
      if reportsErrors { options.append((IPPROTO_IPV6, IPV6_RECVERR, 1)) }
    } else if reportsErrors {
      options.append((IPPROTO_IP, IP_RECVERR, 1))
    }
    for option in options {
      var value = option.value
      _ = unsafe setsockopt(
        descriptor, Int32(option.level), option.name, &value, socklen_t(MemoryLayout<Int32>.size))
    }
    let result = unsafe Self.withAddress(local, of: family) { address, length in
      unsafe bind(descriptor, address, length)
    }
    guard result == 0 else {
      let code = Errno(rawValue: errno)
      close(descriptor)
      throw LabError(.system, "bind udp \(local)", errno: code)
    }
  }

  /// Sends one datagram.
  ///
  /// - Returns: The error, or `nil`. An ICMP error for an earlier datagram may come back here.
  func send(_ bytes: [UInt8], to destination: Endpoint) -> Errno? {
    let result = unsafe Self.withAddress(destination, of: family) { address, length in
      unsafe sendto(descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT), address, length)
    }
    return result < 0 ? Errno(rawValue: errno) : nil
  }

  /// Sends one datagram, and waits while earlier ones that are still on their way fill the buffer.
  func sendWhenReady(_ bytes: [UInt8], to destination: Endpoint) -> Errno? {
    for _ in 0..<100 {
      let error = send(bytes, to: destination)
      guard error == .wouldBlock || error == .noBufferSpace else { return error }
      var file = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      _ = unsafe poll(&file, 1, 100)
    }
    return send(bytes, to: destination)
  }

  /// What one attempt to read gave.
  enum Reading {
    case datagram([UInt8], from: Endpoint)
    /// An ICMP error's echo; the error itself is in ``errorQueue()``.
    case failure
    case nothing
  }

  /// Reads one datagram without waiting, by way of a buffer as large as the largest.
  func receive(into bytes: inout [UInt8]) -> Reading {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let count = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe recvfrom(
          descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT), address, &length)
      }
    }
    guard count >= 0 else {
      let code = Errno(rawValue: errno)
      if code == .wouldBlock || code == .interrupted { return .nothing }
      return .failure
    }
    guard let source = Self.endpoint(storage) else { return .nothing }
    return .datagram(Array(bytes.prefix(count)), from: source)
  }

  /// Takes the ICMP errors that have come back, one an error, whichever call noticed them first.
  ///
  /// While anything is in this queue `poll` returns at once.
  func errorQueue() -> [Errno] {
    var errors: [Errno] = []
    var payload = [UInt8](repeating: 0, count: 64)
    var control = [UInt8](repeating: 0, count: 512)
    while let code = unsafe payload.withUnsafeMutableBytes({ payload in
      unsafe control.withUnsafeMutableBytes { control -> Int32? in
        var vector = unsafe iovec(iov_base: payload.baseAddress, iov_len: payload.count)
        return unsafe withUnsafeMutablePointer(to: &vector) { vector in
          var message = unsafe msghdr()
          unsafe message.msg_iov = vector
          unsafe message.msg_iovlen = 1
          unsafe message.msg_control = control.baseAddress
          unsafe message.msg_controllen = control.count
          let flags = Int32(MSG_ERRQUEUE | MSG_DONTWAIT)
          guard unsafe recvmsg(descriptor, &message, flags) >= 0 else { return nil }
          // One `cmsghdr` of 16 bytes, then `sock_extended_err`, whose first field is the errno.
          guard unsafe message.msg_controllen >= 20 else { return 0 }
          return unsafe control.loadUnaligned(fromByteOffset: 16, as: Int32.self)
        }
      }
    }) {
      errors.append(Errno(rawValue: code))
    }
    return errors
  }

  /// Hands a socket address to a call; one of the other family as IPv4-mapped.
  static func withAddress<R>(
    _ endpoint: Endpoint, of family: AddressFamily,
    _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
  ) -> R {
    if family == .ipv4 {
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = endpoint.port.bigEndian
      address.sin_addr.s_addr = UInt32(truncatingIfNeeded: endpoint.address.unmapped.bits).bigEndian
      return unsafe withUnsafePointer(to: &address) {
        unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          unsafe body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
    }
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_port = endpoint.port.bigEndian
    let bits =
      endpoint.address.family == .ipv4
      ? 0xffff_0000_0000 | endpoint.address.bits : endpoint.address.bits
    unsafe withUnsafeMutableBytes(of: &address.sin6_addr) {
      unsafe $0.copyBytes(from: IPAddress(family: .ipv6, bits: bits).networkBytes)
    }
    return unsafe withUnsafePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe body($0, socklen_t(MemoryLayout<sockaddr_in6>.size))
      }
    }
  }

  /// The address and port of a socket address; IPv4-mapped ones as IPv4.
  static func endpoint(_ storage: sockaddr_storage) -> Endpoint? {
    var storage = storage
    let bytes = unsafe withUnsafeBytes(of: &storage) { unsafe Array($0) }
    let port = UInt16(bytes[2]) << 8 | UInt16(bytes[3])
    switch Int32(storage.ss_family) {
    case AF_INET: return IPAddress(networkBytes: bytes[4..<8]).map { Endpoint($0, port) }
    case AF_INET6: return IPAddress(networkBytes: bytes[8..<24]).map { Endpoint($0.unmapped, port) }
    default: return nil
    }
  }
}
