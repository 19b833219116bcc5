internal import Glibc
internal import SystemPackage

/// A nameless file with a tool's standard input.
///
/// Not a pipe: a tool that stops reading at a bad line would end us with SIGPIPE.
enum InputFile {
  /// Memory first: a full disk must not stop a block.
  private static let folders = ["/dev/shm", "/run", "/tmp"]

  static func make(_ bytes: [UInt8]) throws(FirewallError) -> FileDescriptor {
    var last = Errno.noSuchFileOrDirectory
    for folder in folders {
      do {
        return try open(in: folder, bytes)
      } catch let error as Errno {
        last = error
      } catch {
        continue
      }
    }
    throw FirewallError(
      .system, operation: "make a temporary file for a tool's input", errno: last,
      advice: "One of /dev/shm, /run and /tmp must be writable.")
  }

  private static func open(in folder: String, _ bytes: [UInt8]) throws -> FileDescriptor {
    let name = "\(folder)/sipleak.\(UInt64.random(in: 0 ... .max))"
    let path = FilePath(name)
    let descriptor = try FileDescriptor.open(
      path, .readWrite, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
      permissions: [.ownerReadWrite])
    do {
      guard unsafe unlink(name) == 0 else { throw Errno(rawValue: Glibc.errno) }
      try descriptor.writeAll(bytes)
      try descriptor.seek(offset: 0, from: .start)
    } catch {
      try? descriptor.close()
      throw error
    }
    return descriptor
  }
}
