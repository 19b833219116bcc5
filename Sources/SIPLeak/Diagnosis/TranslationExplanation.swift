import Addressing
import Conntrack
import Firewall

extension Differential {
  /// A nat rule that may lead to a SIP port, and from which port on the wire.
  struct Redirection {
    var placed: PlacedRule
    /// The port on the wire.
    var wirePort: UInt16
    /// Where the rule sends it, if it says.
    var target: IPAddress?
    var destination: IPAddress?
    var transport: IPProtocol
  }

  /// What becomes of a packet that a nat rule leads to SIP.
  struct Redirected {
    var rule: Redirection
    var source: IPAddress
    var walk: Walk
  }

  /// Whether the nat table leads somebody to a SIP port by another one.
  mutating func translation() -> Explanation {
    let led = redirected()
    let rules = led.map(\.rule.placed.reference).uniqued()
    var evidence = rules.prefix(Self.listed).map { Evidence("leads to a SIP port", rule: $0) }
    let translated = flows.filter(\.sides.isTranslated)
    let told =
      peer != nil
      ? translated
      : translated.filter { flow in
        findings.contains { $0.ends == flow.ends }
      }
    evidence += told.prefix(Self.listed).map {
      Evidence("addressed to \($0.sides.wire), delivered to \($0.sides.delivered)", flow: $0.ends)
    }
    if let hit = led.first(where: { $0.walk.isCertain && $0.walk.verdict == .accept }) {
      let by = hit.walk.decidingRule.map { ", accepted at \($0.named)" } ?? ""
      return Explanation(
        .translation, .supported,
        "\(hit.rule.placed.reference.named) leads \(hit.rule.transport)/\(hit.rule.wirePort) to SIP"
          + by, evidence,
        command: "sipleak explain "
          + "'\(hit.rule.transport) \(hit.source) -> \(wire(hit.rule)):\(hit.rule.wirePort)'")
    }
    if let flow = told.first {
      return Explanation(
        .translation, .supported,
        "a flow to \(flow.sides.wire) is delivered to \(flow.sides.delivered)"
          + (rules.isEmpty ? "; no such rule stands now" : ""), evidence,
        command: "conntrack -L -d \(flow.sides.wire.address)")
    }
    if let hit = led.first(where: { !$0.walk.isCertain }) {
      return Explanation(
        .translation, .cannotTell,
        "\(hit.rule.placed.reference.named) may lead to SIP; it hangs on "
          + Listing.reasons(hit.walk.unknowns), evidence)
    }
    let unseen = snapshot.unseen.filter { filter in
      (filter.hooks.isEmpty || filter.hooks.contains("prerouting"))
        && filter.steps.map { $0.contains { $0.effect == .touches } } ?? true
    }
    if let first = unseen.first {
      return Explanation(
        .translation, .cannotTell,
        "\(first.backend.rawValue) table \(first.table) is not shown by iptables and may translate",
        evidence, command: "nft list ruleset")
    }
    if let first = led.first {
      let by = first.walk.decidingRule.map { " at \($0.named)" } ?? ""
      return Explanation(
        .translation, .ruledOut,
        "\(first.rule.placed.reference.named) leads to SIP, and a first packet is refused\(by)",
        evidence)
    }
    return Explanation(
      .translation, .ruledOut, "no DNAT or REDIRECT leads another port to \(sipPorts)", evidence)
  }

  private func wire(_ rule: Redirection) -> IPAddress {
    rule.destination ?? doors.first { $0.family == rule.placed.family }?.wire.address
      ?? IPAddress(family: rule.placed.family, bits: 0)
  }

  /// The first packets of newcomers that a nat rule leads to a SIP port.
  mutating func redirected() -> [Redirected] {
    let rules = redirections()
    guard !rules.isEmpty else { return [] }
    var result: [Redirected] = []
    for rule in rules.prefix(256) {
      for source in newcomers() where source.family == rule.placed.family {
        for way in ways.leading(to: source) {
          var packet = Packet(
            transport: rule.transport, source: source, destination: wire(rule), sourcePort: nil,
            destinationPort: rule.wirePort, inInterface: way.interface, connection: .new)
          let isLocal =
            rule.placed.rule.target?.name == "REDIRECT"
            || rule.target.map(localAddresses.contains) ?? true
          if !isLocal, let target = rule.target, let names = ways.interfaces(to: target),
            names.count == 1
          {
            packet.outInterface = names[0]
          }
          let walk = evaluation.walk(packet, to: isLocal ? .input : .forward)
          guard let hit = walk.path.first(where: { $0.rule == rule.placed.reference }) else {
            continue
          }
          // The port that comes out must be a SIP port, whatever other rules say.
          if hit.isCertain, case .elsewhere(let end?) = walk.translation,
            !observation.endpoints.contains(end.port, rule.transport)
          {
            continue
          }
          result.append(Redirected(rule: rule, source: source, walk: walk))
        }
      }
    }
    return result
  }

  /// The nat rules whose target is a SIP port, each with a port on the wire that it takes.
  private func redirections() -> [Redirection] {
    let placed = snapshot.rules(table: "nat") {
      $0.target?.name == "DNAT" || $0.target?.name == "REDIRECT"
    }
    return placed.flatMap { placed -> [Redirection] in
      // OUTPUT translates what this host sends.
      guard placed.reference.chain != "OUTPUT" else { return [] }
      let target = Self.target(of: placed.rule)
      let destination = placed.rule.options("-d").first?.arguments.first
        .flatMap { IPPrefix($0) }.flatMap { $0.length == $0.family.bitWidth ? $0.address : nil }
      var result: [Redirection] = []
      for transport in observation.endpoints.transports where placed.rule.mayConcern(transport) {
        let named = placed.rule.destinationPorts
        for port in observation.endpoints.ports(of: transport) {
          func add(_ wirePort: UInt16) {
            result.append(
              Redirection(
                placed: placed, wirePort: wirePort, target: target.address,
                destination: destination, transport: transport))
          }
          if let ports = target.ports {
            guard ports.contains(port) else { continue }
            if named.isEmpty {
              // It takes every port; one that nobody names shows it.
              add(50_600)
            } else {
              named.prefix(8).forEach { add($0.lowerBound) }
            }
          } else if let address = target.address, !localAddresses.contains(address),
            named.isEmpty || named.contains(where: { $0.contains(port) })
          {
            // The port stays as it is; to another host that is a forward of SIP.
            add(port)
          }
        }
      }
      return result
    }
  }

  /// Where `--to-destination 10.0.0.1:5060-5070` or `--to-ports 5060` leads.
  private static func target(
    of rule: Rule
  ) -> (address: IPAddress?, ports: ClosedRange<UInt16>?) {
    let options = rule.target?.options ?? []
    if let text = options.first(where: { $0.name == "--to-ports" })?.arguments.first {
      return (nil, PortRanges.read(text).first)
    }
    guard let text = options.first(where: { $0.name == "--to-destination" })?.arguments.first
    else { return (nil, nil) }
    let first = text.split(separator: "/").first.map(String.init) ?? text
    if first.hasPrefix("["), let close = first.firstIndex(of: "]") {
      let inside = first[first.index(after: first.startIndex)..<close]
      let rest = first[first.index(after: close)...]
      return (
        IPAddress(String(inside)),
        rest.first == ":" ? PortRanges.read(String(rest.dropFirst())).first : nil
      )
    }
    if let address = IPAddress(first) { return (address, nil) }
    let parts = first.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let address = parts.first.flatMap { IPAddress(String($0.split(separator: "-").first ?? "")) }
    return (address, parts.count == 2 ? PortRanges.read(String(parts[1])).first : nil)
  }
}
