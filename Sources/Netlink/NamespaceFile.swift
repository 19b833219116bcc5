import CNetfilter
import Glibc
public import SystemPackage

/// A network namespace held open, so that its name can go, or its process end, while it is read.
///
/// What is opened by ``namespace`` is the same namespace from first to last.
public final class NamespaceFile: Sendable {
  private let descriptor: FileDescriptor
  /// The namespace, by this process's descriptor of it; child processes reach it by the same path.
  public let namespace: NetworkNamespace

  private init(owning descriptor: FileDescriptor, process: String) {
    self.descriptor = descriptor
    namespace = .path(FilePath("/proc/\(process)/fd/\(descriptor.rawValue)"))
  }

  deinit { try? descriptor.close() }

  /// Opens the file that stands for a network namespace, and proves that it does.
  ///
  /// - Parameter path: `/run/netns/NAME`, `/proc/PID/ns/net`, or where else one is mounted.
  /// - Returns: The namespace, open.
  /// - Throws: ``NetlinkError`` with code `namespace`: `ENOENT`, `EACCES`, or `EINVAL` if the file is
  ///   no network namespace.
  public static func open(_ path: FilePath) throws(NetlinkError) -> NamespaceFile {
    let operation = "open the network namespace \(path)"
    do {
      // A device or a pipe must not even be opened.
      guard try path.stat().type == .regular else { throw Errno.invalidArgument }
      // The name that /proc here has for this process, whatever process namespace it is of.
      let own = try FilePath("/proc/self").readLink()
      let file = try FileDescriptor.open(
        path, .readOnly, options: [.closeOnExec, .nonBlocking])
      guard isNetworkNamespace(file) else {
        try? file.close()
        throw Errno.invalidArgument
      }
      return NamespaceFile(owning: file, process: own)
    } catch {
      throw NetlinkError(.namespace, operation: operation, errno: error as? Errno)
    }
  }

  /// `NS_GET_NSTYPE`, to which a regular file of another filesystem answers `ENOTTY`.
  private static func isNetworkNamespace(_ file: FileDescriptor) -> Bool {
    ioctl(file.rawValue, 0xb703, 0) == CLONE_NEWNET
  }
}

extension FilePath {
  fileprivate func readLink() throws(Errno) -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    let count = unsafe withPlatformString { path in
      unsafe readlink(path, &buffer, buffer.count)
    }
    guard count > 0 else { throw Errno(rawValue: errno) }
    return String(decoding: buffer[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
