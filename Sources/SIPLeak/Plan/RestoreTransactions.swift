import Addressing
import Firewall

extension BlockPlan.RestoreText {
  /// How many rules one transaction changes at most.
  ///
  /// `iptables-nft-restore` sends a transaction as one netlink message, with some 850 bytes for a rule
  /// that comes and nearly as many for one that goes. Root may send any length; in a user namespace
  /// `net.core.wmem_default`, 212,992 bytes, is the end: 251 of our longest rules went, 252 did not.
  /// The legacy tools have no such limit.
  static func mostEdits(_ backend: Backend) -> Int { backend == .nft ? 200 : .max }

  /// The transactions of some edits, in order, each with the lines that take it back.
  static func transactions(
    _ edits: [RuleEdit], _ backend: Backend
  ) -> [ArraySlice<RuleEdit>] {
    let most = mostEdits(backend)
    var left = edits[...]
    var parts: [ArraySlice<RuleEdit>] = []
    while !left.isEmpty {
      parts.append(left.prefix(most))
      left = left.dropFirst(most)
    }
    return parts
  }

  /// Whether another is for the same table.
  func isOfSameTable(_ other: BlockPlan.RestoreText) -> Bool {
    backend == other.backend && family == other.family && table == other.table
  }

  /// The input of `iptables-restore` for one table.
  static func input(_ table: String, _ lines: [String]) -> String {
    (["*\(table)"] + lines + ["COMMIT"]).map { $0 + "\n" }.joined()
  }
}

extension FirewallSnapshot {
  /// Transactions that delete the rules of some plain blocks and touch nothing else.
  func deletions(of isGone: (PlainBlock) -> Bool) -> [BlockPlan.RestoreText] {
    var seen: Set<PlainRule.Place> = []
    let places = plainRules.filter { isGone($0.block) }.map(\.place).filter {
      seen.insert($0).inserted
    }
    return places.flatMap { place in
      let table = rulesets.first { $0.backend == place.backend && $0.family == place.family }?
        .table(place.table)
      let edits = [OwnObjects.dropChain, OwnObjects.answerChain].flatMap { name -> [RuleEdit] in
        let rules = table?.chain(name)?.rules ?? []
        var edits = ChainEdits(name, standing: rules.map(\.specification))
        var index = 0
        for rule in rules {
          if PlainBlock(rule).map(isGone) ?? false {
            edits.delete(at: index)
          } else {
            index += 1
          }
        }
        return edits.edits
      }
      return BlockPlan.RestoreText.transactions(edits, place.backend).map { part in
        BlockPlan.RestoreText(
          backend: place.backend, family: place.family, table: place.table,
          text: BlockPlan.RestoreText.input(place.table, part.map(\.line)),
          undo: BlockPlan.RestoreText.input(place.table, part.reversed().map(\.undo)),
          makesTable: false)
      }
    }
  }
}
