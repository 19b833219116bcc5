import Addressing
import Conntrack
import Firewall
import HostNetwork

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
    if !request.shortens { keepLonger(blocks) }
    keepPlainFew(blocks)
    guard obstacles.isEmpty else {
      liftOnly(blocks, snapshot)
      return
    }
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
      obstacles += wokenObstacles(audit, blocks)
      obstacles += placement.obstacles
      obstacles += setFamilies.compactMap { Self.setObstacle($0, snapshot) }
      if isPlain, snapshot.sets == nil, let plainBecause {
        obstacles.append("rules look addresses up in sets, and \(plainBecause)")
      }
    }
    guard obstacles.isEmpty else {
      liftOnly(blocks, snapshot)
      return
    }
    guard !isEmpty else { return }
    setText = setFamilies.isEmpty ? "" : Self.setText(entries, moved, families: setFamilies)
    guard !entries.isEmpty else { return }
    deletions = Self.flows(of: entries, observation: observation, place: request.place)
  }

  /// Whatever stands against new blocks, those that are over go: that opens what should be open.
  ///
  /// Nothing else is touched: no jump is put back, no block moves.
  private mutating func liftOnly(_ blocks: [OwnBlock], _ snapshot: FirewallSnapshot) {
    entries = []
    moved = []
    lifted = blocks.filter { $0.holder == .rules && $0.isOver }
    let over = Set(lifted.map(\.element))
    rules = snapshot.deletions { over.contains($0.element) }
  }

  private mutating func choose(audit: Audit, observation: Observation, policy: AuditPolicy) {
    var blockability = Blockability(observation, policy: policy)
    let named = Set(request.named)
    var chosen: Set<Target> = []
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
          // The grade is for the reader; two flows of one peer make one entry.
          if chosen.insert(Target(entry)).inserted { entries.append(entry) }
        }
      }
    }
    // One address, one answer: whoever may not be blocked for one flow is not for another.
    let refused = Set(omissions.filter { !$0.isOnRequest }.map(\.address))
    entries.removeAll { refused.contains($0.address) }
    holdBack(audit.findings, named: named)
    let blocked = Set(entries.map(\.address))
    omissions.removeAll { $0.isOnRequest && blocked.contains($0.address) }

    let met = blocked.union(refused)
    for address in request.named where !met.contains(address) {
      nameWithoutFlow(address, observation: observation, blockability: &blockability)
    }
    keepOneOfEach()
  }

  /// What makes two entries one and the same block.
  private struct Target: Hashable {
    var prefix: IPPrefix
    var transport: IPProtocol
    var port: UInt16

    init(_ entry: Entry) {
      prefix = entry.prefix
      transport = entry.transport
      port = entry.port
    }
  }

  private mutating func keepOneOfEach() {
    var seen: Set<Target> = []
    seen.reserveCapacity(entries.count)
    entries.removeAll { !seen.insert(Target($0)).inserted }
  }

  /// A leak of somebody who is also only to be looked at is not blocked unnamed.
  ///
  /// A block cuts all of an address, and a trunk that this host registers to may have come in by
  /// another port while a reload left the door open.
  private mutating func holdBack(_ findings: [Finding], named: Set<IPAddress>) {
    let unnamed = Set(entries.map(\.address)).subtracting(named)
    var held: [IPAddress: Cause] = [:]
    // What nobody has answered yet is no trunk that works: a late answer of the server's to the same
    // stranger looks like that (facts C4), and a lure.
    for finding in findings where finding.level != .leak && finding.grade != .latent {
      guard let peer = finding.peer?.address, unnamed.contains(peer), held[peer] == nil else {
        continue
      }
      held[peer] = finding.cause
    }
    guard !held.isEmpty else { return }
    entries.removeAll { held[$0.address] != nil }
    omissions.removeAll { held[$0.address] != nil }
    omissions += held.sorted { $0.key < $1.key }.map { address, cause in
      Omission(
        address: address, why: "\(cause.rawValue) by another of its flows", isOnRequest: true)
    }
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
    var blockability = PrefixBlockability(
      observation, policy: policy, besides: Set(entries.map(\.address)),
      welcome: request.limits.welcome)
    var said: Set<IPAddress> = []
    for index in entries.indices where entries[index].address.family == .ipv6 {
      let address = entries[index].address
      guard let prefix = IPPrefix(address, length: length) else { continue }
      guard let why = blockability.objection(to: prefix) else {
        entries[index].prefixLength = length
        continue
      }
      guard said.insert(address).inserted else { continue }
      omissions.append(
        Omission(
          address: address, why: "the rest of \(prefix): \(why)",
          isOnRequest: false))
    }
    keepOneOfEach()
  }

  /// Leaves blocks that stand for longer as long as they are.
  private mutating func keepLonger(_ blocks: [OwnBlock]) {
    guard !blocks.isEmpty else { return }
    let standing = Dictionary(
      blocks.filter { !$0.isOver }.map { ($0.element, $0.timeout) },
      uniquingKeysWith: { first, second in first == 0 || second == 0 ? 0 : max(first, second) })
    for index in entries.indices {
      guard entries[index].seconds > 0, let left = standing[entries[index].element] else {
        continue
      }
      entries[index].seconds = left == 0 ? 0 : max(left, entries[index].seconds)
    }
  }

  /// Where somebody who is never to be blocked may be missing, only a person says who is not he.
  private mutating func keepWhileAllAreKnown(_ protected: ProtectedSet) {
    guard !entries.isEmpty else { return }
    let named = Set(request.named)
    let areNamed = entries.allSatisfy { named.contains($0.address) }
    var objections = protected.objections(areNamed: areNamed)
    if !areNamed, let gap = request.limits.welcomeGap {
      objections.append(
        "who was admitted or sent to within the last 24 h is not known, so nobody is blocked: "
          + gap)
    }
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

  /// Whom a hook that is put back would cut though the rules admit him: nobody asks for that.
  ///
  /// An operator whose trunk was blocked may have flushed raw to get it back; while no hook stands
  /// the members of our sets are cut by nothing.
  private func wokenObstacles(_ audit: Audit, _ standing: [OwnBlock]) -> [String] {
    guard !standing.isEmpty else { return [] }
    let planned = Set(entries.map(\.element))
    let hooked = Set(standing.filter(\.isHooked).map(\.element))
    let over = Set(standing.filter(\.isOver).map(\.element))
    let written = Set(rules.map(\.family))
    let blocks = audit.blocks.filter { block in
      block.state == .admitted && written.contains(block.family)
        && !planned.contains(block.element) && !hooked.contains(block.element)
        && !over.contains(block.element)
    }
    return blocks.map { block in
      "our rules, put back, would cut \(block.element), who may come in: " + (block.advice ?? "")
    }
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
    let names = Dictionary(uniqueKeysWithValues: families.map { ($0, OwnObjects.setName($0)) })
    var comments = MemberComments()
    let adds = entries.map { entry in
      "add -exist \(names[entry.address.family] ?? "") \(entry.element) "
        + "timeout \(entry.seconds) comment \"\(comments.comment(of: entry))\""
    }
    return (creates + moves + adds).map { $0 + "\n" }.joined()
  }
}
