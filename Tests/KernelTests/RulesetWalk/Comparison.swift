import Addressing
import Firewall
import TestSupport

/// What the walk says of a scenario, held against what the kernel did.
struct Comparison {
  /// A packet of which they say different things.
  struct Disagreement {
    var packet: Int
    /// What differs, a line each.
    var differences: [String]
    var walk: Walk
    var observed: PacketFate
  }

  private(set) var verdicts = 0
  /// Verdicts the walk gave for certain.
  private(set) var certain = 0
  /// Packets that nat sends another way than the one asked about.
  private(set) var skipped = 0
  /// Packets the kernel let through, and rules it counted packets at.
  private(set) var accepted = 0
  private(set) var rules = 0
  private(set) var disagreements: [Disagreement] = []

  init(_ scenario: FirewallScenario, _ observation: KernelAnswer) {
    var snapshot = FirewallSnapshot(rulesets: observation.rulesets)
    snapshot.sets = scenario.sets
    snapshot.localAddresses = FirewallScenario.localAddresses
    snapshot.time = observation.time
    let evaluation = Evaluation(snapshot)
    let shown = scenario.saves.mapValues(Place.chains(of:))
    func isShown(_ rule: RuleReference) -> Bool {
      shown[rule.backend]?.contains("\(rule.table) \(rule.chain)") == true
    }
    for (number, sent) in scenario.packets.enumerated() where number < observation.packets.count {
      let (walk, _) = evaluation.walkAsRouted(sent.packet, to: sent.path)
      if walk.translation == .uncertain { skipped += 1 }
      verdicts += 1
      if walk.isCertain { certain += 1 }
      let observed = observation.packets[number]
      if observed.isAccepted { accepted += 1 }
      rules += observed.counts.keys.count { $0.index > 0 }
      var differences = Self.differences(walk, observed, isShown)
      for (what, packet) in Self.blurred(sent.packet) where differences.isEmpty {
        let (walk, _) = evaluation.walkAsRouted(packet, to: sent.path)
        differences = Self.differences(walk, observed, isShown).map { "without \(what): \($0)" }
      }
      if differences.isEmpty { continue }
      disagreements.append(
        Disagreement(
          packet: number, differences: differences, walk: walk, observed: observed))
    }
  }

  /// The packet with less known of it: what is certain then must hold of the whole packet too.
  private static func blurred(_ packet: Packet) -> [(what: String, packet: Packet)] {
    var plain = packet
    plain.tcpFlags = nil
    plain.length = nil
    plain.payload = nil
    plain.ttl = nil
    plain.typeOfService = nil
    plain.sourceHardwareAddress = nil
    plain.connection.mark = nil
    plain.connection.knownStatus = 0xb
    var vague = packet
    vague.icmp = nil
    vague.sourcePort = nil
    vague.inInterface = nil
    vague.outInterface = nil
    vague.bridgePort = nil
    vague.connection.direction = nil
    vague.connection.status = nil
    vague.hasExtensionHeaders = nil
    return [("headers", plain), ("facts", vague)]
  }

  private static func differences(
    _ walk: Walk, _ observed: PacketFate, _ isShown: (RuleReference) -> Bool
  ) -> [String] {
    var result: [String] = []
    let path = walk.path.filter { isShown($0.rule) }
    for hit in path where hit.isCertain && observed.counts[Place(hit.rule)] == nil {
      result.append("the walk is certain of a rule the kernel did not count: \(Place(hit.rule))")
    }
    let foreseen = Set(path.map { Place($0.rule) })
    for place in observed.counts.keys where !foreseen.contains(place) {
      result.append("the kernel counted a rule the walk never meets: \(place)")
    }
    if walk.isCertain, (walk.verdict == .accept) != observed.isAccepted {
      let kernel = observed.isAccepted ? "let it through" : "refused it"
      result.append("the walk is certain of \(walk.verdict.rawValue), the kernel \(kernel)")
    }
    if walk.outcomes.count == 1, let rule = walk.decidingRule, isShown(rule),
      observed.counts[Place(rule)] == nil
    {
      result.append("the kernel did not count the rule that decides: \(Place(rule))")
    }
    return result
  }
}

extension Comparison.Disagreement {
  /// Everything a person needs to repeat it by hand.
  func report(_ scenario: FirewallScenario) -> String {
    let sent = scenario.packets[packet]
    var text = "sets:\n\(scenario.setText)"
    for backend in scenario.backends {
      text += "\(scenario.family.rawValue) \(backend.rawValue):\n\(scenario.saves[backend] ?? "")"
    }
    text += "packet to \(sent.path.rawValue): \(describe(sent.packet))\n"
    text += "the kernel \(observed.isAccepted ? "let it through" : "refused it") and counted:\n"
    for (place, times) in observed.counts.sorted(by: { $0.key.description < $1.key.description }) {
      text += "  \(place), \(times) times\n"
    }
    text += "the walk says \(walk.outcomes.map(\.verdict.rawValue).joined(separator: " or ")):\n"
    for hit in walk.path {
      text += "  \(Place(hit.rule))\(hit.isCertain ? "" : " (perhaps)") \(hit.rule.text)\n"
    }
    for reason in walk.unknowns { text += "  not known: \(reason.text)\n" }
    return text + differences.map { "=> \($0)\n" }.joined()
  }

  private func describe(_ packet: Packet) -> String {
    let ports = packet.sourcePort.map { ", ports \($0) to \(packet.destinationPort ?? 0)" } ?? ""
    let connection = packet.connection
    return
      "protocol \(packet.transport.rawValue), \(packet.source) to \(packet.destination)\(ports)"
      + ", \(connection.state.rawValue) \(connection.direction?.rawValue ?? "")"
      + ", status \(String(connection.status ?? 0, radix: 16)), connmark \(connection.mark ?? 0)"
      + ", length \(packet.length ?? 0), ttl \(packet.ttl ?? 0)"
      + ", service \(packet.typeOfService ?? 0), flags \(packet.tcpFlags ?? 0)"
  }
}
