import Addressing

/// One walk of one packet: linear in the rules visited, whatever is unknown.
///
/// A rule that may or may not match does not split the walk in two. The packet is thought to do
/// both: its outcome is noted as possible, and the walk goes on with what the packet may be then
/// (``Variants``). From there on nothing is certain any more except what happens on every way.
///
/// The stack is the walker's own, so that nesting is bounded by memory and not by the thread.
struct Walker {
  /// Rules visited before the walk gives up: more than any kernel would bear per packet.
  static let stepLimit = 1_000_000

  /// A rule or policy (index 0) by its place.
  struct Place: Hashable {
    var ruleset: Int
    var chain: Int
    var index: Int
  }

  private struct Frame {
    var chain: Int
    var next: Int
    var live: Variants
    /// Those that left the chain by RETURN or by a chain they went to.
    var returned = Variants()
    /// Whether the packet may be elsewhere while these rules are visited.
    var isUncertain: Bool
    var isGoto: Bool
    var cursor = WalkGuide.Cursor()
  }

  let rulesets: [CompiledRuleset]
  private(set) var situation: Situation
  private(set) var live: Variants
  /// Leads past rules that certainly do not match; without it every rule is asked.
  var guide: WalkGuide?

  private var hits: [(place: Place, isCertain: Bool)] = []
  private var hitIndex: [Place: Int] = [:]
  private var outcomes: [(verdict: Verdict, place: Place?)] = []
  /// Who accepted, for each base chain that let something through.
  private var acceptances: [(table: String, places: [Place])] = []
  /// Rules that handed the packet to something which may still refuse it.
  private var outsiders: [Place] = []
  private var reasons: [(reason: Missing, place: Place?)] = []
  private var memories: [(reason: Missing, place: Place)] = []
  private var seenReasons: Set<Int> = []
  private var steps = 0
  /// Whether the packet may have been refused already.
  private var mayBeRefused = false
  /// Where the packet is refused if no condition holds that is not known to hold.
  private var likelyRefusal: (verdict: Verdict, place: Place?)?

  init(_ rulesets: [CompiledRuleset], _ situation: Situation) {
    self.rulesets = rulesets
    self.situation = situation
    live = Variants([situation.initialVariant])
  }

  /// Whether anything is left to walk with.
  var isOver: Bool { live.isEmpty }

  /// Whether ``Situation/isOfAnotherFlow(_:)`` holds of any variant.
  var mayBeAnotherFlow: Bool { live.list.contains(where: situation.isOfAnotherFlow) }

  mutating func enter(_ stage: Stage) { situation.stage = stage }

  /// Changes every variant, as the hooks between base chains do.
  mutating func updateVariants(_ change: (inout Variant) -> Void) {
    var result = Variants()
    for var variant in live.list {
      change(&variant)
      result.insert(variant)
    }
    live = result
  }

  /// Walks the base chain of one ruleset with the variants that `takes` picks; `nil` stands for
  /// those that may or may not see it, and nothing is certain if the chain is not alone.
  mutating func walk(
    _ ruleset: Int, chain: Int, isDoubtful: String?, isAlone: Bool, takes: (Variant) -> Bool?
  ) {
    var entering = Variants()
    var passing = Variants()
    for variant in live.list {
      let takes = takes(variant)
      if takes != false { entering.insert(variant) }
      if takes != true { passing.insert(variant) }
    }
    guard !entering.isEmpty else { return }
    let before = outcomes.count
    let isCertain = passing.isEmpty && !mayBeRefused && isAlone
    live = run(ruleset, chain, entering, isCertain: isCertain)
    live.insert(passing)
    if let isDoubtful, outcomes.count > before {
      outcomes.append((.unknown, nil))
      reasons.append((Missing(.outside, isDoubtful), nil))
    }
  }

  // MARK: One base chain

  private mutating func run(
    _ ruleset: Int, _ base: Int, _ entering: Variants, isCertain: Bool
  ) -> Variants {
    let compiled = rulesets[ruleset]
    var accepted = Variants()
    var acceptors: [Place] = []
    var hasLeft = false
    // The way on which nothing unknown matches is visited last at every fork.
    var isLastRefused = false
    var active: Set<Int> = [base]
    var stack = [
      Frame(
        chain: base, next: 0, live: entering, isUncertain: !isCertain, isGoto: false)
    ]
    while let top = stack.indices.last {
      let chain = stack[top].chain
      let rules = compiled.chains[chain].rules
      let isLive = !stack[top].live.isEmpty
      let start = rules.lowerBound + stack[top].next
      var position = start
      if let guide, isLive {
        position =
          rules.lowerBound
          + guide.next(
            ruleset, chain, from: stack[top].next, stack[top].live, &stack[top].cursor,
            count: rules.count)
        while position < rules.upperBound, compiled.guards[position].rejects(situation) {
          position =
            rules.lowerBound
            + guide.next(
              ruleset, chain, from: position - rules.lowerBound + 1, stack[top].live,
              &stack[top].cursor, count: rules.count)
        }
      } else {
        while isLive, position < rules.upperBound, compiled.guards[position].rejects(situation) {
          position += 1
        }
      }
      stack[top].next += position - start
      // Rules passed over count too, so that a walk gives up at one place with a guide and without.
      steps += position - start
      guard steps <= Self.stepLimit else {
        giveUp()
        return Variants()
      }
      guard isLive, position < rules.upperBound else {
        var frame = stack.removeLast()
        active.remove(frame.chain)
        frame.live.insert(frame.returned)
        guard let parent = stack.indices.last else {
          if !frame.live.isEmpty {
            end(ruleset, base, frame.live, isCertain && !hasLeft, &accepted, &acceptors)
            isLastRefused = !compiled.chains[base].accepts
          }
          break
        }
        if frame.isGoto {
          stack[parent].returned.insert(frame.live)
        } else {
          stack[parent].live.insert(frame.live)
        }
        continue
      }
      stack[top].next += 1
      steps += 1
      guard steps <= Self.stepLimit else {
        giveUp()
        return Variants()
      }
      let rule = compiled.rules[position]
      let place = Place(ruleset: ruleset, chain: chain, index: position - rules.lowerBound + 1)
      guard
        let (matched, rest, isUnknown) = sort(stack[top].live, by: rule, compiled, place)
      else { continue }
      let isSure = !stack[top].isUncertain && !hasLeft
      note(place, isCertain: isSure && rest.isEmpty)
      if isUnknown, rule.action.matters { explain(rule, compiled, place, stack[top].live) }
      switch rule.action {
      case .nothing:
        break
      case .accept, .translateSource:
        accepted.insert(matched)
        acceptors.append(place)
        stack[top].live = rest
        hasLeft = true
        isLastRefused = false
      case .refuse(let verdict):
        outcomes.append((verdict, place))
        isLastRefused = true
        mayBeRefused = true
        stack[top].live = rest
        hasLeft = true
      case .return:
        stack[top].returned.insert(matched)
        stack[top].live = rest
        if !rest.isEmpty { stack[top].isUncertain = true }
      case .jump(let target), .goto(let target):
        stack[top].live = rest
        guard active.insert(target).inserted else {
          outcomes.append((.unknown, place))
          isLastRefused = true
          let name = compiled.syntax(target).name
          reasons.append((Missing(.unrecognized, "chain \"\(name)\" leads to itself"), place))
          mayBeRefused = true
          hasLeft = true
          continue
        }
        let isGoto = if case .goto = rule.action { true } else { false }
        let isUncertain = stack[top].isUncertain || !rest.isEmpty
        if isGoto, !rest.isEmpty { stack[top].isUncertain = true }
        stack.append(
          Frame(
            chain: target, next: 0, live: matched, isUncertain: isUncertain, isGoto: isGoto))
      case .translate:
        for variant in matched.list {
          accepted.insert(situation.applying(rule.action, to: variant))
        }
        acceptors.append(place)
        stack[top].live = rest
        hasLeft = true
        isLastRefused = false
      case .outside(let why), .unrecognized(let why):
        outsiders.append(place)
        let isNAT = tableName(ruleset, base) == "nat"
        let isOutside = if case .outside = rule.action { true } else { false }
        reasons.append((Missing(isOutside ? .outside : .unrecognized, why), place))
        var live = rest
        for variant in matched.list {
          let after = variant.afterOutside(mayTranslate: isNAT)
          accepted.insert(after)
          if !isOutside {
            live.insert(variant)
            live.insert(after)
          }
        }
        acceptors.append(place)
        stack[top].live = live
        hasLeft = true
        isLastRefused = false
      default:
        if case .touchSet(let name, _) = rule.action, !situation.touchedSets.contains(name) {
          situation.touchedSets.append(name)
        }
        var live = rest
        for variant in matched.list { live.insert(situation.applying(rule.action, to: variant)) }
        stack[top].live = live
      }
    }
    if isLastRefused, likelyRefusal == nil { likelyRefusal = outcomes.last }
    if !acceptors.isEmpty {
      acceptances.append((table: tableName(ruleset, base), places: acceptors))
    }
    return accepted
  }

  /// The end of a base chain: its policy.
  private mutating func end(
    _ ruleset: Int, _ base: Int, _ reaching: Variants, _ isCertain: Bool,
    _ accepted: inout Variants, _ acceptors: inout [Place]
  ) {
    let place = Place(ruleset: ruleset, chain: base, index: 0)
    note(place, isCertain: isCertain)
    if rulesets[ruleset].chains[base].accepts {
      accepted.insert(reaching)
      acceptors.append(place)
    } else {
      outcomes.append((.drop, place))
      mayBeRefused = true
    }
  }

  /// Sorts variants by whether a rule matches them; `nil` if it matches none.
  ///
  /// Those it may match are in both.
  private mutating func sort(
    _ variants: Variants, by rule: CompiledRule, _ compiled: CompiledRuleset, _ place: Place
  ) -> (matched: Variants, rest: Variants, isUnknown: Bool)? {
    if rule.remembers, rule.action.matters {
      for variant in variants.list { remember(rule, compiled, place, variant) }
    }
    if variants.list.count == 1 {
      switch compiled.truth(rule, situation, variants.list[0]) {
      case .no: return nil
      case .yes: return (variants, Variants(), false)
      case .unknown: return (variants, variants, true)
      }
    }
    var matched = Variants()
    var rest = Variants()
    var isUnknown = false
    for variant in variants.list {
      switch compiled.truth(rule, situation, variant) {
      case .no:
        rest.insert(variant)
      case .yes:
        matched.insert(variant)
      case .unknown:
        isUnknown = true
        matched.insert(variant)
        rest.insert(variant)
      }
    }
    return matched.isEmpty ? nil : (matched, rest, isUnknown)
  }

  private mutating func giveUp() {
    outcomes.append((.unknown, nil))
    reasons.append(
      (Missing(.unrecognized, "too many steps: chains call each other too often"), nil))
    live = Variants()
  }

  // MARK: Notes

  private mutating func note(_ place: Place, isCertain: Bool) {
    if let index = hitIndex[place] {
      if isCertain { hits[index].isCertain = true }
    } else {
      hitIndex[place] = hits.count
      hits.append((place, isCertain))
    }
  }

  /// Notes why a rule was not decided, once a condition.
  private mutating func explain(
    _ rule: CompiledRule, _ compiled: CompiledRuleset, _ place: Place, _ variants: Variants
  ) {
    for variant in variants.list where compiled.truth(rule, situation, variant) == .unknown {
      for index in rule.conditions
      where compiled.conditions[index].truth(situation, variant) == .unknown {
        guard seenReasons.insert(index << 8 | place.ruleset).inserted else { continue }
        reasons.append((compiled.conditions[index].missing(situation, variant), place))
      }
    }
  }

  /// Notes that a rule was decided by something that changes by itself, unless another condition
  /// rules it out anyway.
  private mutating func remember(
    _ rule: CompiledRule, _ compiled: CompiledRuleset, _ place: Place, _ variant: Variant
  ) {
    var found: [(String, Int)] = []
    for index in rule.conditions {
      let condition = compiled.conditions[index]
      let truth = condition.truth(situation, variant)
      if truth != .unknown, let memory = condition.memory(situation) {
        found.append((memory, index))
      } else if truth == .no {
        return
      }
    }
    for (memory, index) in found
    where seenReasons.insert(-1 - (index << 8 | place.ruleset)).inserted {
      memories.append((Missing(.memory, memory), place))
    }
  }

  private func tableName(_ ruleset: Int, _ chain: Int) -> String {
    let compiled = rulesets[ruleset]
    return compiled.source.tables[compiled.chains[chain].table].name
  }

  // MARK: The end

  /// All that was found out; `unseen` are filters that may refuse what these rules accept.
  func finished(unseen: [UnknownReason], translation: Translation) -> Walk {
    var found: [Outcome] = []
    func add(_ verdict: Verdict, _ rule: RuleReference?) {
      let outcome = Outcome(verdict, rule: rule)
      if !found.contains(outcome) { found.append(outcome) }
    }
    var unknowns = reasons.map { reason($0.reason, $0.place) }
    if let likelyRefusal { add(likelyRefusal.verdict, likelyRefusal.place.map(reference)) }
    if !live.isEmpty, likelyRefusal == nil, let last = decidingAcceptances.last,
      !outsiders.contains(last)
    {
      add(.accept, reference(last))
    }
    for (verdict, place) in outcomes { add(verdict, place.map(reference)) }
    if !live.isEmpty {
      let deciding = decidingAcceptances
      if deciding.isEmpty { add(.accept, nil) }
      for place in deciding where !outsiders.contains(place) { add(.accept, reference(place)) }
      for place in outsiders { add(.unknown, reference(place)) }
      if !unseen.isEmpty { add(.unknown, nil) }
      unknowns += unseen
    }
    return Walk(
      outcomes: found,
      path: hits.map { RuleHit(reference($0.place), isCertain: $0.isCertain) },
      unknowns: found.count > 1 || found.first?.verdict == .unknown ? unknowns : [],
      dependsOnMemory: memories.map { reason($0.reason, $0.place) }, translation: translation)
  }

  /// The rules that let the packet through in the filter table, or in the last table if there is
  /// none; of two backends the one that has more to say than a policy.
  private var decidingAcceptances: [Place] {
    let inFilter = acceptances.filter { $0.table == "filter" }
    let spoken = inFilter.last { $0.places.contains { $0.index > 0 } }
    return (spoken ?? inFilter.last ?? acceptances.last)?.places ?? []
  }

  private func reference(_ place: Place) -> RuleReference {
    rulesets[place.ruleset].reference(chain: place.chain, index: place.index)
  }

  private func reason(_ missing: Missing, _ place: Place?) -> UnknownReason {
    UnknownReason(missing.kind, missing.text, rule: place.map(reference))
  }
}
