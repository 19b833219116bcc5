import Addressing

/// Which rules of a chain ask for a source address, found without asking each.
///
/// A segment tree over the ends of all ranges: memory stays within n log n however the ranges nest,
/// which sorted pieces that list their rules would not.
struct SourceIndex: Sendable {
  /// Where a piece begins; between two of these every address meets the same rules.
  private var starts: [UInt128] = []
  /// The rules of node N are `rules[bounds[N]..<bounds[N + 1]]`, rising.
  private var bounds: [Int32] = []
  private var rules: [Int32] = []

  /// Indexes rules, given in rising order of position with the sources they ask for.
  init(_ entries: [(rule: Int32, ranges: SourceRanges)]) {
    guard !entries.isEmpty else { return }
    var ends: [UInt128] = [0]
    for entry in entries {
      for range in entry.ranges {
        ends.append(range.lowerBound)
        if range.upperBound < .max { ends.append(range.upperBound + 1) }
      }
    }
    ends.sort()
    for end in ends where starts.last != end { starts.append(end) }
    let size = starts.count
    var counts = [Int32](repeating: 0, count: 2 * size + 1)
    for entry in entries {
      for range in entry.ranges { visit(range) { counts[$0 + 1] += 1 } }
    }
    for node in 1..<counts.count { counts[node] += counts[node - 1] }
    bounds = counts
    rules = [Int32](repeating: 0, count: Int(counts[2 * size]))
    for entry in entries {
      for range in entry.ranges {
        visit(range) {
          rules[Int(counts[$0])] = entry.rule
          counts[$0] += 1
        }
      }
    }
  }

  /// The nodes that together make up a range.
  private func visit(_ range: ClosedRange<UInt128>, _ body: (Int) -> Void) {
    let size = starts.count
    var left = piece(range.lowerBound) + size
    var right = piece(range.upperBound) + size + 1
    while left < right {
      if left & 1 == 1 {
        body(left)
        left += 1
      }
      if right & 1 == 1 {
        right -= 1
        body(right)
      }
      left /= 2
      right /= 2
    }
  }

  /// The piece an address lies in.
  private func piece(_ bits: UInt128) -> Int {
    var low = 0
    var high = starts.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if starts[middle] <= bits { low = middle } else { high = middle }
    }
    return low
  }

  /// Every rule once.
  var all: Set<Int32> { Set(rules) }

  /// The leaf of an address, to be kept for the whole walk of a packet.
  func leaf(_ source: UInt128) -> Int { starts.isEmpty ? 0 : piece(source) + starts.count }

  /// The first rule at or after a position that asks for the address of a leaf, or `Int.max`.
  func next(_ leaf: Int, from position: Int) -> Int {
    var best = Int32.max
    var node = leaf
    let wanted = Int32(truncatingIfNeeded: position)
    while node > 0 {
      let start = Int(bounds[node])
      let end = Int(bounds[node + 1])
      if start < end, rules[end - 1] >= wanted {
        var low = start
        var high = end - 1
        while low < high {
          let middle = (low + high) / 2
          if rules[middle] < wanted { low = middle + 1 } else { high = middle }
        }
        best = min(best, rules[low])
      }
      node /= 2
    }
    return best == .max ? .max : Int(best)
  }
}
