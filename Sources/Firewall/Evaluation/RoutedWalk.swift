import Addressing

extension Evaluation {
  /// Walks a packet the way it really goes when the nat table changes where it is addressed.
  ///
  /// ``walk(_:to:)`` stays on the path asked about. Here a packet to the host that is translated to
  /// an address which is none of the host's is forwarded, and the other way round. Without knowledge
  /// of the host's own addresses the path is as asked; where it is not known which way the packet
  /// goes, both are walked and their outcomes joined.
  ///
  /// - Parameters:
  ///   - packet: The packet.
  ///   - path: Where it would go as addressed on the wire.
  /// - Returns: Every possible outcome, and where it goes.
  public func walkAsRouted(_ packet: Packet, to path: PacketPath) -> (walk: Walk, path: PacketPath)
  {
    let asked = walk(packet, to: path)
    guard let local = host.localAddresses, !local.isEmpty else { return (asked, path) }
    let other: PacketPath = path == .input ? .forward : .input
    var routed = packet
    // Of a packet thought to be for the host nobody has said where another would leave.
    if path == .input { routed.outInterface = nil }
    switch asked.translation {
    case .asAsked:
      return (asked, path)
    case .elsewhere(let end?):
      let isLocal = local.contains(end.address) || end.address.isLoopback
      return isLocal == (path == .input) ? (asked, path) : (walk(routed, to: other), other)
    case .elsewhere(nil), .uncertain:
      var both = asked
      both.join(
        walk(routed, to: other),
        because: "whether the nat table sends it to the host or through it is not known")
      return (both, path)
    }
  }
}
