public import Firewall
public import Netlink
import SystemPackage

/// How a host's kernel and tools are reached: this host, or one of its network namespaces.
public struct HostAccess: Sendable {
  /// The namespace that sockets are opened in.
  public var namespace: NetworkNamespace
  /// How iptables and its kin are run there.
  public var tools: ToolContext
  /// The namespace as the operator named it; `nil`: the one this process is in.
  public private(set) var name: String?
  /// Whose files belong to the namespace, as far as that is known.
  private(set) var files = NamespaceOwner.thisHost
  /// Keeps the namespace in being for as long as it is read.
  private var file: NamespaceFile?

  /// Makes an access to a namespace; to the one this process is in unless told otherwise.
  public init(_ namespace: NetworkNamespace = .current) {
    self.namespace = namespace
    tools = ToolContext(commandPrefix: namespace.commandPrefix)
  }

  /// Makes an access to another network namespace of this host.
  ///
  /// The tools are the host's own, run by `nsenter --net`; no file of a container is executed.
  /// Needs CAP_SYS_ADMIN.
  ///
  /// - Parameter name: A process's number; a path with a slash; or a name that `ip netns` knows.
  /// - Returns: The access; the namespace is held open by it.
  /// - Throws: ``SIPLeakError`` when there is no such namespace or it may not be entered.
  public static func opening(_ name: String) throws(SIPLeakError) -> HostAccess {
    let owner = NamespaceOwner(name)
    let file: NamespaceFile
    do throws(NetlinkError) {
      file = try NamespaceFile.open(owner.path)
      try file.namespace.enter {}
    } catch {
      throw SIPLeakError(namespace: name, owner, error)
    }
    var access = HostAccess(file.namespace)
    access.name = name
    access.files = owner
    access.file = file
    return access
  }
}

/// What a network namespace was named by, and so whose files go with it.
enum NamespaceOwner: Sendable, Hashable {
  case thisHost
  /// A name of `ip netns`.
  case named(String)
  /// A process.
  case process(String)
  /// A path of its own.
  case path(String)

  init(_ name: String) {
    if name.contains("/") {
      self = .path(name)
    } else if !name.isEmpty, name.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
      self = .process(name)
    } else {
      self = .named(name)
    }
  }

  /// The file that stands for it.
  var path: FilePath {
    switch self {
    case .thisHost: FilePath("/proc/self/ns/net")
    case .named(let name): FilePath("/run/netns").appending(name)
    case .process(let id): FilePath("/proc/\(id)/ns/net")
    case .path(let path): FilePath(path)
    }
  }

  /// Where its name servers are named: each candidate is read if it is there.
  ///
  /// As `ip netns exec` does, a name's own file comes before the host's.
  var resolverFiles: [FilePath] {
    switch self {
    case .thisHost, .path: []
    case .named(let name): [FilePath("/etc/netns").appending(name).appending("resolv.conf")]
    case .process(let id):
      ["etc/resolv.conf", "run/systemd/resolve/resolv.conf"].map {
        FilePath("/proc/\(id)/root/\($0)")
      }
    }
  }
}

extension SIPLeakError {
  fileprivate init(namespace name: String, _ owner: NamespaceOwner, _ error: NetlinkError) {
    if error.isPermissionDenied {
      self.init(
        .permissionDenied, "cannot enter the network namespace \(name)",
        advice: "It needs CAP_SYS_ADMIN. Run it as root.", detail: "\(error)")
      return
    }
    let isMissing = error.errno == .noSuchFileOrDirectory || error.errno == .noSuchProcess
    switch owner {
    case .process(let id) where isMissing:
      self.init(
        .unreadable, "there is no process \(id)",
        advice: "Give a running process of the container, such as "
          + "`docker inspect -f '{{.State.Pid}}' NAME` prints.", detail: "\(error)")
    case _ where isMissing:
      self.init(
        .unreadable, "there is no network namespace \(name)",
        advice: "`ip netns list` prints names; a number is a process, a path has a slash.",
        detail: "\(error)")
    case _ where error.errno == .invalidArgument:
      self.init(
        .unreadable, "\(owner.path) is no network namespace",
        advice: "Give a name of `ip netns list`, a process's number, or a path such as "
          + "/proc/PID/ns/net.", detail: "\(error)")
    default:
      self.init(
        .unreadable, "cannot enter the network namespace \(name)", advice: "", detail: "\(error)")
    }
  }
}
