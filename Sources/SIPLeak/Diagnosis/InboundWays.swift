import Addressing
import Firewall
import HostNetwork

/// The interfaces that packets from outside come by, those that no rule tells apart as one.
struct InboundWays {
  /// Interfaces that no rule tells apart.
  struct Way: Sendable, Hashable {
    /// One of them, to be walked with; `nil` when no interface is known.
    var interface: String?
    /// All of them.
    var all: [String]
  }

  /// Every way.
  let all: [Way]
  /// The interface names and patterns (`eth+`) that rules ask for.
  let asked: [String]
  private let routes: [RoutedPrefix]?
  private let certainInterfaces: [IPAddress: String]

  init(_ observation: Observation) {
    let network = observation.network
    let masters = Set(
      network.interfaces.filter { ["bridge", "bond", "team"].contains($0.kind ?? "") }.map(\.index))
    // A packet that comes over the port of a bridge comes in by the bridge.
    let names = network.interfaces.filter { interface in
      interface.isUp && !interface.isLoopback
        && !(interface.master.map(masters.contains) ?? false)
    }.map(\.name)
    let rules = observation.sample.firewall.snapshot.rulesets.flatMap(\.tables).flatMap(\.chains)
      .flatMap(\.rules)
    var asked: Set<String> = []
    var tellsMore = false
    for rule in rules {
      for clause in rule.matches {
        if clause.name == "ip" {
          for option in clause.options where option.name == "-i" {
            asked.formUnion(option.arguments.prefix(1))
          }
        } else if clause.name == "physdev" || clause.name == "set"
          || clause.options.contains(where: { $0.name == "--limit-iface-in" })
        {
          tellsMore = true
        }
      }
    }
    self.asked = asked.sorted()
    var groups: [[Bool]: [String]] = [:]
    var order: [[Bool]] = []
    for (place, name) in names.enumerated() {
      var signature = self.asked.map { Self.matches($0, name) }
      if tellsMore {
        signature += (0..<names.count).map { $0 == place }
      }
      if groups[signature] == nil { order.append(signature) }
      groups[signature, default: []].append(name)
    }
    all =
      order.isEmpty
      ? [Way(interface: nil, all: [])]
      : order.map { Way(interface: groups[$0]?.first, all: groups[$0] ?? []) }
    routes = network.routedPrefixes
    certainInterfaces = Dictionary(
      network.peerRoutes.compactMap { entry in
        guard entry.isInterfaceCertain != false, let name = entry.route?.interface else {
          return nil
        }
        return (entry.peer, name)
      }, uniquingKeysWith: { first, _ in first })
  }

  /// Whether an interface is one that `-i PATTERN` asks for.
  static func matches(_ pattern: String, _ name: String) -> Bool {
    pattern.hasSuffix("+") ? name.hasPrefix(pattern.dropLast()) : name == pattern
  }

  /// The interface a peer's packets come by, if that is known.
  func certainInterface(of peer: IPAddress) -> String? { certainInterfaces[peer] }

  /// The interfaces that some route leads to an address by; `nil`: not known.
  ///
  /// The most specific routes only: policy rules may choose others, which a certain answer of the
  /// kernel (``certainInterface(of:)``) would have said.
  func interfaces(to peer: IPAddress) -> [String]? {
    if let certain = certainInterfaces[peer] { return [certain] }
    guard let routes else { return nil }
    let covering = routes.filter { $0.prefix.contains(peer) }
    guard let longest = covering.map(\.prefix.length).max() else { return [] }
    let best = covering.filter { $0.prefix.length == longest }
    guard best.allSatisfy({ $0.interfaces != nil }) else { return nil }
    return Set(best.flatMap { $0.interfaces ?? [] }).sorted()
  }

  /// The ways by which a route leads to an address; all of them when that is not known, or when
  /// none does: a one-way sender can come by any.
  func leading(to peer: IPAddress) -> [Way] {
    guard let names = interfaces(to: peer), !names.isEmpty else { return all }
    let chosen = all.filter { way in way.all.contains(where: names.contains) }
    return chosen.isEmpty ? all : chosen
  }

  /// The sources that the most specific routes lead to by a way; `nil`: not known, so any.
  func sources(by way: Way, _ family: AddressFamily) -> PrefixSet? {
    // A full routing table would make this the slowest part of the answer.
    guard let routes, routes.count <= 1000 else { return nil }
    let ours = routes.filter { $0.prefix.family == family }
    guard !ours.isEmpty, ours.allSatisfy({ $0.interfaces != nil }) else { return nil }
    var result = PrefixSet()
    for route in ours.sorted(by: { $0.prefix.length < $1.prefix.length }) {
      let leads = (route.interfaces ?? []).contains(where: way.all.contains)
      if leads {
        result.insert(route.prefix)
      } else {
        let isShared = ours.contains { other in
          other.prefix == route.prefix
            && (other.interfaces ?? []).contains(where: way.all.contains)
        }
        if !isShared { result = result.subtracting(PrefixSet([route.prefix])) }
      }
    }
    return result
  }

  /// The interfaces by which the default routes of a family lead; `nil`: not known.
  func outside(_ family: AddressFamily) -> [String]? {
    guard let routes else { return nil }
    let defaults = routes.filter { $0.prefix.family == family && $0.prefix.length == 0 }
    guard defaults.allSatisfy({ $0.interfaces != nil }) else { return nil }
    return Set(defaults.flatMap { $0.interfaces ?? [] }).sorted()
  }
}
