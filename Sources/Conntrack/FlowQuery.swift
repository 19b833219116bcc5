public import Addressing

/// Which flows are asked for.
///
/// A flow is returned if its transport is asked for and one of the port places looked at holds one of
/// the ports. Every entry the kernel gives is tested against this again: the kernel's own filter only
/// saves work (facts I5).
public struct FlowQuery: Sendable, Hashable, Codable {
  /// One of the four places of a flow that hold a port.
  public enum PortPlace: String, Sendable, Hashable, Codable, CaseIterable {
    /// Source port of the original tuple: the delivered side of a flow the host opened.
    case originalSource
    /// Destination port of the original tuple: the wire side of a flow the peer opened.
    case originalDestination
    /// Source port of the reply tuple: the delivered side of a flow the peer opened.
    case replySource
    /// Destination port of the reply tuple: the wire side of a flow the host opened.
    case replyDestination
  }

  /// The two places that make a flow one of ours by its delivered side, whoever opened it.
  ///
  /// Looking at these only halves the walks of a large table, and loses nothing that reaches the port:
  /// the other two places say where packets were addressed before translation, which a flow found by
  /// its delivered side tells anyway (facts A5).
  public static let deliveredSide: Set<PortPlace> = [.originalSource, .replySource]

  /// The address families to look at.
  public var families: [AddressFamily]
  /// The transports to look at; those without ports give nothing.
  public var transports: Set<IPProtocol>
  /// The ports, in host order.
  public var ports: Set<UInt16>
  /// The ports of single transports, where they are others than ``ports``.
  public var portsByTransport: [IPProtocol: Set<UInt16>] = [:]
  /// The places where a port counts: all four unless narrowed.
  public var places: Set<PortPlace>

  /// Makes a query.
  public init(
    families: [AddressFamily] = AddressFamily.allCases, transports: Set<IPProtocol> = [.udp],
    ports: Set<UInt16> = [5060], places: Set<PortPlace> = Set(PortPlace.allCases)
  ) {
    self.families = families
    self.transports = transports
    self.ports = ports
    self.places = places
  }

  /// The ports that count for a transport.
  public func ports(of transport: IPProtocol) -> Set<UInt16> {
    portsByTransport[transport] ?? ports
  }

  /// Whether a flow is one of those asked for.
  public func matches(_ flow: Flow) -> Bool {
    guard families.contains(flow.family), flow.original.transport.hasPorts,
      transports.contains(flow.original.transport)
    else { return false }
    let ports = ports(of: flow.original.transport)
    return places.contains { place in
      switch place {
      case .originalSource: ports.contains(flow.original.sourcePort)
      case .originalDestination: ports.contains(flow.original.destinationPort)
      case .replySource: ports.contains(flow.reply.sourcePort)
      case .replyDestination: ports.contains(flow.reply.destinationPort)
      }
    }
  }
}

/// A query made ready for a million tests: one bit a port and place, for each transport.
struct CompiledQuery: Sendable {
  /// Which table of ports a transport has; those not asked for have none.
  private var tables = [Int8](repeating: -1, count: 256)
  private var ports: [UInt8] = []

  private static let originalSource: UInt8 = 1
  private static let originalDestination: UInt8 = 2
  private static let replySource: UInt8 = 4
  private static let replyDestination: UInt8 = 8

  init(_ query: FlowQuery) {
    var bits: UInt8 = 0
    for place in query.places {
      switch place {
      case .originalSource: bits |= Self.originalSource
      case .originalDestination: bits |= Self.originalDestination
      case .replySource: bits |= Self.replySource
      case .replyDestination: bits |= Self.replyDestination
      }
    }
    for transport in query.transports where transport.hasPorts {
      tables[Int(transport.rawValue)] = Int8(ports.count >> 16)
      let start = ports.count
      ports += [UInt8](repeating: 0, count: 65536)
      for port in query.ports(of: transport) { ports[start + Int(port)] = bits }
    }
  }

  func matches(_ entry: FlowMessage.Ports) -> Bool {
    let table = tables[Int(entry.transport)]
    guard table >= 0 else { return false }
    let start = Int(table) << 16
    return ports[start + Int(entry.originalSource)] & Self.originalSource != 0
      || ports[start + Int(entry.originalDestination)] & Self.originalDestination != 0
      || ports[start + Int(entry.replySource)] & Self.replySource != 0
      || ports[start + Int(entry.replyDestination)] & Self.replyDestination != 0
  }
}
