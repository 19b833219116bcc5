import Addressing
import Conntrack
import Firewall

/// The packets the peer of a flow would send next, as the ruleset would meet them.
struct PeerPacket {
  var sides: FlowSides
  var flow: Flow
  /// The interface the route back to the peer leaves by; `nil` when there is no single answer.
  var ingress: String?
  /// The interface a forwarded packet leaves by; `nil` when there is no single answer.
  var egress: String?
  /// The helper of the flow that expected this one, which is what `-m helper` asks for.
  var masterHelper: String?

  /// The packet as the first of a new flow from the same place to the same place.
  ///
  /// The nat table is asked afresh: one that it sends elsewhere than the flow does not count as
  /// admitted (facts C15).
  var asNew: Packet {
    var packet = Packet(
      transport: flow.original.transport, source: sides.peer.address,
      destination: sides.wire.address, sourcePort: sides.peer.port,
      destinationPort: sides.wire.port, inInterface: ingress, connection: .new)
    packet.outInterface = egress
    if sides.isTranslated { packet.delivered = sides.delivered }
    if flow.original.transport == .tcp { packet.tcpFlags = TCPFlags.syn }
    return packet
  }

  /// The packet as part of the flow that stands.
  var asHeld: Packet {
    var packet = asNew
    // The kernel sets SEEN_REPLY before any rule sees a packet of the reply direction, so a latent
    // host-opened flow's first answer is ESTABLISHED (facts A3).
    let answers = sides.origin == .host
    let status = answers ? flow.status.union(.seenReply) : flow.status
    let state: ConnectionState =
      status.contains(.seenReply)
      ? .established : status.contains(.expected) ? .related : .new
    var facts = ConnectionFacts(
      state: state, direction: answers ? .reply : .original, status: status.rawValue)
    facts.originalSource = flow.original.sourceEndpoint
    facts.originalDestination = flow.original.destinationEndpoint
    facts.replySource = flow.reply.sourceEndpoint
    facts.replyDestination = flow.reply.destinationEndpoint
    facts.mark = flow.mark
    facts.helper = masterHelper ?? flow.helper ?? ""
    facts.zone = zone
    facts.expires = flow.timeout
    packet.connection = facts
    if flow.original.transport == .tcp {
      // The answer to a SYN of ours, else data.
      packet.tcpFlags =
        answers && !flow.status.contains(.seenReply) ? TCPFlags.synAck : TCPFlags.data
    }
    return packet
  }

  /// The zone in which the peer's packets have to be looked up to be of this flow.
  var zone: UInt16 { flow.zone(ofPacketsFrom: sides.origin) }

  private enum TCPFlags {
    static let syn: UInt8 = 0x02
    static let synAck: UInt8 = 0x12
    static let data: UInt8 = 0x18
  }
}

extension Flow {
  /// The zone in which a peer's packets have to be looked up to be of this flow.
  ///
  /// - Parameter origin: Who opened it.
  /// - Returns: The zone.
  func zone(ofPacketsFrom origin: FlowSides.Origin) -> UInt16 {
    // A zone of one direction stands in that direction's tuple; the other is in zone 0.
    let ofDirection = origin == .peer ? originalZone : replyZone
    let isOneSided = originalZone != nil || replyZone != nil
    return ofDirection ?? (isOneSided ? 0 : zone)
  }
}
