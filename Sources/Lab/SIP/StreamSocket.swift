import Addressing
import Glibc
import SystemPackage

/// TCP sockets that speak in endpoints and never wait.
enum StreamSocket {
  /// Opens and binds a socket in the calling thread's network namespace.
  static func open(bindingTo local: Endpoint) throws(LabError) -> Int32 {
    let isIPv6 = local.address.family == .ipv6
    let descriptor = socket(
      isIPv6 ? AF_INET6 : AF_INET,
      Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else {
      throw LabError(.system, "open a socket", errno: Errno(rawValue: errno))
    }
    var yes: Int32 = 1
    let size = socklen_t(MemoryLayout<Int32>.size)
    _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, size)
    let result = unsafe DatagramSocket.withAddress(local, of: local.address.family) {
      address, length in unsafe bind(descriptor, address, length)
    }
    guard result == 0 else {
      let code = Errno(rawValue: errno)
      close(descriptor)
      throw LabError(.system, "bind tcp \(local)", errno: code)
    }
    return descriptor
  }

  /// Connects, or looks how far connecting has come.
  ///
  /// - Returns: The error, or `nil`.
  static func connect(_ descriptor: Int32, to peer: Endpoint) -> Errno? {
    let result = unsafe DatagramSocket.withAddress(peer, of: peer.address.family) {
      address, length in unsafe Glibc.connect(descriptor, address, length)
    }
    return result == 0 ? nil : Errno(rawValue: errno)
  }

  /// Accepts one connection.
  static func accept(_ listener: Int32) -> (descriptor: Int32, peer: IPAddress)? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let descriptor = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe Glibc.accept(listener, address, &length)
      }
    }
    guard descriptor >= 0 else { return nil }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    guard let peer = DatagramSocket.endpoint(storage) else {
      close(descriptor)
      return nil
    }
    return (descriptor, peer.address)
  }

  /// Takes what has arrived; empty at the end or after an error, `nil` when there is nothing yet.
  static func receive(_ descriptor: Int32) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = unsafe recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT))
    if count >= 0 { return Array(bytes.prefix(count)) }
    let code = Errno(rawValue: errno)
    return code == .wouldBlock || code == .interrupted ? nil : []
  }

  /// Sends what the kernel takes at once.
  static func send(_ descriptor: Int32, _ bytes: [UInt8]) {
    _ = unsafe Glibc.send(
      descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
  }
}
