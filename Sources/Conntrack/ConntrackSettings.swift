public import Netlink
import SystemPackage

/// The settings of connection tracking under `net.netfilter`.
///
/// Each is `nil` if it couldn't be read: conntrack isn't loaded, or the kernel doesn't have it.
public struct ConntrackSettings: Sendable, Hashable, Codable {
  /// Whether new flows count packets and bytes.
  ///
  /// `nf_conntrack_acct`.
  public var accounting: Bool?
  /// Whether new flows carry the time they began.
  ///
  /// `nf_conntrack_timestamp`.
  public var timestamps: Bool?
  /// Whether events are sent: 0 never, 1 always, 2 while somebody listens.
  ///
  /// `nf_conntrack_events`.
  public var events: UInt32?
  /// Seconds a UDP flow lives unless it is a stream.
  ///
  /// `nf_conntrack_udp_timeout`.
  public var udpTimeout: UInt32?
  /// Seconds a UDP stream lives.
  ///
  /// `nf_conntrack_udp_timeout_stream`.
  public var udpStreamTimeout: UInt32?
  /// Whether a TCP flow is picked up in the middle.
  ///
  /// `nf_conntrack_tcp_loose`.
  public var tcpLoose: Bool?
  /// Number of entries in the table.
  ///
  /// `nf_conntrack_count`.
  public var count: UInt32?
  /// Number of entries the table may have.
  ///
  /// `nf_conntrack_max`.
  public var max: UInt32?
  /// Number of buckets, shared by all namespaces.
  ///
  /// `nf_conntrack_buckets`.
  public var buckets: UInt32?
  /// Whether the kernel gives helpers to flows by their port, unasked.
  ///
  /// `nf_conntrack_helper`; kernels since 6.0 don't have it and never do.
  public var automaticHelpers: Bool?
  /// The SIP helper's parameters; `nil` if it is not known whether there is one.
  public var sipHelper: SIPHelperSettings?

  /// Whether helpers are given to flows without a rule; `nil`: not known.
  ///
  /// Where other settings can be read and `nf_conntrack_helper` can't, the kernel has none and never
  /// does.
  public var assignsHelpers: Bool? { automaticHelpers ?? (count == nil ? nil : false) }

  /// Makes settings of which nothing is known.
  public init() {}

  /// Reads the settings.
  ///
  /// Needs no privilege in the current namespace. Corresponds to `sysctl net.netfilter`.
  ///
  /// - Parameter namespace: The network namespace whose settings they are.
  /// - Returns: The settings.
  /// - Throws: ``ConntrackError`` if the namespace can't be entered.
  public static func read(
    in namespace: NetworkNamespace = .current
  ) throws(ConntrackError) -> ConntrackSettings {
    let folder = FilePath("/proc/sys/net/netfilter")
    let names = [
      "acct", "timestamp", "events", "udp_timeout", "udp_timeout_stream", "tcp_loose", "count",
      "max", "buckets", "helper",
    ]
    let files: [FilePath: String]
    do throws(NetlinkError) {
      files = try namespace.readFiles(
        names.map { folder.appending("nf_conntrack_\($0)") }
          + SIPHelperSettings.names.map(SIPHelperSettings.folder.appending))
    } catch {
      throw ConntrackError(error)
    }
    func number(_ name: String) -> UInt32? {
      files[folder.appending("nf_conntrack_\(name)")].flatMap(SysctlNumber.parse)
    }
    var settings = ConntrackSettings()
    settings.accounting = number("acct").map { $0 != 0 }
    settings.timestamps = number("timestamp").map { $0 != 0 }
    settings.events = number("events")
    settings.udpTimeout = number("udp_timeout")
    settings.udpStreamTimeout = number("udp_timeout_stream")
    settings.tcpLoose = number("tcp_loose").map { $0 != 0 }
    settings.count = number("count")
    settings.max = number("max")
    settings.buckets = number("buckets")
    settings.automaticHelpers = number("helper").map { $0 != 0 }
    settings.sipHelper = SIPHelperSettings.read(files, isLoaded: SIPHelperSettings.isThere)
    return settings
  }
}
