import Addressing
import Conntrack
import Firewall

/// The packets the peer of a flow would send next, as the ruleset would meet them.
struct PeerPacket {
  var sides: FlowSides
  var flow: Flow
  /// The interface the route back to the peer leaves by; `nil` when there is no single answer.
  var ingress: String?

  /// The packet as the first of a new flow from the same place to the same place.
  var asNew: Packet {
    Packet(
      transport: flow.original.transport, source: sides.peer.address,
      destination: sides.wire.address, sourcePort: sides.peer.port,
      destinationPort: sides.wire.port, inInterface: ingress, connection: .new)
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
    facts.helper = flow.helper ?? ""
    facts.zone = flow.zone
    facts.expires = flow.timeout
    packet.connection = facts
    if sides.isTranslated { packet.delivered = sides.delivered }
    return packet
  }
}
