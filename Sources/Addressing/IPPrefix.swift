/// An address range given by its leading bits, such as 192.0.2.0/24.
public struct IPPrefix: Sendable, Hashable {
  /// The lowest address; host bits are zero.
  public let address: IPAddress
  /// How many leading bits count: 0 to 32, or to 128.
  public let length: Int

  /// Makes a prefix; host bits of the address are cleared.
  ///
  /// Returns `nil` when the length does not fit the family.
  public init?(_ address: IPAddress, length: Int) {
    let width = address.family.bitWidth
    guard (0...width).contains(length) else { return nil }
    let hostBits = width - length
    let bits = hostBits == 128 ? 0 : (address.bits >> hostBits) << hostBits
    self.address = IPAddress(family: address.family, bits: bits)
    self.length = length
  }

  /// The prefix that holds just one address.
  public init(_ address: IPAddress) {
    self.address = address
    length = address.family.bitWidth
  }

  /// The address family.
  public var family: AddressFamily { address.family }

  /// The lowest and highest address as numbers.
  public var range: ClosedRange<UInt128> {
    let hostBits = family.bitWidth - length
    let mask: UInt128 = hostBits == 128 ? .max : (UInt128(1) << hostBits) - 1
    return address.bits...(address.bits | mask)
  }

  /// The IPv4 prefix inside ::ffff:0:0/96, or the prefix itself.
  ///
  /// One that holds more than the mapped addresses stays IPv6.
  public var unmapped: IPPrefix {
    guard length >= 96, address.unmapped.family == .ipv4 else { return self }
    let mapped = family == .ipv6 ? IPPrefix(address.unmapped, length: length - 96) : nil
    return mapped ?? self
  }

  /// Whether the address is of the same family and inside.
  public func contains(_ other: IPAddress) -> Bool {
    other.family == family && range.contains(other.bits)
  }

  /// Whether every address of the other prefix is inside.
  public func contains(_ other: IPPrefix) -> Bool {
    other.length >= length && contains(other.address)
  }
}

extension IPPrefix: LosslessStringConvertible {
  /// Reads `ADDRESS` or `ADDRESS/LENGTH`; host bits are cleared.
  public init?(_ description: String) {
    let parts = description.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, let address = IPAddress(String(first)) else { return nil }
    guard parts.count == 2 else {
      self.init(address)
      return
    }
    guard (1...3).contains(parts[1].utf8.count),
      parts[1].utf8.allSatisfy({ (48...57).contains($0) }),
      parts[1] == "0" || parts[1].first != "0",
      let length = Int(parts[1])
    else { return nil }
    self.init(address, length: length)
  }

  /// `ADDRESS/LENGTH`, or the address alone when it is a single one.
  public var description: String {
    length == family.bitWidth ? "\(address)" : "\(address)/\(length)"
  }
}

extension IPPrefix: Codable {
  /// Reads the textual form.
  public init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let prefix = IPPrefix(text) else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "not an IP prefix: \(text)"))
    }
    self = prefix
  }

  /// Writes the textual form.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
