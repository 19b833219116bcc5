import Addressing

extension ConditionCompiler {
  /// `-m set`.
  func compileSet(_ options: [Option]) -> [Condition]? {
    var result: SetCondition?
    for option in options {
      switch option.name {
      case "--match-set", "--set":
        guard option.arguments.count == 2, result == nil else { return nil }
        var directions: [Bool] = []
        for word in option.arguments[1].split(separator: ",", omittingEmptySubsequences: false) {
          guard word == "src" || word == "dst" else { return nil }
          directions.append(word == "src")
        }
        let name = option.arguments[0]
        result = SetCondition(
          name: name, table: sets[name], members: members(of: sets[name]),
          areKnown: sets.areKnown, isChangedByRules: sets.changedByRules.contains(name),
          isSource: directions, isInverted: option.isInverted)
      case "--return-nomatch":
        result?.returnsExceptions = true
      case "--update-counters", "--update-subcounters":
        break
      case "--packets-eq", "--packets-lt", "--packets-gt", "--bytes-eq", "--bytes-lt",
        "--bytes-gt":
        result?.asksCounters = true
      default:
        return nil
      }
    }
    return result.map { [.other($0)] }
  }

  private func members(of table: SetTable?) -> [SetTable?] {
    guard case .list(let names)? = table?.content else { return [] }
    return names.map { sets[$0] }
  }
}

/// `--match-set NAME src,dst`.
struct SetCondition: MatchCondition {
  var name: String
  var table: SetTable?
  /// The members of a `list:set`.
  var members: [SetTable?]
  /// Whether sets could be read at all.
  var areKnown: Bool
  var isChangedByRules: Bool
  /// Which side each dimension looks at.
  var isSource: [Bool]
  var isInverted: Bool
  var returnsExceptions = false
  var asksCounters = false

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard let table, !situation.touchedSets.contains(name) else { return .unknown }
    guard case .list = table.content else {
      return found(table, situation, variant).inverted(isInverted)
    }
    var result = Truth.no
    for member in members {
      guard let member else {
        result = result || .unknown
        continue
      }
      if case .list = member.content { return .unknown }
      result = result || found(member, situation, variant)
      if result == .yes { break }
    }
    return result.inverted(isInverted)
  }

  private func found(_ table: SetTable, _ situation: Situation, _ variant: Variant) -> Truth {
    // A set of the other family, or fewer sides than dimensions: the kernel finds nothing.
    if let family = table.family, family != situation.packet.family { return .no }
    if case .unsupported = table.content { return .unknown }
    guard isSource.count >= table.dimensions.count else { return .no }
    let lookup = SetLookup(table: table, isSource: isSource, situation, variant)
    // Only types that can have exceptions know the option; the others ignore it.
    let returnsExceptions = returnsExceptions && table.type.contains("net")
    let result: Truth =
      switch lookup.result {
      case .missing: .no
      case .present: Truth(!returnsExceptions)
      case .exception: Truth(returnsExceptions)
      case .unknown: .unknown
      }
    if result == .yes, asksCounters { return .unknown }
    return result == .no && !table.isComplete ? .unknown : result
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    if !areKnown { return Missing(.fact, "the sets could not be read") }
    guard let table else { return Missing(.fact, "set \"\(name)\" was not read") }
    if situation.touchedSets.contains(name) {
      return Missing(.memory, "set \"\(name)\" is changed by a rule the packet may meet before")
    }
    if asksCounters { return Missing(.memory, "the match asks counters of set \"\(name)\"") }
    if case .unsupported = table.content {
      return Missing(.unrecognized, "sets of type \"\(table.type)\" are not evaluated")
    }
    if !table.isComplete {
      return Missing(.unrecognized, "an element of set \"\(name)\" is not understood")
    }
    return Missing(.fact, "what set \"\(name)\" (\(table.type)) is asked for is not all known")
  }

  func memory(_ situation: Situation) -> String? {
    if table?.hasTimeouts == true || members.contains(where: { $0?.hasTimeouts == true }) {
      return "entries of set \"\(name)\" time out"
    }
    return isChangedByRules ? "rules add to or delete from set \"\(name)\"" : nil
  }
}
