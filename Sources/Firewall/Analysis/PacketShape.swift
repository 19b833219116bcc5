import Addressing

/// What many packets to one endpoint have in common: all but the source, the flow and the payload.
struct PacketShape: Sendable, Hashable {
  var family: AddressFamily
  var transport: IPProtocol
  /// On the wire; `nil`: not known.
  var destination: IPAddress?
  var destinationPort: UInt16?
  var inInterface: String?
  var outInterface: String?
  var isLaterFragment: Bool?
  var path: PacketPath

  init(_ packet: Packet, to path: PacketPath) {
    family = packet.family
    transport = packet.transport
    destination = packet.destination
    destinationPort = packet.destinationPort
    inInterface = packet.inInterface
    outInterface = packet.outInterface
    isLaterFragment = packet.isLaterFragment
    self.path = path
  }

  /// A packet of the shape from nowhere in particular.
  var probe: Packet {
    let nowhere = IPAddress(family: family, bits: 0)
    var packet = Packet(
      transport: transport, source: nowhere, destination: destination ?? nowhere, sourcePort: nil,
      destinationPort: destinationPort, inInterface: inInterface, connection: .new)
    packet.outInterface = outInterface
    packet.isLaterFragment = isLaterFragment
    return packet
  }
}
