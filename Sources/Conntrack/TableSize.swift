import Netlink
import SystemPackage

/// What is known of the table before it is walked.
struct TableSize: Sendable, Hashable {
  var entries: UInt32?
  var buckets: UInt32?
  var release: KernelRelease?

  private static let countPath = FilePath("/proc/sys/net/netfilter/nf_conntrack_count")
  private static let bucketsPath = FilePath("/proc/sys/net/netfilter/nf_conntrack_buckets")
  private static let releasePath = FilePath("/proc/sys/kernel/osrelease")

  static func read(in namespace: NetworkNamespace) throws(ConntrackError) -> TableSize {
    do throws(NetlinkError) {
      let files = try namespace.readFiles([countPath, bucketsPath, releasePath])
      return TableSize(
        entries: files[countPath].flatMap(SysctlNumber.parse),
        buckets: files[bucketsPath].flatMap(SysctlNumber.parse),
        release: files[releasePath].flatMap(KernelRelease.init))
    } catch {
      throw ConntrackError(error)
    }
  }

  static var unreadable: ConntrackError {
    ConntrackError(
      .unsupported, operation: "read the size of the conntrack table",
      errno: .noSuchFileOrDirectory,
      advice: "Connection tracking isn't loaded: without a rule that needs it there are no flows.")
  }

  /// Why two readings make the flows read between them doubtful.
  struct Doubt: Sendable, Hashable {
    var sentence: String
    var isWorthAnotherTry: Bool
  }

  static func doubt(before: TableSize, after: TableSize) -> Doubt? {
    switch (before.buckets, after.buckets) {
    case (let old?, let new?) where old != new:
      return Doubt(
        sentence:
          "the conntrack table was resized from \(old) to \(new) buckets while it was read",
        isWorthAnotherTry: true)
    case (.some, .some):
      return nil
    case (nil, .some):
      // The dump's own request loaded conntrack: the table had just been made, and is empty.
      return nil
    case (_, nil):
      return Doubt(
        sentence: "nf_conntrack_buckets could not be read: a resize would not be noticed",
        isWorthAnotherTry: false)
    }
  }
}

/// Numbers as `/proc/sys` prints them.
enum SysctlNumber {
  static func parse(_ text: String) -> UInt32? {
    var digits = Substring(text)
    while let last = digits.last, last.isWhitespace { digits.removeLast() }
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return UInt32(digits)
  }
}
