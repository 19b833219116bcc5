public import Addressing

/// Which way a packet goes after the routing decision.
public enum PacketPath: String, Sendable, Hashable, Codable {
  /// To the host itself.
  case input = "INPUT"
  /// Through it.
  case forward = "FORWARD"
}

/// Computes what the rules of a host do with a packet, in three-valued logic.
///
/// Nothing is assumed to match or not to match: what an observation cannot decide makes the walk
/// collect every possible outcome. All rules are compiled once when the evaluation is made; it can
/// then be shared between threads and asked any number of times.
public struct Evaluation: Sendable {
  let rulesets: [CompiledRuleset]
  let unseen: [UnseenFilter]
  private(set) var host: HostFacts

  /// Prepares the rules and sets of a snapshot.
  ///
  /// - Parameter snapshot: What was observed.
  public init(_ snapshot: FirewallSnapshot) {
    var asked: Set<String> = []
    var changed: Set<String> = []
    for ruleset in snapshot.rulesets {
      for table in ruleset.tables {
        for chain in table.chains {
          for rule in chain.rules {
            for clause in rule.matches where clause.name == "set" {
              asked.formUnion(clause.options.compactMap(\.arguments.first))
            }
            if rule.target?.name == "SET" {
              changed.formUnion(rule.target?.options.compactMap(\.arguments.first) ?? [])
            }
          }
        }
      }
    }
    let sets = SetTables(snapshot.sets, asked: asked, changedByRules: changed)
    let recent = RecentTables(snapshot)
    rulesets = snapshot.rulesets.map { CompiledRuleset($0, sets: sets, recent: recent) }
    unseen = snapshot.unseen
    host = HostFacts(
      localAddresses: snapshot.localAddresses.map(Set.init),
      interfaceAddresses: snapshot.interfaceAddresses, time: snapshot.time)
  }

  /// The same rules on a host with other addresses of its own.
  ///
  /// - Parameters:
  ///   - other: The rules, already compiled.
  ///   - localAddresses: The host's own addresses, for `addrtype`.
  public init(_ other: Evaluation, localAddresses: [IPAddress]) {
    self = other
    host.localAddresses = Set(localAddresses)
  }

  /// The same host with some conditions replaced.
  init(_ other: Evaluation, rulesets: [CompiledRuleset]) {
    self.rulesets = rulesets
    unseen = other.unseen
    host = other.host
  }

  /// Walks a packet through every table it would pass, of both backends.
  ///
  /// A NEW packet meets the nat table; a held one is delivered as ``Packet/delivered`` says.
  /// Corresponds to what counters and `-j TRACE` show of a real packet.
  ///
  /// - Parameters:
  ///   - packet: The packet.
  ///   - path: Where it goes after routing.
  /// - Returns: Every possible outcome, with the rules met on the way.
  public func walk(_ packet: Packet, to path: PacketPath) -> Walk {
    walk(packet, to: path, guide: nil)
  }

  /// The walk with a guide past rules that do not matter, and a change of the packet before the
  /// first rule.
  func walk(
    _ packet: Packet, to path: PacketPath, guide: WalkGuide?,
    preparing prepare: ((inout Variant) -> Void)? = nil
  ) -> Walk {
    let contested = contestedTables(packet.family, path)
    var result = walk(packet, to: path, guide: guide, preparing: prepare, reversed: [])
    guard !contested.isEmpty else { return result }
    for number in 1..<(1 << contested.count) {
      let reversed = contested.indices.filter { number >> $0 & 1 == 1 }.map { contested[$0] }
      result.join(
        walk(packet, to: path, guide: guide, preparing: prepare, reversed: Set(reversed)),
        undecided: contested)
    }
    return result
  }

  private func walk(
    _ packet: Packet, to path: PacketPath, guide: WalkGuide?,
    preparing prepare: ((inout Variant) -> Void)?, reversed: Set<String>
  ) -> Walk {
    var walker = Walker(rulesets, Situation(packet, path: path, host: host))
    walker.guide = guide
    if let prepare { walker.updateVariants(prepare) }
    let isEvaluated = Self.meetsNAT(packet)
    for point in PacketPath.beforeRouting {
      pass(
        point, packet, &walker, meetsNAT: isEvaluated,
        isReversed: reversed.contains(point.table))
    }
    if !isEvaluated, let delivered = packet.delivered {
      let situation = walker.situation
      walker.updateVariants { situation.deliver(&$0, to: delivered) }
    }
    // A held packet that a rule sends to another zone may begin a flow there, and be translated; one
    // that is kept away from tracking arrives as on the wire.
    let translation = Self.translation(of: packet, walker.live)
    let zones = Set(walker.live.list.map(\.zone))
    for point in path.afterRouting {
      pass(
        point, packet, &walker, meetsNAT: isEvaluated,
        isReversed: reversed.contains(point.table))
    }
    var result = walker.finished(unseen: unseenReasons(walker), translation: translation)
    result.zone = zones.count == 1 ? zones.first ?? nil : nil
    return result
  }

  /// Whether one rule's conditions hold for a packet; its target is not looked at.
  ///
  /// The packet's marks are those it has before the first rule. In the raw table there is no flow
  /// yet; raw and nat see the packet addressed as on the wire, the others as delivered.
  ///
  /// - Parameters:
  ///   - reference: The rule, found by backend, table, chain and position; a policy always matches.
  ///   - packet: The packet; its family says which ruleset of the backend is meant.
  /// - Returns: Whether they hold, or why that is not known.
  public func matches(_ reference: RuleReference, _ packet: Packet) -> Ternary {
    guard let (ruleset, chain) = find(reference, packet.family) else {
      return .unknown([
        UnknownReason(.unrecognized, "the rule is not in the ruleset", rule: reference)
      ])
    }
    guard reference.index > 0 else { return .matches }
    let compiled = rulesets[ruleset]
    let position = compiled.chains[chain].rules.lowerBound + reference.index - 1
    var situation = Situation(packet, path: .input, host: host)
    var variant = situation.initialVariant
    let isEarly = reference.table == "nat" || reference.chain == "PREROUTING"
    situation.stage = reference.table == "raw" ? .raw : isEarly ? .prerouting : .delivery
    if situation.stage == .delivery, let delivered = packet.delivered {
      situation.deliver(&variant, to: delivered)
    }
    if packet.connection.state == .established || packet.connection.state == .related {
      variant.zone = packet.connection.zone ?? 0
    }
    let rule = compiled.rules[position]
    switch compiled.truth(rule, situation, variant) {
    case .yes: return .matches
    case .no: return .doesNotMatch
    case .unknown:
      let asked = compiled.reference(chain: chain, index: reference.index)
      return .unknown(
        rule.conditions.filter {
          compiled.conditions[$0].truth(situation, variant) == .unknown
        }.map {
          let missing = compiled.conditions[$0].missing(situation, variant)
          return UnknownReason(missing.kind, missing.text, rule: asked)
        })
    }
  }

  /// The syntax of a rule, or `nil` for a policy or a rule that is not there.
  ///
  /// - Parameters:
  ///   - reference: The rule.
  ///   - family: The family of the ruleset; `nil`: the one whose rule has the reference's text.
  /// - Returns: The rule as it was read.
  public func rule(_ reference: RuleReference, family: AddressFamily? = nil) -> Rule? {
    guard reference.index > 0, let (ruleset, chain) = find(reference, family) else { return nil }
    return rulesets[ruleset].syntax(chain).rules[reference.index - 1]
  }

  /// Whether a rule asks anything of connection tracking: state, status, direction, tuples, mark,
  /// helper or volume of the flow.
  ///
  /// - Parameters:
  ///   - reference: The rule.
  ///   - family: The family of the ruleset; `nil`: the one whose rule has the reference's text.
  /// - Returns: `false` also for a policy or a rule that is not there.
  public func conditionsDependOnState(
    _ reference: RuleReference, family: AddressFamily? = nil
  ) -> Bool {
    guard reference.index > 0, let (ruleset, chain) = find(reference, family) else { return false }
    let compiled = rulesets[ruleset]
    let rule = compiled.rules[compiled.chains[chain].rules.lowerBound + reference.index - 1]
    return rule.conditions.contains { compiled.conditions[$0].asksConnection }
  }

  /// Whether some rule of a family makes the kernel track connections (facts A1, A1c, A8).
  ///
  /// - Parameter family: The family.
  /// - Returns: `false` also where only something outside of the rulesets does.
  public func tracksConnections(_ family: AddressFamily) -> Bool {
    rulesets.contains { $0.source.family == family && $0.tracksConnections }
  }

  // MARK: Parts

  /// Only the first packet of a flow is translated afresh; one that is confirmed, though still NEW,
  /// keeps what it was given.
  ///
  /// What came over lo was translated when it left.
  private static func meetsNAT(_ packet: Packet) -> Bool {
    let confirmed: UInt32 = 1 << 3
    return packet.connection.state == .new && packet.inInterface != "lo"
      && (packet.connection.status ?? 0) & confirmed == 0
  }

  private func pass(
    _ point: HookPoint, _ packet: Packet, _ walker: inout Walker, meetsNAT: Bool,
    isReversed: Bool
  ) {
    if point.isNAT, !meetsNAT, !walker.mayBeAnotherFlow { return }
    walker.enter(point.stage)
    let situation = walker.situation
    let isAlone =
      !point.isNAT
      || rulesets.filter {
        $0.source.family == packet.family && $0.chain(point.chain, table: point.table) != nil
      }.count == 1
    let isTracked =
      !point.isNAT
      || rulesets.contains { $0.source.family == packet.family && $0.tracksConnections }
    let order = isReversed ? Array(rulesets.indices.reversed()) : Array(rulesets.indices)
    for index in order where rulesets[index].source.family == packet.family {
      let ruleset = rulesets[index]
      guard !walker.isOver else { return }
      guard let chain = ruleset.chain(point.chain, table: point.table) else { continue }
      let doubt = doubt(ruleset.source, point)
      walker.walk(index, chain: chain, isDoubtful: doubt, isAlone: isAlone) { variant in
        guard point.isNAT else { return true }
        if !meetsNAT { return situation.isOfAnotherFlow(variant) ? nil : false }
        // Untracked packets never meet the nat table. Something that is not in these rulesets may
        // have turned tracking on.
        if !isTracked { return variant.tracking == .untracked ? false : nil }
        switch variant.tracking {
        case .untracked: return false
        case .uncertain: return nil
        // Whichever backend's nat table came first may have decided already.
        case .ordinary, .template:
          return point.stage == .prerouting && variant.hasMetTranslation ? nil : true
        }
      }
    }
  }

  /// Where the variants that passed the nat table go, compared with the endpoint asked about.
  private static func translation(of packet: Packet, _ variants: Variants) -> Translation {
    let address = packet.delivered?.address ?? packet.destination
    let port = packet.delivered?.port ?? packet.destinationPort
    var same = 0
    var ends: Set<Endpoint?> = []
    for variant in variants.list {
      if packet.delivered == nil, variant.isTranslated == false {
        same += 1
        continue
      }
      let isElsewhere =
        Truth(variant.destination.map { $0 != address.bits })
        || (packet.transport.hasPorts
          ? Truth(variant.port.flatMap { new in port.map { $0 != new } }) : .no)
      switch isElsewhere {
      case .no: same += 1
      case .unknown: return .uncertain
      case .yes:
        ends.insert(
          variant.destination.flatMap { bits in
            variant.port.map { Endpoint(IPAddress(family: packet.family, bits: bits), $0) }
          })
      }
    }
    if ends.isEmpty { return .asAsked }
    if same > 0 { return .uncertain }
    return .elsewhere(ends.count == 1 ? ends.first ?? nil : nil)
  }

  /// Filters that are not in the rulesets and may touch this packet.
  private func unseenReasons(_ walker: Walker) -> [UnknownReason] {
    guard !unseen.isEmpty else { return [] }
    let situation = walker.situation
    let view = PacketView(situation, walker.live)
    return unseen.filter { filter in
      (filter.family == nil || filter.family == view.family)
        && (filter.hooks.isEmpty || !situation.path.hooks.isDisjoint(with: filter.hooks))
        && filter.mayTouch(view)
    }.map { filter in
      let chain = filter.chain.map { " chain \($0)" } ?? ""
      return UnknownReason(
        .outside, "\(filter.backend.rawValue) table \(filter.table)\(chain): \(filter.why)")
    }
  }

  /// Why the printed rules of a base chain may not be those in force (facts D9), or `nil`.
  private func doubt(_ ruleset: Ruleset, _ point: HookPoint) -> String? {
    unseen.first { filter in
      filter.isMisprint && filter.backend == ruleset.backend && filter.table == point.table
        && (filter.family == nil || filter.family == ruleset.family)
        && (filter.hooks.isEmpty || filter.hooks.contains(point.chain.lowercased()))
    }.map { "\($0.backend.rawValue) table \($0.table) is not as printed: \($0.why)" }
  }

  private func find(
    _ reference: RuleReference, _ family: AddressFamily?
  ) -> (ruleset: Int, chain: Int)? {
    var fallback: (Int, Int)?
    for (index, ruleset) in rulesets.enumerated() where ruleset.source.backend == reference.backend
    {
      guard family == nil || ruleset.source.family == family,
        let chain = ruleset.chain(reference.chain, table: reference.table),
        reference.index >= 0, reference.index <= ruleset.chains[chain].rules.count
      else { continue }
      if family != nil
        || ruleset.reference(chain: chain, index: reference.index).text == reference.text
      {
        return (index, chain)
      }
      fallback = fallback ?? (index, chain)
    }
    return fallback
  }
}
