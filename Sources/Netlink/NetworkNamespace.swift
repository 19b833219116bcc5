public import SystemPackage

/// The network namespace that something is read from or written to.
public enum NetworkNamespace: Sendable, Hashable {
  /// The namespace this process was started in.
  case current
  /// A namespace by the file that stands for it: `/run/netns/NAME` or `/proc/PID/ns/net`.
  case path(FilePath)

  /// The namespace that `ip netns add NAME` made.
  public static func named(_ name: String) -> NetworkNamespace {
    .path(FilePath("/run/netns").appending(name))
  }
}
