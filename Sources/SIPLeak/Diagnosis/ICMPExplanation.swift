import Addressing
import Firewall

extension Differential {
  /// Whether ICMP is accepted wholesale, and what that opens.
  ///
  /// It never opens SIP: no ICMP packet begins a flow to a UDP port, and a forged error refreshes
  /// no flow (facts A6). Unless the rule is no ICMP rule at all.
  mutating func icmp() -> Explanation {
    var wholesale: [RuleReference] = []
    var broader: RuleReference?
    for source in peer.map({ [$0] }) ?? strangers() {
      for arrival in arrivals(of: source) where arrival.door.path == .input {
        var packet = arrival.packet
        packet.transport = source.family == .ipv4 ? .icmp : .icmpv6
        packet.sourcePort = nil
        packet.destinationPort = nil
        packet.delivered = nil
        let walk = evaluation.walk(packet, to: .input)
        guard walk.isCertain, walk.verdict == .accept, let rule = walk.decidingRule,
          rule.index > 0
        else { continue }
        if !wholesale.contains(rule) { wholesale.append(rule) }
        if arrival.isAccepted, arrival.walk.decidingRule == rule { broader = broader ?? rule }
      }
    }
    if let broader {
      return Explanation(
        .icmp, .supported, "\(broader.named) is no ICMP rule: it accepts SIP as well",
        [Evidence("accepts ICMP and SIP alike", rule: broader)], command: accepts)
    }
    guard let rule = wholesale.first else {
      return Explanation(
        .icmp, .ruledOut, "not accepted wholesale, and it opens no UDP flow",
        isIndependent: true)
    }
    let counts = rule.counters.map {
      "; \(Quantity.short($0.packets)) pkts, \(Quantity.short($0.bytes))"
    }
    var evidence = wholesale.map { Evidence("accepts ICMP of every kind", rule: $0) }
    evidence += [
      Evidence(
        "opens: pings, and errors that belong to no flow; those about a flow are RELATED anyway"),
      Evidence(
        "does not open: a flow to any port; a forged error keeps no flow alive"),
    ]
    return Explanation(
      .icmp, .ruledOut, "opens no UDP flow\(counts ?? "")", evidence, command: narrowRule(rule),
      isIndependent: true)
  }

  /// A rule that accepts pings at a rate instead, in the wholesale rule's place.
  ///
  /// Only where errors about flows pass by a rule for what is RELATED: without them path MTU
  /// discovery breaks. None for IPv6, which needs ICMP of many kinds to work at all.
  private func narrowRule(_ rule: RuleReference) -> String? {
    guard let syntax = snapshot.rule(rule), syntax.options("-p").first?.arguments.first == "icmp",
      syntax.target?.name == "ACCEPT", hasRelatedRule
    else { return nil }
    return "\(tool(rule, .ipv4)) -R \(ShellWord.quoted(rule.chain)) \(rule.index) -p icmp -m icmp "
      + "--icmp-type echo-request -m limit --limit 10/second -j ACCEPT"
  }

  /// Whether a rule accepts what is RELATED.
  private var hasRelatedRule: Bool {
    !snapshot.rules(family: .ipv4, table: "filter") { rule in
      rule.target?.name == "ACCEPT"
        && (rule.options("--state") + rule.options("--ctstate")).contains {
          $0.arguments.contains { $0.split(separator: ",").contains("RELATED") }
        }
    }.isEmpty
  }
}
