import Addressing

// Chains of two backends at one hook have equal priority, and the one registered last comes first
// (facts D8). No tool shows that order, so every order is walked.

extension Evaluation {
  /// The tables in which two backends' chains meet a packet and their order may make a difference.
  ///
  /// A table's hooks are registered together. The nat table is not among them: whichever comes
  /// first decides, which the walk allows for.
  func contestedTables(_ family: AddressFamily, _ path: PacketPath) -> [String] {
    let asked = rulesets.filter { $0.source.family == family }
    guard asked.count > 1 else { return [] }
    var tables: [String] = []
    for point in PacketPath.beforeRouting + path.afterRouting where !point.isNAT {
      let chains = asked.compactMap { ruleset in
        ruleset.chain(point.chain, table: point.table).map { ruleset.chains[$0] }
      }
      guard chains.count > 1, !tables.contains(point.table),
        chains.contains(where: { !$0.rules.isEmpty || !$0.accepts })
      else { continue }
      tables.append(point.table)
    }
    return tables
  }
}

extension Walk {
  /// Takes in what another order of the backends' chains would lead to.
  mutating func join(_ other: Walk, undecided tables: [String]) {
    let names = tables.joined(separator: ", ")
    join(other, because: "which backend's chains come first is not shown: \(names)")
  }

  /// Takes in another walk the packet may take instead, and why which of them is not known.
  mutating func join(_ other: Walk, because reason: String) {
    for outcome in other.outcomes where !outcomes.contains(outcome) { outcomes.append(outcome) }
    let others = Dictionary(
      other.path.map { ($0.rule, $0.isCertain) }, uniquingKeysWith: { $0 || $1 })
    for index in path.indices where others[path[index].rule] != true {
      path[index].isCertain = false
    }
    let known = Set(path.map(\.rule))
    path += other.path.filter { !known.contains($0.rule) }
      .map { RuleHit($0.rule, isCertain: false) }
    for reason in other.unknowns where !unknowns.contains(reason) { unknowns.append(reason) }
    for reason in other.dependsOnMemory where !dependsOnMemory.contains(reason) {
      dependsOnMemory.append(reason)
    }
    if translation != other.translation { translation = .uncertain }
    if zone != other.zone { zone = nil }
    guard !isCertain, unknowns.isEmpty else { return }
    unknowns.append(UnknownReason(.fact, reason))
  }
}
