public import Addressing
import Conntrack
public import Firewall

/// What is to be said of one address, whether or not it has a flow.
public struct PeerAnswer: Sendable, Hashable {
  /// A flow of the address to SIP.
  public struct HeldFlow: Sendable, Hashable {
    /// Its ends.
    public var ends: Evidence.FlowEnds
    /// How firmly it stands; `nil`: not answered, so still NEW.
    public var grade: Grade?
    /// What the rules would do if the next packet began a flow.
    public var asNew: JudgedVerdict
    /// What they do with it as part of the flow.
    public var asHeld: JudgedVerdict
  }

  /// What the rules would do with its first packet, from any port, by some interfaces.
  public struct FirstPacket: Sendable, Hashable {
    /// The transport protocol.
    public var transport: IPProtocol
    /// Where it is addressed.
    public var wire: Endpoint
    /// The interfaces this holds for; empty when none is known.
    public var interfaces: [String]
    /// Whether a route leads to the address by one of them; `nil`: not known.
    public var isRouted: Bool?
    /// The verdict.
    public var verdict: JudgedVerdict
    /// Rules that admit it under a condition.
    public var conditional: [RuleReference]
    /// What the verdict hangs on, where it is not certain.
    public var hangsOn: [String]
  }

  /// The address.
  public var peer: IPAddress
  /// Whether it is configured as trusted.
  public var isTrusted: Bool
  /// Its flows to SIP.
  public var flows: [HeldFlow]
  /// What the rules would do with its first packet.
  public var firstPackets: [FirstPacket]
}

extension Differential {
  /// The answer about one address.
  mutating func answer(about peer: IPAddress) -> PeerAnswer {
    PeerAnswer(
      peer: peer, isTrusted: policy.trusted.contains(peer), flows: heldFlows(),
      firstPackets: firstPackets(of: peer))
  }

  private mutating func heldFlows() -> [PeerAnswer.HeldFlow] {
    let names = observation.ways
    return flows.map { flow in
      let packet = PeerPacket(
        sides: flow.sides, flow: flow.flow,
        ingress: ways.certainInterface(of: flow.sides.peer.address))
      let inner = flow.sides.delivered.address
      let path: PacketPath = localAddresses.contains(inner) || inner.isLoopback ? .input : .forward
      let asNew = evaluation.walk(packet.asNew, to: path, byAnyOf: names).judgedWhereAsked
      let asHeld = evaluation.walk(packet.asHeld, to: path, byAnyOf: names)
      let status = flow.flow.status
      let grade: Grade? =
        status.contains(.assured)
        ? .assured
        : status.contains(.seenReply)
          ? .established : flow.sides.origin == .host ? .latent : nil
      return PeerAnswer.HeldFlow(
        ends: flow.ends, grade: grade, asNew: JudgedVerdict(asNew), asHeld: JudgedVerdict(asHeld))
    }
  }

  private mutating func firstPackets(of peer: IPAddress) -> [PeerAnswer.FirstPacket] {
    let routed = ways.interfaces(to: peer)
    var result: [PeerAnswer.FirstPacket] = []
    for door in doors where door.family == peer.family {
      for way in ways.all {
        let arrival = arrival(of: peer, at: door, by: way)
        let walk = arrival.walk
        let one = PeerAnswer.FirstPacket(
          transport: door.transport, wire: door.wire, interfaces: way.all, isRouted: nil,
          verdict: JudgedVerdict(walk),
          conditional: walk.isCertain
            ? [] : walk.outcomes.filter { $0.verdict == .accept }.compactMap(\.rule),
          hangsOn: walk.isCertain ? [] : walk.unknowns.map(\.text).uniqued())
        for part in one.split(by: routed) {
          // Interfaces that rules tell apart, and yet decide alike, are one answer.
          if let known = result.firstIndex(where: { $0.says(as: part) }) {
            result[known].interfaces += part.interfaces
          } else {
            result.append(part)
          }
        }
      }
    }
    // What a route leads by comes first.
    return result.filter { $0.isRouted != false } + result.filter { $0.isRouted == false }
  }
}

extension PeerAnswer.FirstPacket {
  /// The answer for the interfaces that a route leads by, and for the others.
  fileprivate func split(by routed: [String]?) -> [Self] {
    guard let routed, !interfaces.isEmpty else { return [self] }
    return [true, false].compactMap { isRouted in
      var part = self
      part.isRouted = isRouted
      part.interfaces = interfaces.filter { routed.contains($0) == isRouted }
      return part.interfaces.isEmpty ? nil : part
    }
  }

  /// Whether two answers differ in their interfaces only.
  fileprivate func says(as other: Self) -> Bool {
    var copy = other
    copy.interfaces = interfaces
    return copy == self
  }
}
