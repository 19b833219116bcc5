/// A set of addresses kept as disjoint, sorted ranges: look-ups by binary search, exact set algebra.
///
/// Ranges rather than a trie: the same logarithmic look-up, and union, intersection and complement
/// stay a merge of two sorted lists.
public struct PrefixSet: Sendable, Hashable {
  // Always normalized: sorted, disjoint and not adjacent, so that equal sets have equal ranges.
  private var ipv4: [ClosedRange<UInt128>] = []
  private var ipv6: [ClosedRange<UInt128>] = []

  /// The empty set.
  public init() {}

  /// The set of all addresses of the given prefixes.
  public init(_ prefixes: some Sequence<IPPrefix>) {
    for prefix in prefixes { self[prefix.family].append(prefix.range) }
    for family in AddressFamily.allCases { self[family] = Self.normalized(self[family]) }
  }

  /// The set of all addresses of the given ranges, both ends included.
  ///
  /// - Parameter ranges: The ranges, in any order; one whose ends differ in family is left out.
  public init(ranges: some Sequence<ClosedRange<IPAddress>>) {
    for range in ranges where range.lowerBound.family == range.upperBound.family {
      self[range.lowerBound.family].append(range.lowerBound.bits...range.upperBound.bits)
    }
    for family in AddressFamily.allCases { self[family] = Self.normalized(self[family]) }
  }

  /// The fewest ranges that make up the set, in order, IPv4 first.
  public var ranges: [ClosedRange<IPAddress>] {
    AddressFamily.allCases.flatMap { family in
      self[family].map {
        IPAddress(
          family: family, bits: $0.lowerBound)...IPAddress(
            family: family, bits: $0.upperBound)
      }
    }
  }

  private subscript(family: AddressFamily) -> [ClosedRange<UInt128>] {
    get { family == .ipv4 ? ipv4 : ipv6 }
    _modify {
      if family == .ipv4 { yield &ipv4 } else { yield &ipv6 }
    }
  }

  /// Whether no address is in the set.
  public var isEmpty: Bool { ipv4.isEmpty && ipv6.isEmpty }

  /// Whether the address is in the set.
  public func contains(_ address: IPAddress) -> Bool {
    let list = self[address.family]
    let index = Self.first(in: list, endingAtOrAfter: address.bits)
    return index < list.count && list[index].contains(address.bits)
  }

  /// Whether any address of the prefix is in the set.
  public func intersects(_ prefix: IPPrefix) -> Bool {
    let list = self[prefix.family]
    let index = Self.first(in: list, endingAtOrAfter: prefix.range.lowerBound)
    return index < list.count && list[index].overlaps(prefix.range)
  }

  /// Adds every address of a prefix.
  public mutating func insert(_ prefix: IPPrefix) {
    var range = prefix.range
    let below = range.lowerBound == 0 ? 0 : range.lowerBound - 1
    let above = range.upperBound == .max ? .max : range.upperBound + 1
    let start = Self.first(in: self[prefix.family], endingAtOrAfter: below)
    var end = start
    // Everything that overlaps or touches becomes one range.
    while end < self[prefix.family].count, self[prefix.family][end].lowerBound <= above {
      let met = self[prefix.family][end]
      range = min(range.lowerBound, met.lowerBound)...max(range.upperBound, met.upperBound)
      end += 1
    }
    self[prefix.family].replaceSubrange(start..<end, with: [range])
  }

  /// The addresses that are in either set.
  public func union(_ other: PrefixSet) -> PrefixSet {
    var result = self
    for family in AddressFamily.allCases where !other[family].isEmpty {
      result[family] = Self.normalized(self[family] + other[family])
    }
    return result
  }

  /// The addresses of this set that are not in the other.
  public func subtracting(_ other: PrefixSet) -> PrefixSet {
    var result = PrefixSet()
    for family in AddressFamily.allCases {
      let cuts = other[family]
      var next = 0
      for range in self[family] {
        while next < cuts.count, cuts[next].upperBound < range.lowerBound { next += 1 }
        var low: UInt128? = range.lowerBound
        var index = next
        while let from = low, index < cuts.count, cuts[index].lowerBound <= range.upperBound {
          let cut = cuts[index]
          if cut.lowerBound > from { result[family].append(from...(cut.lowerBound - 1)) }
          low = cut.upperBound >= range.upperBound ? nil : cut.upperBound + 1
          index += 1
        }
        if let from = low { result[family].append(from...range.upperBound) }
      }
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
      self[family].flatMap { Self.split($0, family: family) }
    }
  }

  /// The index of the first range that doesn't end before a number.
  private static func first(
    in list: [ClosedRange<UInt128>], endingAtOrAfter bits: UInt128
  ) -> Int {
    var low = 0
    var high = list.count
    while low < high {
      let middle = (low + high) / 2
      if list[middle].upperBound < bits { low = middle + 1 } else { high = middle }
    }
    return low
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
