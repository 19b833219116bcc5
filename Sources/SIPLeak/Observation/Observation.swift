public import Addressing
public import Conntrack
public import Firewall
public import HostNetwork

/// What is there now: everything the audit may look at, and nothing it means.
///
/// Read from a live kernel by ``Observation/live(_:)`` or from files by ``ObservationFiles``; both
/// give the same answer afterwards.
public struct Observation: Sendable {
  /// Who and when.
  public var host: HostIdentity
  /// What was asked for: which ports count as SIP.
  public var endpoints: SIPEndpoints
  /// Addresses, routes, listeners and the settings that matter to an audit.
  public var network: NetworkFacts
  /// Connection tracking's settings.
  public var settings: ConntrackSettings
  /// Expectations of helpers.
  public var expectations: [Expectation]
  /// The newest reading of flows and rules.
  public var sample: Sample
  /// An earlier reading of the same, when two were asked for.
  public var earlier: Sample?
  /// What could not be read, or only in part, in words; empty when the observation is whole.
  public var problems: [String]
  /// What the way it was read hides, or took for granted: part of every answer.
  public var blindSpots: [BlindSpot]
  /// Families whose rules were read as a text that shows no nat table.
  ///
  /// A kernel without one has no such rules; a text may only not hold them.
  public var familiesWithoutNAT: Set<AddressFamily> = []
  /// Lines of this host's scripts that flush the firewall; `nil`: not looked for.
  public var reloadScripts: [FlushingLine]?

  /// Makes an observation of its parts.
  public init(
    host: HostIdentity, endpoints: SIPEndpoints, network: NetworkFacts,
    settings: ConntrackSettings, expectations: [Expectation], sample: Sample,
    earlier: Sample? = nil, problems: [String] = [], blindSpots: [BlindSpot] = []
  ) {
    self.host = host
    self.endpoints = endpoints
    self.network = network
    self.settings = settings
    self.expectations = expectations
    self.sample = sample
    self.earlier = earlier
    self.problems = problems
    self.blindSpots = blindSpots
  }

  /// Flows and rules read together.
  public struct Sample: Sendable {
    /// Seconds since 1970 UTC.
    public var time: Double
    /// Seconds of `CLOCK_MONOTONIC` at the same moment: no change of the hour moves it, and it stands
    /// still while the host sleeps, as the kernel's timeouts do.
    ///
    /// `nil` in observations that older versions saved.
    public var uptime: Double?
    /// Flows whose delivered side may be a SIP endpoint, by its port.
    public var flows: [Flow]
    /// The firewall, with its counters.
    public var firewall: FirewallReading
    /// How the flow table was read; `nil` where it is not known.
    public var reading: FlowDump.Account?

    /// The times a host can have: 1970 to 9999.
    static let times: Range<Double> = 0..<253_402_300_800

    /// The uptimes a host can have, up to 300 years.
    static let uptimes: Range<Double> = 0..<1e10

    /// Seconds that passed since an earlier sample of the same host.
    func seconds(since earlier: Sample) -> Double {
      guard let uptime, let before = earlier.uptime, uptime >= before else {
        return time - earlier.time
      }
      return uptime - before
    }

    /// The time in whole seconds, or `nil` when it is none.
    var wholeSeconds: Int64? { Self.times.contains(time) ? Int64(time) : nil }

    /// Makes a sample.
    public init(
      time: Double, flows: [Flow], firewall: FirewallReading, reading: FlowDump.Account? = nil
    ) {
      self.time = time
      self.flows = flows
      self.firewall = firewall
      self.reading = reading
    }
  }
}

/// Which host was observed.
public struct HostIdentity: Sendable, Hashable, Codable {
  /// The host's name as `uname -n` gives it; not escaped for terminals.
  public var name: String
  /// The kernel release as `uname -r` gives it.
  public var kernel: String
  /// How many entries the flow table held, if known.
  public var flowCount: UInt32?
  /// The network namespace as the operator named it; `nil`: the host's own.
  public var namespace: String?

  /// Makes an identity.
  public init(
    name: String, kernel: String, flowCount: UInt32? = nil, namespace: String? = nil
  ) {
    self.name = name
    self.kernel = kernel
    self.flowCount = flowCount
    self.namespace = namespace
  }

  /// The option that reaches the same namespace again, after a blank; empty for the host's own.
  var option: String { namespace.map { " --netns \(EscapedText.shellWord($0))" } ?? "" }
}

/// The host's place in its networks.
public struct NetworkFacts: Sendable, Hashable, Codable {
  /// The route back to one peer from the address it talks to.
  public struct PeerRoute: Sendable, Hashable, Codable {
    /// The peer.
    public var peer: IPAddress
    /// The local address its packets are sent to.
    public var local: IPAddress
    /// The route, or `nil` when there is none or it could not be asked.
    public var route: Route?
    /// Whether its packets certainly come by the route's interface; `nil` in observations that did
    /// not ask, and taken for yes.
    ///
    /// `false` under policy rules, several paths or several default routes (``RouteChoices``).
    public var isInterfaceCertain: Bool?

    /// Makes an entry.
    public init(
      peer: IPAddress, local: IPAddress, route: Route?, isInterfaceCertain: Bool? = nil
    ) {
      self.peer = peer
      self.local = local
      self.route = route
      self.isInterfaceCertain = isInterfaceCertain
    }
  }

  /// The host's own addresses.
  public var addresses: [LocalAddress]
  /// Its interfaces.
  public var interfaces: [Interface]
  /// The next hops of its routes.
  public var gateways: [IPAddress]
  /// The name servers it asks.
  public var resolvers: [IPAddress]
  /// Sockets that listen on SIP ports.
  public var listeners: [Listener]
  /// Routes back to the peers seen.
  public var peerRoutes: [PeerRoute]
  /// Effective `rp_filter` per interface.
  public var reversePathFilter: [String: Int]
  /// Where the host's routes lead; `nil`: not known.
  public var routedPrefixes: [RoutedPrefix]?

  /// Makes facts; everything empty unless given.
  public init(
    addresses: [LocalAddress] = [], interfaces: [Interface] = [], gateways: [IPAddress] = [],
    resolvers: [IPAddress] = [], listeners: [Listener] = [], peerRoutes: [PeerRoute] = [],
    reversePathFilter: [String: Int] = [:], routedPrefixes: [RoutedPrefix]? = nil
  ) {
    self.addresses = addresses
    self.interfaces = interfaces
    self.gateways = gateways
    self.resolvers = resolvers
    self.listeners = listeners
    self.peerRoutes = peerRoutes
    self.reversePathFilter = reversePathFilter
    self.routedPrefixes = routedPrefixes
  }
}
