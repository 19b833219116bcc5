/// A 32-bit value of which some bits may not be known: a packet mark or a connection mark.
struct BitPattern: Sendable, Hashable {
  /// The known bits; 0 where not known.
  private(set) var value: UInt32
  /// 1 where the bit is known.
  private(set) var known: UInt32

  static let anything = BitPattern(nil)

  init(_ value: UInt32?) {
    self.value = value ?? 0
    known = value == nil ? 0 : .max
  }

  init(value: UInt32, known: UInt32) {
    self.value = value & known
    self.known = known
  }

  /// Whether `(value & mask) == wanted`, as the kernel's mark matches compute it.
  func equals(_ wanted: UInt32, mask: UInt32) -> Truth {
    if wanted & ~mask != 0 { return .no }
    if (value ^ wanted) & mask & known != 0 { return .no }
    return mask & ~known == 0 ? .yes : .unknown
  }

  /// `(value & ~cleared) ^ toggled`, as the kernel's mark targets compute it.
  func changed(clearing cleared: UInt32, toggling toggled: UInt32) -> BitPattern {
    BitPattern(value: (value & ~cleared) ^ toggled, known: known | cleared)
  }

  /// `(value & ~cleared) ^ (other & taken)`, as saving and restoring a mark compute it.
  func changed(clearing cleared: UInt32, toggling other: BitPattern, taken: UInt32) -> BitPattern {
    BitPattern(
      value: (value & ~cleared) ^ (other.value & taken),
      known: (known | cleared) & (other.known | ~taken))
  }

  /// The bits in which both agree; the rest is not known.
  func joined(_ other: BitPattern) -> BitPattern {
    BitPattern(value: value, known: known & other.known & ~(value ^ other.value))
  }
}

/// What the `u32` match computes with bytes that may not be known.
extension BitPattern {
  static let unknownByte = BitPattern(value: 0, known: ~0xff)

  func shiftedLeft(_ count: UInt32) -> BitPattern {
    // The kernel shifts as the processor does; counts of 32 and more are not predicted.
    guard count < 32 else { return .anything }
    return BitPattern(value: value << count, known: known << count | ((1 << count) - 1))
  }

  func shiftedRight(_ count: UInt32) -> BitPattern {
    guard count < 32 else { return .anything }
    return BitPattern(value: value >> count, known: known >> count | ~(UInt32.max >> count))
  }

  func masked(_ mask: UInt32) -> BitPattern {
    BitPattern(value: value & mask, known: known | ~mask)
  }

  /// The number, if every bit is known.
  var exact: UInt32? { known == .max ? value : nil }
}
