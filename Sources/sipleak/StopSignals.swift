import Dispatch
import Glibc
import Synchronization

/// Signals that ask this process to end, turned into calls: Ctrl-C, TERM and a hang-up.
///
/// No dispatch source: when one is released at the end, a signal ends the process after all, now and
/// then, instead of its exit status. A handler may do next to nothing, so it writes a byte to a pipe,
/// and a thread of its own waits there for as long as the process lives.
enum StopSignals {
  private static let writeEnd = Atomic<Int32>(-1)

  /// Calls a closure each time one of them comes, from now to the end of the process.
  ///
  /// Without a free descriptor the signals are ignored, as in any other change.
  ///
  /// - Parameter body: What to do; on a thread of its own.
  static func call(_ body: @escaping @Sendable () -> Void) {
    Console.holdSignals()
    var ends: [Int32] = [-1, -1]
    guard unsafe pipe(&ends) == 0 else { return }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    let readEnd = ends[0]
    writeEnd.store(ends[1], ordering: .sequentiallyConsistent)
    DispatchQueue(label: "sipleak.signals").async { @Sendable in
      var byte: UInt8 = 0
      while true {
        let count = unsafe read(readEnd, &byte, 1)
        if count == 1 { body() } else if count == 0 || errno != EINTR { return }
      }
    }
    for number in [SIGINT, SIGTERM, SIGHUP] {
      signal(number) { @Sendable _ in
        let saved = errno
        var byte: UInt8 = 1
        _ = unsafe write(StopSignals.writeEnd.load(ordering: .relaxed), &byte, 1)
        errno = saved
      }
    }
  }
}
