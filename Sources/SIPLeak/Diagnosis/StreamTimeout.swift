import Addressing
import Conntrack
import Firewall

extension Differential {
  /// Whether flows of trunks end before their next keepalive, so that the next packet is NEW.
  ///
  /// It matters only where the rules would then refuse it.
  mutating func streamTimeout() -> Explanation {
    let settings = observation.settings
    let leaking = Set(
      findings.filter { $0.cause == .establishedBypass }.compactMap { $0.peer?.address })
    let trunks = flows.filter {
      $0.flow.original.transport == .udp && !leaking.contains($0.sides.peer.address)
    }
    let evidence = self.settings(settings) + silence(trunks)
    if let again = begunAgain(besides: leaking) {
      return Explanation(
        .streamTimeout, .supported,
        "the flow of \(again.sides.peer) ended and began again between the two readings", evidence,
        command: settings.udpStreamTimeout.map {
          "sysctl -w net.netfilter.nf_conntrack_udp_timeout_stream=\($0 &* 2)"
        })
    }
    guard let stream = settings.udpStreamTimeout else {
      return Explanation(
        .streamTimeout, .cannotTell, "the timeouts of UDP flows are not known", evidence,
        command: "sysctl net.netfilter.nf_conntrack_udp_timeout_stream")
    }
    guard let keepalive else {
      let longest = trunks.compactMap { Self.silence(of: $0.flow, stream: stream) }.max()
      let seen = longest.map { "; longest silence now \($0) s" } ?? ""
      return Explanation(
        .streamTimeout, .cannotTell,
        "a flow lives \(stream) s after its last packet\(seen); the trunks' keepalive is not known",
        evidence, command: "sipleak diagnose --keepalive 60s")
    }
    let words = Quantity.duration(keepalive)
    guard keepalive >= Double(stream) else {
      return Explanation(
        .streamTimeout, .ruledOut, "a keepalive each \(words) keeps a flow of \(stream) s alive",
        evidence)
    }
    let cut = trunks.filter { flow in
      !arrivals(of: flow.sides.peer.address).allSatisfy(\.isAccepted)
    }
    guard trunks.isEmpty || !cut.isEmpty else {
      return Explanation(
        .streamTimeout, .ruledOut,
        "flows end after \(stream) s, but the rules admit the next packet as NEW", evidence)
    }
    let whom = cut.first.map { ": the next packet of \($0.sides.peer) may be refused" } ?? ""
    return Explanation(
      .streamTimeout, .supported,
      "flows end after \(stream) s, a keepalive comes each \(words)\(whom)",
      evidence,
      command: "sysctl -w net.netfilter.nf_conntrack_udp_timeout_stream="
        + "\(Int(min(keepalive * 2, 2_147_483)))")
  }

  /// A flow that is there under the same ends as before, and is another one.
  private func begunAgain(besides leaking: Set<IPAddress>) -> SIPFlow? {
    guard let earlier = observation.earlier else { return nil }
    let before = Dictionary(
      earlier.flows.map { ($0.original, $0) }, uniquingKeysWith: { first, _ in first })
    return flows.first { flow in
      flow.flow.original.transport == .udp && !leaking.contains(flow.sides.peer.address)
        && before[flow.flow.original].map { flow.flow.isSuccessor(of: $0) } == true
    }
  }

  private func settings(_ settings: ConntrackSettings) -> [Evidence] {
    [
      ("nf_conntrack_udp_timeout_stream", settings.udpStreamTimeout, "an answered flow lives"),
      ("nf_conntrack_udp_timeout", settings.udpTimeout, "any other lives"),
    ].compactMap { name, value, text in
      value.map {
        Evidence(
          "\(text) \($0) s after its last packet",
          setting: .init(name: "net.netfilter.\(name)", value: "\($0)"))
      }
    }
  }

  private func silence(_ trunks: [SIPFlow]) -> [Evidence] {
    guard let stream = observation.settings.udpStreamTimeout else { return [] }
    return trunks.compactMap { flow in
      Self.silence(of: flow.flow, stream: stream).map {
        Evidence("silent for \($0) s", flow: flow.ends)
      }
    }.prefix(Self.listed).map { $0 }
  }

  /// Seconds since the last packet of an assured flow, told by what is left of its timeout.
  private static func silence(of flow: Flow, stream: UInt32) -> UInt32? {
    guard flow.status.contains(.assured), let left = flow.timeout, left <= stream else {
      return nil
    }
    return stream - left
  }
}
