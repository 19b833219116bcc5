import Addressing
import Conntrack
import Firewall

extension Differential {
  /// Whether a flow that the rules would refuse as NEW is let through because it stands.
  func establishedFlow() -> Explanation {
    let found = findings.filter { $0.cause == .establishedBypass || $0.cause == .lapsed }
    guard found.isEmpty else {
      let rules = found.compactMap(\.asHeld.rule).uniqued()
      return Explanation(
        .establishedFlow, .supported, summary(found, heldBy: rules),
        rules.map { Evidence("lets it through as part of its flow", rule: $0) }
          + found.compactMap(\.asNew.rule).uniqued().map {
            Evidence("would refuse its next packet as NEW", rule: $0)
          } + found.prefix(Self.listed).map { Evidence($0.why, flow: $0.ends) },
        command: blockCommand(found))
    }
    let undecided = findings.filter { $0.cause == .undecided }
    if let first = undecided.first {
      return Explanation(
        .establishedFlow, .cannotTell,
        "\(Listing.count(undecided.count, "flow")) not judged: \(first.why)",
        undecided.prefix(Self.listed).map { Evidence($0.why, flow: $0.ends) },
        command: "sipleak audit --format json")
    }
    return Explanation(
      .establishedFlow, .ruledOut,
      flows.isEmpty
        ? "no flow \(peer == nil ? "to SIP" : "of it to SIP") is in the table"
        : flows.count == 1
          ? "its flow is not one that the rules refuse as NEW and accept as held"
          : "none of \(Listing.count(flows.count, "flow")) is refused as NEW and accepted as held")
  }

  private func summary(_ found: [Finding], heldBy rules: [RuleReference]) -> String {
    guard let rule = rules.first, rules.count == 1 else {
      return "\(Listing.count(found.count, "flow")) let in by \(Listing.places(rules))"
    }
    let sip = Set(found.map { SIPPlace(family: $0.family, $0.transport, $0.delivered.port) })
      .flatMap {
        snapshot.rulesAccepting(family: $0.family, transport: $0.transport, port: $0.port)
      }
    let behind = sip.filter { $0.chainPlace == rule.chainPlace && $0.index > rule.index }
    let who = found.count == 1 ? "" : ", \(Quantity.grouped(found.count)) flows"
    if !sip.isEmpty, behind.count == sip.count {
      return "state rule at \(rule.place) stands before every SIP rule\(who)"
    }
    return "state rule at \(rule.place) lets it through\(who)"
  }

  private struct SIPPlace: Hashable {
    var family: AddressFamily
    var transport: IPProtocol
    var port: UInt16

    init(family: AddressFamily, _ transport: IPProtocol, _ port: UInt16) {
      self.family = family
      self.transport = transport
      self.port = port
    }
  }

  /// The command that shuts what may be shut, or `nil`.
  func blockCommand(_ found: [Finding]) -> String? {
    let addresses = Set(found.filter(\.isBlockable).compactMap { $0.peer?.address })
    guard let first = addresses.first else { return nil }
    let leaks = found.contains { $0.level == .leak }
    // Without a name only leaks are blocked.
    let name = addresses.count == 1 || !leaks ? " \(addresses.sorted().first ?? first)" : ""
    return "sipleak block\(name)\(observation.endpoints.options)"
  }
}

extension Finding {
  /// The flow behind it, as far as a person needs to find it.
  var ends: Evidence.FlowEnds? {
    guard let peer, let origin, let flow else { return nil }
    return Evidence.FlowEnds(peer: peer, wire: wire, origin: origin, id: flow.id)
  }
}

extension Sequence where Element: Hashable {
  /// The elements, each once, in their order.
  func uniqued() -> [Element] {
    var seen: Set<Element> = []
    return filter { seen.insert($0).inserted }
  }
}
