import Addressing

/// `--tcp-flags` and `--syn`.
struct TCPFlags: MatchCondition {
  var mask: UInt8
  var wanted: UInt8
  var isInverted: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard let isLater = situation.packet.isLaterFragment else { return .unknown }
    if isLater { return .no }
    guard situation.packet.transport == .tcp else { return .no }
    var canMatch = false
    var canFail = false
    for flags in Self.possible(situation.packet) {
      if (flags & mask == wanted) != isInverted { canMatch = true } else { canFail = true }
      if canMatch, canFail { return .unknown }
    }
    return Truth(canMatch)
  }

  /// The flags the segment can have.
  ///
  /// Connection tracking calls a segment INVALID unless its flags, PSH aside, are among
  /// ``trackable``: the kernel's `tcp_valid_flags`.
  private static func possible(_ packet: Packet) -> [UInt8] {
    if let flags = packet.tcpFlags, packet.knownTCPFlags == .max { return [flags] }
    let known = packet.tcpFlags == nil ? 0 : packet.knownTCPFlags
    let flags = packet.tcpFlags ?? 0
    var candidates: [UInt8] = Self.all
    switch packet.connection.state {
    case .new, .established, .related: candidates = Self.trackable
    case .invalid, .untracked: break
    }
    let possible = candidates.filter { ($0 ^ flags) & known == 0 }
    // What is told contradicts the state: then only what is told counts.
    return possible.isEmpty ? Self.all.filter { ($0 ^ flags) & known == 0 } : possible
  }

  private static let all: [UInt8] = Array(0..<64)

  private static let trackable: [UInt8] = [
    0x02, 0x22, 0x12, 0x04, 0x14, 0x11, 0x31, 0x10, 0x30,
    0x0a, 0x2a, 0x1a, 0x0c, 0x1c, 0x19, 0x39, 0x18, 0x38,
  ]

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.fact, "the TCP flags are not known")
  }
}
