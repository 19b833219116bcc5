import Addressing
import Conntrack
import HostNetwork
import Netlink

/// A peer and the local address its packets are sent to: what one question for a route is about.
struct PeerEnds: Hashable {
  var peer: IPAddress
  var local: IPAddress
}

extension PeerEnds {
  init(_ sides: FlowSides) {
    self.init(peer: sides.peer.address, local: sides.wire.address)
  }
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
  private var cells: [AddressFamily: RouteCells?] = [:]
  private var known: [Cell: Route?] = [:]
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
    let question = question(PeerEnds(sides), mark: mark)
    let route = try? lookup.route(
      to: question.peer, from: question.local, mark: question.mark)
    return peerRoute(PeerEnds(sides), route)
  }

  /// The routes back to many peers.
  ///
  /// - Parameters:
  ///   - ends: The peers and the local addresses.
  ///   - marks: Their flows' marks.
  /// - Returns: The routes in order, none in one that there is none of or that could not be asked.
  func routes(_ ends: [PeerEnds], marks: [UInt32?]) -> [NetworkFacts.PeerRoute] {
    var questions: [RouteLookup.Question] = []
    var asked: [Int] = []
    var first: Set<Cell> = []
    let places = ends.map { cell(of: $0) }
    for (number, place) in places.enumerated() {
      if let place, known[place] != nil || !first.insert(place).inserted { continue }
      questions.append(question(ends[number], mark: marks[number]))
      asked.append(number)
    }
    let answers = answers(to: questions)
    var own: [Int: Route?] = [:]
    for (index, number) in asked.enumerated() {
      let answer = answers.flatMap { try? $0[index].get() } ?? nil
      if let place = places[number] { known[place] = answer } else { own[number] = answer }
    }
    return ends.indices.map { number in
      let route = places[number].map { known[$0] ?? nil } ?? own[number] ?? nil
      return peerRoute(ends[number], route)
    }
  }

  /// What the kernel says, or `nil` with a problem noted: without routes an answer is not whole.
  private func answers(
    to questions: [RouteLookup.Question]
  ) -> [Result<Route?, HostNetworkError>]? {
    do throws(HostNetworkError) {
      return try lookup.routes(questions)
    } catch {
      problems.append("the routes to the peers: \(error)")
      // Answers may be on their way still: another socket for what comes next.
      if let fresh = try? RouteLookup(in: namespace) { lookup = fresh }
      return nil
    }
  }

  /// Peers that the kernel cannot tell apart, as seen from one address of ours.
  private struct Cell: Hashable {
    var number: Int
    var family: AddressFamily
    var from: IPAddress?
  }

  private func cell(of ends: PeerEnds) -> Cell? {
    let family = ends.peer.family
    let cells = cells[family] ?? routeCells(family)
    self.cells[family] = .some(cells)
    return cells.map {
      Cell(
        number: $0.number(of: ends.peer), family: family,
        from: local.contains(ends.local) ? ends.local : nil)
    }
  }

  private func routeCells(_ family: AddressFamily) -> RouteCells? {
    let known = choices[family] ?? routeChoices(family)
    choices[family] = .some(known)
    // Without them every peer is asked for, which is right as well.
    guard let known,
      let destinations = try? HostNetwork.routeDestinations(family, in: namespace)
    else { return nil }
    return RouteCells(known, family, destinations: destinations)
  }

  private func question(_ ends: PeerEnds, mark: UInt32?) -> RouteLookup.Question {
    // From an address that is not ours (a forward's inside) the kernel refuses the question.
    RouteLookup.Question(
      peer: ends.peer, local: local.contains(ends.local) ? ends.local : nil, mark: mark)
  }

  private func peerRoute(_ ends: PeerEnds, _ route: Route?) -> NetworkFacts.PeerRoute {
    let family = ends.peer.family
    let known = choices[family] ?? routeChoices(family)
    choices[family] = .some(known)
    return NetworkFacts.PeerRoute(
      peer: ends.peer, local: ends.local, route: route,
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
