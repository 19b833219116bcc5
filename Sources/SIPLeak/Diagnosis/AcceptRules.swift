import Addressing
import Firewall

extension Differential {
  /// What one rule or policy lets in to a SIP port as NEW, over all doors and ways.
  struct Admission {
    /// The rule or policy, `nil` where no filter exists.
    var rule: RuleReference?
    var family: AddressFamily
    /// The sources it certainly lets in.
    var certainly: PrefixSet
    /// Those and the sources it may let in.
    var possibly: PrefixSet
    /// How it covers the port without naming it, if it does not.
    var coverage: PortRangeRules.Entry.Coverage?
    /// Why sources are possible and not certain.
    var reasons: [UnknownReason]

    var name: String { rule?.named ?? "a firewall without rules" }

    /// Whether a range of ports, or every port of the transport, is what lets them in.
    var isByPorts: Bool {
      switch coverage {
      case .range, .everyPort: true
      case .everything, nil: false
      }
    }
  }

  /// Who may begin a flow to SIP, by the rule that lets him.
  mutating func admissions() -> [Admission] {
    if let knownAdmissions { return knownAdmissions }
    struct Key: Hashable {
      var family: AddressFamily
      var rule: RuleReference?
    }
    var result: [Admission] = []
    var places: [Key: Int] = [:]
    for door in doors {
      for way in ways.all {
        let answer = AcceptedSources(
          AcceptedSources.Question(
            family: door.family, transport: door.transport, destination: door.wire.address,
            destinationPort: door.wire.port, inInterface: way.interface, delivered: door.delivered,
            path: door.path), in: evaluation.evaluation)
        guard !answer.admissions.isEmpty else { continue }
        let ranges = Dictionary(
          PortRangeRules(answer, in: evaluation.evaluation).entries.map { ($0.rule, $0.coverage) },
          uniquingKeysWith: { first, _ in first })
        let reach = ways.sources(by: way, door.family)
        for one in answer.admissions {
          let certainly = reach.map { one.certainly.intersection($0) } ?? one.certainly
          let possibly = reach.map { one.possibly.intersection($0) } ?? one.possibly
          guard !possibly.isEmpty else { continue }
          let reasons = certainly == possibly ? [] : answer.reasons
          let key = Key(family: door.family, rule: one.rule)
          if let known = places[key] {
            result[known].certainly = result[known].certainly.union(certainly)
            result[known].possibly = result[known].possibly.union(possibly)
            result[known].reasons = (result[known].reasons + reasons).uniqued()
          } else {
            places[key] = result.count
            result.append(
              Admission(
                rule: one.rule, family: door.family, certainly: certainly, possibly: possibly,
                coverage: one.rule.flatMap { ranges[$0] }.flatMap(meant), reasons: reasons))
          }
        }
      }
    }
    // As they stand in their chains: they were found by the addresses they let in.
    result.sort { left, right in
      guard left.family == right.family, let first = left.rule, let second = right.rule,
        first.table == second.table, first.chain == second.chain
      else { return left.family.bitWidth < right.family.bitWidth }
      return first.index < second.index
    }
    knownAdmissions = result
    return result
  }

  /// How a rule covers the port without naming it; `nil` for `5060:5061`, which names SIP.
  private func meant(_ coverage: PortRangeRules.Entry.Coverage) -> PortRangeRules.Entry.Coverage? {
    if case .range(let range) = coverage, range.count <= 16,
      observation.endpoints.ports.contains(range.lowerBound)
    {
      return nil
    }
    return coverage
  }

  /// Whether a rule or policy accepts somebody it should not.
  mutating func acceptRule() -> Explanation {
    // Where nothing filters IPv6, that is the explanation.
    let ours = admissions().filter { one in
      !one.isByPorts && (one.family == .ipv4 || (one.rule?.index ?? 0) > 0)
    }
    if let told = told(.acceptRule, of: ours) { return told }
    guard !ours.isEmpty else {
      return Explanation(.acceptRule, .ruledOut, "no rule for SIP lets anybody begin a flow")
    }
    let evidence = listed(ours)
    if !suspects.isEmpty || policy.hasTrust {
      return Explanation(.acceptRule, .ruledOut, who(ours), evidence)
    }
    return Explanation(
      .acceptRule, .cannotTell, "\(who(ours)); only you know who is meant", evidence,
      command: ours.first.flatMap { one in
        one.possibly.prefixes.first.map { "sipleak diagnose --trust \($0)" }
      })
  }

  /// Whether a rule for other ports lets somebody in.
  mutating func portRange() -> Explanation {
    let ours = admissions().filter(\.isByPorts)
    if let told = told(.portRange, of: ours) { return told }
    let others = rangesBeside()
    let evidence =
      listed(ours)
      + others.prefix(Self.listed).map {
        Evidence(
          "\(Listing.words($0.rule.destinationPorts.map(PortRanges.text))) leaves SIP out",
          rule: $0.reference)
      }
    if let first = ours.first {
      guard suspects.isEmpty, !policy.hasTrust else {
        return Explanation(
          .portRange, .ruledOut, "covers it, but not for these peers: \(who(ours))", evidence)
      }
      return Explanation(
        .portRange, .supported, "\(first.name) covers it\(ports(first)): \(who(ours))", evidence,
        command: accepts)
    }
    guard let first = others.first else {
      return Explanation(.portRange, .ruledOut, "no rule for other ports covers a SIP port")
    }
    let range = Listing.words(first.rule.destinationPorts.map(PortRanges.text))
    return Explanation(
      .portRange, .ruledOut,
      "\(Listing.places(others.map(\.reference))): \(range) leaves \(sipPorts) out; a flow to a "
        + "media port opens nothing here", evidence)
  }

  /// The answer where the peers, the trust or everybody decide it; `nil` where they don't.
  private mutating func told(_ kind: Explanation.Kind, of list: [Admission]) -> Explanation? {
    guard !list.isEmpty else { return nil }
    let evidence = listed(list)
    let certain = PrefixSet.union(list.map(\.certainly))
    let possible = PrefixSet.union(list.map(\.possibly))
    for peer in suspects where certain.contains(peer) {
      guard
        let hit = list.first(where: { $0.family == peer.family && $0.certainly.contains(peer) })
      else { continue }
      guard !policy.trusted.contains(peer) || self.peer != nil else { continue }
      return Explanation(
        kind, .supported, "\(hit.name) accepts \(peer) as NEW\(ports(hit)): \(who([hit]))",
        evidence, command: accepts)
    }
    if peer == nil {
      if policy.hasTrust {
        for one in list {
          let outside = one.certainly.subtracting(policy.trusted)
          guard !outside.isEmpty else { continue }
          return Explanation(
            kind, .supported,
            "\(one.name) accepts whom you do not trust\(ports(one)): "
              + Listing.sources(outside, one.family),
            [Evidence("beyond the trusted sources", rule: one.rule, prefixes: outside.prefixes)]
              + evidence, command: accepts)
        }
      }
      for one in list {
        let some = FlowJudge.strangers(one.family)
        guard some.allSatisfy(one.certainly.contains) else { continue }
        return Explanation(
          kind, .supported,
          "\(one.name) accepts \(Listing.sources(one.certainly, one.family))"
            + ports(one), evidence, command: accepts)
      }
    }
    for peer in suspects.isEmpty ? strangers() : suspects where possible.contains(peer) {
      guard
        let hit = list.first(where: {
          $0.family == peer.family && $0.possibly.contains(peer) && !$0.certainly.contains(peer)
        })
      else { continue }
      let whom = suspects.isEmpty ? "anybody" : "\(peer)"
      return Explanation(
        kind, .cannotTell,
        "\(hit.name) may accept \(whom); it hangs on \(Listing.reasons(hit.reasons))", evidence,
        command: accepts)
    }
    return nil
  }

  /// The places and whom they let in: `10, 11: 198.51.100.0/24, 192.0.2.0/28`.
  private func who(_ list: [Admission]) -> String {
    let families = Set(list.map(\.family)).sorted { $0.bitWidth < $1.bitWidth }
    // The families' rules are numbered each by itself.
    return families.map { family in
      let ours = list.filter { $0.family == family }
      let rules = ours.compactMap(\.rule)
      let name = families.count > 1 && family == .ipv6 ? "IPv6 " : ""
      let places = rules.isEmpty ? "" : name + Listing.places(rules) + ": "
      return places + Listing.sources(PrefixSet.union(ours.map(\.possibly)), family)
    }.joined(separator: "; ")
  }

  private func listed(_ list: [Admission]) -> [Evidence] {
    let shown = list.prefix(Self.mostEvidence).map {
      Evidence(
        $0.certainly == $0.possibly ? "lets them begin a flow" : "may let them begin a flow",
        rule: $0.rule, prefixes: Array($0.possibly.prefixes.prefix(1000)))
    }
    let left = list.count - shown.count
    return left == 0 ? shown : shown + [Evidence("and \(Listing.count(left, "more rule"))")]
  }

  private func ports(_ one: Admission) -> String {
    switch one.coverage {
    case .range(let range): " by its ports \(PortRanges.text(range))"
    case .everyPort: ", whatever the port"
    case .everything, nil: ""
    }
  }

  /// The command that lists who is accepted, with the rules.
  var accepts: String {
    let door = doors.first
    return "sipleak explain --accepts \(door?.transport ?? .udp)/\(door?.port ?? 5060)"
  }

  /// The SIP ports in words.
  var sipPorts: String {
    Listing.words(observation.endpoints.ports.sorted().map(String.init))
  }

  /// Accept rules of ports that are no SIP ports, ranges only.
  private func rangesBeside() -> [PlacedRule] {
    let ports = observation.endpoints.ports
    let transports = observation.endpoints.transports
    return snapshot.rules(table: "filter") { rule in
      guard rule.target?.name == "ACCEPT", transports.contains(where: rule.mayConcern) else {
        return false
      }
      let named = rule.destinationPorts
      return named.contains { $0.count > 1 }
        && !named.contains { range in ports.contains(where: range.contains) }
    }
  }
}

extension PrefixSet {
  /// All addresses of many sets at once.
  static func union(_ sets: [PrefixSet]) -> PrefixSet { PrefixSet(ranges: sets.flatMap(\.ranges)) }
}
