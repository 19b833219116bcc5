public import Netlink
import SystemPackage

extension HostNetwork {
  /// How strictly each interface checks that a packet's source leads back by it.
  ///
  /// 0 not at all, 1 by the same interface, 2 by any. Where it is 0, a packet with a trunk's address as
  /// its source can come from anywhere (facts A7). IPv4 only: for IPv6 that is a matter of rules.
  ///
  /// - Parameter namespace: The network namespace.
  /// - Returns: By interface the greater of its own `rp_filter` and that of `all`, as the kernel
  ///   decides; interfaces whose value couldn't be read are missing.
  /// - Throws: ``HostNetworkError``.
  public static func reversePathFilter(
    in namespace: NetworkNamespace = .current
  ) throws(HostNetworkError) -> [String: Int] {
    let names = try interfaces(in: namespace).map(\.name)
    let folder = FilePath("/proc/sys/net/ipv4/conf")
    func path(_ name: String) -> FilePath {
      folder.appending(name).appending("rp_filter")
    }
    let files: [FilePath: String]
    do throws(NetlinkError) {
      files = try namespace.readFiles((names + ["all"]).map(path))
    } catch {
      throw HostNetworkError(error)
    }
    func value(_ name: String) -> Int? {
      guard let text = files[path(name)] else { return nil }
      return Int(String(decoding: text.utf8.prefix { (48...57).contains($0) }, as: UTF8.self))
    }
    guard let general = value("all") else { return [:] }
    var result: [String: Int] = [:]
    for name in names {
      if let own = value(name) { result[name] = max(own, general) }
    }
    return result
  }
}
