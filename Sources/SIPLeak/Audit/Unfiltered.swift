import Addressing
import Firewall
import HostNetwork

extension FlowJudge {
  /// Families whose SIP ports are open to everybody though no rule says so; one finding a family.
  ///
  /// IPv6 without ip6tables rules is not even tracked (facts A8), nor is what a raw-table rule keeps
  /// away from tracking, so flows cannot show it: a listener is the evidence.
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
          sourcePort: 5060, destinationPort: destination.port, inInterface: nil, connection: .new)
        if let found = opening(packet, to: destination) {
          return OpenListener(
            listener: listener, destination: destination, walk: found.walk, why: found.why)
        }
      }
    }
    return nil
  }

  /// How a stranger's packet gets in without a rule that lets strangers in, by any interface.
  ///
  /// The interface that holds the address says nothing: addresses of a PBX stand on `lo` as well.
  private mutating func opening(
    _ packet: Packet, to destination: Endpoint
  ) -> (walk: Walk, why: String)? {
    var ways: [String?] = observation.network.interfaces.filter { $0.isUp && !$0.isLoopback }
      .map(\.name)
    // Without an interface list, one unknown interface stands for all of them.
    if ways.isEmpty { ways = [nil] }
    var found: (walk: Walk, why: String)?
    var open: [String?] = []
    for way in ways {
      var packet = packet
      packet.inInterface = way
      let walk = evaluation.walk(packet, to: .input)
      guard walk.isCertain, walk.verdict == .accept, let why = why(walk, packet, destination)
      else { continue }
      open.append(way)
      found = found ?? (walk, why)
    }
    guard var found else { return nil }
    let who =
      open.count == ways.count
      ? "anybody" : "anybody who comes by \(open.compactMap { $0 }.joined(separator: ", "))"
    found.why = "\(who) reaches \(destination)\(found.why)"
    return found
  }

  /// Why an accepted stranger is nobody's decision, or `nil` when a rule lets strangers in.
  private func why(_ walk: Walk, _ packet: Packet, _ destination: Endpoint) -> String? {
    let tool = packet.family == .ipv4 ? "iptables" : "ip6tables"
    guard let rule = walk.decidingRule else {
      return ": no \(tool) rule: everything is accepted, and the kernel tracks nothing there"
    }
    if rule.index == 0 {
      return ": no \(tool) rule decides, the policy is ACCEPT"
    }
    // Let in for being untracked: the rule never looks at who sends, and no flow will show him.
    let snapshot = observation.sample.firewall.snapshot
    guard walk.path.contains(where: { $0.rule.table == "raw" }),
      snapshot.hasUntracking
    else { return nil }
    let tracked = Evaluation(snapshot.withoutUntracking).walk(packet, to: .input)
    guard tracked.isCertain, tracked.verdict.isRefused else { return nil }
    return " untracked: a rule of table raw keeps it from connection tracking, and \(rule.table) "
      + "\(rule.chain) \(rule.index) accepts what is not tracked; no flow shows who comes in"
  }

  /// Addresses nobody's allowlist has a reason to name: TEST-NETs, benchmarking, documentation.
  static func strangers(_ family: AddressFamily) -> [IPAddress] {
    let texts =
      family == .ipv4
      ? ["198.18.255.77", "203.0.113.251", "100.127.255.77"]
      : ["2001:db8:ffff:ffff::77", "2001:2:0:ffff::77"]
    return texts.compactMap { IPAddress($0) }
  }
}

extension FirewallSnapshot {
  /// Whether some rule keeps packets away from connection tracking.
  fileprivate var hasUntracking: Bool {
    rulesets.contains { ruleset in
      ruleset.table("raw")?.chains.contains { $0.rules.contains(where: \.stopsTracking) } == true
    }
  }

  /// The same firewall with everything tracked.
  fileprivate var withoutUntracking: FirewallSnapshot {
    var copy = self
    for ruleset in copy.rulesets.indices {
      for table in copy.rulesets[ruleset].tables.indices
      where copy.rulesets[ruleset].tables[table].name == "raw" {
        for chain in copy.rulesets[ruleset].tables[table].chains.indices {
          copy.rulesets[ruleset].tables[table].chains[chain].rules.removeAll(
            where: \.stopsTracking)
        }
      }
    }
    return copy
  }
}

extension Rule {
  /// `-j CT --notrack`, or `-j NOTRACK` of older kernels.
  var stopsTracking: Bool {
    target?.name == "NOTRACK"
      || target?.name == "CT" && target?.options.contains { $0.name == "--notrack" } == true
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
