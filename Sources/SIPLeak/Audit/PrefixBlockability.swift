import Addressing
import Firewall
import HostNetwork

/// Decides whether a whole IPv6 prefix may be blocked; when in doubt it may not.
///
/// Every address of it is to be refused as NEW, as ``Blockability`` asks of one; that needs all
/// admitted sources, which are computed once.
struct PrefixBlockability {
  private let observation: Observation
  private let protected: ProtectedSet
  private var admitted: (sources: PrefixSet, isWhole: Bool)?

  init(_ observation: Observation, policy: AuditPolicy) {
    self.observation = observation
    protected = ProtectedSet(observation, policy: policy)
  }

  /// Why a prefix may not be blocked, or `nil`.
  ///
  /// - Parameters:
  ///   - prefix: The prefix.
  ///   - chosen: Peers that are to be blocked anyway.
  ///   - welcome: Sources that were welcome a short while ago.
  /// - Returns: The reason.
  mutating func objection(
    to prefix: IPPrefix, besides chosen: Set<IPAddress>, welcome: Set<IPAddress>
  ) -> String? {
    if let one = welcome.filter({ prefix.contains($0) }).min() {
      return "\(one) was welcome within the last 24 h"
    }
    let own = Set(observation.network.addresses.map(\.address))
    for flow in observation.sample.flows {
      guard
        let sides = FlowSides(
          flow, endpoints: observation.endpoints, isLocal: { own.contains($0) || $0.isLoopback })
      else { continue }
      if prefix.contains(sides.peer.address), !chosen.contains(sides.peer.address) {
        return "\(sides.peer.address) talks SIP with this host too"
      }
    }
    return standingObjection(to: prefix)
  }

  /// The same of a prefix that is blocked already.
  mutating func standingObjection(to prefix: IPPrefix) -> String? {
    // Single addresses are judged by themselves.
    guard prefix.family == .ipv6, prefix.length < 128 else { return nil }
    if let source = protected.source(within: prefix) {
      return "\(source.prefix): \(source.sentence)"
    }
    let known = admitted ?? admittedSources()
    admitted = known
    guard known.isWhole else { return "the nat table may lead its packets elsewhere" }
    guard known.sources.intersects(prefix) else { return nil }
    return "the rules admit, or may admit, some of it as NEW"
  }

  private func admittedSources() -> (sources: PrefixSet, isWhole: Bool) {
    let snapshot = observation.sample.firewall.snapshot
    let translates = snapshot.rulesets.contains { ruleset in
      ruleset.family == .ipv6
        && ruleset.tables.contains { table in
          table.name == "nat"
            && table.chains.contains { $0.name != "POSTROUTING" && !$0.rules.isEmpty }
        }
    }
    guard !translates else { return (PrefixSet(), false) }
    let evaluation = Evaluation(snapshot.withoutOurBlocks.atAnyTime)
    let own = Set(observation.network.addresses.map(\.address))
    let endpoints = observation.endpoints
    let destinations = own.union(endpoints.addresses).filter {
      $0.family == .ipv6 && !$0.isLoopback
    }
    let named = observation.network.interfaces.filter { !$0.isLoopback }.map(\.name)
    let ways: [String?] = named.isEmpty ? [nil] : named
    var sources = PrefixSet()
    for transport in endpoints.transports {
      for port in endpoints.ports(of: transport) {
        for destination in destinations {
          for way in ways {
            let isOwn = own.contains(destination)
            let question = AcceptedSources.Question(
              family: .ipv6, transport: transport, destination: destination,
              destinationPort: port, inInterface: way,
              outInterface: isOwn ? nil : observation.egress(to: destination),
              path: isOwn ? .input : .forward)
            sources = sources.union(AcceptedSources(question, in: evaluation).possibly)
          }
        }
      }
    }
    return (sources, true)
  }
}
