import Addressing
import Conntrack
import Firewall

extension Differential {
  /// Whether what comes in for SIP is not tracked, so that no flow shows who does (facts A8, C8).
  mutating func untracked() -> Explanation {
    let rules = snapshot.rules(table: "raw") { $0.stopsTracking && !OwnObjects.owns($0) }
    var refused: (arrival: Arrival, rule: RuleReference)?
    for arrival in allArrivals() {
      let stops = arrival.walk.path.first { hit in
        rules.contains { $0.reference == hit.rule }
      }
      guard let stops else { continue }
      guard stops.isCertain, arrival.walk.isCertain else {
        return Explanation(
          .untracked, .cannotTell,
          "\(stops.rule.named) may keep it from tracking; it hangs on "
            + Listing.reasons(arrival.walk.unknowns),
          [Evidence("keeps packets from tracking", rule: stops.rule)],
          command: walkCommand(arrival))
      }
      if arrival.isAccepted {
        let whom = suspects.contains(arrival.source) ? "\(arrival.source)" : "anybody"
        return Explanation(
          .untracked, .supported,
          "\(stops.rule.named) keeps it from tracking, and "
            + "\(arrival.walk.decidingRule?.named ?? "no rule") accepts \(whom)",
          [
            Evidence("keeps packets from tracking", rule: stops.rule),
            Evidence("accepts what is not tracked", rule: arrival.walk.decidingRule),
          ], command: walkCommand(arrival))
      }
      refused = refused ?? (arrival, stops.rule)
    }
    if let off = trackingOff() { return off }
    let evidence = rules.prefix(Self.listed).map {
      Evidence("keeps packets from tracking", rule: $0.reference)
    }
    if let refused {
      return Explanation(
        .untracked, .ruledOut,
        "\(refused.rule.named) keeps it from tracking, and each packet is refused at "
          + (refused.arrival.walk.decidingRule?.place ?? "a rule"), evidence)
    }
    return Explanation(
      .untracked, .ruledOut,
      rules.isEmpty
        ? "no NOTRACK rule"
          + (audit.sipFlowCount > 0
            ? "; \(Listing.count(audit.sipFlowCount, "flow")) at SIP tracked" : "")
        : "\(Listing.places(rules.map(\.reference))) does not concern SIP", evidence)
  }

  /// The answer where nothing makes the kernel track a family that somebody reaches SIP by.
  private mutating func trackingOff() -> Explanation? {
    for family in families where peer == nil || peer?.family == family {
      guard !evaluation.evaluation.tracksConnections(family), snapshot.unseen.isEmpty,
        !observation.sample.flows.contains(where: { $0.family == family })
      else { continue }
      let name = family == .ipv4 ? "IPv4" : "IPv6"
      let walks = newcomers().filter { $0.family == family }.flatMap { arrivals(of: $0) }
      guard let hit = walks.first(where: { !$0.isRefused }) else { continue }
      return Explanation(
        .untracked, hit.isAccepted ? .supported : .cannotTell,
        "no rule makes the kernel track \(name): no flow shows who comes in, and somebody "
          + (hit.isAccepted ? "does" : "may"),
        [Evidence("accepts without tracking", rule: hit.walk.decidingRule)],
        command: family == .ipv6
          ? "ip6tables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
          : "iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
    }
    return nil
  }
}
