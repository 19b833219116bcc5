import Addressing
import Firewall

/// Our chains in one table and the jumps that lead there.
struct Hooks {
  /// A chain of ours and its rules, without `-A CHAIN`.
  struct OwnChain {
    var name: String
    var rules: [String]
  }

  /// A jump to a chain of ours.
  struct Jump {
    var from: String
    var to: String
    /// The 1-based place it has to stand at, or before.
    var position: Int
    var comment: String

    /// The jump without `-A` or `-I`.
    var text: String { "-m comment --comment \"\(comment)\" -j \(to)" }
  }

  var backend: Backend
  var family: AddressFamily
  var table: String
  var chains: [OwnChain]
  var jumps: [Jump]
  /// Whether the table is not there before us: then a purge takes it away again.
  var makesTable = false

  /// The tables that ours may be the first rules of.
  static let tables = ["raw", "mangle"]

  /// A drop ahead of connection tracking, and answers to blocked peers kept untracked.
  ///
  /// The drop alone is not enough: the server's own retransmissions and keepalives open the flow
  /// again from our side (facts C2, C3, C6). What an inner host behind a forward sends passes no
  /// OUTPUT, so it is dropped where it comes in (facts C13).
  static func raw(
    _ peers: PeerRules, backend: Backend, family: AddressFamily, makesTable: Bool
  ) -> Hooks {
    let mark = OwnObjects.versionRule(makesTable: makesTable)
    return Hooks(
      backend: backend, family: family, table: "raw",
      chains: [
        OwnChain(
          name: OwnObjects.dropChain, rules: [mark] + peers.drops + peers.dropsFromInside),
        OwnChain(name: OwnObjects.answerChain, rules: [mark] + peers.untracked),
      ],
      jumps: [
        Jump(
          from: "PREROUTING", to: OwnObjects.dropChain, position: 1,
          comment: "\(OwnObjects.label) ahead of conntrack"),
        Jump(
          from: "OUTPUT", to: OwnObjects.answerChain, position: 1,
          comment: "\(OwnObjects.label) answers stay untracked"),
      ], makesTable: makesTable)
  }

  /// A drop of what is on its way to an inner host, by the port it is delivered to.
  ///
  /// A masquerade with random ports leads to the inner host by wire ports that nothing names
  /// (facts C13). Ahead of filter, whose rules a reload takes.
  static func forward(
    _ peers: PeerRules, backend: Backend, family: AddressFamily, makesTable: Bool
  ) -> Hooks {
    Hooks(
      backend: backend, family: family, table: "mangle",
      chains: [
        OwnChain(
          name: OwnObjects.dropChain,
          rules: [OwnObjects.versionRule(makesTable: makesTable)] + peers.dropsToInside)
      ],
      jumps: [
        Jump(
          from: "FORWARD", to: OwnObjects.dropChain, position: 1,
          comment: "\(OwnObjects.label) ahead of what forwards")
      ], makesTable: makesTable)
  }

  /// A drop just before the rules that let peers in; all of one table.
  ///
  /// Without rules the chain alone is renewed, wherever its jumps stand.
  static func beforeStateRules(
    _ rules: [RuleReference], _ peers: PeerRules, backend: Backend, table: String,
    family: AddressFamily
  ) -> Hooks {
    // Several state rules of one chain need one jump, before the first of them.
    let first = Dictionary(rules.map { ($0.chain, $0.index) }, uniquingKeysWith: min)
    return Hooks(
      backend: backend, family: family, table: table,
      chains: [
        OwnChain(
          name: OwnObjects.dropChain,
          rules: [OwnObjects.versionRule(makesTable: false)] + peers.drops)
      ],
      jumps: first.sorted { $0.key < $1.key }.map { chain, index in
        Jump(
          from: chain, to: OwnObjects.dropChain, position: index,
          comment: "\(OwnObjects.label) before the state rule")
      })
  }

  /// Whether chains and jumps stand as wanted already.
  func stand(in table: Table?) -> Bool {
    guard let table else { return false }
    return chains.allSatisfy { own in
      guard let chain = table.chain(own.name) else { return false }
      let expected = own.rules.map { canonical($0, in: own.name) }
      return chain.rules.map(canonical) == expected
    } && jumps.allSatisfy { covered($0, in: table) }
  }

  /// The same without the jumps that do not stand anywhere in their chains.
  func withoutNewJumps(in table: Table?) -> Hooks {
    var copy = self
    copy.jumps.removeAll { Self.standing($0, in: table).isEmpty }
    return copy
  }

  /// Whether a jump stands at its place or before; a second one would only cost time.
  private func covered(_ jump: Jump, in table: Table) -> Bool {
    let standing = Self.standing(jump, in: table)
    guard standing.count == 1, let at = standing.first else { return false }
    // A jump above the wanted place covers more packets of the same peers, and no others.
    return at.index <= jump.position
  }

  private static func standing(_ jump: Jump, in table: Table?) -> [(index: Int, rule: Rule)] {
    (table?.chain(jump.from)?.rules ?? []).enumerated().compactMap { offset, rule in
      OwnObjects.isJump(rule) && rule.target?.name == jump.to ? (offset + 1, rule) : nil
    }
  }

  /// A rule's text compared by meaning: read back, so that quoting and spelling do not count.
  private func canonical(_ text: String, in chain: String) -> [String] {
    let save = "*\(table)\n:\(chain) - [0:0]\n-A \(chain) \(text)\nCOMMIT\n"
    guard
      let ruleset = try? RulesetReader.read(
        Array(save.utf8), source: "own rule", backend: backend, family: family),
      let rule = ruleset.tables.first?.chains.first(where: { !$0.rules.isEmpty })?.rules.first
    else { return [text] }
    return canonical(rule)
  }

  private func canonical(_ rule: Rule) -> [String] {
    let clauses = rule.matches.map { clause in
      "\(clause.name) " + clause.options.map { "\($0)" }.joined(separator: " ")
    }
    return clauses + ["\(rule.target.map { "\($0)" } ?? "-")"]
  }

  /// The transaction that makes or renews chains and jumps; each jump exactly once (facts E1).
  func restoreText(replacing table: Table?) -> BlockPlan.RestoreText {
    var lines = chains.map { ":\($0.name) - [0:0]" }
    var undo = chains.filter { table?.chain($0.name) != nil }.map { ":\($0.name) - [0:0]" }
    for own in chains {
      let standing = table?.chain(own.name)?.rules ?? []
      let counted = counters(of: standing)
      lines += own.rules.map { text in
        Self.appending(
          text, to: own.name,
          counted.isEmpty ? nil : counted[key(canonical(text, in: own.name))])
      }
      undo += standing.map { rule in
        PlainBlock.isNote(rule.comment)
          ? Self.appending(rule.specification, to: own.name, rule.counters) : rule.text
      }
    }
    for jump in jumps {
      if let table, covered(jump, in: table) { continue }
      let old = Self.standing(jump, in: table)
      lines += old.map(\.rule.deletion)
      let above = old.filter { $0.index < jump.position }.count
      lines.append("-I \(jump.from) \(jump.position - above) \(jump.text)")
      undo.append("-D \(jump.from) \(jump.text)")
      undo += old.map { "-I \(jump.from) \($0.index) " + $0.rule.specification }
    }
    for own in chains where table?.chain(own.name) == nil {
      undo += OwnObjects.removal(
        of: own.name, leavingMark: makesTable && table == nil && backend == .nft)
    }
    return BlockPlan.RestoreText(
      backend: backend, family: family, table: self.table, text: transaction(lines),
      undo: transaction(undo), makesTable: makesTable && table == nil)
  }

  /// What the rules of plain blocks have counted, so that writing the chain again loses nothing.
  ///
  /// `ip6tables-nft-restore` 1.8.9 takes `-c` and forgets it: there they begin with 0 again.
  private func counters(of rules: [Rule]) -> [[String]: RuleCounters] {
    Dictionary(
      rules.filter { PlainBlock.isNote($0.comment) }.compactMap { rule in
        rule.counters.map { (key(canonical(rule)), $0) }
      }, uniquingKeysWith: { first, _ in first })
  }

  /// A rule's meaning without its comment, in which the time of its end stands.
  private func key(_ clauses: [String]) -> [String] {
    clauses.filter { !$0.hasPrefix("comment ") }
  }

  private static func appending(
    _ text: String, to chain: String, _ counters: RuleCounters?
  ) -> String {
    guard let counters, counters.packets > 0 else { return "-A \(chain) \(text)" }
    return "-A \(chain) -c \(counters.packets) \(counters.bytes) \(text)"
  }

  private func transaction(_ lines: [String]) -> String {
    (["*\(table)"] + lines + ["COMMIT"]).map { $0 + "\n" }.joined()
  }
}

extension Rule {
  /// The line that deletes the rule: the whole specification, comment included (facts E5).
  var deletion: String {
    let text = self.text
    return text.hasPrefix("-A ") ? "-D " + text.dropFirst(3) : text
  }

  /// The rule without `-A CHAIN`.
  var specification: String {
    text.split(separator: " ", maxSplits: 2).dropFirst(2).joined(separator: " ")
  }
}
