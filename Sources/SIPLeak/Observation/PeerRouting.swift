import Addressing
import Conntrack
import HostNetwork
import Netlink

/// A peer and the local address its packets are sent to: what one question for a route is about.
struct PeerEnds: Hashable {
  var peer: IPAddress
  var local: IPAddress
}

/// Asks for the routes back to peers, over one socket, and judges how certain their interfaces are.
///
/// A class for one caller at a time: the socket and what it knows already stay together.
final class PeerRouting {
  private var lookup: RouteLookup
  private let namespace: NetworkNamespace
  private let local: Set<IPAddress>
  private let strict: Set<String>
  private var choices: [AddressFamily: RouteChoices?] = [:]
  /// What could not be read, in words.
  private(set) var problems: [String] = []

  /// Opens the socket.
  ///
  /// - Parameters:
  ///   - network: The host's addresses and its `rp_filter`.
  ///   - namespace: The network namespace.
  /// - Throws: ``HostNetworkError``.
  init(_ network: NetworkFacts, in namespace: NetworkNamespace) throws(HostNetworkError) {
    lookup = try RouteLookup(in: namespace)
    self.namespace = namespace
    local = Set(network.addresses.map(\.address))
    strict = Set(network.reversePathFilter.filter { $0.value == 1 }.keys)
  }

  /// The route back to the peer of a flow.
  ///
  /// - Parameters:
  ///   - sides: The flow's sides.
  ///   - mark: Its mark, for policy rules.
  /// - Returns: The route, none in it if there is none or it could not be asked.
  func route(_ sides: FlowSides, mark: UInt32?) -> NetworkFacts.PeerRoute {
    // From an address that is not ours (a forward's inside) the kernel refuses the question.
    let from = local.contains(sides.wire.address) ? sides.wire.address : nil
    let route = try? lookup.route(to: sides.peer.address, from: from, mark: mark)
    let family = sides.peer.address.family
    let known = choices[family] ?? routeChoices(family)
    choices[family] = .some(known)
    return NetworkFacts.PeerRoute(
      peer: sides.peer.address, local: sides.wire.address, route: route,
      isInterfaceCertain: route?.interface.map {
        // rp_filter is IPv4's; choices that could not be read decide nothing.
        known?.makesCertain($0, strict: family == .ipv4 ? strict : []) ?? false
      })
  }

  private func routeChoices(_ family: AddressFamily) -> RouteChoices? {
    do throws(HostNetworkError) {
      return try HostNetwork.routeChoices(family, in: namespace)
    } catch {
      problems.append("the policy rules: \(error)")
      return nil
    }
  }
}
