import Addressing
import Firewall

extension Differential {
  /// Whether an accept rule for SIP stands behind a rule that refuses all its packets.
  func shadowedAccept() -> Explanation {
    let endpoints = observation.endpoints
    let shadowed = ShadowedRules(in: snapshot)
    let found = shadowed.entries.filter { entry in
      guard peer == nil || peer?.family == entry.family, let rule = snapshot.rule(entry.rule),
        rule.target?.name == "ACCEPT",
        let taker = entry.takenBy.last.flatMap({ snapshot.rule($0) }),
        taker.target?.name == "DROP" || taker.target?.name == "REJECT"
      else { return false }
      return endpoints.transports.contains { transport in
        rule.mayConcern(transport)
          && endpoints.ports(of: transport).contains(where: rule.mayConcern(port:))
      }
    }
    if let first = found.first, let taker = first.takenBy.last {
      let limit = snapshot.rule(first.rule)?.asks("limit") == true
      return Explanation(
        .shadowedAccept, .supported,
        "\(first.rule.named) never sees a packet: \(taker.place) refuses them all before"
          + (limit ? "; a limit rule stands before its drop" : ""),
        found.prefix(Self.listed).flatMap { entry in
          [Evidence("never sees a packet", rule: entry.rule)]
            + entry.takenBy.suffix(1).map { Evidence("refuses all its packets", rule: $0) }
        },
        command:
          "sipleak explain --accepts \(doors.first?.transport ?? .udp)/\(doors.first?.port ?? 5060)"
      )
    }
    guard shadowed.isComplete else {
      return Explanation(.shadowedAccept, .cannotTell, "not every rule could be compared")
    }
    return Explanation(
      .shadowedAccept, .ruledOut, "every accept rule for SIP stands where packets reach it")
  }
}
