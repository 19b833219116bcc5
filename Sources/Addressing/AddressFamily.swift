/// The two address families a packet can have here.
public enum AddressFamily: String, Sendable, Hashable, Codable, CaseIterable {
  /// IPv4.
  ///
  /// Corresponds to `AF_INET` and `NFPROTO_IPV4`.
  case ipv4
  /// IPv6.
  ///
  /// Corresponds to `AF_INET6` and `NFPROTO_IPV6`.
  case ipv6

  /// Number of bits of an address: 32 or 128.
  public var bitWidth: Int { self == .ipv4 ? 32 : 128 }

  /// The kernel's number of the family: `AF_INET` is 2 and `AF_INET6` is 10 on Linux.
  public var rawNumber: UInt8 { self == .ipv4 ? 2 : 10 }

  /// The family of a kernel number, or `nil` for one that is neither.
  public init?(rawNumber: UInt8) {
    switch rawNumber {
    case 2: self = .ipv4
    case 10: self = .ipv6
    default: return nil
    }
  }
}
