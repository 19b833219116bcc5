import Addressing
import FoundationEssentials
import Glibc
public import SystemPackage

/// Files of saved firewalls that would be loaded at the next boot, and services that load them.
public enum SavedFirewalls {
  /// A line of a saved firewall that names a set or chain of ours.
  public struct Mention: Sendable, Hashable {
    /// The file.
    public var file: FilePath
    /// The line, 1-based.
    public var line: Int
  }

  private static let files = [
    "etc/iptables/rules.v4", "etc/iptables/rules.v6", "etc/iptables.rules", "etc/iptables.up.rules",
    "etc/sysconfig/iptables", "etc/sysconfig/ip6tables", "etc/sysconfig/ipset",
    "etc/nftables.conf", "etc/ufw/before.rules", "etc/ufw/after.rules", "etc/ufw/before6.rules",
    "etc/ufw/after6.rules", "etc/ufw/user.rules", "etc/ufw/user6.rules",
    "etc/firewalld/direct.xml", "etc/ipset.conf", "etc/iptables/ipsets",
  ]
  /// A larger file is not looked through: no firewall is that large.
  private static let largest = 64 << 20

  /// The first line of each saved firewall that names our sets or chains.
  ///
  /// They are for a person to edit: files of others are not touched.
  ///
  /// - Parameter root: The root of the host's files.
  /// - Returns: One mention a file.
  public static func mentions(root: FilePath = "/") -> [Mention] {
    mentions(of: AddressFamily.allCases.map(OwnObjects.setName) + [OwnObjects.dropChain], root)
  }

  /// The first line of each saved firewall that names our sets: it loads only once they exist.
  ///
  /// - Parameter root: The root of the host's files.
  /// - Returns: One mention a file.
  public static func mentionsOfSets(root: FilePath = "/") -> [Mention] {
    mentions(of: AddressFamily.allCases.map(OwnObjects.setName), root)
  }

  private static func mentions(of words: [String], _ root: FilePath) -> [Mention] {
    files.compactMap { name -> Mention? in
      let file = root.appending(name)
      guard let status = try? file.stat(), status.size < largest,
        let bytes = FileManager.default.contents(atPath: file.string)
      else { return nil }
      var line = 1
      for text in bytes.split(separator: 0x0a, omittingEmptySubsequences: false) {
        let decoded = String(decoding: text, as: UTF8.self)
        if words.contains(where: decoded.contains), !decoded.hasPrefix("#") {
          return Mention(file: file, line: line)
        }
        line += 1
      }
      return nil
    }
  }

  /// The services that load a saved firewall at boot.
  ///
  /// - Parameter root: The root of the host's files.
  /// - Returns: Their names, those of ``BootUnits/loaders`` that are enabled.
  public static func enabledLoaders(root: FilePath = "/") -> [String] {
    let system = root.appending("etc/systemd/system")
    let targets = ((try? FileManager.default.contentsOfDirectory(atPath: system.string)) ?? [])
      .filter { $0.hasSuffix(".wants") || $0.hasSuffix(".requires") }
    return BootUnits.loaders.filter { loader in
      targets.contains { target in
        var status = Glibc.stat()
        let link = system.appending(target).appending("\(loader).service")
        return unsafe lstat(link.string, &status) == 0
      }
    }
  }
}
