/// Writes down what a native base chain does as one list of steps, jumps followed.
struct NftFlattening {
  private let ruleset: NftRuleset
  private let base: NftRuleset.Chain
  private let isPolicyAccept: Bool
  private var steps: [FilterStep] = []
  private var visited = 0
  private var active: Set<NftRuleset.Key> = []
  /// All packets have been decided on.
  private var isOver = false
  private var isTooLong = false

  private static let longest = 1_000
  private static let mostVisits = 50_000
  /// The kernel allows 16 (`NFT_JUMP_STACK_SIZE`).
  private static let deepest = 16

  /// The steps of a base chain; `nil`: too many.
  static func steps(of key: NftRuleset.Key, in ruleset: NftRuleset) -> [FilterStep]? {
    guard let base = ruleset.chains[key] else { return nil }
    var flattening = NftFlattening(ruleset, base)
    flattening.visit(key, PacketScope(), isExact: true, depth: 0)
    if !flattening.isPolicyAccept { flattening.add(.touches, PacketScope()) }
    return flattening.isTooLong ? nil : flattening.steps
  }

  private init(_ ruleset: NftRuleset, _ base: NftRuleset.Chain) {
    self.ruleset = ruleset
    self.base = base
    isPolicyAccept = base.policy != "drop"
  }

  private mutating func add(_ effect: FilterStep.Effect, _ scope: PacketScope) {
    guard !isOver else { return }
    if scope == PacketScope() { isOver = true }
    let step = FilterStep(effect, scope)
    // Long lists tend to do one thing to many addresses, of which nothing is known here.
    if steps.last == step { return }
    guard steps.count < Self.longest else {
      isTooLong = true
      isOver = true
      return
    }
    steps.append(step)
  }

  private mutating func visit(
    _ key: NftRuleset.Key, _ outer: PacketScope, isExact isEntered: Bool, depth: Int
  ) {
    // Its rules are being looked at for a wider scope already.
    guard active.insert(key).inserted else { return }
    defer { active.remove(key) }
    guard depth <= Self.deepest else {
      add(.touches, outer)
      return
    }
    // Whether packets may have left the chain undecided, so that what follows is not for all.
    var mayHaveLeft = !isEntered
    for step in (ruleset.chains[key]?.rules ?? []).lazy.flatMap(\.steps) {
      visited += 1
      if visited > Self.mostVisits { isTooLong = true }
      if isOver || isTooLong { return }
      var scope = outer
      let (own, isKept) = visible(step.scope)
      let isExact = scope.narrow(to: own) && isKept && step.isExact && !mayHaveLeft
      if scope.isEmpty { continue }
      switch step.effect {
      case .passes:
        if isExact { add(.passes, scope) }
      case .touches:
        add(.touches, scope)
      case .returns where depth == 0:
        if !isPolicyAccept {
          add(.touches, scope)
        } else if isExact {
          add(.passes, scope)
        }
      case .returns:
        mayHaveLeft = true
      case .jump(let name):
        visit(key.sibling(name), scope, isExact: isExact, depth: depth + 1)
      case .goto(let name):
        visit(key.sibling(name), scope, isExact: isExact, depth: depth + 1)
        mayHaveLeft = true
      case .jumpAnywhere:
        for chain in ruleset.ordinaryChains(of: key) {
          visit(chain, scope, isExact: false, depth: depth + 1)
        }
        mayHaveLeft = true
      }
    }
  }

  /// The part of a rule's scope that means the packet's own facts at this hook.
  private func visible(_ scope: PacketScope) -> (PacketScope, isWhole: Bool) {
    var result = scope
    let priority = base.priority ?? .min
    let isEarly = base.hook == "ingress" || base.hook == "prerouting"
    // Before conntrack (-200) no packet has a state; unknown hooks have an unknown place.
    if base.hook == "egress" || base.family == "bridge" || base.family == "netdev"
      || isEarly && (base.hook == "ingress" || priority <= -200)
    {
      result.states = nil
    }
    // A source is translated at input and postrouting (100); a chain after that sees another.
    if base.hook == "postrouting" || base.hook == "egress"
      || base.hook == "input" && priority >= 100
    {
      result.sources = nil
      result.sourcePorts = nil
    }
    // A bridge's chains name its ports, and a device's chains what is below the interface.
    if base.family == "bridge" || base.family == "netdev" || base.hook == "ingress"
      || base.hook == "egress"
    {
      result.inInterfaces = nil
      result.outInterfaces = nil
    }
    return (result, result == scope)
  }
}
