import Addressing
import Conntrack
import Firewall
import HostNetwork

extension Differential {
  /// Whether SIP is open over IPv6, where no rule may stand and nothing may be tracked (facts A8).
  mutating func ipv6() -> Explanation {
    if let peer, peer.family == .ipv4 {
      return Explanation(.ipv6, .ruledOut, "the peer's address is IPv4", isIndependent: true)
    }
    guard doors.contains(where: { $0.family == .ipv6 }) else {
      return Explanation(
        .ipv6, .ruledOut, "this host has no IPv6 address that others reach")
    }
    let listeners = observation.network.listeners.filter { listener in
      observation.endpoints.contains(listener.address.port, listener.transport)
    }
    let open = listeners.filter { $0.accepts(.ipv6) }
    if !listeners.isEmpty, open.isEmpty,
      !doors.contains(where: { $0.family == .ipv6 && $0.path == .forward })
    {
      return Explanation(
        .ipv6, .ruledOut, "no SIP socket listens on IPv6",
        listeners.map { Evidence("listens on \($0.address)") })
    }
    let hears = open.first.map { "\($0.address) listens" } ?? "no listener is known"
    let asked = peer.map { [$0] } ?? strangers().filter { $0.family == .ipv6 }
    let walks = asked.flatMap { arrivals(of: $0) }
    let sockets = open.map { Evidence("listens on \($0.address)") }
    if let hit = walks.first(where: \.isAccepted) {
      let rule = hit.walk.decidingRule
      let isEverywhere = walks.allSatisfy(\.isAccepted)
      let way =
        isEverywhere || hit.way.all.isEmpty ? "" : " who comes by \(Listing.words(hit.way.all))"
      let whom = (peer == nil ? "anybody" : "it") + way
      let by =
        rule.map { "\($0.named) accepts \(whom)" } ?? "no ip6tables rule: it is open to \(whom)"
      return Explanation(
        .ipv6, .supported, "\(by), and \(hears)",
        [Evidence("accepts it", rule: rule)] + sockets,
        command: shut(hit))
    }
    if let unclear = walks.first(where: { !$0.isRefused }) {
      return Explanation(
        .ipv6, .cannotTell, "it hangs on \(Listing.reasons(unclear.walk.unknowns))", sockets,
        command: walkCommand(unclear))
    }
    let rules = walks.compactMap(\.walk.decidingRule).uniqued()
    return Explanation(
      .ipv6, .ruledOut,
      rules.isEmpty
        ? "nobody reaches it"
        : "\(Listing.places(rules)) refuses \(peer == nil ? "strangers" : "it")",
      rules.map { Evidence("refuses it", rule: $0) } + sockets)
  }

  /// A rule that shuts IPv6's SIP, where nobody uses it and the packet comes by INPUT; else who is
  /// admitted, for such a rule would cut those as well.
  private func shut(_ open: Arrival) -> String {
    let isUsed = observation.sample.flows.contains { flow in
      flow.family == .ipv6
        && FlowSides(flow, endpoints: observation.endpoints, isLocal: localAddresses.contains)
          != nil
    }
    guard open.door.path == .input, !isUsed else { return accepts }
    return "ip6tables -I INPUT 1 -p \(open.door.transport) --dport \(open.door.wire.port) -j DROP"
  }
}
