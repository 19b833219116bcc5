public import Addressing
public import Conntrack

/// A flow seen from the SIP endpoint: who the peer is and where its packets go.
public struct FlowSides: Sendable, Hashable {
  /// Which side sent the first packet.
  public enum Origin: String, Sendable, Hashable, Codable {
    /// The other end did.
    case peer
    /// This side did.
    case host
  }

  /// Who opened the flow.
  public var origin: Origin
  /// The other end, as this host sees it.
  public var peer: Endpoint
  /// Where the peer's packets are addressed on the wire; raw-table rules see this.
  public var wire: Endpoint
  /// Where they arrive after translation; INPUT and FORWARD see this.
  public var delivered: Endpoint

  /// Whether the two sides differ.
  public var isTranslated: Bool { wire != delivered }

  /// The sides of a flow that concerns SIP, or `nil` for one that does not.
  ///
  /// A flow concerns SIP if its delivered side is a SIP endpoint (facts A3, A5): the reply source
  /// of a peer-opened flow, the original source of a host-opened one. A phone whose own port is
  /// 5060 stands on the other side and does not count.
  public init?(_ flow: Flow, endpoints: SIPEndpoints, isLocal: (IPAddress) -> Bool) {
    let transport = flow.original.transport
    func isEndpoint(_ end: Endpoint, reachedByNAT: Bool) -> Bool {
      endpoints.contains(end.port, transport)
        && (isLocal(end.address) || endpoints.addresses.contains(end.address) || reachedByNAT)
    }
    let answered = flow.reply.sourceEndpoint
    let opener = flow.original.sourceEndpoint
    if isEndpoint(answered, reachedByNAT: flow.status.contains(.destinationNAT)),
      !isLocal(opener.address)
    {
      origin = .peer
      peer = opener
      wire = flow.original.destinationEndpoint
      delivered = answered
    } else if isEndpoint(opener, reachedByNAT: flow.status.contains(.sourceNAT)),
      !isLocal(answered.address)
    {
      origin = .host
      // The peer answers from the reply source, also where our own side translated it.
      peer = answered
      wire = flow.reply.destinationEndpoint
      delivered = opener
    } else {
      return nil
    }
  }
}
