public import Addressing
public import Firewall

/// A packet to be walked through a ruleset, and which way it goes.
public struct PacketQuestion: Sendable, Hashable {
  /// The packet.
  public var packet: Packet
  /// To the host or through it.
  public var path: PacketPath
  /// The host's own addresses, for `addrtype`; `nil`: those of the observation.
  public var localAddresses: [IPAddress]?

  /// Makes a question.
  public init(_ packet: Packet, path: PacketPath, localAddresses: [IPAddress]? = nil) {
    self.packet = packet
    self.path = path
    self.localAddresses = localAddresses
  }
}

/// What a person says of a packet's place in a flow, with the direction.
public enum PacketState: String, Sendable, Hashable, CaseIterable {
  /// The first packet of a flow.
  case new = "NEW"
  /// A packet of an answered flow that the packet's source opened.
  case establishedOriginal = "ESTABLISHED-orig"
  /// A packet of an answered flow that the packet's destination opened.
  case establishedReply = "ESTABLISHED-reply"
  /// The first packet of an expected flow, or an ICMP error.
  case related = "RELATED"
  /// No packet of any flow.
  case invalid = "INVALID"
  /// Kept away from connection tracking.
  case untracked = "UNTRACKED"

  /// Reads the word in any case; a bare `established` is the direction of whoever opened it.
  public init?(word: String) {
    let lower = word.lowercased()
    if lower == "established" {
      self = .establishedOriginal
    } else if let state = Self.allCases.first(where: { $0.rawValue.lowercased() == lower }) {
      self = state
    } else {
      return nil
    }
  }

  /// What connection tracking would say of a packet in this state, without translation.
  func facts(source: Endpoint?, destination: Endpoint?) -> ConnectionFacts {
    var facts: ConnectionFacts
    switch self {
    case .new: return .new
    case .establishedOriginal:
      facts = ConnectionFacts(state: .established, direction: .original)
    case .establishedReply:
      facts = ConnectionFacts(state: .established, direction: .reply)
    case .related: facts = ConnectionFacts(state: .related)
    case .invalid: return ConnectionFacts(state: .invalid)
    case .untracked: return ConnectionFacts(state: .untracked)
    }
    let isReply = self == .establishedReply
    if self != .related {
      facts.originalSource = isReply ? destination : source
      facts.originalDestination = isReply ? source : destination
      facts.replySource = facts.originalDestination
      facts.replyDestination = facts.originalSource
    }
    return facts
  }
}

extension PacketQuestion {
  /// Makes a question of the parts people and files give.
  ///
  /// - Parameters:
  ///   - transport: The protocol.
  ///   - source: The source address.
  ///   - sourcePort: The source port, or `nil` for any.
  ///   - destination: The destination address.
  ///   - destinationPort: The destination port, or `nil` for any.
  ///   - state: The place in a flow.
  ///   - inInterface: The interface it comes in by, or `nil` for any.
  ///   - outInterface: The interface it leaves by.
  ///   - path: To the host or through it.
  ///   - localAddresses: The host's own addresses, if they are told.
  public init(
    transport: IPProtocol, source: IPAddress, sourcePort: UInt16?, destination: IPAddress,
    destinationPort: UInt16?, state: PacketState, inInterface: String?, outInterface: String?,
    path: PacketPath, localAddresses: [IPAddress]? = nil
  ) {
    let from = sourcePort.map { Endpoint(source, $0) }
    let to = destinationPort.map { Endpoint(destination, $0) }
    var packet = Packet(
      transport: transport, source: source, destination: destination, sourcePort: sourcePort,
      destinationPort: destinationPort, inInterface: inInterface,
      connection: state.facts(source: from, destination: to))
    packet.outInterface = outInterface
    // What is usual where nothing is said: a ping, and a TCP flow that begins with SYN.
    switch transport {
    case .icmp: packet.icmp = (type: 8, code: 0)
    case .icmpv6: packet.icmp = (type: 128, code: 0)
    case .tcp where state == .new: packet.tcpFlags = 2
    default: break
    }
    self.init(packet, path: path, localAddresses: localAddresses)
  }
}
