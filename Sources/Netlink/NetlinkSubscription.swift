import CNetfilter
import Glibc
import SystemPackage

/// What the kernel sends without being asked each time.
extension NetlinkSocket {
  /// One look at the socket.
  enum Arrival: Equatable {
    case none
    case datagram(Int)
    /// Datagrams were lost because the receive buffer was full; the socket goes on.
    case overrun
  }

  /// Asks for a larger receive buffer, beyond the system's limit where this process may.
  func growReceiveBuffer(to bytes: Int32) {
    var size = bytes
    if unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, 4) != 0 {
      _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4)
    }
  }

  /// Waits until a datagram or an error is there.
  func waitForDatagram(_ milliseconds: Int32) throws(NetlinkError) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    let count = unsafe poll(&entry, 1, milliseconds)
    if count >= 0 { return count > 0 }
    let error = Errno(rawValue: errno)
    guard error == .interrupted else {
      throw NetlinkError(.receive, operation: "wait for the kernel", errno: error)
    }
    return false
  }

  /// Takes one datagram of the kernel, if one is there.
  func takeDatagram(_ buffer: inout [UInt8]) throws(NetlinkError) -> Arrival {
    while true {
      var sender = sockaddr_nl()
      var length = socklen_t(MemoryLayout<sockaddr_nl>.size)
      let (count, error) = unsafe buffer.withUnsafeMutableBytes { bytes in
        unsafe withUnsafeMutablePointer(to: &sender) { pointer in
          unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { plain in
            let count = unsafe recvfrom(
              descriptor, bytes.baseAddress, bytes.count, Int32(MSG_TRUNC) | Int32(MSG_DONTWAIT),
              plain, &length)
            return (count, Errno(rawValue: errno))
          }
        }
      }
      if count < 0 {
        switch error {
        case .interrupted: continue
        case .noBufferSpace: return .overrun
        case .wouldBlock: return .none
        default: throw NetlinkError(.receive, operation: "read logged packets", errno: error)
        }
      }
      guard count <= buffer.count else {
        throw NetlinkError(.truncated, operation: "read logged packets")
      }
      // Port 0 is the kernel; other processes can address this socket too.
      if sender.nl_pid == 0 { return .datagram(count) }
    }
  }
}
