import Addressing
import Firewall
import FoundationEssentials

/// A block that rules of its own hold, for a host without sets.
///
/// The kernel lifts no rule: its comment says when it is over, and the next run of
/// `sipleak block --apply` takes it away. Everything about it is read back from the rules alone.
public struct PlainBlock: Sendable, Hashable {
  /// How many sources may stand blocked by plain rules at the same time.
  ///
  /// Every packet of the host is held against every rule: with 10,000 of them the packet rate falls
  /// to a fortieth (facts J1), with 200 a packet costs some microseconds more.
  public static let most = 200

  /// Why so many sources cannot be blocked by plain rules, or `nil`.
  ///
  /// - Parameters:
  ///   - new: Sources that would be blocked and are not.
  ///   - standing: Sources that plain rules block now.
  ///   - isAsked: Whether plain rules were asked for.
  /// - Returns: The sentence.
  static func objection(new: Int, standing: Int, isAsked: Bool) -> String? {
    guard new > 0, standing + new > most else { return nil }
    let beside = standing > 0 ? " beside \(standing) standing ones" : ""
    return
      "\(new) new sources\(beside) are more than the \(most) that plain rules may block in all, "
      + "as every packet is held against each rule: none is blocked; "
      + (isAsked ? "leave out --plain" : "install ipset (apt-get install ipset)")
  }

  /// Everybody who is blocked.
  var prefix: IPPrefix
  /// The transport protocol.
  var transport: IPProtocol
  /// The port it is kept from.
  var port: UInt16
  /// Seconds since 1970 UTC when it is over; `nil` for never.
  var until: Int64?
  /// What the comment says beside the time: the cause, and the inner host it is kept from.
  var reason: String

  /// The block as a set would name it, such as `203.0.113.66,udp:5060`.
  var element: String { "\(prefix),\(transport):\(port)" }

  /// The inner host behind a forward that it is kept from, if any.
  var inner: IPAddress? {
    OwnObjects.inner(memberComment).flatMap { $0.family == prefix.family ? $0 : nil }
  }

  /// The comment of each of its rules: our mark, when it is over, and why it is there.
  var note: String {
    let end = until.map { Quantity.rfc3339(Double($0)) } ?? Self.noEnd
    return "\(OwnObjects.label) \(Self.untilWord)\(end), \(reason)"
  }

  /// The comment it has as a member of a set.
  var memberComment: String { OwnObjects.plain("\(OwnObjects.label) \(reason)") }

  private static let untilWord = "until "
  private static let noEnd = "unblocked"

  /// Whether it is over at a time.
  func isOver(at time: Double) -> Bool { until.map { Double($0) <= time } ?? false }

  /// The one of two that ends later.
  func orLonger(_ other: PlainBlock?) -> PlainBlock {
    guard let other, let until else { return self }
    return other.until.map { $0 > until } ?? true ? other : self
  }

  /// Makes one that ends after a time; the end is a whole second, and no earlier than asked.
  ///
  /// - Parameters:
  ///   - prefix: Everybody who is blocked.
  ///   - transport: The transport protocol.
  ///   - port: The port it is kept from.
  ///   - seconds: How long; 0 for no end.
  ///   - time: From when, in seconds since 1970 UTC.
  ///   - reason: The cause, and the inner host if any.
  init(
    prefix: IPPrefix, transport: IPProtocol, port: UInt16, seconds: UInt32, from time: Double,
    reason: String
  ) {
    self.prefix = prefix
    self.transport = transport
    self.port = port
    until = seconds == 0 ? nil : Int64(Quantity.whole(time.rounded(.up))) + Int64(seconds)
    self.reason = OwnObjects.plain(reason)
  }

  /// The block of a plan's entry.
  init(_ entry: BlockPlan.Entry, from time: Double) {
    self.init(
      prefix: entry.prefix, transport: entry.transport, port: entry.port, seconds: entry.seconds,
      from: time, reason: OwnObjects.reason(OwnObjects.comment(entry)))
  }

  /// The block that an element and a comment of one of its rules name, or `nil`.
  init?(element: String, note: String) {
    guard let target = OwnObjects.parse(element),
      note.hasPrefix("\(OwnObjects.label) \(Self.untilWord)")
    else { return nil }
    let text = note.dropFirst(OwnObjects.label.count + 1 + Self.untilWord.count)
    guard let comma = text.firstRange(of: ", ") else { return nil }
    let end = String(text[..<comma.lowerBound])
    if end == Self.noEnd {
      until = nil
    } else if let date = try? Date(end, strategy: .iso8601) {
      until = Int64(Quantity.whole(date.timeIntervalSince1970))
    } else {
      return nil
    }
    prefix = target.prefix
    transport = target.transport
    port = target.port
    reason = OwnObjects.plain(String(text[comma.upperBound...]))
  }

  /// Whether a comment is of a rule of such a block.
  static func isNote(_ comment: String?) -> Bool {
    comment?.hasPrefix("\(OwnObjects.label) \(untilWord)") ?? false
  }
}

extension PlainBlock: Comparable {
  /// By address, length, transport and port: the order their rules stand in.
  public static func < (left: PlainBlock, right: PlainBlock) -> Bool {
    if left.prefix.address != right.prefix.address {
      return left.prefix.address < right.prefix.address
    }
    return (left.prefix.length, right.transport.rawValue, left.port)
      < (right.prefix.length, left.transport.rawValue, right.port)
  }
}

/// How the rules of a plain block, made by ``PeerRule``, are known again.
extension PlainBlock {
  /// The block that a rule is of, or `nil` for any other rule.
  ///
  /// The peer is where the port is not: `--dport` is the port it sends to, `--sport` the port it is
  /// answered from.
  init?(_ rule: Rule) {
    guard Self.isNote(rule.comment), let note = rule.comment,
      rule.target?.name == "DROP" || rule.target?.name == "CT",
      let transport = rule.options("-p").first?.arguments.first
    else { return nil }
    let ports = ["--dport", "--sport"].compactMap { name -> (String, String)? in
      rule.options(name).first?.arguments.first.map { (name, $0) }
    }
    guard ports.count == 1,
      let peer = rule.options(ports[0].0 == "--dport" ? "-s" : "-d").first?.arguments.first,
      let prefix = IPPrefix(peer)
    else { return nil }
    self.init(element: "\(prefix),\(transport):\(ports[0].1)", note: note)
  }
}

/// A rule of a plain block where it stands.
struct PlainRule: Sendable {
  /// A table of a backend and family.
  struct Place: Sendable, Hashable {
    var backend: Backend
    var family: AddressFamily
    var table: String
  }

  var place: Place
  var chain: String
  var rule: Rule
  var block: PlainBlock

  /// Whether it stops what the peer sends, and so counts it.
  var stopsPeer: Bool { rule.target?.name == "DROP" && !rule.options("--dport").isEmpty }
}

extension FirewallSnapshot {
  /// The rules of plain blocks in chains of ours.
  ///
  /// Where one of our chains holds a rule of somebody else's, nothing of its table counts: half of a
  /// block is none that could be lifted.
  var plainRules: [PlainRule] {
    let names = [OwnObjects.dropChain, OwnObjects.answerChain]
    return rulesets.flatMap { ruleset in
      ruleset.tables.flatMap { table -> [PlainRule] in
        let chains = names.compactMap(table.chain).filter { !$0.rules.isEmpty }
        guard chains.allSatisfy(OwnObjects.owns) else { return [] }
        return chains.flatMap { chain in
          chain.rules.compactMap { rule in
            PlainBlock(rule).map { block in
              PlainRule(
                place: PlainRule.Place(
                  backend: ruleset.backend, family: ruleset.family, table: table.name),
                chain: chain.name, rule: rule, block: block)
            }
          }
        }
      }
    }
  }

  /// The same firewall without the rules of some plain blocks.
  func withoutPlainRules(where isGone: (PlainBlock) -> Bool) -> FirewallSnapshot {
    guard !plainRules.isEmpty else { return self }
    var copy = self
    for ruleset in copy.rulesets.indices {
      for table in copy.rulesets[ruleset].tables.indices {
        for chain in copy.rulesets[ruleset].tables[table].chains.indices
        where OwnObjects.owns(copy.rulesets[ruleset].tables[table].chains[chain]) {
          copy.rulesets[ruleset].tables[table].chains[chain].rules.removeAll { rule in
            PlainBlock(rule).map(isGone) ?? false
          }
        }
      }
    }
    return copy
  }
}
