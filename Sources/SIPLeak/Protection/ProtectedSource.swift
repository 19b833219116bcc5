public import Addressing

/// Addresses that are never blocked, and why.
public struct ProtectedSource: Sendable, Hashable {
  /// What makes them so.
  public enum Reason: String, Sendable, Hashable, Codable, CaseIterable {
    /// A loopback address.
    case loopback
    /// Multicast, broadcast or unspecified: no single host has it.
    case notAHost = "not-a-host"
    /// An address of this host.
    case own
    /// An address of this host on one of its bridges.
    case bridge
    /// The next hop of a route of this host.
    case gateway
    /// A name server this host asks.
    case resolver
    /// On the link of an interface that was named as inside.
    case inside
    /// Named as trusted.
    case trusted
    /// An address of a trunk.
    case trunk
    /// Where a registered phone is reached.
    case contact
    /// Named as never to be blocked.
    case protected
  }

  /// The addresses.
  public var prefix: IPPrefix
  /// Why.
  public var reason: Reason
  /// What named them: an interface, an option, a host name, a file and line; may be empty.
  ///
  /// It may hold text of others and is not escaped for terminals.
  public var origin: String

  /// Makes an entry.
  public init(_ prefix: IPPrefix, _ reason: Reason, origin: String = "") {
    self.prefix = prefix
    self.reason = reason
    self.origin = origin
  }

  /// Why, in words that follow the address.
  public var sentence: String {
    let words =
      switch reason {
      case .loopback: "loopback address"
      case .notAHost: "not a single host's address"
      case .own: "this host's own address"
      case .bridge: "this host's own address on a bridge"
      case .gateway: "a gateway of this host"
      case .resolver: "a name server of this host"
      case .inside: "on the link of an inside interface"
      case .trusted: "trusted"
      case .trunk: "a trunk"
      case .contact: "a registered contact"
      case .protected: "protected"
      }
    return origin.isEmpty ? words : "\(words) (\(origin))"
  }
}

extension ProtectedSource.Reason {
  /// Whether it also belongs: its flows are no findings, and everybody else admitted is one.
  var isTrust: Bool { self == .trusted || self == .trunk || self == .contact }
}

/// Something that would have named protected addresses, and could not be read.
public struct TrustGap: Sendable, Hashable {
  /// What was asked for, such as `--trunk sip.carrier.example`.
  public var subject: String
  /// What stood against it.
  public var why: String
  /// Whether nobody at all may be blocked; otherwise only who was not named by a person.
  public var stopsEverything: Bool

  /// Makes one.
  public init(_ subject: String, _ why: String, stopsEverything: Bool) {
    self.subject = subject
    self.why = why
    self.stopsEverything = stopsEverything
  }

  /// Both, in a sentence.
  public var text: String { "\(subject): \(why)" }
}
