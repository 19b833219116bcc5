import Addressing
import Conntrack
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
  /// Who talks SIP with this host and is not to be blocked anyway, in order.
  private lazy var others = talkers.subtracting(chosen).sorted()
  private let chosen: Set<IPAddress>
  /// Sources that were welcome a short while ago, in order.
  private let welcome: [IPAddress]
  /// A whole botnet may live in one prefix.
  private var answers: [IPPrefix: String?] = [:]

  /// Prepares the questions.
  ///
  /// - Parameters:
  ///   - observation: What is there.
  ///   - policy: Whom never to block.
  ///   - chosen: Peers that are to be blocked anyway.
  ///   - welcome: Sources that were welcome a short while ago.
  init(
    _ observation: Observation, policy: AuditPolicy, besides chosen: Set<IPAddress> = [],
    welcome: Set<IPAddress> = []
  ) {
    self.observation = observation
    protected = ProtectedSet(observation, policy: policy)
    self.welcome = welcome.filter { $0.family == .ipv6 }.sorted()
    self.chosen = chosen
  }

  /// The IPv6 peers of flows to SIP.
  private var talkers: Set<IPAddress> {
    let own = Set(observation.network.addresses.map(\.address))
    return Set(
      observation.sample.flows.lazy.filter { $0.family == .ipv6 }.compactMap { flow in
        FlowSides(
          flow, endpoints: observation.endpoints, isLocal: { own.contains($0) || $0.isLoopback }
        )?.peer.address
      })
  }

  /// Why a prefix may not be blocked, or `nil`.
  mutating func objection(to prefix: IPPrefix) -> String? {
    if let known = answers[prefix] { return known }
    let answer: String? =
      if let one = Self.first(of: welcome, in: prefix) {
        "\(one) was welcome within the last 24 h"
      } else if let other = Self.first(of: others, in: prefix) {
        "\(other) talks SIP with this host too"
      } else {
        standingObjection(to: prefix)
      }
    answers[prefix] = answer
    return answer
  }

  /// The first of some sorted addresses that a prefix holds.
  private static func first(of sorted: [IPAddress], in prefix: IPPrefix) -> IPAddress? {
    var low = 0
    var high = sorted.count
    while low < high {
      let middle = (low + high) / 2
      if sorted[middle] < prefix.address { low = middle + 1 } else { high = middle }
    }
    return low < sorted.count && prefix.contains(sorted[low]) ? sorted[low] : nil
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
