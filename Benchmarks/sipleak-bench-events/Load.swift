import Addressing
import Conntrack
import Lab

/// Which flows a run makes; one in ten thousand is a leak: a stranger's, answered.
enum Load: String, CaseIterable {
  /// A busy host: media and name service, one flow in a hundred a stranger's at SIP, unanswered.
  case mixed
  /// A scan: every flow is a stranger's at SIP, and nobody answers.
  case flood
  /// Every flow is the carrier's at SIP, answered and admitted.
  case answered

  static let leakEvery = 10_000

  func flow(_ number: Int, seconds: UInt32) -> Flow {
    let pbx = IPAddress(ipv4: 0xc000_0205)
    let sip = Endpoint(pbx, 5060)
    if number % Self.leakEvery == Self.leakEvery / 2 {
      let source = IPAddress(ipv4: 0xcb00_7142)
      let port = UInt16(10_000 + number / Self.leakEvery)
      return Flow(
        from: Endpoint(source, port), to: sip, isAnswered: true, seconds: seconds)
    }
    let host = UInt32(truncatingIfNeeded: number / 50_000)
    let port = UInt16(1024 + number % 50_000)
    // 100.64.0.0/10 is nobody the rules know; 198.51.100.0/24 is the carrier's.
    let stranger = Endpoint(IPAddress(ipv4: 0x6440_0000 + host), port)
    switch self {
    case .mixed where number % 100 != 0:
      return Flow(
        from: stranger, to: Endpoint(pbx, number % 2 == 0 ? 16384 : 53), isAnswered: true,
        seconds: seconds)
    case .mixed, .flood:
      return Flow(from: stranger, to: sip, isAnswered: false, seconds: seconds)
    case .answered:
      return Flow(
        from: Endpoint(IPAddress(ipv4: 0xc633_6400 + 1 + host % 250), port), to: sip,
        isAnswered: true, seconds: seconds)
    }
  }
}
