/// A set of addresses kept as disjoint, sorted ranges: look-ups by binary search, exact set algebra.
///
/// Ranges rather than a trie: the same logarithmic look-up, and union, intersection and complement
/// stay a merge of two sorted lists.
public struct PrefixSet: Sendable, Hashable {
  private var ranges: [AddressFamily: [ClosedRange<UInt128>]] = [:]

  /// The empty set.
  public init() {}

  /// The set of all addresses of the given prefixes.
  public init(_ prefixes: some Sequence<IPPrefix>) {
    var collected: [AddressFamily: [ClosedRange<UInt128>]] = [:]
    for prefix in prefixes { collected[prefix.family, default: []].append(prefix.range) }
    ranges = collected.mapValues(Self.normalized)
  }

  /// Whether no address is in the set.
  public var isEmpty: Bool { ranges.values.allSatisfy(\.isEmpty) }

  /// Whether the address is in the set.
  public func contains(_ address: IPAddress) -> Bool {
    guard let list = ranges[address.family] else { return false }
    var low = 0
    var high = list.count
    while low < high {
      let middle = (low + high) / 2
      if list[middle].upperBound < address.bits { low = middle + 1 } else { high = middle }
    }
    return low < list.count && list[low].contains(address.bits)
  }

  /// Whether any address of the prefix is in the set.
  public func intersects(_ prefix: IPPrefix) -> Bool {
    ranges[prefix.family]?.contains { $0.overlaps(prefix.range) } ?? false
  }

  /// Adds every address of a prefix.
  public mutating func insert(_ prefix: IPPrefix) {
    ranges[prefix.family] = Self.normalized((ranges[prefix.family] ?? []) + [prefix.range])
  }

  /// The addresses that are in either set.
  public func union(_ other: PrefixSet) -> PrefixSet {
    var result = self
    for (family, list) in other.ranges {
      result.ranges[family] = Self.normalized((ranges[family] ?? []) + list)
    }
    return result
  }

  /// The addresses of this set that are not in the other.
  public func subtracting(_ other: PrefixSet) -> PrefixSet {
    var result = PrefixSet()
    for (family, list) in ranges {
      var kept: [ClosedRange<UInt128>] = []
      let cuts = other.ranges[family] ?? []
      for range in list {
        var low: UInt128? = range.lowerBound
        for cut in cuts where cut.overlaps(range) {
          guard let from = low else { break }
          if cut.lowerBound > from { kept.append(from...(cut.lowerBound - 1)) }
          low = cut.upperBound >= range.upperBound ? nil : cut.upperBound + 1
        }
        if let from = low { kept.append(from...range.upperBound) }
      }
      result.ranges[family] = kept
    }
    return result
  }

  /// The addresses that are in both sets.
  public func intersection(_ other: PrefixSet) -> PrefixSet {
    subtracting(subtracting(other))
  }

  /// The fewest prefixes that make up the set, in order, IPv4 first.
  public var prefixes: [IPPrefix] {
    AddressFamily.allCases.flatMap { family in
      (ranges[family] ?? []).flatMap { Self.split($0, family: family) }
    }
  }

  private static func normalized(_ list: [ClosedRange<UInt128>]) -> [ClosedRange<UInt128>] {
    var result: [ClosedRange<UInt128>] = []
    for range in list.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = result.last,
        last.upperBound == .max || range.lowerBound <= last.upperBound + 1
      {
        result[result.count - 1] =
          last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        result.append(range)
      }
    }
    return result
  }

  private static func split(_ range: ClosedRange<UInt128>, family: AddressFamily) -> [IPPrefix] {
    var result: [IPPrefix] = []
    var low = range.lowerBound
    while true {
      // The largest aligned block that starts here and does not reach past the end.
      var hostBits = low == 0 ? family.bitWidth : min(family.bitWidth, low.trailingZeroBitCount)
      func last(_ bits: Int) -> UInt128 { bits == 128 ? .max : low + ((UInt128(1) << bits) - 1) }
      while last(hostBits) > range.upperBound { hostBits -= 1 }
      if let prefix = IPPrefix(
        IPAddress(family: family, bits: low), length: family.bitWidth - hostBits)
      {
        result.append(prefix)
      }
      let end = last(hostBits)
      if end >= range.upperBound { return result }
      low = end + 1
    }
  }
}
