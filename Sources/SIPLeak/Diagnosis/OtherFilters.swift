import Addressing
import Conntrack
import Firewall

extension Differential {
  /// Whether something that `iptables -L` does not show lets somebody in: another table, the other
  /// backend, a native nft chain.
  ///
  /// Judged by asking what the filter table of one backend alone would do: a drop anywhere is final
  /// (facts D8), so other places can let a packet in only by marks, translation or untracking.
  mutating func otherFilters() -> Explanation {
    let misprinted = snapshot.unseen.filter(\.isMisprint)
    var shown: [AddressFamily: RepeatedEvaluation] = [:]
    for family in AddressFamily.allCases {
      let backends = Set(
        snapshot.rulesets.filter { $0.family == family && !$0.isWithoutRules }.map(\.backend))
      guard let main = Backend.allCases.first(where: backends.contains) else { continue }
      shown[family] = RepeatedEvaluation(Evaluation(snapshot.onlyFilter(of: main, family)))
    }
    let evidence = elsewhere()
    for arrival in allArrivals() where arrival.isAccepted {
      guard var alone = shown[arrival.source.family] else { continue }
      let walk = alone.walk(arrival.packet, to: arrival.door.path)
      shown[arrival.source.family] = alone
      guard walk.isCertain, walk.verdict.isRefused else { continue }
      let by = arrival.walk.path.map(\.rule).filter {
        $0.index > 0 && ($0.table != "filter" || $0.backend != walk.decidingRule?.backend)
      }
      let whom = suspects.contains(arrival.source) ? "\(arrival.source)" : "anybody"
      return Explanation(
        .otherFilters, .supported,
        "\(by.first?.named ?? "another table") lets \(whom) past "
          + (walk.decidingRule?.named ?? "the filter table"),
        by.map { Evidence("takes part in letting it in", rule: $0) } + evidence,
        command: walkCommand(arrival))
    }
    if let first = misprinted.first {
      return Explanation(
        .otherFilters, .cannotTell,
        "\(first.backend.rawValue) table \(first.table) is not as iptables prints it: \(first.why)",
        evidence, command: "nft list ruleset")
    }
    let spots = audit.blindSpots.filter { $0.kind == "unseen-filter" }
    if let first = spots.first {
      return Explanation(
        .otherFilters, .cannotTell, first.text,
        evidence + spots.dropFirst().map { Evidence($0.text) }, command: "nft list ruleset")
    }
    let rulesets = snapshot.rulesets.filter { !$0.isWithoutRules }
    let backends = Set(rulesets.map(\.backend)).count
    let tables = Set(rulesets.flatMap(\.tables).filter(\.holdsRules).map(\.name))
      .subtracting(["filter"]).sorted()
    let beside =
      tables.isEmpty ? "no rule outside the filter table" : "\(Listing.words(tables)) let nobody in"
    return Explanation(
      .otherFilters, .ruledOut,
      backends > 1 ? "both backends hold rules, and a drop in either is final; \(beside)" : beside,
      evidence)
  }

  /// What is there besides the filter table of one backend.
  private func elsewhere() -> [Evidence] {
    var result: [Evidence] = []
    for ruleset in snapshot.rulesets {
      for table in ruleset.tables where table.name != "filter" && table.holdsRules {
        let count = table.chains.map(\.rules.count).reduce(0, +)
        result.append(
          Evidence(
            "\(ruleset.family.rawValue) \(ruleset.backend.rawValue) table \(table.name): "
              + Listing.count(count, "rule")))
      }
    }
    if Set(snapshot.rulesets.filter { !$0.isWithoutRules }.map(\.backend)).count > 1 {
      result.append(Evidence("rules in both backends; each tool lists its own only"))
    }
    return result + snapshot.unseen.map {
      Evidence("\($0.backend.rawValue) table \($0.table): \($0.why)")
    }
  }

  // MARK: Chains of other programs

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
        [Evidence("publishes it", rule: rule), Evidence("forwards it", rule: hit.walk.decidingRule)]
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

extension Table {
  /// Whether any chain holds a rule that is not ours.
  fileprivate var holdsRules: Bool {
    chains.contains { $0.rules.contains { !OwnObjects.owns($0) } }
  }
}

extension FirewallSnapshot {
  /// What a person sees who lists one backend's filter table only.
  fileprivate func onlyFilter(of backend: Backend, _ family: AddressFamily) -> FirewallSnapshot {
    var copy = self
    copy.unseen = []
    copy.rulesets = rulesets.filter { $0.backend == backend && $0.family == family }.map {
      var ruleset = $0
      ruleset.tables = ruleset.tables.filter { $0.name == "filter" }
      return ruleset
    }
    return copy
  }
}
