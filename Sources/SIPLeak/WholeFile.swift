import FoundationEssentials
import Glibc
import SystemPackage

/// A file that is written whole or not at all, for its owner alone.
enum WholeFile {
  /// Puts a file in place of the one of that name, if there is one.
  ///
  /// Written beside it, flushed, and renamed: a full disk or a crash leaves the old one. What lies
  /// there under the passing name is never written through, be it a link or somebody else's file.
  ///
  /// - Parameters:
  ///   - bytes: Its content.
  ///   - file: Where.
  /// - Throws: `Errno`; the file is as it was.
  static func write(_ bytes: Data, to file: FilePath) throws {
    let name = file.lastComponent?.string ?? ""
    let fresh = file.removingLastComponent().appending(".\(name).\(getpid())")
    _ = unsafe unlink(fresh.string)
    let descriptor = try FileDescriptor.open(
      fresh, .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec, .noFollow],
      permissions: [.ownerReadWrite])
    do {
      try descriptor.closeAfter {
        _ = try descriptor.writeAll(bytes)
        if fsync(descriptor.rawValue) != 0 { throw Errno(rawValue: errno) }
      }
      if unsafe rename(fresh.string, file.string) != 0 { throw Errno(rawValue: errno) }
    } catch {
      _ = unsafe unlink(fresh.string)
      throw error
    }
  }
}
