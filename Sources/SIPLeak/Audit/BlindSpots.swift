import Conntrack
import Addressing
import Firewall
import HostNetwork

extension BlindSpot {
  /// Whether a setting says the same, with the command that changes it.
  var isSaidBySettings: Bool { kind == "rp-filter-off" || kind == "accounting-off" }

  /// What the answer cannot see on this host.
  static func all(of observation: Observation, snapshot: FirewallSnapshot) -> [BlindSpot] {
    var spots = unseenFilters(observation, snapshot)
    if observation.settings.accounting == false {
      spots.append(
        BlindSpot(
          "accounting-off",
          "flows carry no packet counters: sysctl -w net.netfilter.nf_conntrack_acct=1 counts "
            + "those that begin afterwards"))
    }
    spots += observation.blindSpots
    spots += spoofing(observation)
    spots += uncertainWays(observation)
    spots += translatedPeers(observation)
    spots += flowtables(observation)
    spots += otherListeners(observation)
    if observation.network.addresses.isEmpty {
      spots.append(BlindSpot("no-addresses", "no local address is known; no flow can be matched"))
    }
    return spots
  }

  /// Filters that iptables does not show, as far as they may touch what is sent to a SIP endpoint.
  private static func unseenFilters(
    _ observation: Observation, _ snapshot: FirewallSnapshot
  ) -> [BlindSpot] {
    guard !snapshot.unseen.isEmpty else { return [] }
    var ends: Set<TransportPort> = []
    for transport in observation.endpoints.transports {
      for port in observation.endpoints.ports(of: transport) {
        ends.insert(TransportPort(transport: transport, port: port))
      }
    }
    // Hooks before the translation see the port on the wire.
    let local = Set(observation.network.addresses.map(\.address))
    for flow in observation.sample.flows {
      guard
        let sides = FlowSides(flow, endpoints: observation.endpoints, isLocal: local.contains)
      else { continue }
      ends.insert(TransportPort(transport: flow.original.transport, port: sides.wire.port))
    }
    return snapshot.unseen.filter { filter in
      ends.contains { filter.mayTouch($0.transport, destinationPort: $0.port) }
    }.map { filter in
      let place = ([filter.table] + (filter.chain.map { [$0] } ?? [])).joined(separator: " ")
      return BlindSpot("unseen-filter", "\(filter.backend.rawValue) \(place): \(filter.why)")
    }
  }

  private struct TransportPort: Hashable {
    var transport: IPProtocol
    var port: UInt16
  }

  /// A spoofed carrier looks like the carrier unless the reverse path is checked (facts A7).
  private static func spoofing(_ observation: Observation) -> [BlindSpot] {
    let used = Set(observation.network.peerRoutes.compactMap { $0.route?.interface })
    let open = observation.network.reversePathFilter
      .filter { used.contains($0.key) && $0.value == 0 }.keys.sorted()
    guard !open.isEmpty else { return [] }
    let names = open.joined(separator: ", ")
    return [
      BlindSpot(
        "rp-filter-off",
        "rp_filter is 0 on \(names): \(ReversePath.harm)")
    ]
  }

  /// The way back tells the way in only where there is one (``RouteChoices``).
  private static func uncertainWays(_ observation: Observation) -> [BlindSpot] {
    let count = Set(
      observation.network.peerRoutes.filter { $0.isInterfaceCertain == false }.map(\.peer)
    ).count
    guard count > 0 else { return [] }
    return [
      BlindSpot(
        "ingress-unknown",
        "by which interface \(count == 1 ? "one peer comes" : "\(count) peers come") is not known: "
          + "there are policy rules, several paths or several default routes")
    ]
  }

  /// Behind a gateway that translates sources, many senders share one address.
  private static func translatedPeers(_ observation: Observation) -> [BlindSpot] {
    let gateways = Set(observation.network.gateways)
    let hidden = Set(observation.network.peerRoutes.map(\.peer)).intersection(gateways)
    return hidden.sorted().map {
      BlindSpot("hidden-source", "\($0) is our own gateway: it may hide who really sends")
    }
  }

  private static func otherListeners(_ observation: Observation) -> [BlindSpot] {
    let known: [UInt16] = [5060, 5061, 5062, 5080, 5160, 5161]
    var seen: Set<String> = []
    return observation.network.listeners.compactMap { listener in
      let port = listener.address.port
      guard known.contains(port), !observation.endpoints.contains(port, listener.transport) else {
        return nil
      }
      let name = "\(listener.transport)/\(port)"
      guard seen.insert(name).inserted else { return nil }
      return BlindSpot("other-sip-port", "\(name) listens and is not looked at")
    }
  }
}
