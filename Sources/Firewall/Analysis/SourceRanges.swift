import Addressing

/// Source addresses as sorted, disjoint ranges of numbers.
typealias SourceRanges = [ClosedRange<UInt128>]

extension AddressPattern {
  /// More ranges than this are not made of one pattern.
  static let rangeLimit = 4096

  /// The addresses that fit, or `nil` when the mask has too many holes to list them.
  var ranges: SourceRanges? {
    Self.ranges(bits: bits, mask: mask, family: family)
  }

  /// The addresses whose bits under a mask are the given ones.
  static func ranges(bits: UInt128, mask: UInt128, family: AddressFamily) -> SourceRanges? {
    let all: UInt128 = family == .ipv4 ? 0xffff_ffff : .max
    // Bits that no mask lets through: nothing fits.
    if bits & ~mask != 0 || bits & ~all != 0 { return [] }
    let low = mask == 0 ? all : (mask & (~mask &+ 1)) &- 1
    let holes = all & ~mask & ~low
    guard holes.nonzeroBitCount <= 12 else { return nil }
    var result: SourceRanges = []
    result.reserveCapacity(1 << holes.nonzeroBitCount)
    // Counts through the bits of the holes only, in rising order.
    var hole: UInt128 = 0
    while true {
      result.append((bits | hole)...(bits | hole | low))
      hole = (hole &- holes) & holes
      if hole == 0 { return result }
    }
  }
}

extension Condition {
  /// The sources outside of which the condition certainly does not hold, or `nil` if it says
  /// nothing of the source that a few ranges could hold.
  func onlySources(_ family: AddressFamily) -> SourceRanges? {
    switch self {
    case .source(let bits, let mask, isInverted: false):
      return AddressPattern.ranges(bits: bits, mask: mask, family: family)
        .flatMap { $0.count <= 16 ? $0 : nil }
    case .other(let other):
      if let range = other as? AddressRange, range.isSource, !range.isInverted {
        return range.low <= range.high ? [range.low...range.high] : []
      }
      if let list = other as? AnyAddress, list.isSource, list.patterns.count <= 64 {
        var result: SourceRanges = []
        for pattern in list.patterns {
          guard let ranges = pattern.ranges, ranges.count <= 16 else { return nil }
          result += ranges
        }
        return result
      }
      return nil
    default:
      return nil
    }
  }
}
