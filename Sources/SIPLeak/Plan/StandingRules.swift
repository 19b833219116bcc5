import Addressing
import Firewall

/// What becomes of the plain rules that stand, when our rules are written again.
struct StandingRules {
  /// Whether blocks are plain rules now; else those that stand move into our sets.
  let isPlain: Bool
  /// The moment by which their end is judged, in seconds since 1970 UTC.
  let time: Double
  /// The blocks that go on, each once: the one that stands the longest.
  let kept: [PlainBlock]
  /// The blocks whose time is over.
  let over: [PlainBlock]
  private let rules: [PlainRule]
  private let changes: [String: PlainBlock?]

  /// Looks at what stands.
  ///
  /// - Parameters:
  ///   - snapshot: The firewall.
  ///   - time: By when a block's end is judged.
  ///   - isPlain: Whether blocks are plain rules now.
  ///   - changes: Blocks that are taken away (`nil`) or put back as they were, by element.
  init(
    _ snapshot: FirewallSnapshot, at time: Double, isPlain: Bool,
    changes: [String: PlainBlock?] = [:]
  ) {
    self.isPlain = isPlain
    self.time = time
    self.changes = changes
    rules = snapshot.plainRules
    var longest: [String: PlainBlock] = [:]
    for rule in rules {
      guard let block = changes[rule.block.element] ?? rule.block else { continue }
      longest[block.element] = block.orLonger(longest[block.element])
    }
    kept = longest.values.filter { !$0.isOver(at: time) }.sorted()
    over = longest.values.filter { $0.isOver(at: time) }.sorted()
  }

  /// The tables of a family in which plain rules stand.
  func places(_ family: AddressFamily) -> [PlainRule.Place] {
    var seen: Set<PlainRule.Place> = []
    return rules.map(\.place).filter { $0.family == family && seen.insert($0).inserted }
  }

  /// The blocks that go on in some tables, and new ones that take the place of their like.
  func blocks(in places: [PlainRule.Place], besides new: [PlainBlock] = []) -> [PlainBlock] {
    var blocks: [String: PlainBlock] = [:]
    for rule in rules where places.contains(rule.place) {
      guard let block = changes[rule.block.element] ?? rule.block, !block.isOver(at: time) else {
        continue
      }
      // A run that died may have left the old end beside the new one.
      blocks[block.element] = block.orLonger(blocks[block.element])
    }
    for block in new { blocks[block.element] = block }
    return blocks.values.sorted()
  }
}
