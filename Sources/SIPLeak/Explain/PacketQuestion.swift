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
  /// What was not said of the packet and is taken to be as usual.
  public var assumptions: Set<PacketAssumption> = []

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
      // Answered and confirmed, and not expected by a helper; whether ASSURED or translated is not
      // said.
      facts.status = 0xa
      facts.knownStatus = 0xb
      facts.helper = ""
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
    let facts = state.facts(source: from, destination: to)
    var packet = Packet(
      transport: transport, source: source, destination: destination, sourcePort: sourcePort,
      destinationPort: destinationPort, inInterface: inInterface, connection: facts)
    packet.outInterface = outInterface
    // What is usual where nothing is said: a ping, a TCP flow that begins with SYN and goes on with
    // ACK, with or without PSH.
    switch (transport, state) {
    case (.icmp, .new), (.icmp, .establishedOriginal), (.icmp, .untracked):
      packet.icmp = (type: 8, code: 0)
    case (.icmpv6, .new), (.icmpv6, .establishedOriginal), (.icmpv6, .untracked):
      packet.icmp = (type: 128, code: 0)
    case (.icmp, .establishedReply): packet.icmp = (type: 0, code: 0)
    case (.icmpv6, .establishedReply): packet.icmp = (type: 129, code: 0)
    case (.tcp, .new): packet.tcpFlags = 2
    case (.tcp, .establishedOriginal), (.tcp, .establishedReply):
      packet.tcpFlags = 0x10
      packet.knownTCPFlags = ~0x08
    default: break
    }
    packet.bridgePort = BridgePort.none
    packet.isDecapsulated = false
    self.init(packet, path: path, localAddresses: localAddresses)
    assumptions = Set(PacketAssumption.allCases)
    if transport != .tcp { assumptions.remove(.usualFlags) }
    if !transport.isICMP { assumptions.remove(.echo) }
    if source.family == .ipv4 { assumptions.remove(.noExtensionHeaders) }
    assumptions.remove(.notTranslated)
    if facts.helper == nil || state == .new { assumptions.remove(.notExpected) }
  }
}
