import Glibc
import SystemPackage

/// Keeps two sipleaks from changing one firewall at the same time.
///
/// An advisory `flock(2)` that the kernel drops when the process ends, however it ends. It is held
/// on a file of our own: `/run/xtables.lock` belongs to the iptables tools we run.
struct RunLock: ~Copyable {
  private let file: FileDescriptor

  private init(owning file: FileDescriptor) { self.file = file }

  deinit { try? file.close() }

  /// Takes the lock or says who has it.
  ///
  /// - Parameters:
  ///   - path: The lock's file; changes of the firewall all use the usual one.
  ///   - holder: Who holds it when it is taken.
  /// - Returns: The lock, held as long as the value lives.
  /// - Throws: ``SIPLeakError`` `locked` when another process holds it.
  static func take(
    _ path: FilePath = FilePath("/run/sipleak.lock"),
    holder: String = "another sipleak is changing the firewall now"
  ) throws(SIPLeakError) -> RunLock {
    let file: FileDescriptor
    do {
      file = try FileDescriptor.open(
        path, .readWrite, options: [.create, .closeOnExec, .noFollow],
        permissions: [.ownerReadWrite])
    } catch {
      let isForbidden = [Errno.permissionDenied, .notPermitted].contains(error as? Errno)
      throw SIPLeakError(
        .unchanged, "cannot open \(path): \(error)",
        advice: isForbidden
          ? SIPLeakError.needsRoot
          : "Without it two sipleaks could change the firewall at once. Nothing was changed.")
    }
    guard flock(file.rawValue, LOCK_EX | LOCK_NB) == 0 else {
      try? file.close()
      throw SIPLeakError(
        .locked, holder,
        advice: "Wait for it to end and try again.")
    }
    return RunLock(owning: file)
  }
}
