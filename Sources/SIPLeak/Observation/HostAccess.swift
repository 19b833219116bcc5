public import Firewall
public import Netlink

/// How a host's kernel and tools are reached: this host, or one of its network namespaces.
public struct HostAccess: Sendable {
  /// The namespace that sockets are opened in.
  public var namespace: NetworkNamespace
  /// How iptables and its kin are run there.
  public var tools: ToolContext

  /// Makes an access to a namespace; to the one this process is in unless told otherwise.
  public init(_ namespace: NetworkNamespace = .current) {
    self.namespace = namespace
    tools = ToolContext(commandPrefix: namespace.commandPrefix)
  }
}
