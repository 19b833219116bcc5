import Conntrack
public import Netlink
import SystemPackage

/// What is known of the kernel's SIP helper, apart from rules and expectations.
public struct KernelFacts: Sendable, Hashable, Codable {
  /// Whether `nf_conntrack_sip` is in the kernel, as a module or built in; `nil`: not known.
  public var hasSIPHelper: Bool?
  /// Whether helpers are given to flows without a `CT` rule; `nil`: not known.
  ///
  /// `net.netfilter.nf_conntrack_helper`, which kernels since 6.0 do not have: they never do.
  public var assignsHelpers: Bool?
  /// Parameters of the module, such as `sip_direct_signalling`; `nil`: not readable without root.
  ///
  /// They hold for all network namespaces (facts A4).
  public var sipHelperParameters: [String: String]?

  /// Makes facts of which nothing is known.
  public init() {}

  // As the coders' snake case gives it back.
  private enum CodingKeys: String, CodingKey {
    case hasSIPHelper = "hasSipHelper"
    case assignsHelpers, sipHelperParameters
  }

  /// The parameters that decide whom an expectation admits.
  static let parameterNames = ["ports", "sip_direct_signalling", "sip_direct_media", "sip_timeout"]

  /// Reads the facts.
  ///
  /// Needs root for the parameters. Corresponds to `lsmod` and `modinfo`'s live values in
  /// `/sys/module/nf_conntrack_sip/parameters`.
  ///
  /// - Parameter namespace: The network namespace whose setting is read; modules have none.
  /// - Returns: The facts, those unknown that could not be read.
  public static func read(in namespace: NetworkNamespace = .current) -> KernelFacts {
    var facts = KernelFacts()
    let folder = FilePath("/sys/module/nf_conntrack_sip")
    // A built-in part has its folder too, for it has parameters.
    if exists("/sys/module") { facts.hasSIPHelper = exists(folder) }
    if facts.hasSIPHelper == true {
      var values: [String: String] = [:]
      let parameters = folder.appending("parameters")
      let paths = parameterNames.map { parameters.appending($0) }
      // Modules belong to no namespace, so the current one's view will do.
      let files = (try? NetworkNamespace.current.readFiles(paths)) ?? [:]
      for name in parameterNames {
        guard let text = files[parameters.appending(name)] else { continue }
        values[name] = String(text.prefix { $0 != "\n" }.prefix(100))
      }
      if !values.isEmpty { facts.sipHelperParameters = values }
    }
    let sysctls = FilePath("/proc/sys/net/netfilter")
    let names = ["nf_conntrack_helper", "nf_conntrack_count"].map { sysctls.appending($0) }
    if let files = try? namespace.readFiles(names) {
      if let text = files[names[0]] {
        facts.assignsHelpers = text.first != "0"
      } else if files[names[1]] != nil {
        facts.assignsHelpers = false
      }
    }
    return facts
  }

  private static func exists(_ path: FilePath) -> Bool {
    guard let file = try? FileDescriptor.open(path, .readOnly, options: [.directory, .closeOnExec])
    else { return false }
    try? file.close()
    return true
  }
}
