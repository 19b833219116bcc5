import Addressing
import Conntrack
import Dispatch
import Firewall
import FoundationEssentials
import Glibc
import HostNetwork
import Netlink

extension Observation {
  /// Reads a running host.
  ///
  /// Needs CAP_NET_ADMIN for the flow table and for the iptables tools. Changes nothing.
  ///
  /// - Parameters:
  ///   - endpoints: Which ports count as SIP; only flows with one of them are read.
  ///   - interval: Seconds between two readings, or `nil` for one.
  ///   - access: Which namespace to read.
  /// - Returns: The observation; what could not be read is in its problems.
  /// - Throws: ``SIPLeakError`` when the flow table or the firewall cannot be read at all.
  public static func live(
    _ endpoints: SIPEndpoints, interval: Double? = nil, access: HostAccess = HostAccess()
  ) async throws(SIPLeakError) -> Observation {
    try await live(endpoints, interval: interval, access: access) {
      (query, namespace) throws(ConntrackError) in
      try FlowTable.dump(query, in: namespace)
    }
  }

  /// Reads a running host without its flows, beside a reading of its firewall.
  ///
  /// - Parameters:
  ///   - firewall: What was read of the firewall.
  ///   - endpoints: Which ports count as SIP.
  ///   - access: Which namespace to read.
  /// - Returns: The observation; what could not be read is in its problems.
  static func withoutFlows(
    _ firewall: FirewallReading, _ endpoints: SIPEndpoints, access: HostAccess
  ) -> Observation {
    var reader = HostReader(endpoints: endpoints, access: access) { _, _ in
      FlowDump(flows: [])
    }
    let sample = Sample(time: Date().timeIntervalSince1970, flows: [], firewall: firewall)
    return reader.observation(sample: sample, earlier: nil)
  }

  /// How the flow table is read.
  typealias FlowReading =
    @Sendable (FlowQuery, NetworkNamespace) throws(ConntrackError) -> FlowDump

  /// Reads a running host with another way to read its flows.
  static func live(
    _ endpoints: SIPEndpoints, interval: Double? = nil, access: HostAccess,
    flows: @escaping FlowReading
  ) async throws(SIPLeakError) -> Observation {
    var reader = HostReader(endpoints: endpoints, access: access, flows: flows)
    // Privileges first: everything after depends on them, and the message is the clearest here.
    var sample = try await reader.sample()
    var earlier: Sample?
    if let interval, interval > 0 {
      do { try await Task.sleep(for: .seconds(interval)) } catch {
        throw SIPLeakError(.unreadable, "interrupted between two readings")
      }
      earlier = sample
      sample = try await reader.sample()
    }
    return reader.observation(sample: sample, earlier: earlier)
  }
}

/// Reads the parts of a host and collects what went wrong on the way.
private struct HostReader {
  let endpoints: SIPEndpoints
  let access: HostAccess
  let flows: Observation.FlowReading
  var problems: [String] = []
  var blindSpots: [BlindSpot] = []

  init(
    endpoints: SIPEndpoints, access: HostAccess, flows: @escaping Observation.FlowReading
  ) {
    self.endpoints = endpoints
    self.access = access
    self.flows = flows
  }

  /// Flows and rules, read side by side so that their counters belong together.
  mutating func sample() async throws(SIPLeakError) -> Observation.Sample {
    let query = endpoints.query
    let namespace = access.namespace
    let tools = access.tools
    let flows = flows
    async let dumping = Self.dumpAside(query, namespace, flows)
    async let reading = Self.firewall(tools)
    let dump = try await dumping.get()
    let firewall = try await reading.get()
    if !dump.isComplete { note(dump.reasons.isEmpty ? ["the flow table"] : dump.reasons) }
    note(firewall.problems)
    var sample = Observation.Sample(
      time: Date().timeIntervalSince1970, flows: dump.flows, firewall: firewall,
      reading: dump.reading)
    sample.uptime = Self.uptime
    return sample
  }

  private mutating func note(_ texts: [String]) {
    for text in texts where !problems.contains(text) { problems.append(text) }
  }

  /// The dump on a thread of its own: it waits in the kernel, and would hold up the tools' output on
  /// a machine with few cores.
  private static func dumpAside(
    _ query: FlowQuery, _ namespace: NetworkNamespace, _ flows: @escaping Observation.FlowReading
  ) async -> Result<FlowDump, SIPLeakError> {
    await withCheckedContinuation { continuation in
      DispatchQueue.global().async { @Sendable in
        continuation.resume(returning: dump(query, namespace, flows))
      }
    }
  }

  private static func dump(
    _ query: FlowQuery, _ namespace: NetworkNamespace, _ flows: Observation.FlowReading
  ) -> Result<FlowDump, SIPLeakError> {
    do throws(ConntrackError) {
      return .success(try flows(query, namespace))
    } catch {
      return .failure(
        SIPLeakError(
          error.isPermissionDenied ? .permissionDenied : .unreadable,
          "\(error)",
          advice: error.isPermissionDenied
            ? SIPLeakError.needsRoot
            : error.advice
              ?? "Is connection tracking built into this kernel, or its module loaded?",
          detail: error.message ?? ""))
    }
  }

  private static func firewall(
    _ tools: ToolContext
  ) async -> Result<FirewallReading, SIPLeakError> {
    do throws(FirewallError) {
      return .success(try await FirewallHost.snapshot(tools))
    } catch {
      return .failure(SIPLeakError(reading: error))
    }
  }

  /// The rest of the host; nothing in it is worth failing for, everything is worth saying.
  mutating func observation(
    sample: Observation.Sample, earlier: Observation.Sample?
  ) -> Observation {
    let namespace = access.namespace
    func read<T>(_ what: String, _ fallback: T, _ body: () throws -> T) -> T {
      do { return try body() } catch {
        note(["\(what): \(error)"])
        return fallback
      }
    }
    var network = NetworkFacts()
    network.addresses = read("the local addresses", []) {
      try HostNetwork.addresses(in: namespace)
    }
    network.interfaces = read("the interfaces", []) { try HostNetwork.interfaces(in: namespace) }
    network.gateways = read("the routes", []) { try HostNetwork.gateways(in: namespace) }
    network.routedPrefixes = read("where the routes lead", nil) {
      try HostNetwork.routedPrefixes(in: namespace)
    }
    network.resolvers = resolvers()
    let likely = endpoints.ports.union([5060, 5061, 5062, 5080, 5160, 5161])
    network.listeners = read("the listening sockets", []) {
      try HostNetwork.listeners(transports: [.udp, .tcp], ports: likely, in: namespace)
    }
    network.reversePathFilter = read("rp_filter", [:]) {
      try HostNetwork.reversePathFilter(in: namespace)
    }
    network.peerRoutes = routes(to: sample.flows, in: network)
    let settings = read("connection tracking's settings", ConntrackSettings()) {
      try ConntrackSettings.read(in: namespace)
    }
    let expected = read("the expectations", ExpectationDump()) {
      try ExpectationTable.dump(in: namespace)
    }
    note(expected.reasons)
    let count = try? FlowTable.count(in: namespace)
    var sample = sample
    sample.firewall.snapshot.localAddresses = network.addresses.map(\.address)
    sample.firewall.snapshot.interfaceAddresses = network.addressesByInterface
    sample.firewall.snapshot.time = sample.wholeSeconds
    return Observation(
      host: HostIdentity(
        name: Self.name.host, kernel: Self.name.kernel, flowCount: count, namespace: access.name),
      endpoints: endpoints, network: network, settings: settings,
      expectations: expected.expectations,
      sample: sample, earlier: earlier, problems: problems,
      blindSpots: blindSpots)
  }

  /// The name servers of whoever lives in the namespace, and the host's own: neither is blocked.
  private mutating func resolvers() -> [IPAddress] {
    let own = HostNetwork.resolvers()
    guard access.name != nil else { return own }
    guard let inside = HostNetwork.resolvers(files: access.files.resolverFiles) else {
      // A name without a file of its own uses the host's.
      if case .named = access.files { return own }
      blindSpots.append(
        BlindSpot(
          "resolvers-unknown",
          "which name servers are asked in the namespace is not known: --protect them"))
      return own
    }
    return inside + own.filter { !inside.contains($0) }
  }

  private static let questionsAtOnce = 2048

  /// The routes back to the peers of flows to SIP, one question a pair of addresses.
  private mutating func routes(
    to flows: [Flow], in network: NetworkFacts
  ) -> [NetworkFacts.PeerRoute] {
    let local = Set(network.addresses.map(\.address))
    let routing: PeerRouting
    do throws(HostNetworkError) {
      routing = try PeerRouting(network, in: access.namespace)
    } catch {
      note(["the routes to the peers: \(error)"])
      return []
    }
    var asked: Set<PeerEnds> = []
    var result: [NetworkFacts.PeerRoute] = []
    // Grown by doubling, each would be there twice at its largest.
    asked.reserveCapacity(min(flows.count, 1 << 16))
    result.reserveCapacity(min(flows.count, 1 << 16))
    var ends: [PeerEnds] = []
    var marks: [UInt32?] = []
    for flow in flows {
      guard
        let sides = FlowSides(
          flow, endpoints: endpoints, isLocal: { local.contains($0) || $0.isLoopback }),
        asked.insert(PeerEnds(sides)).inserted
      else { continue }
      ends.append(PeerEnds(sides))
      marks.append(flow.mark)
      // So that a million questions do not stand in memory at once.
      if ends.count == Self.questionsAtOnce {
        result += routing.routes(ends, marks: marks)
        ends.removeAll(keepingCapacity: true)
        marks.removeAll(keepingCapacity: true)
      }
    }
    result += routing.routes(ends, marks: marks)
    note(routing.problems)
    return result
  }

  private static var uptime: Double {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// What `uname -n` and `uname -r` print.
  private static var name: (host: String, kernel: String) {
    var names = utsname()
    guard unsafe uname(&names) == 0 else { return ("unknown", "unknown") }
    func text<T>(_ field: T) -> String {
      unsafe withUnsafeBytes(of: field) {
        unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
    }
    return (text(names.nodename), text(names.release))
  }
}

extension SIPLeakError {
  /// Makes an error of a failed reading of the firewall.
  init(reading error: FirewallError) {
    self.init(
      error.code == .permissionDenied ? .permissionDenied : .unreadable, "\(error)",
      advice: error.code == .permissionDenied ? SIPLeakError.needsRoot : error.advice ?? "",
      detail: error.standardError ?? "")
  }
}
