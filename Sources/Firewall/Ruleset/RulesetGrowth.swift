/// What keeps reading linear in the file: how far a few bytes may grow into rules or work.
///
/// Real files stay far below; found by fuzzing.
struct RulesetGrowth {
  /// `iptables-restore` itself takes 255 words in a rule.
  static let mostWords = 1024
  /// Pairs of addresses that one rule may list.
  static let mostPairs = 65_536

  /// Bytes that the rules made from lists of addresses may still take.
  private var expansion: Int
  /// Rules that insertions may still push down: a few seconds' worth.
  private var moves = 1 << 28

  init(fileSize: Int) { expansion = (4 << 20) + 16 * fileSize }

  /// Counts rules made from one rule that lists addresses; `false` when they are too many.
  mutating func expand(into count: Int, of length: Int) -> Bool {
    // 64 stands for what a rule takes whatever its text.
    expansion -= count * (length + 64)
    return expansion >= 0
  }

  /// Counts rules that an insertion pushes down; `false` when they are too many.
  mutating func move(_ count: Int) -> Bool {
    moves -= count
    return moves >= 0
  }
}
