public import Addressing

/// What connection tracking says of a packet: `--ctstate` and `--state`.
public enum ConnectionState: String, Sendable, Hashable, Codable, CaseIterable {
  /// The first packet of a flow, or any of a flow not yet answered.
  case new = "NEW"
  /// A packet of a flow seen in both directions, or of the answering direction.
  case established = "ESTABLISHED"
  /// The first packet of an expected flow, or an ICMP error about a known one.
  case related = "RELATED"
  /// Not a packet of any flow and unable to begin one.
  case invalid = "INVALID"
  /// Kept away from connection tracking by a raw-table rule.
  case untracked = "UNTRACKED"
}

/// Which way a packet goes within its flow.
public enum FlowDirection: String, Sendable, Hashable, Codable {
  /// The direction of the packet that opened the flow.
  case original
  /// The other one.
  case reply
}

/// The facts connection tracking adds to a packet.
///
/// What is `nil` is not known.
public struct ConnectionFacts: Sendable, Hashable {
  /// The state.
  public var state: ConnectionState
  /// The direction within the flow; `original` for a NEW packet.
  public var direction: FlowDirection?
  /// The status bits (`IPS_*`); 0 for a NEW packet of an unknown flow.
  public var status: UInt32?
  /// Which bits of ``status`` are known.
  public var knownStatus: UInt32 = .max
  /// The original tuple's ends.
  public var originalSource: Endpoint?
  /// The original tuple's destination.
  public var originalDestination: Endpoint?
  /// The reply tuple's source.
  public var replySource: Endpoint?
  /// The reply tuple's destination.
  public var replyDestination: Endpoint?
  /// The connection mark.
  public var mark: UInt32?
  /// The helper's name; an empty string is known to be none.
  public var helper: String?
  /// The zone.
  public var zone: UInt16?
  /// Seconds left before the flow expires.
  public var expires: UInt32?
  /// What accounting counted in the original direction before this packet, for `connbytes`.
  public var originalCounters: RuleCounters?
  /// What accounting counted in the reply direction before this packet.
  public var replyCounters: RuleCounters?

  /// Makes facts of a state alone.
  public init(state: ConnectionState, direction: FlowDirection? = nil, status: UInt32? = nil) {
    self.state = state
    self.direction = direction
    self.status = status
  }

  /// A packet that begins a flow: no status, original direction, no mark, no helper.
  public static var new: ConnectionFacts {
    var facts = ConnectionFacts(state: .new, direction: .original, status: 0)
    facts.mark = 0
    facts.helper = ""
    facts.zone = 0
    return facts
  }
}

/// How a link-layer frame was addressed.
///
/// Corresponds to `PACKET_HOST`, `PACKET_BROADCAST` and `PACKET_MULTICAST`.
public enum LinkDestination: String, Sendable, Hashable, Codable {
  /// To this host alone.
  case unicast
  /// To all on the link.
  case broadcast
  /// To a group.
  case multicast
}

/// By which port of a bridge a packet came in.
public enum BridgePort: Sendable, Hashable {
  /// Not over a bridge, or over one that does not show its packets to iptables.
  case none
  /// By the port of this name.
  case port(String)
}

/// A packet as far as it is known.
///
/// What is `nil` is not known, and a match on it is unknown.
public struct Packet: Sendable, Hashable {
  /// The transport protocol.
  public var transport: IPProtocol
  /// The source address.
  public var source: IPAddress
  /// The destination address on the wire, before any translation of this packet.
  public var destination: IPAddress
  /// The source port, or the ICMP type's number for ICMP.
  public var sourcePort: UInt16?
  /// The destination port on the wire.
  public var destinationPort: UInt16?
  /// ICMP or ICMPv6 type and code.
  public var icmp: (type: UInt8, code: UInt8)? {
    get { icmpType.flatMap { type in icmpCode.map { (type, $0) } } }
    set {
      icmpType = newValue?.type
      icmpCode = newValue?.code
    }
  }
  private var icmpType: UInt8?
  private var icmpCode: UInt8?
  /// The interface it came in by.
  public var inInterface: String?
  /// The interface it will leave by; `nil` for INPUT means none rather than unknown.
  public var outInterface: String?
  /// Where INPUT or FORWARD sees it addressed, when a held flow translates it; `nil`: as on the wire.
  public var delivered: Endpoint?
  /// What connection tracking says of it.
  public var connection: ConnectionFacts
  /// The packet mark before the first rule; `nil`: not known.
  ///
  /// 0 for packets from the wire.
  public var mark: UInt32?
  /// The IP length in bytes.
  public var length: UInt32?
  /// The TTL or hop limit.
  public var ttl: UInt8?
  /// The transport payload.
  public var payload: [UInt8]?
  /// The TCP flags byte: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32.
  public var tcpFlags: UInt8?
  /// Which bits of ``tcpFlags`` are known.
  public var knownTCPFlags: UInt8 = .max
  /// Whether the packet has IPv6 extension headers.
  ///
  /// `false` at first; the fragment header is not counted once fragments are put together.
  public var hasExtensionHeaders: Bool? = false
  /// Whether it is a fragment after the first.
  ///
  /// `false` at first: connection tracking puts fragments together before the raw table
  /// (facts F8).
  public var isLaterFragment: Bool?
  /// The type-of-service byte or traffic class.
  public var typeOfService: UInt8?
  /// The source address of the Ethernet frame.
  public var sourceHardwareAddress: [UInt8]?
  /// How the frame was addressed.
  ///
  /// Set from the destination address at first: unicast unless that is multicast or broadcast.
  public var linkDestination: LinkDestination?
  /// The bridge port it came in by.
  public var bridgePort: BridgePort?
  /// Whether it was taken out of an IPsec tunnel or transport.
  public var isDecapsulated: Bool?
  /// Whether the route back to its source leaves by the interface it came in by.
  public var passesReversePath: Bool?

  /// Makes a packet from the wire.
  public init(
    transport: IPProtocol, source: IPAddress, destination: IPAddress, sourcePort: UInt16?,
    destinationPort: UInt16?, inInterface: String?, connection: ConnectionFacts
  ) {
    self.transport = transport
    self.source = source
    self.destination = destination
    self.sourcePort = sourcePort
    self.destinationPort = destinationPort
    self.inInterface = inInterface
    self.connection = connection
    mark = 0
    isLaterFragment = false
    linkDestination =
      !destination.isMulticastOrBroadcast
      ? .unicast
      : destination.family == .ipv4 && destination.bits == 0xffff_ffff ? .broadcast : .multicast
  }

  /// The address family.
  public var family: AddressFamily { source.family }
}
