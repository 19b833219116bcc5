public import Addressing
public import Firewall

/// A block that stands, whatever holds it: a member of a set of ours, or rules of its own.
///
/// Everything that asks who is blocked asks for these.
public struct OwnBlock: Sendable, Hashable {
  /// What holds a block.
  public enum Holder: String, Sendable, Hashable, Codable {
    /// A member of our set, which the kernel lifts by itself.
    case set
    /// Rules of its own, which stay until the next run of `sipleak block --apply` after its end.
    case rules
  }

  /// Everybody who is blocked.
  public var prefix: IPPrefix
  /// The transport protocol.
  public var transport: IPProtocol
  /// The port it is kept from.
  public var port: UInt16
  /// What holds it.
  public var holder: Holder
  /// Seconds it has left, 0 or less when it is over and still stands; `nil` for no end.
  public var secondsLeft: Int64?
  /// Our comment on it, of a set member or of a rule.
  public var comment: String?
  /// Packets it has stopped, if that is counted.
  public var packets: UInt64?
  /// Whether what the peer sends comes to a drop of it: a reload of the firewall may have taken the
  /// jump.
  public var isHooked: Bool
  /// The parts of it that packets do not come to, or that are gone.
  public var missing: [Part] = []

  /// The family.
  public var family: AddressFamily { prefix.family }

  /// The block as a set names it, such as `203.0.113.66,udp:5060`.
  public var element: String { "\(prefix),\(transport):\(port)" }

  /// The name of what holds it: our set, or our chain.
  public var place: String {
    holder == .set ? OwnObjects.setName(family) : OwnObjects.dropChain
  }

  /// The inner host behind a forward that it is kept from, if any.
  public var inner: IPAddress? { OwnObjects.inner(comment) }

  /// Whether its time is over: only what the kernel does not lift can be.
  public var isOver: Bool { secondsLeft.map { $0 <= 0 } ?? false }

  /// The time it has as a set member: 0 for no end, else a second at least.
  var timeout: UInt32 {
    secondsLeft.map { UInt32(clamping: min(max($0, 1), OwnObjects.longestTimeout)) } ?? 0
  }

  /// The comment it has as a set member, whatever holds it now.
  var memberComment: String {
    guard holder == .rules, let comment,
      let block = PlainBlock(element: element, note: comment)
    else { return OwnObjects.plain(comment ?? OwnObjects.label) }
    return block.memberComment
  }
}

extension FirewallSnapshot {
  /// Our blocks as they stand at a time: members of our sets first, then what rules hold.
  ///
  /// A set of our name that is not of our making is none of ours.
  ///
  /// - Parameter time: Seconds since 1970 UTC, by which a plain rule's end is judged.
  /// - Returns: The blocks; a plain one once, however many rules it has.
  public func ownBlocks(at time: Double) -> [OwnBlock] {
    AddressFamily.allCases.flatMap { memberBlocks($0) + plainBlocks($0, at: time) }
  }

  private func memberBlocks(_ family: AddressFamily) -> [OwnBlock] {
    guard let set = ownSet(family), OwnObjects.owns(set) else { return [] }
    let rules = MemberParts(family, self)
    // Ten thousand members have a handful of comments.
    var inners: [String: IPAddress?] = [:]
    return set.entries.compactMap { entry in
      guard let target = OwnObjects.parse(entry.element) else { return nil }
      let comment = entry.comment ?? ""
      let inner = inners[comment] ?? OwnObjects.inner(comment)
      inners[comment] = .some(inner)
      let parts = rules.parts(of: target.transport, inner: inner)
      return OwnBlock(
        prefix: target.prefix, transport: target.transport, port: target.port, holder: .set,
        secondsLeft: entry.timeout.flatMap { $0 == 0 ? nil : Int64($0) },
        comment: entry.comment, packets: entry.counters?.packets, isHooked: parts.stopPeer,
        missing: parts.missing(hasInner: inner != nil))
    }
  }

  private func plainBlocks(_ family: AddressFamily, at time: Double) -> [OwnBlock] {
    var hooked: [PlainRule.Place: [String: Bool]] = [:]
    return plainRules.filter { $0.place.family == family }.blocks(at: time) { rule in
      if let known = hooked[rule.place]?[rule.chain] { return known }
      let isHooked = table(rule.place)?.hasOwnJump(to: rule.chain) ?? false
      hooked[rule.place, default: [:]][rule.chain] = isHooked
      return isHooked
    }
  }

  private func table(_ place: PlainRule.Place) -> Table? {
    rulesets.first { $0.backend == place.backend && $0.family == place.family }?
      .table(place.table)
  }
}

extension [PlainRule] {
  /// The blocks that the rules are of, each once.
  ///
  /// - Parameters:
  ///   - time: Seconds since 1970 UTC, by which their end is judged.
  ///   - isReached: Whether packets come to the chain of a rule.
  /// - Returns: The blocks, in the order of their first rules.
  func blocks(at time: Double, isReached: (PlainRule) -> Bool) -> [OwnBlock] {
    var order: [String] = []
    var blocks: [String: OwnBlock] = [:]
    var parts: [String: BlockParts] = [:]
    for rule in self {
      let element = rule.block.element
      let left = rule.block.until.map { Int64(Quantity.whole((Double($0) - time).rounded(.up))) }
      var block =
        blocks[element]
        ?? OwnBlock(
          prefix: rule.block.prefix, transport: rule.block.transport, port: rule.block.port,
          holder: .rules, secondsLeft: left, comment: rule.block.note, packets: nil,
          isHooked: false)
      if blocks[element] == nil { order.append(element) }
      // What stands in several tables stands until the last of them is over.
      if let known = block.secondsLeft, left.map({ $0 > known }) ?? true {
        block.secondsLeft = left
        block.comment = rule.block.note
      }
      parts[element, default: BlockParts()].take(
        rule.rule, table: rule.place.table, isReached: isReached(rule))
      if rule.stopsPeer, let counters = rule.rule.counters {
        block.packets = (block.packets ?? 0) &+ counters.packets
      }
      blocks[element] = block
    }
    return order.compactMap { element in
      guard var block = blocks[element], let parts = parts[element] else { return nil }
      block.isHooked = parts.stopPeer
      block.missing = parts.missing(hasInner: block.inner != nil)
      return block
    }
  }
}
