import Addressing
import Firewall
import HostNetwork

/// Decides which addresses may be blocked at all.
///
/// Only one that is refused as NEW from every source port, to every local address, on every
/// interface it may come by: a trunk admitted from port 5060 and rebound to 40000 keeps its trunk.
struct Blockability {
  private let observation: Observation
  private let protected: ProtectedSet
  private var evaluation: RepeatedEvaluation
  private let ownAddresses: Set<IPAddress>
  private let interfaces: [String]
  private let targets: [AddressFamily: [IPAddress]]
  /// Answers about peers whose addresses no rule tells apart.
  var sources = SortedSources()
  private var answers: [Question: String?] = [:]
  /// Answers kept at most.
  private static let limit = 16_384

  private struct Question: Hashable {
    enum Who: Hashable {
      case one(IPAddress)
      case every(AddressFamily, kind: Int32, ways: [String?])
    }
    var who: Who
    var wire: Endpoint
  }

  init(_ observation: Observation, policy: AuditPolicy) {
    self.observation = observation
    protected = ProtectedSet(observation, policy: policy)
    // Judged by the rules underneath, whatever timed sets hold: our own block must not make a trunk
    // look refused, nor an entry that ran out a phone.
    evaluation = RepeatedEvaluation(
      Evaluation(observation.sample.firewall.snapshot.withoutOurBlocks.atAnyTime))
    ownAddresses = Set(observation.network.addresses.map(\.address))
    interfaces = observation.network.interfaces.filter { !$0.isLoopback }.map(\.name)
    targets = Dictionary(
      grouping: ownAddresses.filter { !$0.isLoopback }.sorted(), by: \.family)
  }

  /// Why an address may not be blocked, or `nil` when it may.
  ///
  /// A look is blocked only when a person names the address; that is the plan's business.
  mutating func answer(for peer: IPAddress, wire: Endpoint, cause: Cause) -> String? {
    if cause == .undecided { return "the verdict is not certain" }
    if let why = protection(of: peer) { return why }
    let kinds = sources.kinds(peer.family, evaluation.evaluation)
    let ways = ways(to: peer)
    let question = Question(
      who: kinds.map { .every(peer.family, kind: $0.kind(of: peer), ways: ways) } ?? .one(peer),
      wire: wire)
    if let known = answers[question] { return known }
    let answer = admission(of: peer, wire: wire, ways)
    if answers.count >= Self.limit { answers.removeAll(keepingCapacity: true) }
    answers[question] = answer
    return answer
  }

  /// Why an address is protected whatever the rules say, or `nil`.
  func protection(of peer: IPAddress) -> String? { protected.reason(for: peer)?.sentence }

  /// Why the rules would let the address in somewhere, or `nil` when they refuse it everywhere.
  private mutating func admission(
    of peer: IPAddress, wire: Endpoint, _ ways: [String?]
  ) -> String? {
    var destinations = targets[peer.family] ?? []
    destinations += observation.endpoints.addresses.filter {
      $0.family == peer.family && !destinations.contains($0)
    }.sorted()
    if !destinations.contains(wire.address) { destinations.append(wire.address) }
    for transport in observation.endpoints.transports.sorted(by: { $0.rawValue < $1.rawValue }) {
      var ports = observation.endpoints.ports(of: transport)
      if !ports.contains(wire.port) { ports.append(wire.port) }
      for destination in destinations {
        let path: PacketPath = ownAddresses.contains(destination) ? .input : .forward
        for port in ports {
          for way in ways {
            var packet = Packet(
              transport: transport, source: peer, destination: destination, sourcePort: nil,
              destinationPort: port, inInterface: way, connection: .new)
            if path == .forward { packet.outInterface = observation.egress(to: destination) }
            if let why = objection(to: packet, path) { return why }
          }
        }
      }
    }
    return nil
  }

  /// The interfaces an address may come by: those that some route leads to it by.
  ///
  /// An inside network's interface, where everything is accepted, is none of them for an address
  /// that no route of it covers. With nothing known one unknown interface stands for all.
  private func ways(to peer: IPAddress) -> [String?] {
    guard let routes = observation.network.routedPrefixes else {
      return interfaces.isEmpty ? [nil] : interfaces
    }
    let covering = routes.filter { $0.prefix.contains(peer) }
    guard covering.allSatisfy({ $0.interfaces != nil }) else {
      return interfaces.isEmpty ? [nil] : interfaces
    }
    let names = Set(covering.flatMap { $0.interfaces ?? [] }).intersection(interfaces).sorted()
    // No route back: it can only be a one-way sender, by any interface.
    return names.isEmpty ? (interfaces.isEmpty ? [nil] : interfaces) : names
  }

  /// Why a packet may get in, wherever the nat table sends it.
  private mutating func objection(to packet: Packet, _ path: PacketPath) -> String? {
    let walk = evaluation.walk(packet, to: path)
    var end: Endpoint?
    switch walk.translation {
    case .asAsked: return Self.objection(walk)
    case .elsewhere(let known): end = known
    case .uncertain: break
    }
    // What the nat table sends through this host meets FORWARD instead; where that is not known, it
    // may meet either.
    let isHere = end.map { ownAddresses.contains($0.address) || $0.address.isLoopback }
    if isHere != false, let why = Self.objection(evaluation.walk(packet, to: .input)) {
      return why
    }
    guard isHere != true else { return nil }
    var forwarded = packet
    forwarded.outInterface = end.flatMap { observation.egress(to: $0.address) }
    return Self.objection(evaluation.walk(forwarded, to: .forward))
  }

  private static func objection(_ walk: Walk) -> String? {
    if walk.isCertain, walk.verdict.isRefused { return nil }
    if let rule = walk.outcomes.first(where: { $0.verdict == .accept })?.rule {
      let place = "\(rule.table) \(rule.chain) \(rule.index)"
      return rule.index == 0
        ? "accepted as NEW by the policy of \(rule.table) \(rule.chain)"
        : "\(walk.isCertain ? "accepted" : "may be accepted") as NEW by \(place)"
    }
    let reason = walk.unknowns.first?.text ?? "something the rules do not show"
    return "not certainly refused as NEW: \(reason)"
  }
}
