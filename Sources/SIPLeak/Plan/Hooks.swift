import Addressing
import Firewall

/// Our chains in one table and the jumps that lead there.
struct Hooks {
  /// A chain of ours, its rules, and where the jump to it stands.
  struct OwnChain {
    var name: String
    /// Rules without `-A CHAIN`.
    var rules: [String]
    /// The chain that jumps.
    var from: String
    /// The 1-based position of the jump.
    var position: Int
    /// The comment of the jump.
    var comment: String

    /// The jump without `-A` or `-I`.
    var jump: String { "-m comment --comment \"\(comment)\" -j \(name)" }
  }

  var backend: Backend
  var family: AddressFamily
  var table: String
  var chains: [OwnChain]
  /// Whether the table is not there before us: then a purge takes it away again.
  var makesTable = false

  /// A drop ahead of connection tracking, and answers to blocked peers kept untracked.
  ///
  /// The drop alone is not enough: the server's own retransmissions and keepalives open the flow
  /// again from our side (facts C2, C3, C6).
  static func raw(
    backend: Backend, family: AddressFamily, transports: [IPProtocol], makesTable: Bool
  ) -> Hooks {
    let versionRule = makesTable ? Self.tableMark : Self.versionRule
    let set = OwnObjects.setName(family)
    let drops = transports.map { transport in
      "-p \(transport) -m set --match-set \(set) src,dst -m comment "
        + "--comment \"\(OwnObjects.label) blocked peer\" -j DROP"
    }
    let untracked = transports.map { transport in
      "-p \(transport) -m set --match-set \(set) dst,src -m comment "
        + "--comment \"\(OwnObjects.label) opens nothing to a blocked peer\" -j CT --notrack"
    }
    return Hooks(
      backend: backend, family: family, table: "raw",
      chains: [
        OwnChain(
          name: OwnObjects.dropChain, rules: [versionRule] + drops, from: "PREROUTING",
          position: 1, comment: "\(OwnObjects.label) ahead of conntrack"),
        OwnChain(
          name: OwnObjects.answerChain, rules: [versionRule] + untracked, from: "OUTPUT",
          position: 1, comment: "\(OwnObjects.label) answers stay untracked"),
      ], makesTable: makesTable)
  }

  /// A drop in the chain and position just before the rule that lets the peer in.
  static func beforeStateRule(
    _ rule: RuleReference, family: AddressFamily, transports: [IPProtocol]
  ) -> Hooks {
    let set = OwnObjects.setName(family)
    let drops = transports.map { transport in
      "-p \(transport) -m set --match-set \(set) src,dst -m comment "
        + "--comment \"\(OwnObjects.label) blocked peer\" -j DROP"
    }
    return Hooks(
      backend: rule.backend, family: family, table: rule.table,
      chains: [
        OwnChain(
          name: OwnObjects.dropChain, rules: [versionRule] + drops, from: rule.chain,
          position: rule.index, comment: "\(OwnObjects.label) before the state rule")
      ])
  }

  /// Counts and decides nothing; says which shape the chain has.
  private static var versionRule: String {
    "-m comment --comment \"\(OwnObjects.label) chain \(OwnObjects.version)\""
  }

  /// The same, in a table that was not there before us.
  private static var tableMark: String {
    "-m comment --comment \"\(OwnObjects.tableMark)\""
  }

  /// Whether chains and jumps stand as wanted already.
  func stand(in table: Table?) -> Bool {
    guard let table else { return false }
    return chains.allSatisfy { own in
      guard let chain = table.chain(own.name), let from = table.chain(own.from) else {
        return false
      }
      let expected = own.rules.map { Self.canonical("-A \(own.name) \($0)", self) }
      guard chain.rules.map({ Self.canonical($0.text, self) }) == expected else { return false }
      let jumps = from.rules.indices.filter {
        from.rules[$0].target?.name == own.name
      }
      // In raw nothing may stand before the jump. Elsewhere the position given is that of the
      // rule we stand before, which is one lower with our jump in place.
      guard jumps.count == 1, let at = jumps.first else { return false }
      return self.table == "raw" ? at == 0 : at + 1 == own.position - 1
    }
  }

  /// A rule's text compared by meaning: read back, so that quoting and spelling do not count.
  private static func canonical(_ text: String, _ hooks: Hooks) -> [String] {
    let save = "*\(hooks.table)\n\(text)\nCOMMIT\n"
    guard
      let ruleset = try? RulesetReader.read(
        Array(save.utf8), source: "own rule", backend: hooks.backend, family: hooks.family),
      let rule = ruleset.tables.first?.chains.first(where: { !$0.rules.isEmpty })?.rules.first
    else { return [text] }
    let clauses = rule.matches.map { clause in
      "\(clause.name) " + clause.options.map { "\($0)" }.joined(separator: " ")
    }
    return clauses + ["\(rule.target.map { "\($0)" } ?? "-")"]
  }

  /// The transaction that makes or renews chains and jumps; each jump exactly once (facts E1).
  func restoreText(replacing table: Table?) -> BlockPlan.RestoreText {
    var lines = ["*\(self.table)"]
    lines += chains.map { ":\($0.name) - [0:0]" }
    for own in chains { lines += own.rules.map { "-A \(own.name) \($0)" } }
    for own in chains {
      let standing = table?.chain(own.from)?.rules ?? []
      let old = standing.enumerated().filter {
        OwnObjects.owns($0.element) && $0.element.target?.name == own.name
      }
      lines += old.map { $0.element.deletion }
      let above = old.filter { $0.offset + 1 < own.position }.count
      lines.append("-I \(own.from) \(own.position - above) \(own.jump)")
    }
    lines.append("COMMIT")
    return BlockPlan.RestoreText(
      backend: backend, family: family, table: self.table,
      text: lines.map { $0 + "\n" }.joined(), undo: undoText)
  }

  /// The transaction that takes everything of ours out of the table again.
  private var undoText: String {
    var lines = ["*\(table)"]
    lines += chains.map { "-D \($0.from) \($0.jump)" }
    lines += chains.flatMap { ["-F \($0.name)", "-X \($0.name)"] }
    lines.append("COMMIT")
    return lines.map { $0 + "\n" }.joined()
  }
}

extension Rule {
  /// The line that deletes the rule: the whole specification, comment included (facts E5).
  var deletion: String {
    let text = self.text
    return text.hasPrefix("-A ") ? "-D " + text.dropFirst(3) : text
  }
}
