import Glibc
import SystemPackage

/// Signals that ask this process to end, turned into bytes of a pipe.
///
/// By handlers and not by a mask: in a program with an `async` main function other threads exist,
/// and a signal that only one thread blocks is taken by another.
struct Signals {
  // A handler can reach nothing but globals. Written before handlers are installed, and constant
  // initializers keep Swift's lazy initialization out of the handler.
  nonisolated(unsafe) private static var pipeEnd: Int32 = -1

  private let read: Int32
  private let write: Int32
  private let before: [(signal: Int32, action: sigaction)]

  /// Begins to catch SIGINT and SIGTERM, and SIGHUP and SIGQUIT unless they are ignored (nohup).
  ///
  /// - Throws: ``LabError`` when no pipe can be made.
  static func catching() throws(LabError) -> Signals {
    var ends: [Int32] = [-1, -1]
    guard unsafe pipe(&ends) == 0 else {
      throw LabError(.system, "make a pipe", errno: Errno(rawValue: errno))
    }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
    unsafe pipeEnd = ends[1]
    var before: [(signal: Int32, action: sigaction)] = []
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
      var old = sigaction()
      guard unsafe sigaction(signal, nil, &old) == 0 else { continue }
      let isIgnored = unsafe unsafeBitCast(old.__sigaction_handler.sa_handler, to: Int.self) == 1
      if isIgnored, signal == SIGHUP || signal == SIGQUIT { continue }
      var new = sigaction()
      unsafe new.__sigaction_handler.sa_handler = { signal in
        let saved = errno
        var byte = UInt8(truncatingIfNeeded: signal)
        _ = unsafe Glibc.write(Signals.pipeEnd, &byte, 1)
        errno = saved
      }
      new.sa_flags = SA_RESTART
      unsafe sigaction(signal, &new, nil)
      before.append((signal, old))
    }
    return Signals(read: ends[0], write: ends[1], before: before)
  }

  /// The next signal that has come, or comes within some milliseconds.
  func next(within milliseconds: Int32) -> Int32? {
    var file = pollfd(fd: read, events: Int16(POLLIN), revents: 0)
    guard unsafe poll(&file, 1, milliseconds) > 0 else { return nil }
    var byte: UInt8 = 0
    return unsafe Glibc.read(read, &byte, 1) == 1 ? Int32(byte) : nil
  }

  /// Puts back what was there before; the second time nothing happens.
  func release() {
    guard unsafe Self.pipeEnd == write else { return }
    for entry in before {
      var action = entry.action
      unsafe sigaction(entry.signal, &action, nil)
    }
    unsafe Self.pipeEnd = -1
    close(read)
    close(write)
  }
}
