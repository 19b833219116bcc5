import Addressing
import Conntrack
import Firewall
import HostNetwork
import Testing

@testable import SIPLeak

/// A host made of text: rulesets as the tools print them, and flows by their ends.
struct SavedHost {
  static let pbx = "192.0.2.5"
  static let attacker = "203.0.113.66"
  static let carrier = "198.51.100.10"

  /// The base ruleset of the documents: the state rule stands before the SIP rules.
  static let rules = """
    *filter
    :INPUT ACCEPT [0:0]
    :FORWARD ACCEPT [0:0]
    :OUTPUT ACCEPT [0:0]
    [3:300] -A INPUT -i lo -m comment --comment "000 accept loopback" -j ACCEPT
    [900:90000] -A INPUT -m state --state RELATED,ESTABLISHED -m comment --comment "002 accept related established" -j ACCEPT
    [1:500] -A INPUT -s 198.51.100.10/32 -p udp -m udp --dport 5060 -m comment --comment "010 accept SIP" -j ACCEPT
    [0:0] -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
    [7:700] -A INPUT -m comment --comment "999 reject all other requests" -j REJECT --reject-with icmp-host-prohibited
    COMMIT

    """

  var rules = SavedHost.rules
  var rules6: String?
  /// What `nft -j list ruleset` printed.
  var native: String?
  /// What `firewall.status` says of parts that were not saved.
  var status: String?
  var sets = ""
  /// Whether ipset is there.
  var hasSets = true
  var flows: [Flow] = []
  var expectations: [Conntrack.Expectation] = []
  var network = NetworkFacts(
    addresses: [
      LocalAddress(address: address("127.0.0.1"), prefixLength: 8, interface: "lo"),
      LocalAddress(address: address(pbx), prefixLength: 24, interface: "eth0"),
    ],
    interfaces: [
      Interface(name: "lo", index: 1, isUp: true, isLoopback: true),
      Interface(name: "eth0", index: 2, isUp: true, isLoopback: false),
    ],
    gateways: [address("192.0.2.1")])
  var problems: [String] = []
  /// Whether the route back tells the interface.
  var isInterfaceCertain: Bool?

  /// What `Observation.live` would have read on such a host.
  func observation(endpoints: SIPEndpoints = SIPEndpoints()) throws -> Observation {
    var network = network
    for flow in flows {
      for (peer, local) in [
        (flow.original.source, flow.original.destination),
        (flow.reply.source, flow.reply.destination),
      ] {
        network.peerRoutes.append(
          NetworkFacts.PeerRoute(
            peer: peer, local: local,
            route: Route(
              interface: "eth0", gateway: address("192.0.2.1"), source: nil, kind: .unicast),
            isInterfaceCertain: isInterfaceCertain))
      }
    }
    var firewall = try firewall()
    firewall.snapshot.interfaceAddresses = network.addressesByInterface
    return Observation(
      host: HostIdentity(name: "pbx1", kernel: "6.1.0", flowCount: UInt32(flows.count)),
      endpoints: endpoints, network: network, settings: ConntrackSettings(),
      expectations: expectations,
      sample: Observation.Sample(time: 1_795_225_330, flows: flows, firewall: firewall),
      problems: problems)
  }

  func firewall() throws -> FirewallReading {
    var files: [String: [UInt8]] = [
      "ipv4.nft.save": Array(rules.utf8), "sets.save": Array(sets.utf8),
    ]
    if !hasSets {
      files["sets.save"] = nil
      files["firewall.status"] = Array("sets not-installed ipset\n".utf8)
    }
    if let status { files["firewall.status"] = Array(status.utf8) }
    if let native { files["nft.json"] = Array(native.utf8) }
    if let rules6 { files["ipv6.nft.save"] = Array(rules6.utf8) }
    return try FirewallHost.reading(files: files)
  }

  /// The audit of such a host.
  func audit(trusted: [String] = [], endpoints: SIPEndpoints = SIPEndpoints()) throws -> Audit {
    let policy = AuditPolicy(trusted: PrefixSet(trusted.compactMap { IPPrefix($0) }))
    return Audit(try observation(endpoints: endpoints), policy: policy)
  }

  /// The plan of a block on such a host.
  func plan(_ request: BlockRequest = BlockRequest(), trusted: [String] = []) throws -> BlockPlan {
    let policy = AuditPolicy(trusted: PrefixSet(trusted.compactMap { IPPrefix($0) }))
    let observation = try observation()
    return BlockPlan(
      request, audit: Audit(observation, policy: policy), observation: observation, policy: policy)
  }
}

func address(_ text: String) -> IPAddress {
  guard let address = IPAddress(text) else {
    Issue.record("not an address: \(text)")
    return IPAddress(ipv4: 0)
  }
  return address
}

func end(_ text: String) -> Endpoint {
  guard let end = Endpoint(text) else {
    Issue.record("not an endpoint: \(text)")
    return Endpoint(address("0.0.0.0"), 0)
  }
  return end
}

/// A flow from one end to another; the reply is its mirror unless given.
func flow(
  _ from: String, _ to: String, _ status: FlowStatus, transport: IPProtocol = .udp,
  reply: (String, String)? = nil, id: UInt32 = 1
) -> Flow {
  let source = end(from)
  let destination = end(to)
  let original = FlowTuple(
    source: source.address, destination: destination.address, transport: transport,
    sourcePort: source.port, destinationPort: destination.port)
  var back = original.inverted
  if let reply {
    let source = end(reply.0)
    let destination = end(reply.1)
    back = FlowTuple(
      source: source.address, destination: destination.address, transport: transport,
      sourcePort: source.port, destinationPort: destination.port)
  }
  var flow = Flow(original: original, reply: back, status: status.union(.confirmed), id: id)
  flow.timeout = 100
  return flow
}
