import CNetfilter
import Glibc
import SystemPackage

/// Wakes a thread that waits in `poll(2)`, from any other.
///
/// Corresponds to `eventfd(2)`. Once woken it stays awake.
package final class WakeUp: Sendable {
  let descriptor: Int32

  /// Makes one.
  ///
  /// - Throws: ``NetlinkError`` with code `open`.
  package init() throws(NetlinkError) {
    descriptor = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
    guard descriptor >= 0 else {
      throw NetlinkError(
        .open, operation: "make an eventfd", errno: Errno(rawValue: errno))
    }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// Wakes whoever waits.
  package func wake() {
    var one: UInt64 = 1
    _ = unsafe write(descriptor, &one, 8)
  }

  /// Waits until it is woken or the time is up.
  ///
  /// - Parameter milliseconds: How long to wait at most.
  /// - Returns: Whether it was woken.
  package func wait(milliseconds: Int32) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&entry, 1, milliseconds) > 0
  }
}
