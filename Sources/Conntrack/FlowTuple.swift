public import Addressing

/// One direction of a flow: who sends to whom.
///
/// Corresponds to `nf_conntrack_tuple`.
public struct FlowTuple: Sendable, Hashable, Codable {
  /// Source address.
  public var source: IPAddress
  /// Destination address.
  public var destination: IPAddress
  /// Transport protocol.
  public var transport: IPProtocol
  /// Source port in host order; 0 for protocols without ports, GRE's key for GRE.
  public var sourcePort: UInt16
  /// Destination port in host order; 0 for protocols without ports, GRE's key for GRE.
  public var destinationPort: UInt16

  /// Makes a tuple.
  public init(
    source: IPAddress, destination: IPAddress, transport: IPProtocol, sourcePort: UInt16,
    destinationPort: UInt16
  ) {
    self.source = source
    self.destination = destination
    self.transport = transport
    self.sourcePort = sourcePort
    self.destinationPort = destinationPort
  }

  /// The same tuple seen from the other side.
  public var inverted: FlowTuple {
    FlowTuple(
      source: destination, destination: source, transport: transport, sourcePort: destinationPort,
      destinationPort: sourcePort)
  }

  /// The address family of the tuple.
  public var family: AddressFamily { source.family }
  /// Source address and port.
  public var sourceEndpoint: Endpoint { Endpoint(source, sourcePort) }
  /// Destination address and port.
  public var destinationEndpoint: Endpoint { Endpoint(destination, destinationPort) }
}
