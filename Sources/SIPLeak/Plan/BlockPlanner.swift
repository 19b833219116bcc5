import HostNetwork
import Addressing
public import Conntrack
import Firewall

extension BlockPlan {
  /// Plans the blocks that a request means, from what an audit found.
  ///
  /// Pure: the same observation, audit and request give the same plan, live or from files.
  ///
  /// - Parameters:
  ///   - request: What is asked.
  ///   - audit: The findings.
  ///   - observation: What the audit judged; its rulesets decide where the rules go.
  ///   - policy: Whom never to block.
  public init(
    _ request: BlockRequest, audit: Audit, observation: Observation, policy: AuditPolicy
  ) {
    self.request = request
    entries = []
    omissions = []
    setText = ""
    rules = []
    deletions = []
    obstacles = []
    moved = []
    lifted = []
    let snapshot = observation.sample.firewall.snapshot
    let time = observation.sample.time
    let blocks = snapshot.ownBlocks(at: time)
    plainBecause = request.isPlain ? "--plain asks for it" : snapshot.setsUnavailable

    choose(audit: audit, observation: observation, policy: policy)
    keepWhileAllAreKnown(ProtectedSet(observation, policy: policy))
    keepWithinLimits(blocks)
    if let stability = Stability(observation, policy: policy) { keepStable(stability) }
    widen(observation, policy)
    keepPlainFew(blocks)
    guard obstacles.isEmpty else { return }
    let standing = StandingRules(snapshot, at: time, isPlain: isPlain)
    let placement =
      entries.isEmpty
      ? Placement(renewing: snapshot, standing: standing)
      : Placement(
        request, snapshot: snapshot, audit: audit, entries: entries, standing: standing)
    let plain = blocks.filter { $0.holder == .rules }
    let planned = Set(entries.map(\.element))
    if !isPlain { moved = plain.filter { !$0.isOver && !planned.contains($0.element) } }
    // A renewed block of old is over no more.
    lifted = plain.filter { $0.isOver && !planned.contains($0.element) }
    rules = placement.rules
    if !isEmpty {
      obstacles += placement.obstacles
      obstacles += setFamilies.compactMap { Self.setObstacle($0, snapshot) }
      if isPlain, snapshot.sets == nil, let plainBecause {
        obstacles.append("rules look addresses up in sets, and \(plainBecause)")
      }
    }
    guard obstacles.isEmpty else {
      entries = []
      moved = []
      lifted = []
      rules = []
      return
    }
    guard !isEmpty else { return }
    setText = setFamilies.isEmpty ? "" : Self.setText(entries, moved, families: setFamilies)
    guard !entries.isEmpty else { return }
    deletions = Self.flows(of: entries, observation: observation, place: request.place)
  }

  private mutating func choose(audit: Audit, observation: Observation, policy: AuditPolicy) {
    var blockability = Blockability(observation, policy: policy)
    let named = Set(request.named)
    var chosen: Set<Entry> = []
    var omitted: Set<IPAddress> = []
    func isNamed(_ address: IPAddress) -> Bool { named.contains(address) }

    let own = Set(observation.network.addresses.map(\.address))
    for finding in audit.findings {
      guard let peer = finding.peer else { continue }
      if !named.isEmpty, !isNamed(peer.address) { continue }
      let wanted = finding.level == .leak || isNamed(peer.address)
      if let why = finding.notBlockableBecause {
        guard omitted.insert(peer.address).inserted else { continue }
        omissions.append(Omission(address: peer.address, why: why, isOnRequest: false))
      } else if !wanted {
        guard omitted.insert(peer.address).inserted else { continue }
        omissions.append(
          Omission(address: peer.address, why: finding.cause.rawValue, isOnRequest: true))
      } else if !isNamed(peer.address), let why = request.limits.objection(to: finding) {
        guard omitted.insert(peer.address).inserted else { continue }
        omissions.append(Omission(address: peer.address, why: why, isOnRequest: true))
      } else {
        let isOurs = own.contains(finding.delivered.address) || finding.delivered.address.isLoopback
        for port in Self.ports(of: finding, place: request.place) {
          let entry = Entry(
            address: peer.address, transport: finding.transport, port: port,
            reason: finding.cause.rawValue, grade: finding.grade,
            seconds: request.limits.seconds(request.seconds, for: peer.address),
            inner: request.place == .raw && !isOurs ? finding.delivered.address : nil)
          if chosen.insert(entry).inserted { entries.append(entry) }
        }
      }
    }
    // One address, one answer: whoever may not be blocked for one flow is not for another.
    let refused = Set(omissions.filter { !$0.isOnRequest }.map(\.address))
    entries.removeAll { refused.contains($0.address) }
    omissions.removeAll { omission in
      omission.isOnRequest && entries.contains { $0.address == omission.address }
    }

    let met = Set(entries.map(\.address)).union(refused)
    for address in request.named where !met.contains(address) {
      nameWithoutFlow(address, observation: observation, blockability: &blockability)
    }
    // The grade is for the reader; two flows of one peer make one entry.
    var seen: Set<String> = []
    entries = entries.filter { seen.insert($0.element).inserted }
  }

  /// The ports a peer is blocked from for one finding.
  ///
  /// Ahead of connection tracking that is the one on the wire (facts A5). The answers of a translated
  /// flow leave by the delivered one: unless that is blocked as well, the server's next keepalive
  /// opens a flow from there. What an inner host sends, and what reaches it, bear it too (facts C13).
  private static func ports(of finding: Finding, place: BlockRequest.Place) -> [UInt16] {
    guard place == .raw, finding.wire.port != finding.delivered.port else {
      return [place == .raw ? finding.wire.port : finding.delivered.port]
    }
    return [finding.wire.port, finding.delivered.port]
  }

  /// Blocks the prefixes of IPv6 peers, where that is asked and nobody else is known to be there.
  private mutating func widen(_ observation: Observation, _ policy: AuditPolicy) {
    guard let length = request.prefix6, entries.contains(where: { $0.address.family == .ipv6 })
    else { return }
    var blockability = PrefixBlockability(observation, policy: policy)
    let chosen = Set(entries.map(\.address))
    var said: Set<IPAddress> = []
    for index in entries.indices where entries[index].address.family == .ipv6 {
      let address = entries[index].address
      guard let prefix = IPPrefix(address, length: length) else { continue }
      guard
        let why = blockability.objection(
          to: prefix, besides: chosen, welcome: request.limits.welcome)
      else {
        entries[index].prefixLength = length
        continue
      }
      guard said.insert(address).inserted else { continue }
      omissions.append(
        Omission(
          address: address, why: "the rest of \(prefix): \(why)",
          isOnRequest: false))
    }
    var seen: Set<String> = []
    entries = entries.filter { seen.insert($0.element).inserted }
  }

  /// Where somebody who is never to be blocked may be missing, only a person says who is not he.
  private mutating func keepWhileAllAreKnown(_ protected: ProtectedSet) {
    guard !entries.isEmpty else { return }
    let named = Set(request.named)
    let objections = protected.objections(
      areNamed: entries.allSatisfy { named.contains($0.address) })
    guard !objections.isEmpty else { return }
    obstacles += objections
    entries = []
  }

  /// More than the limits allow is none at all: something else is wrong then.
  private mutating func keepWithinLimits(_ blocks: [OwnBlock]) {
    let standing = Set(blocks.filter { !$0.isOver }.map(\.prefix.address))
    let new = Set(entries.map(\.address)).subtracting(standing).count
    guard let why = request.limits.objection(new: new, standing: standing.count) else { return }
    obstacles.append(why)
    entries = []
  }

  /// Plain rules beside a set would leave open which of them holds a block; and each of them costs
  /// every packet a look.
  private mutating func keepPlainFew(_ blocks: [OwnBlock]) {
    guard isPlain, obstacles.isEmpty else { return }
    let members = blocks.filter { $0.holder == .set }.count
    if members > 0 {
      obstacles.append(
        "\(members == 1 ? "1 block stands" : "\(members) blocks stand") in our sets, and plain rules "
          + "beside them are refused: leave out --plain, or lift them first (sipleak unblock --all)"
      )
      entries = []
      return
    }
    guard !entries.isEmpty else { return }
    let standing = Set(blocks.filter { $0.holder == .rules && !$0.isOver }.map(\.prefix))
    let new = Set(entries.map(\.prefix)).subtracting(standing).count
    guard
      let why = PlainBlock.objection(
        new: new, standing: standing.count, isAsked: request.isPlain)
    else { return }
    obstacles.append(why)
    entries = []
  }

  /// With two readings, only what both show and while nothing changed is blocked.
  private mutating func keepStable(_ stability: Stability) {
    if let objection = stability.objection, !entries.isEmpty {
      obstacles.append(objection)
      entries = []
      return
    }
    for entry in entries where !stability.sawBefore(entry.address) && entry.reason != "named" {
      omissions.append(
        Omission(
          address: entry.address, why: "only in the second of two readings", isOnRequest: false))
    }
    let fresh = Set(omissions.map(\.address))
    entries.removeAll { fresh.contains($0.address) }
  }

  /// Plans a block of an address that has no finding: from every SIP port, after the same checks.
  private mutating func nameWithoutFlow(
    _ address: IPAddress, observation: Observation, blockability: inout Blockability
  ) {
    let port = observation.endpoints.ports.min() ?? 5060
    let own = observation.network.addresses.first {
      $0.address.family == address.family && !$0.address.isLoopback
    }
    guard let local = own?.address else {
      let family = address.family == .ipv4 ? "IPv4" : "IPv6"
      omissions.append(
        Omission(
          address: address, why: "this host has no \(family) address", isOnRequest: false))
      return
    }
    if let why = blockability.answer(
      for: address, wire: Endpoint(local, port), cause: .hostOpened)
    {
      omissions.append(Omission(address: address, why: why, isOnRequest: false))
      return
    }
    for transport in observation.endpoints.transports.sorted(by: { $0.rawValue > $1.rawValue }) {
      for port in observation.endpoints.ports(of: transport) {
        entries.append(
          Entry(
            address: address, transport: transport, port: port, reason: "named", grade: nil,
            seconds: request.limits.seconds(request.seconds, for: address)))
      }
    }
  }

  /// Why our set cannot be used as it is found, or `nil`.
  private static func setObstacle(
    _ family: AddressFamily, _ snapshot: FirewallSnapshot
  ) -> String? {
    guard snapshot.sets != nil else {
      return "the sets cannot be read; is ipset installed? apt-get install ipset"
    }
    guard let set = snapshot.ownSet(family) else { return nil }
    guard OwnObjects.owns(set) else {
      return "a set named \(set.name) exists that sipleak did not make "
        + "(\(set.type) \(set.createOptions.joined(separator: " ")))"
    }
    return nil
  }

  private static func setText(
    _ entries: [Entry], _ moved: [OwnBlock], families: [AddressFamily]
  ) -> String {
    let creates = families.map(OwnObjects.createLine)
    let moves = moved.map { block in
      "add -exist \(OwnObjects.setName(block.family)) \(block.element) timeout \(block.timeout) "
        + "comment \"\(block.memberComment)\""
    }
    let adds = entries.map { entry in
      "add -exist \(OwnObjects.setName(entry.address.family)) \(entry.element) "
        + "timeout \(entry.seconds) "
        + "comment \"\(OwnObjects.comment(entry))\""
    }
    return (creates + moves + adds).map { $0 + "\n" }.joined()
  }

  /// The flows that connect a blocked peer with the port it is blocked from, whoever opened them.
  public static func flows(
    of entries: [Entry], observation: Observation, place: BlockRequest.Place
  ) -> [FlowKey] {
    let blocked = Set(entries.map(\.element))
    let lengths = Set(entries.compactMap(\.prefixLength))
    let own = Set(observation.network.addresses.map(\.address))
    return observation.sample.flows.compactMap { flow -> FlowKey? in
      guard
        let sides = FlowSides(
          flow, endpoints: observation.endpoints, isLocal: { own.contains($0) || $0.isLoopback })
      else { return nil }
      let port = place == .raw ? sides.wire.port : sides.delivered.port
      let place = ",\(flow.original.transport):\(port)"
      let peer = sides.peer.address
      let isBlocked =
        blocked.contains("\(peer)\(place)")
        || peer.family == .ipv6
          && lengths.contains { length in
            IPPrefix(peer, length: length).map { blocked.contains("\($0)\(place)") } ?? false
          }
      return isBlocked ? flow.key : nil
    }
  }
}
