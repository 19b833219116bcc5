import Addressing

/// What findings are sorted by: leaks first, then the causes in the order they are decided in, then
/// by peer; what is about the whole host comes after that.
struct FindingOrder: Comparable {
  private let isLook: Bool
  private let cause: Int
  private let peer: IPAddress?
  private let isIPv6: Bool
  private let place: (peerPort: UInt16, wirePort: UInt16, zone: UInt16)

  init(_ finding: Finding) {
    isLook = finding.level == .look
    cause = Cause.allCases.firstIndex(of: finding.cause) ?? 0
    peer = finding.peer?.address
    isIPv6 = finding.family == .ipv6
    place = (finding.peer?.port ?? 0, finding.wire.port, finding.zone)
  }

  static func == (left: FindingOrder, right: FindingOrder) -> Bool {
    !(left < right) && !(right < left)
  }

  static func < (left: FindingOrder, right: FindingOrder) -> Bool {
    if left.isLook != right.isLook { return right.isLook }
    if left.cause != right.cause { return left.cause < right.cause }
    switch (left.peer, right.peer) {
    case (let first?, let second?): if first != second { return first < second }
    case (.some, nil): return true
    case (nil, .some): return false
    case (nil, nil): if left.isIPv6 != right.isIPv6 { return right.isIPv6 }
    }
    return left.place < right.place
  }
}
