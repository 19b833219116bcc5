import Addressing
import Firewall

extension Differential {
  /// A rule that looks for text in what may be SIP.
  private struct TextRule {
    var placed: PlacedRule
    /// The text, as the rule has it.
    var pattern: String
    /// Whether it takes packets without the text.
    var isInverted: Bool
  }

  private var textRules: [TextRule] {
    let endpoints = observation.endpoints
    return snapshot.rules { rule in
      rule.asks("string") && !OwnObjects.owns(rule)
        && endpoints.transports.contains { transport in
          rule.mayConcern(transport)
            && endpoints.ports(of: transport).contains(where: rule.mayConcern(port:))
        }
    }.compactMap { placed in
      let options = placed.rule.matches.filter { $0.name == "string" }.flatMap(\.options)
      guard let text = options.first(where: { $0.name == "--string" || $0.name == "--hex-string" })
      else { return nil }
      return TextRule(
        placed: placed, pattern: text.arguments.first ?? "", isInverted: text.isInverted)
    }
  }

  /// The newcomers and the first few peers that are refused as NEW.
  private mutating func textArrivals() -> [Arrival] {
    (newcomers() + suspects.prefix(8)).uniqued().flatMap { arrivals(of: $0) }
  }

  /// Whether a rule that looks into packets stands where it sees only the first one of a flow
  /// (facts F9).
  mutating func payloadRule() -> Explanation {
    let rules = textRules
    guard !rules.isEmpty else {
      return Explanation(.payloadRule, .ruledOut, "no string rule concerns SIP")
    }
    let evidence = rules.prefix(Self.listed).map {
      Evidence("looks for \"\($0.pattern)\"", rule: $0.placed.reference)
    }
    var unclear: Arrival?
    var everyPacket = false
    for arrival in textArrivals() {
      let heldWalk = evaluation.walk(held(arrival), to: arrival.door.path)
      for rule in rules {
        let reference = rule.placed.reference
        guard arrival.walk.path.contains(where: { $0.rule == reference }) else { continue }
        if heldWalk.path.contains(where: { $0.rule == reference }) {
          everyPacket = true
        } else if heldWalk.isCertain, heldWalk.verdict == .accept {
          let by = heldWalk.decidingRule
          return Explanation(
            .payloadRule, .supported,
            "\(reference.named) stands behind \(by?.place ?? "the state rule"): it sees a flow's "
              + "first packet only",
            [
              Evidence("looks for \"\(rule.pattern)\"", rule: reference),
              Evidence("accepts every later packet before", rule: by),
              Evidence(
                "before the state rule it must spare responses and keepalives, or it cuts them"),
            ], command: walkCommand(arrival))
        } else if !heldWalk.isCertain {
          unclear = arrival
        }
      }
    }
    let places = Listing.places(rules.map(\.placed.reference))
    if let unclear {
      return Explanation(
        .payloadRule, .cannotTell, "whether packets of a flow meet \(places) is not certain",
        evidence, command: walkCommand(unclear))
    }
    return Explanation(
      .payloadRule, .ruledOut,
      everyPacket ? "\(places) sees every packet" : "\(places): no stranger's packet meets it",
      evidence)
  }

  /// Whether a rule accepts whoever writes the right text: no authentication (facts F7).
  mutating func domainAccept() -> Explanation {
    let rules = textRules.filter { rule in
      switch rule.placed.rule.target?.name {
      case "DROP", "REJECT": rule.isInverted
      case "ACCEPT": !rule.isInverted
      case .some(let name)
      where snapshot.rulesets.contains(where: { ruleset in
        ruleset.table(rule.placed.reference.table)?.chain(name) != nil
      }): !rule.isInverted
      default: false
      }
    }
    guard !rules.isEmpty else {
      return Explanation(.domainAccept, .ruledOut, "no rule accepts SIP by a text in it")
    }
    for arrival in textArrivals() where arrival.walk.mayAccept {
      for rule in rules {
        let reference = rule.placed.reference
        guard arrival.walk.path.contains(where: { $0.rule == reference }) else { continue }
        let whom = suspects.contains(arrival.source) ? "\(arrival.source)" : "anybody"
        return Explanation(
          .domainAccept, .supported,
          "\(reference.named) lets \(whom) in who writes \"\(rule.pattern)\"",
          [
            Evidence("accepts by \"\(rule.pattern)\"", rule: reference),
            Evidence(
              "weak: the text may stand in any header, and anybody can write it; the real one may "
                + "write it otherwise (case, %-escapes, an address)"),
          ], command: walkCommand(arrival))
      }
    }
    return Explanation(
      .domainAccept, .ruledOut,
      "\(Listing.places(rules.map(\.placed.reference))): no stranger's packet meets it",
      rules.map { Evidence("accepts by \"\($0.pattern)\"", rule: $0.placed.reference) })
  }
}
