import Addressing
import Firewall

extension Differential {
  /// A program that keeps chains of its own ahead of the operator's.
  private struct Manager {
    var name: String
    var chains: [String]
    var tables: [String]

    static let all = [
      Manager(name: "Docker", chains: ["DOCKER"], tables: ["docker"]),
      Manager(
        name: "firewalld",
        chains: [
          "INPUT_ZONES", "INPUT_direct", "IN_", "FORWARD_IN_ZONES", "FORWARD_direct", "FWDI_",
          "FWD_", "PREROUTING_ZONES", "PREROUTING_direct", "PRE_",
        ], tables: ["firewalld"]),
      Manager(name: "ufw", chains: ["ufw-", "ufw6-"], tables: []),
      Manager(name: "Kubernetes", chains: ["KUBE-", "cali-", "CILIUM_"], tables: ["kube-proxy"]),
      Manager(name: "libvirt", chains: ["LIBVIRT_"], tables: ["libvirt_network"]),
      Manager(name: "netavark", chains: ["NETAVARK"], tables: ["netavark"]),
    ]

    static func keeping(chain: String) -> Manager? {
      all.first { $0.chains.contains { chain.hasPrefix($0) } }
    }

    static func keeping(table: String) -> Manager? {
      all.first { manager in manager.tables.contains { table.contains($0) } }
    }
  }

  /// Whether chains that Docker, firewalld or their like keep let somebody in.
  mutating func managedChains() -> Explanation {
    var present: [String: [RuleReference]] = [:]
    for placed in snapshot.rules(where: { _ in true }) {
      // The jumps to them show where they stand.
      if let target = placed.rule.target?.name, let manager = Manager.keeping(chain: target),
        Manager.keeping(chain: placed.reference.chain) == nil
      {
        present[manager.name, default: []].append(placed.reference)
      }
    }
    let evidence = present.sorted { $0.key < $1.key }.flatMap { name, jumps in
      jumps.prefix(Self.listed).map { Evidence("leads to chains of \(name)", rule: $0) }
    }
    for arrival in allArrivals() where arrival.isAccepted {
      guard let rule = arrival.walk.decidingRule, let manager = Manager.keeping(chain: rule.chain)
      else { continue }
      let whom = suspects.contains(arrival.source) ? "\(arrival.source)" : "anybody"
      return Explanation(
        .managedChains, .supported, "\(rule.named), a rule of \(manager.name), accepts \(whom)",
        [Evidence("accepts it", rule: rule)] + evidence, command: walkCommand(arrival))
    }
    let led = redirected()
    for hit in led where hit.walk.isCertain && hit.walk.verdict == .accept {
      let rule = hit.rule.placed.reference
      guard let manager = Manager.keeping(chain: rule.chain) else { continue }
      let by = hit.walk.decidingRule.map { "; \($0.named) forwards it" } ?? ""
      return Explanation(
        .managedChains, .supported,
        "\(rule.named), a rule of \(manager.name), publishes \(hit.rule.transport)/"
          + "\(hit.rule.wirePort), past INPUT\(by)",
        [
          Evidence("publishes it", rule: rule),
          Evidence("forwards it", rule: hit.walk.decidingRule),
        ]
          + evidence,
        command: manager.name == "Docker"
          ? "iptables -vnL DOCKER-USER --line-numbers" : nil)
    }
    for finding in findings {
      guard let rule = finding.asHeld.rule, let manager = Manager.keeping(chain: rule.chain),
        finding.asHeld.verdict == .accept
      else { continue }
      return Explanation(
        .managedChains, .supported,
        "the state rule that lets it in, \(rule.named), is one of \(manager.name)",
        [Evidence("lets it through as part of its flow", rule: rule, flow: finding.ends)]
          + evidence)
    }
    for hit in led where !hit.walk.isCertain {
      let rule = hit.rule.placed.reference
      guard let manager = Manager.keeping(chain: rule.chain) else { continue }
      return Explanation(
        .managedChains, .cannotTell,
        "\(rule.named), a rule of \(manager.name), may publish SIP; it hangs on "
          + Listing.reasons(hit.walk.unknowns), evidence)
    }
    let hidden = snapshot.unseen.filter { filter in
      observation.endpoints.transports.contains { transport in
        observation.endpoints.ports(of: transport).contains {
          filter.mayTouch(transport, destinationPort: $0)
        }
      }
    }
    for filter in hidden {
      guard let manager = Manager.keeping(table: filter.table) else { continue }
      return Explanation(
        .managedChains, .cannotTell,
        "nft table \(filter.table) of \(manager.name) may decide: \(filter.why)", evidence,
        command: manager.name == "firewalld" ? "firewall-cmd --list-all-zones" : "nft list ruleset")
    }
    return Explanation(
      .managedChains, .ruledOut,
      present.isEmpty
        ? "none is there"
        : "\(Listing.words(present.keys.sorted())): its chains let nobody in to SIP", evidence)
  }
}
