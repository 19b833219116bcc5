import Addressing
import Glibc
import Netlink
import Synchronization
import SystemPackage

/// Four hosts in network namespaces of their own, joined by virtual cables.
///
/// ```
///   carrier  198.51.100.10  2001:db8:c::10 ── to-carrier  ┐
///   attacker 203.0.113.66   2001:db8:a::66 ── to-attacker ├ pbx 192.0.2.5  2001:db8:5::5
///   other    203.0.113.70   2001:db8:a::70 ── to-other    ┘
/// ```
///
/// It has to be opened in private namespaces (``PrivateNamespaces``) and proves that before every
/// change. One lab can be open at a time. Needs Linux 4.9 with veth, iptables and connection
/// tracking; no root.
public final class Lab: Sendable {
  /// The telephone system: 192.0.2.5 and 2001:db8:5::5.
  ///
  /// It has a second address towards each network: 198.51.100.1 and 203.0.113.1, 2001:db8:c::1 and
  /// 2001:db8:a::1. Flow accounting and timestamps are on, `rp_filter` is off, and a flow lives ten
  /// minutes after its last packet.
  public let pbx: LabHost
  /// The carrier whose calls are wanted: 198.51.100.10 and 2001:db8:c::10.
  public let carrier: LabHost
  /// Who should be refused: 203.0.113.66 and 2001:db8:a::66.
  public let attacker: LabHost
  /// A third stranger, for lures and bystanders: 203.0.113.70 and 2001:db8:a::70.
  public let other: LabHost

  private let endpoints: Endpoints
  private let isOpen = Mutex(true)
  private static let someIsOpen = Mutex(false)

  /// All four hosts.
  public var hosts: [LabHost] { [pbx, carrier, attacker, other] }

  /// Makes the hosts and joins them.
  ///
  /// Hosts that a crashed run left in these namespaces are removed first.
  ///
  /// - Returns: The lab, with no firewall rules loaded.
  /// - Throws: ``LabError``; a half-made lab is taken down again.
  public static func open() async throws(LabError) -> Lab {
    try Isolation.prove(.current)
    guard
      someIsOpen.withLock({ isOpen in
        defer { isOpen = true }
        return !isOpen
      })
    else {
      throw LabError(.alreadyOpen, "open a lab", reason: "another one is open in this process")
    }
    let lab = Lab()
    lab.removeNames()
    do {
      try await lab.build()
    } catch {
      lab.close()
      throw error
    }
    return lab
  }

  /// Opens a lab, runs a closure in it and closes it however that ends.
  ///
  /// - Parameter body: What to do with the lab.
  /// - Returns: What the closure returns.
  /// - Throws: ``LabError`` when the lab can't be opened, else what the closure throws.
  @discardableResult
  public static func with<R>(_ body: (Lab) async throws -> R) async throws -> R {
    let lab = try await open()
    defer { lab.close() }
    return try await body(lab)
  }

  /// A host of a lab that another process has opened, for programs in a lab's shell.
  ///
  /// - Parameter name: `pbx`, `carrier`, `attacker` or `other`.
  /// - Returns: The host, or `nil` for another name.
  public static func host(named name: String) -> LabHost? {
    Topology.hosts.contains(name) ? host(name, Endpoints()) : nil
  }

  /// Runs a program in the foreground beside the hosts, with this process's terminal.
  ///
  /// - Parameter words: The program and its arguments.
  /// - Returns: Its status; 128 plus the signal's number for a signal.
  /// - Throws: ``LabError`` when these namespaces aren't private or the program is missing.
  public func execute(_ words: [String]) throws(LabError) -> Int32 {
    try Isolation.prove(.current)
    return try Reexecution.foreground(words)
  }

  private static func host(_ name: String, _ endpoints: Endpoints) -> LabHost {
    LabHost(
      name: name, address4: Topology.address(name, .ipv4),
      address6: Topology.address(name, .ipv6), endpoints: endpoints)
  }

  private init() {
    let endpoints = Endpoints()
    func host(_ name: String) -> LabHost { Self.host(name, endpoints) }
    self.endpoints = endpoints
    pbx = host("pbx")
    carrier = host("carrier")
    attacker = host("attacker")
    other = host("other")
  }

  deinit { close() }

  /// Closes the servers and clients on the hosts and removes the hosts.
  ///
  /// A program still running on a host keeps its namespace alive until it ends.
  public func close() {
    let wasOpen = isOpen.withLock { isOpen in
      defer { isOpen = false }
      return isOpen
    }
    guard wasOpen else { return }
    endpoints.closeAll()
    removeNames()
    Self.someIsOpen.withLock { $0 = false }
  }

  /// Waits until every cable passes packets in both directions.
  ///
  /// The kernel notes in the background that the far end was plugged in (linkwatch), and until then
  /// drops what is sent into the near one without a word.
  private func waitForCables() async throws(LabError) {
    for host in hosts {
      var looks = Looks(within: .seconds(60))
      while try !host.namespace.perform({ () throws(LabError) in Topology.isRunning }) {
        guard await looks.again() else {
          throw LabError(.system, "wait for the cables of \(host.name)")
        }
      }
    }
  }

  /// What `ip netns del` does; the kernel removes a namespace with its last user.
  private func removeNames() {
    for host in hosts {
      let path = "/run/netns/\(host.name)"
      guard (try? Isolation.prove(.current)) != nil else { return }
      _ = unsafe umount2(path, Int32(MNT_DETACH))
      _ = unsafe unlink(path)
    }
  }

  private func build() async throws(LabError) {
    let hasIPv6 = unsafe access("/proc/net/if_inet6", F_OK) == 0
    _ = try await Tools.require(["ip", "-batch", "-"], input: Topology.cables)
    for host in hosts {
      try Isolation.prove(host.namespace)
      _ = try await Tools.require(
        ["ip", "-n", host.name, "-batch", "-"],
        input: Topology.network(of: host.name, hasIPv6: hasIPv6))
    }
    try await waitForCables()
    // Connection tracking's settings appear with its module; asking for the table loads it.
    try await pbx.run(["conntrack", "-C"])
    try pbx.set("net.netfilter.nf_conntrack_acct", "1")
    try pbx.set("net.netfilter.nf_conntrack_timestamp", "1")
    // A flow must not end between two steps, however slow the machine is; the kernel's own are 30 and
    // 120 seconds.
    for name in ["udp_timeout", "udp_timeout_stream"] {
      try pbx.set("net.netfilter.nf_conntrack_\(name)", "600")
    }
    // A new namespace takes these over from the machine; packets from several networks have to
    // reach every address of the PBX.
    for name in ["all", "default", "to-carrier", "to-attacker", "to-other"] {
      try pbx.set("net/ipv4/conf/\(name)/rp_filter", "0")
    }
  }
}
