import Glibc
package import Netlink
import SystemPackage

/// The proof that a network namespace is one of ours, made before every change.
///
/// Three things have to hold: this process is not in the machine's first user namespace; the
/// network namespace is not the one this process was started from; and it belongs to the user
/// namespace this process is in. The last one alone would do in a virtual machine, but inside a
/// container the container's own network has the same owner as the processes in it.
package enum Isolation {
  /// Environment variable holding the inode of the network namespace that was left.
  package static let outsideVariable = "SIPLEAK_LAB_OUTSIDE"

  /// `PROC_USER_INIT_INO` of `linux/proc_ns.h`: the first user namespace's inode.
  private static let initialUserNamespace: UInt64 = 0xefff_fffd
  /// `NS_GET_USERNS` of `linux/nsfs.h`, `_IO(0xb7, 1)`: the namespace that owns another (Linux 4.9).
  private static let getOwner: UInt = 0xb701

  /// Proves that a network namespace is private.
  ///
  /// - Parameter namespace: The namespace about to be changed.
  /// - Throws: ``LabError`` with code ``LabError/Code/notPrivate`` when it is not, or when it can't
  ///   be told.
  package static func prove(_ namespace: NetworkNamespace) throws(LabError) {
    guard let text = environment(outsideVariable), let outside = UInt64(text) else {
      throw refusal("this process was not started in private namespaces")
    }
    guard let user = inode("/proc/self/ns/user"), user != initialUserNamespace else {
      throw refusal("this process is in the machine's first user namespace")
    }
    let path =
      switch namespace {
      case .current: "/proc/thread-self/ns/net"
      case .path(let path): path.string
      }
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw refusal("\(path): \(Errno(rawValue: errno))") }
    defer { close(file) }
    guard let network = inode(file), network != outside else {
      throw refusal("\(path) is the namespace the lab was started from")
    }
    let owner = ioctl(file, getOwner)
    guard owner >= 0 else {
      throw refusal("\(path) belongs to another user namespace: \(Errno(rawValue: errno))")
    }
    defer { close(owner) }
    guard inode(owner) == user else {
      throw refusal("\(path) belongs to another user namespace")
    }
  }

  private static func refusal(_ reason: String) -> LabError {
    LabError(
      .notPrivate, "change a network that is not proved to be the lab's own", reason: reason,
      advice: "Nothing was changed.")
  }

  /// The inode of what a path leads to.
  package static func inode(_ path: String) -> UInt64? {
    var status = stat()
    return unsafe stat(path, &status) == 0 ? UInt64(status.st_ino) : nil
  }

  private static func inode(_ file: Int32) -> UInt64? {
    var status = stat()
    return unsafe fstat(file, &status) == 0 ? UInt64(status.st_ino) : nil
  }
}

/// The value of an environment variable.
package func environment(_ name: String) -> String? {
  guard let value = unsafe getenv(name) else { return nil }
  return unsafe String(cString: value)
}
