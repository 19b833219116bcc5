import Addressing
import Conntrack
import Firewall
import HostNetwork
import Testing

@testable import SIPLeak

extension SavedHost {
  /// The diagnosis of such a host.
  func diagnosis(
    of peer: String? = nil, trusted: [String] = [], keepalive: Double? = nil,
    _ change: (inout Observation) -> Void = { _ in }
  ) throws -> Diagnosis {
    let policy = AuditPolicy(trusted: PrefixSet(trusted.compactMap { IPPrefix($0) }))
    var host = self
    if rules6 == nil { host.status = Self.nothingElse }
    var observation = try host.observation()
    observation.sample.firewall.snapshot.localAddresses = network.addresses.map(\.address)
    change(&observation)
    return Diagnosis(
      Audit(observation, policy: policy), of: observation, policy: policy,
      peer: peer.map(address), keepalive: keepalive)
  }

  /// Says that the host has nothing besides IPv4 rules of nft.
  static let nothingElse = "ipv6.nft absent\nipv4.legacy absent\nipv6.legacy absent\nnft absent\n"

  /// The leak of the documents.
  static var leaking: SavedHost {
    var host = SavedHost()
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured])]
    return host
  }

  /// A host with these rules in the filter table's INPUT chain, numbered from 1.
  static func input(_ rules: String..., policy: String = "ACCEPT", more: String = "") -> SavedHost {
    var host = SavedHost()
    host.rules = table(rules, policy: policy) + more
    return host
  }

  static func table(_ rules: [String], policy: String = "ACCEPT") -> String {
    """
    *filter
    :INPUT \(policy) [0:0]
    :FORWARD ACCEPT [0:0]
    :OUTPUT ACCEPT [0:0]

    """ + rules.map { "[1:100] -A INPUT \($0)\n" }.joined() + "COMMIT\n"
  }

  /// Rules of the base ruleset, to build others of.
  static let state = "-m state --state RELATED,ESTABLISHED -j ACCEPT"
  static let carrierRule = "-s 198.51.100.10/32 -p udp -m udp --dport 5060 -j ACCEPT"
  static let reject = "-j REJECT --reject-with icmp-host-prohibited"

  /// Two legs: an inside network on em1, the rest of the world by em2.
  static func twoLegged(_ rules: String...) -> SavedHost {
    var host = SavedHost()
    host.rules = table(rules)
    host.network.interfaces = [
      Interface(name: "lo", index: 1, isUp: true, isLoopback: true),
      Interface(name: "em1", index: 2, isUp: true), Interface(name: "em2", index: 3, isUp: true),
    ]
    host.network.addresses = [
      LocalAddress(address: address("127.0.0.1"), prefixLength: 8, interface: "lo"),
      LocalAddress(address: address(pbx), prefixLength: 32, interface: "em2"),
      LocalAddress(address: address("10.0.0.1"), prefixLength: 8, interface: "em1"),
    ]
    host.network.routedPrefixes = [
      RoutedPrefix(prefix: prefix("10.0.0.0/8"), interfaces: ["em1"]),
      RoutedPrefix(prefix: prefix("0.0.0.0/0"), interfaces: ["em2"]),
    ]
    host.network.reversePathFilter = ["lo": 0, "em1": 0, "em2": 0]
    return host
  }
}

func prefix(_ text: String) -> IPPrefix {
  guard let prefix = IPPrefix(text) else {
    Issue.record("not a prefix: \(text)")
    return IPPrefix(IPAddress(ipv4: 0))
  }
  return prefix
}

/// Expects a verdict, and words in its summary.
func expect(
  _ diagnosis: Diagnosis, _ kind: Explanation.Kind, _ verdict: Explanation.Verdict,
  _ words: String..., at place: SourceLocation = #_sourceLocation
) {
  guard let found = diagnosis[kind] else {
    Issue.record("\(kind) is not there", sourceLocation: place)
    return
  }
  #expect(found.verdict == verdict, "\(kind): \(found.summary)", sourceLocation: place)
  for word in words {
    #expect(found.summary.contains(word), "\(kind): \(found.summary)", sourceLocation: place)
  }
}
