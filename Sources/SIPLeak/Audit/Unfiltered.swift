import Addressing
import Firewall
import HostNetwork

extension FlowJudge {
  /// Families whose SIP ports are open to everybody though no rule says so; one finding a family.
  ///
  /// IPv6 without ip6tables rules is not even tracked (facts A8), so flows cannot show it: a
  /// listener is the evidence.
  mutating func unfilteredFindings(besides findings: [Finding]) -> [Finding] {
    let reported = Set(findings.filter { $0.cause == .unfiltered }.map(\.family))
    var result: [Finding] = []
    for family in AddressFamily.allCases where !reported.contains(family) {
      guard let open = openListener(family) else { continue }
      let verdict = JudgedVerdict(open.walk)
      result.append(
        Finding(
          cause: .unfiltered, level: .look, grade: nil, transport: open.listener.transport,
          family: family, zone: 0, peer: nil, delivered: open.destination, wire: open.destination,
          origin: nil, asNew: verdict, asHeld: verdict, isBlockable: false,
          notBlockableBecause: "it is no address but the whole host",
          why: open.why, flow: nil, increments: nil))
    }
    return result
  }

  private struct OpenListener {
    var listener: Listener
    var destination: Endpoint
    var walk: Walk
    var why: String
  }

  /// A listener on a SIP port that a stranger of the family reaches because no rule decides.
  private mutating func openListener(_ family: AddressFamily) -> OpenListener? {
    let own = observation.network.addresses.filter {
      $0.address.family == family && !$0.address.isLoopback && !$0.address.isLinkLocal
    }
    for listener in observation.network.listeners
    where observation.endpoints.contains(listener.address.port, listener.transport) {
      guard let local = own.first(where: { listener.accepts($0.address) }) else { continue }
      let destination = Endpoint(local.address, listener.address.port)
      for stranger in Self.strangers(family) where !localAddresses.contains(stranger) {
        let packet = Packet(
          transport: listener.transport, source: stranger, destination: destination.address,
          sourcePort: 5060, destinationPort: destination.port, inInterface: local.interface,
          connection: .new)
        let walk = evaluation.walk(packet, to: .input)
        guard walk.isCertain, walk.verdict == .accept, (walk.decidingRule?.index ?? 0) == 0 else {
          continue
        }
        let hasRules = observation.sample.firewall.snapshot.rulesets.contains {
          $0.family == family && $0.tables.contains { $0.chains.contains { !$0.rules.isEmpty } }
        }
        let tool = family == .ipv4 ? "iptables" : "ip6tables"
        return OpenListener(
          listener: listener, destination: destination, walk: walk,
          why: hasRules
            ? "anybody reaches \(destination): no \(tool) rule decides, the policy is ACCEPT"
            : "anybody reaches \(destination): there is no \(tool) rule at all, and without one "
              + "the kernel tracks nothing there")
      }
    }
    return nil
  }

  /// Addresses nobody's allowlist has a reason to name: TEST-NETs, benchmarking, documentation.
  private static func strangers(_ family: AddressFamily) -> [IPAddress] {
    let texts =
      family == .ipv4
      ? ["198.18.255.77", "203.0.113.251", "100.127.255.77"]
      : ["2001:db8:ffff:ffff::77", "2001:2:0:ffff::77"]
    return texts.compactMap { IPAddress($0) }
  }
}

extension Listener {
  /// Whether the socket receives what is sent to a local address.
  fileprivate func accepts(_ local: IPAddress) -> Bool {
    if address.address == local { return true }
    guard address.address.isUnspecified else { return false }
    if address.address.family == local.family { return true }
    // A wildcard IPv6 socket takes IPv4 too unless it says otherwise (facts A9).
    return address.address.family == .ipv6 && isIPv6Only != true
  }
}
