import Addressing
public import Firewall

/// The rules that log what some peers send, and how they are known again.
///
/// `NFLOG` decides nothing: the packet goes on to the next rule. In raw PREROUTING it sees every port
/// the peer sends to, before connection tracking and before any block of ours. A rate keeps a flood
/// from filling the log.
enum ListenRules {
  /// What the comment of each begins with, and the prefix of what they log.
  static let label = "\(OwnObjects.label)listen"
  /// The label in a table that was not there before us.
  private static let tableMark = "\(label), table made"
  private static let table = "raw"
  private static let chain = "PREROUTING"
  /// Packets a second of a peer that are logged; a scanner sends some dozens.
  static let rate = 200
  /// How much of a packet is logged.
  static let size = 16384

  /// The matches such a rule may have; none of them remembers anything of the sender.
  private static let matches: Set<String> = ["ip", "comment", "limit"]

  /// Whether a rule is one of these; the comment alone proves nothing.
  static func owns(_ rule: Rule) -> Bool {
    guard rule.target?.name == "NFLOG" else { return false }
    return (rule.comment == label || rule.comment == tableMark)
      && rule.matches.allSatisfy { matches.contains($0.name) }
  }

  /// The transactions that begin to listen, one a family.
  ///
  /// - Parameters:
  ///   - peers: Whose packets are logged.
  ///   - group: The log group.
  ///   - snapshot: The firewall, which says what backend is in use.
  /// - Returns: What to load, and what takes it back.
  static func insertions(
    _ peers: [IPAddress], group: UInt16, in snapshot: FirewallSnapshot
  ) -> [BlockPlan.RestoreText] {
    AddressFamily.allCases.compactMap { family in
      let ours = peers.filter { $0.family == family }
      guard !ours.isEmpty else { return nil }
      let used = snapshot.rulesets.filter { $0.family == family }
      let backend =
        Backend.allCases.first { backend in
          used.contains { $0.backend == backend && !$0.isWithoutRules }
        } ?? .nft
      let makesTable = used.first { $0.backend == backend }?.table(table) == nil
      let comment = makesTable ? tableMark : label
      let rules = ours.map { peer in
        "-s \(peer)/\(family.bitWidth) -m limit --limit \(rate)/sec --limit-burst \(2 * rate) "
          + "-m comment --comment \"\(comment)\" -j NFLOG --nflog-prefix \(label) "
          + "--nflog-group \(group) --nflog-size \(size)"
      }
      return BlockPlan.RestoreText(
        backend: backend, family: family, table: table,
        text: transaction(rules.map { "-I \(chain) 1 \($0)" }),
        undo: transaction(rules.map { "-D \(chain) \($0)" }), makesTable: makesTable)
    }
  }

  /// The transactions that remove every such rule that stands, whoever left it.
  static func removals(in snapshot: FirewallSnapshot) -> [BlockPlan.RestoreText] {
    snapshot.rulesets.compactMap { ruleset in
      guard let found = ruleset.table(table) else { return nil }
      let rules = found.chains.flatMap(\.rules).filter(owns)
      guard !rules.isEmpty else { return nil }
      return BlockPlan.RestoreText(
        backend: ruleset.backend, family: ruleset.family, table: table,
        // As it is printed, so that it is found whatever spelling the tool prefers (facts E5).
        text: transaction(rules.map(\.deletion)), undo: "",
        makesTable: rules.contains { $0.comment == tableMark })
    }
  }

  private static func transaction(_ lines: [String]) -> String {
    (["*\(table)"] + lines + ["COMMIT"]).map { $0 + "\n" }.joined()
  }
}

extension FirewallSnapshot {
  /// Logging rules that an interrupted `diagnose --listen` left; they decide nothing.
  public var listenRulesLeft: Int {
    rulesets.flatMap(\.tables).flatMap(\.chains).flatMap(\.rules).count(where: ListenRules.owns)
  }
}
