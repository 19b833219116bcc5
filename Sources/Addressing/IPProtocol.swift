/// An IP protocol number.
///
/// Corresponds to `IPPROTO_*`; unknown ones survive as numbers.
public struct IPProtocol: RawRepresentable, Sendable, Hashable, Codable {
  /// The number in the IP header.
  public var rawValue: UInt8
  /// Makes a protocol of its number.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// ICMP for IPv4, 1.
  public static let icmp = IPProtocol(rawValue: 1)
  /// TCP, 6.
  public static let tcp = IPProtocol(rawValue: 6)
  /// UDP, 17.
  public static let udp = IPProtocol(rawValue: 17)
  /// DCCP, 33.
  public static let dccp = IPProtocol(rawValue: 33)
  /// ICMPv6, 58.
  public static let icmpv6 = IPProtocol(rawValue: 58)
  /// SCTP, 132.
  public static let sctp = IPProtocol(rawValue: 132)
  /// UDP-Lite, 136.
  public static let udplite = IPProtocol(rawValue: 136)

  /// Whether it is ICMP of either family, whose errors speak of other flows.
  public var isICMP: Bool { self == .icmp || self == .icmpv6 }

  /// Whether the protocol's header begins with a source and a destination port.
  public var hasPorts: Bool {
    [.tcp, .udp, .dccp, .sctp, .udplite].contains(self)
  }
}

extension IPProtocol: CustomStringConvertible {
  /// The name iptables uses, or the number.
  public var description: String {
    switch self {
    case .icmp: "icmp"
    case .tcp: "tcp"
    case .udp: "udp"
    case .dccp: "dccp"
    case .icmpv6: "ipv6-icmp"
    case .sctp: "sctp"
    case .udplite: "udplite"
    default: String(rawValue)
    }
  }
}
