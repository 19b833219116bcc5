import Glibc
import Synchronization

/// Ctrl-C, TERM or a hang-up while something of ours stands in the firewall: noticed, and acted upon
/// once it is removed.
///
/// Without it the default action would end the process at once, and nothing would clean up. One at
/// a time in a process, as signals are the process's.
public struct Interruption: Sendable {
  // A handler may do no more than this: atomics are safe there, locks and memory are not.
  private static let noticed = Atomic(false)
  private static let signals = [SIGINT, SIGTERM, SIGHUP]

  private init() {}

  /// Begins to notice the signals instead of being ended by them.
  public static func watch() -> Interruption {
    // Also makes the global before a handler may need it.
    noticed.store(false, ordering: .relaxed)
    for number in signals {
      signal(number) { @Sendable _ in Interruption.noticed.store(true, ordering: .relaxed) }
    }
    return Interruption()
  }

  /// Whether one of the signals came.
  public var isRequested: Bool { Self.noticed.load(ordering: .relaxed) }

  /// Gives the signals their default action back.
  public func end() {
    for number in Self.signals { signal(number, SIG_DFL) }
  }
}
