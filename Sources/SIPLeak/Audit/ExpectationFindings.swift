import Addressing
import Conntrack
import Firewall

extension FlowJudge {
  /// Expectations that let somebody in whom the rules would refuse, before anybody has come.
  ///
  /// Judged by the packet that would use them: RELATED, to where it would be delivered. One that
  /// stands for the far end of the flow its helper looks into is what helpers are for and only to be
  /// looked at; one that would let anybody in is a leak (facts A4).
  mutating func expectationFindings(besides findings: [Finding]) -> [Finding] {
    var result: [Finding] = []
    let translated = observation.sample.firewall.snapshot.familiesTranslatedOnArrival
    for expectation in observation.expectations {
      // Media by the thousand: most are seen to lead elsewhere without a walk.
      let tuple = expectation.tuple
      let helped = expectation.translatedDestination
      let isLed = helped == nil && translated.contains(tuple.family)
      guard isLed || isEndpoint(helped ?? tuple.destinationEndpoint, tuple) else { continue }
      guard let finding = finding(for: expectation) else { continue }
      // A hundred registrations with one helper open one and the same door.
      let isKnown = result.contains { $0.isSameDoor(as: finding) }
      // The peer's own flow through it says more.
      let isUsed = findings.contains {
        $0.cause == .expected && $0.peer?.address == finding.peer?.address
          && $0.wire == finding.wire && $0.level == finding.level
      }
      if !isKnown, !isUsed || finding.peer == nil { result.append(finding) }
    }
    return result
  }

  /// One answer about an expectation's door for one sender.
  private struct Door {
    var delivered: Endpoint
    var asNew: Walk
    var asRelated: Walk
  }

  private mutating func finding(for expectation: Expectation) -> Finding? {
    let tuple = expectation.tuple
    guard !expectation.flags.contains(.inactive), tuple.transport.hasPorts else { return nil }
    let isOne = expectation.mask.source.bits == tuple.source.allBits
    // Packets with a source of our own do not come from outside (facts A11).
    if isOne, localAddresses.contains(tuple.source) || tuple.source.isLoopback { return nil }
    if isOne, policy.trusted.contains(tuple.source) { return nil }
    var undecided: Finding?
    for source in senders(expectation) {
      guard let door = door(for: expectation, from: source) else { continue }
      guard
        let finding = finding(
          for: expectation, door, peer: isOne ? Endpoint(source, expectation.sourcePort ?? 0) : nil)
      else { continue }
      if finding.cause == .expected { return finding }
      undecided = undecided ?? finding
    }
    return undecided
  }

  /// Those an expectation would let in, or examples of them that no allowlist has a reason to name.
  private func senders(_ expectation: Expectation) -> [IPAddress] {
    if expectation.admitsAnySource {
      return Self.strangers(expectation.tuple.family).filter { !localAddresses.contains($0) }
    }
    let tuple = expectation.tuple
    return [
      IPAddress(
        family: tuple.family, bits: tuple.source.bits & expectation.mask.source.bits)
    ]
  }

  /// Where a sender's packet would go, and both walks there; `nil` if that is no SIP endpoint.
  private mutating func door(for expectation: Expectation, from source: IPAddress) -> Door? {
    let tuple = expectation.tuple
    var packet = Packet(
      transport: tuple.transport, source: source, destination: tuple.destination,
      sourcePort: expectation.sourcePort, destinationPort: tuple.destinationPort,
      inInterface: ingress(source, to: tuple.destination), connection: .new)
    if tuple.transport == .tcp { packet.tcpFlags = 0x02 }
    // The first packet of an expected flow meets the nat table as a NEW one does, unless the helper
    // translates it; so the walk of the NEW one says where it goes.
    let helped = expectation.translatedDestination
    let plain = evaluation.walk(packet, to: path(to: tuple.destination), byAnyOf: ways)
    var delivered = helped ?? tuple.destinationEndpoint
    var isDoubtful = false
    if helped == nil {
      switch plain.translation {
      case .asAsked: break
      case .elsewhere(let end?): delivered = end
      case .elsewhere(nil), .uncertain: isDoubtful = true
      }
    }
    guard isEndpoint(delivered, tuple) else { return nil }
    let path = path(to: delivered.address)
    packet.outInterface = path == .forward ? observation.egress(to: delivered.address) : nil
    if delivered != tuple.destinationEndpoint { packet.delivered = delivered }
    var related = packet
    related.connection = facts(of: expectation, packet, delivered)
    var asRelated = evaluation.walk(related, to: path, byAnyOf: ways)
    if let zone = asRelated.zone, zone != expectation.zone { return nil }
    if isDoubtful, !(asRelated.isCertain && asRelated.verdict.isRefused) {
      asRelated.outcomes.append(Outcome(.unknown, rule: nil))
      asRelated.unknowns.append(
        UnknownReason(.fact, "whether the nat table sends it elsewhere is not known"))
    }
    return Door(
      delivered: delivered,
      asNew: evaluation.walk(packet, to: path, byAnyOf: ways).judgedWhereAsked,
      asRelated: asRelated)
  }

  private func isEndpoint(_ end: Endpoint, _ tuple: FlowTuple) -> Bool {
    observation.endpoints.contains(end.port, tuple.transport)
      && (localAddresses.contains(end.address)
        || observation.endpoints.addresses.contains(end.address)
        || end != tuple.destinationEndpoint)
  }

  /// What connection tracking would say of the first packet of the expected flow.
  private func facts(
    of expectation: Expectation, _ packet: Packet, _ delivered: Endpoint
  ) -> ConnectionFacts {
    var facts = ConnectionFacts(
      state: .related, direction: .original, status: FlowStatus.expected.rawValue)
    facts.zone = expectation.zone
    facts.helper = expectation.helper ?? ""
    // The kernel hands the master's mark down.
    facts.mark = flow(openedBy: expectation.master)?.mark
    let source = packet.sourcePort.map { Endpoint(packet.source, $0) }
    facts.originalSource = source
    facts.originalDestination = expectation.tuple.destinationEndpoint
    facts.replySource = delivered
    facts.replyDestination = source
    return facts
  }

  private mutating func finding(
    for expectation: Expectation, _ door: Door, peer: Endpoint?
  ) -> Finding? {
    if door.asRelated.isCertain, door.asRelated.verdict.isRefused { return nil }
    // Whom the rules admit anyway needs no helper.
    if door.asNew.isCertain, door.asNew.verdict == .accept { return nil }
    let tuple = expectation.tuple
    var cause = Cause.expected
    var level = Level.leak
    var why = "\(words(expectation)) expects \(who(expectation)) at \(tuple.destinationEndpoint)"
    if !door.asRelated.isCertain {
      cause = .undecided
      why +=
        "; whether the rules accept what is RELATED hangs on: "
        + Judgement.reasons(door.asRelated.unknowns)
    } else if !door.asNew.isCertain {
      cause = .undecided
      why +=
        "; whether the rules would admit it as NEW hangs on: "
        + Judgement.reasons(door.asNew.unknowns)
    } else if let peer, isOwn(peer.address, of: expectation.master) {
      level = .look
      why += ", its own far end, from any port the rules refuse; a registrar's calls come so"
    } else {
      why +=
        ", whom the rules would refuse: conntrack -F expect ends it"
        + (peer == nil && expectation.helper == "sip"
          ? ", and sip_direct_signalling=1, sip_direct_media=1 of nf_conntrack_sip prevent it" : "")
    }
    if cause == .undecided { level = .look }
    var answer: String? = "it is no address but whoever comes"
    if let peer {
      answer = blockability.answer(
        for: peer.address, wire: tuple.destinationEndpoint, cause: cause)
    }
    var finding = Finding(
      cause: cause, level: level, grade: nil, transport: tuple.transport, family: tuple.family,
      zone: expectation.zone, peer: peer, delivered: door.delivered,
      wire: tuple.destinationEndpoint, origin: nil, asNew: JudgedVerdict(door.asNew),
      asHeld: JudgedVerdict(door.asRelated), isBlockable: answer == nil,
      notBlockableBecause: answer, why: why, flow: nil, increments: nil)
    finding.expectation = expectation
    return finding
  }

  private func words(_ expectation: Expectation) -> String {
    let name = expectation.helper.map { "the helper \"\($0)\"" } ?? "a helper"
    return "\(name) of the flow \(Judgement.words(expectation.master))"
  }

  private func who(_ expectation: Expectation) -> String {
    let tuple = expectation.tuple
    if expectation.admitsAnySource { return "anybody" }
    if expectation.mask.source.bits == tuple.source.allBits { return "\(tuple.source)" }
    return "everybody in \(tuple.source)/\(expectation.mask.source)"
  }
}

extension Expectation {
  /// The source port it asks for, or `nil` for any.
  fileprivate var sourcePort: UInt16? { mask.sourcePort == .max ? tuple.sourcePort : nil }
}

extension IPAddress {
  /// The mask of a single address.
  fileprivate var allBits: UInt128 { family == .ipv4 ? 0xffff_ffff : .max }
}

extension FirewallSnapshot {
  /// The families in which some nat rule may lead arriving packets elsewhere.
  fileprivate var familiesTranslatedOnArrival: Set<AddressFamily> {
    Set(
      rulesets.filter { $0.table("nat")?.chain("PREROUTING")?.rules.isEmpty == false }
        .map(\.family))
  }
}

extension Finding {
  fileprivate func isSameDoor(as other: Finding) -> Bool {
    cause == other.cause && level == other.level && peer == other.peer && wire == other.wire
      && delivered == other.delivered && zone == other.zone && transport == other.transport
  }
}
