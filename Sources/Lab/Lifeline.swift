import Glibc
import SystemPackage

/// Ends this process when the outer process that made its namespaces has ended, however it ended.
enum Lifeline {
  /// Begins to watch; does nothing when there is nothing to watch.
  ///
  /// - Throws: ``LabError`` when no thread can be started.
  static func hold() throws(LabError) {
    guard let text = environment(PrivateNamespaces.lifelineVariable), let file = Int32(text) else {
      return
    }
    // Programs started from here must neither inherit the descriptor nor look for it.
    unsafe unsetenv(PrivateNamespaces.lifelineVariable)
    _ = fcntl(file, F_SETFD, FD_CLOEXEC)
    try startThread("hold on to the outer process") {
      var byte: UInt8 = 0
      while unsafe read(file, &byte, 1) < 0, errno == EINTR {}
      _exit(128 + SIGINT)
    }
  }
}

/// Starts a thread of its own for work that blocks.
///
/// - Parameters:
///   - operation: What it is for, for the error.
///   - body: The work.
/// - Returns: The thread, to be joined or forgotten.
/// - Throws: ``LabError`` when the system has no more threads.
@discardableResult
func startThread(
  _ operation: String, _ body: @escaping @Sendable () -> Void
) throws(LabError) -> pthread_t {
  final class Work: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var thread = pthread_t()
  let work = unsafe Unmanaged.passRetained(Work(body))
  let result = unsafe pthread_create(
    &thread, nil,
    { argument in
      if let argument = unsafe argument {
        unsafe Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body()
      }
      return nil
    }, work.toOpaque())
  guard result == 0 else {
    unsafe work.release()
    throw LabError(.system, operation, errno: Errno(rawValue: result))
  }
  return thread
}
