import Addressing

/// `-m connmark`: never matches without a flow, inverted or not.
struct ConnectionMark: MatchCondition {
  var value: UInt32
  var mask: UInt32
  var isInverted: Bool

  var asksConnection: Bool { true }

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    switch situation.connection(variant) {
    case .none, .untracked: .no
    case .unknown: .unknown
    case .template: BitPattern(0).equals(value, mask: mask).inverted(isInverted)
    case .tracked: variant.connectionMark.equals(value, mask: mask).inverted(isInverted)
    }
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    if case .unknown = situation.connection(variant) {
      return situation.missingConnection(variant)
    }
    return Missing(.fact, "the connection mark is not known")
  }
}

/// `-m helper`: asks for the helper of the flow that expected this one, so that only expected
/// flows have one.
struct ConnectionHelper: MatchCondition {
  /// Empty: any.
  var name: String
  var isInverted: Bool

  var asksConnection: Bool { true }

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    switch situation.connection(variant) {
    case .none, .untracked, .template: return Truth(isInverted)
    case .unknown: return .unknown
    case .tracked: break
    }
    let expected = situation.status(variant).equals(1, mask: 1)
    guard expected != .no else { return Truth(isInverted) }
    guard expected == .yes, let helper = situation.packet.connection.helper, !helper.isEmpty
    else { return .unknown }
    return Truth((name.isEmpty || name.hasPrefix(helper)) != isInverted)
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    if case .unknown = situation.connection(variant) {
      return situation.missingConnection(variant)
    }
    return Missing(.fact, "the helper that expected the flow is not known")
  }
}

/// `-m connbytes`: what accounting has counted, this packet included.
struct ConnectionVolume: MatchCondition {
  enum Mode: Sendable { case packets, bytes, average }

  var low: UInt64 = 0
  var high: UInt64 = .max
  var isInverted = false
  var directions: [FlowDirection] = []
  var mode = Mode.packets

  var asksConnection: Bool { true }

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    switch situation.connection(variant) {
    case .none, .untracked: return .no
    case .unknown, .template: return .unknown
    case .tracked: break
    }
    var packets: UInt64 = 0
    var least: UInt64 = 0
    var most: UInt64 = 0
    for direction in directions {
      let counted =
        direction == .original
        ? situation.packet.connection.originalCounters
        : situation.packet.connection.replyCounters
      guard let counted, let own = situation.direction else { return .unknown }
      packets = packets.adding(counted.packets)
      least = least.adding(counted.bytes)
      most = most.adding(counted.bytes)
      if own == direction {
        let length = situation.packet.length.map(UInt64.init)
        packets = packets.adding(1)
        least = least.adding(length ?? 20)
        most = most.adding(length ?? 65_575)
      }
    }
    switch mode {
    case .packets: return inside(packets, packets)
    case .bytes: return inside(least, most)
    case .average:
      return packets == 0 ? inside(0, 0) : inside(least / packets, most / packets)
    }
  }

  private func inside(_ least: UInt64, _ most: UInt64) -> Truth {
    let truth: Truth =
      low <= least && most <= high ? .yes : most < low || high < least ? .no : .unknown
    return truth.inverted(isInverted)
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    if case .unknown = situation.connection(variant) {
      return situation.missingConnection(variant)
    }
    return Missing(.fact, "what accounting counted of the flow is not known")
  }
}

extension UInt64 {
  fileprivate func adding(_ other: UInt64) -> UInt64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}
