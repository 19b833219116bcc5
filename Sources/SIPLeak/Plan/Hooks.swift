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
    Hooks(
      backend: backend, family: family, table: "raw",
      chains: [
        OwnChain(
          name: OwnObjects.dropChain,
          rules: peers.marked(
            peers.rules(.drop) + peers.rules(.dropFromInside), makesTable: makesTable)),
        OwnChain(
          name: OwnObjects.answerChain,
          rules: peers.marked(peers.rules(.untracked), makesTable: makesTable)),
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
          rules: peers.marked(peers.rules(.dropToInside), makesTable: makesTable))
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
          rules: peers.marked(peers.rules(.drop), makesTable: false))
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
      return chain.rules.map(canonical) == rules(of: own)?.map(canonical)
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

  /// A rule by its meaning: quoting and spelling do not count.
  private func canonical(_ rule: Rule) -> [String] {
    let clauses = rule.matches.map { clause in
      "\(clause.name) " + clause.options.map { "\($0)" }.joined(separator: " ")
    }
    return clauses + ["\(rule.target.map { "\($0)" } ?? "-")"]
  }

  /// The rules of a chain of ours, read back from their text.
  private func rules(of own: OwnChain) -> [Rule]? {
    let lines = own.rules.map { "-A \(own.name) \($0)\n" }.joined()
    let save = "*\(table)\n:\(own.name) - [0:0]\n\(lines)COMMIT\n"
    return try? RulesetReader.read(
      Array(save.utf8), source: "own rules", backend: backend, family: family
    ).table(table)?.chain(own.name)?.rules
  }

  /// The transactions that make what is missing, in order.
  ///
  /// Where our chains hold plain blocks, or nothing yet, only the rules that come or go are written,
  /// and the jumps last. Chains of another shape are written as a whole.
  func restoreTexts(replacing table: Table?) -> [BlockPlan.RestoreText] {
    var edits: [RuleEdit] = []
    for own in chains {
      guard let chain = chainEdits(own, table?.chain(own.name)?.rules ?? []) else {
        return [restoreText(replacing: table)]
      }
      edits += chain.edits
    }
    let isNew = { (name: String) in table?.chain(name) == nil }
    var parts = BlockPlan.RestoreText.transactions(edits, backend).map { part in
      (lines: part.map(\.line), undo: part.reversed().map(\.undo))
    }
    if parts.isEmpty { parts = [([], [])] }
    // What stands in a new chain goes with it.
    let first = edits.prefix(parts[0].lines.count)
    parts[0].undo = first.reversed().filter { !isNew($0.chain) }.map(\.undo)
    parts[0].undo += chains.map(\.name).filter(isNew).flatMap { removal(of: $0, in: table) }
    parts[0].lines = chains.map(\.name).filter(isNew).map { ":\($0) - [0:0]" } + parts[0].lines
    let jumping = jumpEdits(in: table)
    parts[parts.count - 1].lines += jumping.lines
    parts[parts.count - 1].undo = jumping.undo + parts[parts.count - 1].undo
    return parts.enumerated().map { number, part in
      BlockPlan.RestoreText(
        backend: backend, family: family, table: self.table,
        text: BlockPlan.RestoreText.input(self.table, part.lines),
        undo: BlockPlan.RestoreText.input(self.table, part.undo),
        makesTable: number == 0 && makesTable && table == nil)
    }
  }

  /// What turns a chain of plain blocks into what is wanted, or `nil` if it is of another shape.
  private func chainEdits(_ own: OwnChain, _ standing: [Rule]) -> ChainEdits? {
    guard let wanted = rules(of: own), wanted.count == own.rules.count else { return nil }
    let marks = (standing.prefix(1) + wanted.prefix(1)).map(canonical)
    let blocks = standing.dropFirst() + wanted.dropFirst()
    guard Set(marks).count == 1, blocks.allSatisfy({ PlainBlock($0) != nil }) else { return nil }
    return ChainEdits(
      own.name,
      from: standing.map {
        ChainEdits.MeantRule(meaning: canonical($0), text: $0.specification)
      },
      to: zip(wanted, own.rules).map {
        ChainEdits.MeantRule(meaning: canonical($0), text: $1)
      })
  }

  /// The transaction that writes chains as a whole; each jump exactly once (facts E1).
  private func restoreText(replacing table: Table?) -> BlockPlan.RestoreText {
    var lines = chains.map { ":\($0.name) - [0:0]" }
    var undo = chains.filter { table?.chain($0.name) != nil }.map { ":\($0.name) - [0:0]" }
    for own in chains {
      lines += own.rules.map { "-A \(own.name) \($0)" }
      undo += (table?.chain(own.name)?.rules ?? []).map(\.text)
    }
    let jumping = jumpEdits(in: table)
    lines += jumping.lines
    undo += jumping.undo
    for own in chains where table?.chain(own.name) == nil {
      undo += removal(of: own.name, in: table)
    }
    return BlockPlan.RestoreText(
      backend: backend, family: family, table: self.table,
      text: BlockPlan.RestoreText.input(self.table, lines),
      undo: BlockPlan.RestoreText.input(self.table, undo), makesTable: makesTable && table == nil)
  }

  /// The lines that put each jump at its place exactly once, and those that take it back.
  private func jumpEdits(in table: Table?) -> (lines: [String], undo: [String]) {
    var lines: [String] = []
    var undo: [String] = []
    for jump in jumps {
      if let table, covered(jump, in: table) { continue }
      let old = Self.standing(jump, in: table)
      lines += old.map(\.rule.deletion)
      let above = old.filter { $0.index < jump.position }.count
      lines.append("-I \(jump.from) \(jump.position - above) \(jump.text)")
      undo.append("-D \(jump.from) \(jump.text)")
      undo += old.map { "-I \(jump.from) \($0.index) " + $0.rule.specification }
    }
    return (lines, undo)
  }

  private func removal(of chain: String, in table: Table?) -> [String] {
    OwnObjects.removal(of: chain, leavingMark: makesTable && table == nil && backend == .nft)
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
