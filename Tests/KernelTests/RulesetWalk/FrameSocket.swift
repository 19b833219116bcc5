import CPrivateNamespaces
import Glibc
import Netlink
import SystemPackage

/// A packet socket on one interface of one host.
final class FrameSocket: Sendable {
  private let descriptor: Int32

  /// Opens it for one EtherType; 0 receives nothing.
  init(interface: String, type: UInt16, in namespace: NetworkNamespace) throws {
    descriptor = try namespace.run {
      // AF_PACKET takes its protocol in network order.
      let descriptor = socket(
        AF_PACKET, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue),
        Int32(type.bigEndian))
      guard descriptor >= 0 else { throw Errno(rawValue: errno) }
      // struct sockaddr_ll: family, protocol, interface, and eight bytes that bind() ignores.
      let index = unsafe if_nametoindex(interface)
      var address = [UInt8](repeating: 0, count: 20)
      address[0] = UInt8(AF_PACKET)
      address[2] = UInt8(type >> 8)
      address[3] = UInt8(type & 0xff)
      for byte in 0..<4 { address[4 + byte] = UInt8(truncatingIfNeeded: index >> (8 * byte)) }
      var wait = timeval(tv_sec: 60, tv_usec: 0)
      let failed = unsafe address.withUnsafeBytes { bytes -> Bool in
        guard let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self)
        else { return true }
        return unsafe bind(descriptor, start, socklen_t(bytes.count)) != 0
      }
      if failed {
        let error = Errno(rawValue: errno)
        close(descriptor)
        throw error
      }
      unsafe setsockopt(
        descriptor, SOL_SOCKET, SO_RCVTIMEO, &wait, socklen_t(MemoryLayout<timeval>.size))
      return descriptor
    }
  }

  deinit { close(descriptor) }

  /// Sends frames that arrive in their order.
  ///
  /// Each processor has a queue of its own for what comes out of a cable, so a thread that was moved to
  /// another one between two frames would have the second overtake the first.
  func send(_ frames: [[UInt8]]) throws {
    stay_on_processor()
    defer { leave_processor() }
    for frame in frames {
      let sent = unsafe Glibc.send(descriptor, frame, frame.count, 0)
      guard sent == frame.count else { throw Errno(rawValue: errno) }
    }
  }

  /// Waits until a frame has come; others than that one are passed over.
  func wait(for frame: [UInt8]) throws {
    var buffer = [UInt8](repeating: 0, count: frame.count)
    repeat {
      let count = unsafe recv(descriptor, &buffer, buffer.count, 0)
      guard count >= 0 else { throw Errno(rawValue: errno) }
    } while buffer != frame
  }
}
