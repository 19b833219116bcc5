public import Addressing
import Conntrack

/// Which local sockets count as SIP: the ports, and addresses that count as ours though no
/// interface holds them (a VIP, an inner PBX behind a forward).
public struct SIPEndpoints: Sendable, Hashable, Codable {
  /// UDP ports that carry SIP; 5060 unless told otherwise.
  public var udpPorts: Set<UInt16>
  /// TCP ports that carry SIP or SIP over TLS; none unless told otherwise.
  public var tcpPorts: Set<UInt16>
  /// Addresses that are endpoints although this host does not hold them.
  public var addresses: Set<IPAddress>

  /// Makes a choice of endpoints.
  public init(
    udpPorts: Set<UInt16> = [5060], tcpPorts: Set<UInt16> = [], addresses: Set<IPAddress> = []
  ) {
    self.udpPorts = udpPorts
    self.tcpPorts = tcpPorts
    self.addresses = addresses
  }

  /// The transports that have at least one port.
  public var transports: Set<IPProtocol> {
    var result: Set<IPProtocol> = []
    if !udpPorts.isEmpty { result.insert(.udp) }
    if !tcpPorts.isEmpty { result.insert(.tcp) }
    return result
  }

  /// All ports of all transports.
  public var ports: Set<UInt16> { udpPorts.union(tcpPorts) }

  /// The SIP ports of one transport, in order.
  public func ports(of transport: IPProtocol) -> [UInt16] {
    switch transport {
    case .udp: udpPorts.sorted()
    case .tcp: tcpPorts.sorted()
    default: []
    }
  }

  /// What the flow table is asked for: the flows that may concern SIP, by their delivered side.
  var query: FlowQuery {
    var query = FlowQuery(transports: transports, ports: ports, places: FlowQuery.deliveredSide)
    query.portsByTransport = [.udp: udpPorts, .tcp: tcpPorts]
    return query
  }

  /// Whether a port of a transport carries SIP.
  public func contains(_ port: UInt16, _ transport: IPProtocol) -> Bool {
    transport == .udp ? udpPorts.contains(port) : transport == .tcp && tcpPorts.contains(port)
  }

  /// The options that make these endpoints, each after a blank; empty for the usual ones.
  public var options: String {
    let usual = SIPEndpoints()
    var words: [String] = []
    if udpPorts != usual.udpPorts { words += udpPorts.sorted().map { "--port \($0)" } }
    words += tcpPorts.sorted().map { "--tcp-port \($0)" }
    words += addresses.sorted().map { "--endpoint \($0)" }
    return words.map { " " + $0 }.joined()
  }
}
