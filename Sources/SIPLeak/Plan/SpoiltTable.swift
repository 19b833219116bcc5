import Addressing
import Firewall

/// A table in which a chain of our name holds our blocks and something of somebody else's.
///
/// Such a chain is nobody's: what it drops is dropped, and nothing of ours lifts or renews it.
struct SpoiltTable: Sendable {
  /// The table.
  var place: PlainRule.Place
  /// The chain that is not ours any more.
  var chain: String
  /// The 1-based place in it of the first rule that is not ours; `nil` where our mark, its first rule,
  /// is gone.
  var index: Int?
  /// The rules of plain blocks in the table's chains of our name.
  var rules: [PlainRule]
  /// Which of these chains packets come to, by anybody's jump.
  var reached: Set<String>
  /// Where the first rule of the drop chain stands that drops what members of our set send, by
  /// transport: our mark is in one of them, and goes with it.
  private var memberDrops: [IPProtocol: Int] = [:]
  /// Whether a rule of ours in it asks our set.
  let asksMembers: Bool

  /// Whether a block of the table may be passed by: the rule that is not ours stands before its drop.
  func mayPassBy(_ element: String) -> Bool {
    guard chain == OwnObjects.dropChain, let index else { return false }
    let own = drops[element] ?? memberDrop(of: element)
    return own.map { index < $0 } ?? false
  }

  /// Whether packets come to a rule that drops what a member of our set sends.
  func dropsMember(_ element: String) -> Bool {
    reached.contains(OwnObjects.dropChain) && memberDrop(of: element) != nil
  }

  private func memberDrop(of element: String) -> Int? {
    OwnObjects.parse(element).flatMap { memberDrops[$0.transport] }
  }

  /// The places in the chain of the drops of plain blocks, by element.
  private var drops: [String: Int] = [:]

  /// Looks at a table; `nil` where its chains of our name are ours, or hold nothing of ours.
  init?(_ table: Table, of ruleset: Ruleset) {
    let names = [OwnObjects.dropChain, OwnObjects.answerChain]
    let chains = names.compactMap(table.chain).filter { !$0.rules.isEmpty }
    guard let spoilt = chains.first(where: { !OwnObjects.owns($0) }) else { return nil }
    place = PlainRule.Place(
      backend: ruleset.backend, family: ruleset.family, table: table.name)
    chain = spoilt.name
    index = spoilt.rules.firstIndex { !OwnObjects.owns($0) }.map { $0 + 1 }
    rules = []
    for chain in chains {
      for (offset, rule) in chain.rules.enumerated() {
        guard let block = PlainBlock(rule) else { continue }
        let plain = PlainRule(place: place, chain: chain.name, rule: rule, block: block)
        rules.append(plain)
        if chain.name == spoilt.name, plain.stopsPeer, drops[block.element] == nil {
          drops[block.element] = offset + 1
        }
      }
    }
    let set = OwnObjects.setName(ruleset.family)
    func asksSet(_ rule: Rule) -> Bool {
      OwnObjects.owns(rule)
        && rule.options("--match-set").contains { $0.arguments.first == set }
    }
    asksMembers = chains.contains { $0.rules.contains(where: asksSet) }
    for (offset, rule) in (table.chain(OwnObjects.dropChain)?.rules ?? []).enumerated() {
      guard asksSet(rule), let part = OwnBlock.Part(rule, table: table.name), part != .fromInside,
        let word = rule.options("-p").first?.arguments.first,
        let transport = IPProtocol(word: word), memberDrops[transport] == nil
      else { continue }
      memberDrops[transport] = offset + 1
    }
    guard !rules.isEmpty || asksMembers else { return nil }
    reached = Set(
      table.chains.flatMap { $0.rules.compactMap { $0.target?.name } }.filter(names.contains))
  }

  /// The plain blocks whose drop packets come to, by element, each once and in order.
  var standing: [PlainBlock] {
    var seen: Set<String> = []
    return rules.filter { $0.stopsPeer && reached.contains($0.chain) }.map(\.block).sorted()
      .filter { seen.insert($0.element).inserted }
  }

  /// What is not as it should be, in words: `rule 3 of raw SIPLEAK is not ours`.
  var objection: String {
    let name = "\(place.table) \(chain)"
    return index.map { "rule \($0) of \(name) is not ours" }
      ?? "the first rule of \(name), by which sipleak knows it, is gone"
  }

  /// How an operator sets it right.
  var remedy: String {
    let tool = "\(place.family == .ipv4 ? "iptables" : "ip6tables")-\(place.backend.rawValue)"
    guard index != nil else {
      return "put it back (\(tool) -t \(place.table) -I \(chain) 1 "
        + "\(OwnObjects.versionRule(makesTable: false)))"
    }
    return "delete that rule (\(tool) -t \(place.table) -S \(chain) shows it)"
  }
}

extension FirewallSnapshot {
  /// The tables in which something of somebody else's stands among our blocks.
  var spoiltTables: [SpoiltTable] {
    rulesets.flatMap { ruleset in
      ruleset.tables.compactMap { SpoiltTable($0, of: ruleset) }
    }
  }

  /// Plain blocks that stand in tables where nothing of ours lifts them, each once.
  ///
  /// - Parameter time: Seconds since 1970 UTC, by which their end is judged.
  /// - Returns: Each with the table that holds it.
  func spoiltBlocks(at time: Double) -> [(block: OwnBlock, table: SpoiltTable)] {
    var seen: Set<String> = []
    return spoiltTables.flatMap { table in
      table.rules.blocks(at: time) { table.reached.contains($0.chain) }.map { ($0, table) }
    }.filter { seen.insert($0.block.element).inserted }
  }
}
