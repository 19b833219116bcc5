import Addressing
import Conntrack

/// The flows of a busy telephone system: web and RTP, and one SIP flow in a hundred.
///
/// The SIP flows are of all four orientations in both families: opened by the peer, opened by the peer
/// and redirected to 5060, opened by the host and answered or not, opened by the host and its source
/// port translated. No two flows have the same peer.
struct TrafficMix: Sequence, IteratorProtocol {
  /// How many flows there are for one to SIP.
  static let perSIPFlow = 100
  /// A day: nothing runs out while it is measured.
  private static let timeout: UInt32 = 86_400
  private static let sip: UInt16 = 5060

  let count: Int
  let local4: IPAddress
  let local6: IPAddress
  private var index = 0

  /// How many of them are to SIP.
  var sipCount: Int { (count + Self.perSIPFlow - 1) / Self.perSIPFlow }

  init(count: Int, local4: IPAddress, local6: IPAddress) {
    self.count = count
    self.local4 = local4
    self.local6 = local6
  }

  mutating func next() -> Flow? {
    guard index < count else { return nil }
    defer { index += 1 }
    let isSIP = index % Self.perSIPFlow == 0
    return isSIP ? sipFlow(index / Self.perSIPFlow) : otherFlow()
  }

  private func peer(_ family: AddressFamily) -> IPAddress {
    // 10.0.0.0/8 and a /64 of the documentation prefix; both are routed by the lab's attacker.
    family == .ipv4
      ? IPAddress(ipv4: 0x0a00_0000 + UInt32(index) + 1)
      : IPAddress(family: .ipv6, bits: UInt128(0x2001_0db8_000f_0000) << 64 + UInt128(index) + 1)
  }

  /// The peer's port; never the one that is looked for.
  private var peerPort: UInt16 {
    let port = UInt16(1024 + index % 60_000)
    return port == Self.sip ? 1023 : port
  }

  private func sipFlow(_ number: Int) -> Flow {
    let family: AddressFamily = number % 5 == 4 ? .ipv6 : .ipv4
    let local = family == .ipv4 ? local4 : local6
    let peer = peer(family)
    let inward = FlowTuple(
      source: peer, destination: local, transport: .udp, sourcePort: peerPort,
      destinationPort: Self.sip)
    var flow: Flow
    switch number % 4 {
    case 0:
      flow = Flow(original: inward, reply: inward.inverted, status: [.seenReply, .assured], id: 0)
    case 1:
      var redirected = inward
      redirected.destinationPort = 5070
      flow = Flow(
        original: redirected, reply: inward.inverted, status: [.seenReply, .assured], id: 0)
    case 2:
      flow = Flow(
        original: inward.inverted, reply: inward, status: number % 8 == 2 ? [] : .seenReply, id: 0)
    default:
      var translated = inward
      translated.destinationPort = 6060
      flow = Flow(original: inward.inverted, reply: translated, status: .seenReply, id: 0)
    }
    flow.timeout = Self.timeout
    return flow
  }

  private func otherFlow() -> Flow {
    let family: AddressFamily = index % 7 == 3 ? .ipv6 : .ipv4
    let isTCP = index % 10 < 6
    let tuple = FlowTuple(
      source: peer(family), destination: family == .ipv4 ? local4 : local6,
      transport: isTCP ? .tcp : .udp, sourcePort: peerPort,
      destinationPort: isTCP ? 443 : UInt16(10_000 + index % 5000 * 2))
    var flow = Flow(
      original: tuple, reply: tuple.inverted, status: [.seenReply, .assured], id: 0)
    flow.timeout = Self.timeout
    // TCP_CONNTRACK_ESTABLISHED.
    if isTCP { flow.tcpState = 3 }
    return flow
  }
}
