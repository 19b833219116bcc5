import Glibc

/// An IPv4 or IPv6 address.
///
/// Zone identifiers (`%eth0`) are not part of it. An IPv4-mapped IPv6 address stays IPv6 unless
/// ``unmapped`` is asked.
public struct IPAddress: Sendable, Hashable {
  /// The address family.
  public let family: AddressFamily
  // Two halves and not one UInt128: a 16-byte aligned argument of an async function that doesn't fit
  // the registers crashes on resumption in debug builds (Swift 6.3), and every flow is a third smaller.
  @usableFromInline let high: UInt64
  @usableFromInline let low: UInt64

  /// The address as a number in host order; an IPv4 address stands in the low 32 bits.
  @inlinable public var bits: UInt128 { UInt128(high) << 64 | UInt128(low) }

  /// Makes an address of its bits.
  ///
  /// - Parameters:
  ///   - family: The address family.
  ///   - bits: The number in host order. Bits beyond the family's width are dropped.
  @inlinable
  public init(family: AddressFamily, bits: UInt128) {
    self.family = family
    high = family == .ipv4 ? 0 : UInt64(truncatingIfNeeded: bits >> 64)
    low =
      family == .ipv4 ? UInt64(UInt32(truncatingIfNeeded: bits)) : UInt64(truncatingIfNeeded: bits)
  }

  /// Makes an IPv4 address of its 32 bits in host order.
  public init(ipv4 bits: UInt32) {
    self.init(family: .ipv4, bits: UInt128(bits))
  }

  /// Makes an address of its bytes in network order, as they stand in a packet.
  ///
  /// Returns `nil` unless there are 4 or 16 bytes.
  public init?(networkBytes bytes: some Collection<UInt8>) {
    let family: AddressFamily
    switch bytes.count {
    case 4: family = .ipv4
    case 16: family = .ipv6
    default: return nil
    }
    self.init(
      family: family, bits: bytes.reduce(into: UInt128(0)) { $0 = ($0 << 8) | UInt128($1) })
  }

  /// The bytes in network order: 4 or 16 of them.
  public var networkBytes: [UInt8] {
    let width = family.bitWidth
    return stride(from: width - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: bits >> $0) }
  }

  /// Whether the address is 127.0.0.0/8, ::1, or the mapped form of the former.
  public var isLoopback: Bool {
    let plain = unmapped
    return plain.family == .ipv4 ? plain.bits >> 24 == 127 : plain.bits == 1
  }

  /// Whether the address is 0.0.0.0 or ::.
  public var isUnspecified: Bool { bits == 0 }

  /// Whether the address is fe80::/10 or 169.254.0.0/16.
  public var isLinkLocal: Bool {
    family == .ipv4 ? bits >> 16 == 0xa9fe : bits >> 118 == 0x3fa
  }

  /// Whether the address is multicast (224.0.0.0/4, ff00::/8) or the IPv4 broadcast address.
  public var isMulticastOrBroadcast: Bool {
    family == .ipv4 ? bits >> 28 == 0xe || bits == 0xffff_ffff : bits >> 120 == 0xff
  }

  /// The IPv4 address inside ::ffff:0:0/96, or the address itself.
  public var unmapped: IPAddress {
    guard family == .ipv6, bits >> 32 == 0xffff else { return self }
    return IPAddress(family: .ipv4, bits: bits & 0xffff_ffff)
  }
}

extension IPAddress: LosslessStringConvertible {
  /// Reads an address as `inet_pton(3)` does: no zone, no prefix length, no octal.
  public init?(_ description: String) {
    guard description.utf8.count <= 45, !description.utf8.contains(0) else { return nil }
    var v4 = in_addr()
    if unsafe inet_pton(AF_INET, description, &v4) == 1 {
      self.init(family: .ipv4, bits: UInt128(UInt32(bigEndian: v4.s_addr)))
      return
    }
    var v6 = in6_addr()
    guard unsafe inet_pton(AF_INET6, description, &v6) == 1 else { return nil }
    let bytes = unsafe withUnsafeBytes(of: &v6) { unsafe Array($0) }
    self.init(networkBytes: bytes)
  }

  /// The address as RFC 5952 writes it, without brackets.
  public var description: String {
    guard family == .ipv6 else {
      let number = UInt32(truncatingIfNeeded: low)
      return "\(number >> 24).\(number >> 16 & 255).\(number >> 8 & 255).\(number & 255)"
    }
    if bits >> 32 == 0xffff { return "::ffff:\(unmapped)" }
    let groups = stride(from: 112, through: 0, by: -16).map {
      UInt16(truncatingIfNeeded: bits >> $0)
    }
    // The longest run of at least two zero groups is shortened, the first of equals.
    var best = 0..<0
    var start: Int?
    for index in 0...8 {
      if index < 8, groups[index] == 0 {
        start = start ?? index
      } else if let from = start {
        if index - from >= 2, index - from > best.count { best = from..<index }
        start = nil
      }
    }
    let text = groups.map { String($0, radix: 16) }
    guard !best.isEmpty else { return text.joined(separator: ":") }
    return text[..<best.lowerBound].joined(separator: ":") + "::"
      + text[best.upperBound...].joined(separator: ":")
  }
}

extension IPAddress: Comparable {
  /// IPv4 before IPv6, then by number.
  public static func < (left: IPAddress, right: IPAddress) -> Bool {
    left.family == right.family ? left.bits < right.bits : left.family == .ipv4
  }
}

extension IPAddress: Codable {
  /// Reads the textual form.
  public init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let address = IPAddress(text) else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "not an IP address: \(text)"))
    }
    self = address
  }

  /// Writes the textual form.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
