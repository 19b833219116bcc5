import Addressing

/// A destination that packets may have at some stage.
struct Aim: Sendable, Hashable {
  var destination: UInt128?
  var port: UInt16?
}

extension Variant {
  fileprivate var aim: Aim { Aim(destination: destination, port: port) }
}

/// The rules of one chain that packets to one aim may match.
struct ChainPlan: Sendable {
  /// Positions of rules that ask no particular source, rising.
  var general: [Int32] = []
  var index = SourceIndex([])
}

/// Every ruleset cut down to what may match packets that share all but source and flow.
///
/// A rule is left out only for a condition that certainly does not hold and hangs on nothing else;
/// so leaving it out changes nothing of a walk. Immutable once made.
final class WalkPlan: Sendable {
  /// Aims that have a plan of their own; every other is walked by the plan before the first of these.
  static let aimLimit = 6

  let aims: [Aim]
  /// By ruleset, chain and aim; the first aim stands for any.
  private let plans: [[[ChainPlan]]]

  init(_ evaluation: Evaluation, shape: PacketShape, extraAims: [Aim] = []) {
    let probe = Situation(shape.probe, path: shape.path, host: evaluation.host)
    let aims = Self.aims(evaluation, shape, extraAims, probe)
    self.aims = aims
    plans = evaluation.rulesets.map { ruleset in
      guard ruleset.source.family == shape.family else { return [] }
      return ruleset.chains.indices.map { chain in
        ([nil] + aims.map(Optional.some)).map { aim in
          Self.plan(ruleset, chain, probe, shape.path, aim)
        }
      }
    }
  }

  /// The aim asked about, and those that the nat table gives to it.
  private static func aims(
    _ evaluation: Evaluation, _ shape: PacketShape, _ extra: [Aim], _ probe: Situation
  ) -> [Aim] {
    let wire = Aim(destination: shape.destination?.bits, port: shape.destinationPort)
    var result = [wire]
    for aim in extra where !result.contains(aim) { result.append(aim) }
    var variant = probe.initialVariant
    variant.destination = wire.destination
    variant.port = wire.port
    for ruleset in evaluation.rulesets where ruleset.source.family == shape.family {
      for rule in ruleset.rules {
        guard case .translate(let target) = rule.action, result.count < aimLimit,
          !isRuledOut(rule, ruleset, probe, variant, out: false)
        else { continue }
        let aim = target.applied(to: variant, probe).aim
        if !result.contains(aim) { result.append(aim) }
      }
    }
    return result
  }

  private static func plan(
    _ ruleset: CompiledRuleset, _ chain: Int, _ probe: Situation, _ path: PacketPath, _ aim: Aim?
  ) -> ChainPlan {
    let table = ruleset.source.tables[ruleset.chains[chain].table].name
    var situation = probe
    switch table {
    case "raw": situation.stage = .raw
    case "filter", "security": situation.stage = .delivery
    default: situation.stage = .prerouting
    }
    // Elsewhere a forwarded packet has an output device at some hooks and none at others.
    let knowsOut = path == .input || ["raw", "filter", "security"].contains(table)
    var variant = probe.initialVariant
    variant.destination = aim?.destination
    variant.port = aim?.port
    var plan = ChainPlan()
    var indexed: [(rule: Int32, ranges: SourceRanges)] = []
    for (offset, position) in ruleset.chains[chain].rules.enumerated() {
      let rule = ruleset.rules[position]
      if isRuledOut(rule, ruleset, situation, variant, out: knowsOut) { continue }
      var sources: SourceRanges?
      for index in rule.conditions {
        sources = ruleset.conditions[index].onlySources(ruleset.source.family)
        if sources != nil { break }
      }
      if let sources {
        indexed.append((Int32(offset), sources))
      } else {
        plan.general.append(Int32(offset))
      }
    }
    plan.index = SourceIndex(indexed)
    return plan
  }

  private static func isRuledOut(
    _ rule: CompiledRule, _ ruleset: CompiledRuleset, _ situation: Situation, _ variant: Variant,
    out: Bool
  ) -> Bool {
    rule.conditions.contains {
      ruleset.conditions[$0].isSettled(out: out)
        && ruleset.conditions[$0].truth(situation, variant) == .no
    }
  }

  func aim(_ live: Variants) -> Int {
    let list = live.list
    guard let first = list.first else { return 0 }
    let aim = first.aim
    for index in list.indices.dropFirst() where list[index].aim != aim { return 0 }
    for index in aims.indices where aims[index] == aim { return index + 1 }
    return 0
  }

  func plan(_ ruleset: Int, _ chain: Int, _ aim: Int) -> ChainPlan { plans[ruleset][chain][aim] }

  /// The rules of a ruleset that packets to whatever aim may match, rising.
  func relevant(_ evaluation: Evaluation, _ ruleset: Int) -> [Int] {
    var result: [Int] = []
    for (chain, plans) in zip(evaluation.rulesets[ruleset].chains, plans[ruleset]) {
      let offsets = plans[0].general + plans[0].index.all
      result += offsets.map { chain.rules.lowerBound + Int($0) }
    }
    return result.sorted()
  }
}

extension Condition {
  /// Whether the answer hangs on nothing but what the packets of a ``PacketShape`` share and their
  /// aim.
  fileprivate func isSettled(out: Bool) -> Bool {
    switch self {
    case .never, .destination, .inInterface, .transport, .laterFragment, .destinationPort:
      return true
    case .outInterface:
      return out
    case .other(let other):
      switch other {
      case let list as PortList: return list.place == .destination
      case let range as AddressRange: return !range.isSource
      case let list as AnyAddress: return !list.isSource
      case let type as AddressTypeCondition: return !type.isSource
      default: return false
      }
    case .always, .source, .sourcePort, .state, .mark, .undecidable:
      return false
    }
  }
}

/// Leads one packet's walk from rule to rule that may match it.
struct WalkGuide: Sendable {
  /// Where in a chain a walk is.
  struct Cursor: Sendable {
    var aim = -1
    var general = 0
    var leaf = 0
    var nextIndexed = -1
  }

  let plan: WalkPlan
  let source: UInt128

  /// The first position at or after another that the packet may match, or the chain's end.
  func next(
    _ ruleset: Int, _ chain: Int, from position: Int, _ live: Variants, _ cursor: inout Cursor,
    count: Int
  ) -> Int {
    let aim = plan.aim(live)
    let chainPlan = plan.plan(ruleset, chain, aim)
    if aim != cursor.aim {
      cursor = Cursor(aim: aim, leaf: chainPlan.index.leaf(source))
    }
    while cursor.general < chainPlan.general.count,
      Int(chainPlan.general[cursor.general]) < position
    {
      cursor.general += 1
    }
    if cursor.nextIndexed < position {
      cursor.nextIndexed = chainPlan.index.next(cursor.leaf, from: position)
    }
    let general =
      cursor.general < chainPlan.general.count
      ? Int(chainPlan.general[cursor.general]) : count
    return min(general, cursor.nextIndexed, count)
  }
}
