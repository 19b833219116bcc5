import Addressing

/// The parts of an IP packet that say who sent what where.
struct PacketParts {
  var source: IPAddress
  var destination: IPAddress
  var transport: IPProtocol
  /// The TTL or hop limit it arrived with.
  var hopLimit: UInt8
  /// Ports, where the protocol has them and this is no later fragment.
  var sourcePort: UInt16?
  var destinationPort: UInt16?
  /// The payload of UDP or TCP; empty for others.
  var payload: ArraySlice<UInt8>
  /// Whether all of the payload was logged.
  var isWhole: Bool
  /// Whether it is a fragment other than the first.
  var isLaterFragment = false
  /// How long the packet was on the wire, from its network header on.
  var length: Int

  /// Reads a packet; `nil` when its headers are cut or contradict themselves.
  init?(_ bytes: [UInt8]) {
    guard let first = bytes.first else { return nil }
    let rest: (start: Int, next: UInt8)
    switch first >> 4 {
    case 4:
      guard bytes.count >= 20 else { return nil }
      let header = Int(first & 15) * 4
      guard header >= 20, bytes.count >= header,
        let from = IPAddress(networkBytes: bytes[12..<16]),
        let to = IPAddress(networkBytes: bytes[16..<20])
      else { return nil }
      (source, destination) = (from, to)
      hopLimit = bytes[8]
      length = Self.number(bytes, 2)
      guard length >= header else { return nil }
      isLaterFragment = Self.number(bytes, 6) & 0x1fff != 0
      rest = (header, bytes[9])
    case 6:
      guard bytes.count >= 40, let from = IPAddress(networkBytes: bytes[8..<24]),
        let to = IPAddress(networkBytes: bytes[24..<40])
      else { return nil }
      (source, destination) = (from.unmapped, to.unmapped)
      hopLimit = bytes[7]
      length = Self.number(bytes, 4) + 40
      guard let found = Self.upper(bytes) else { return nil }
      rest = (found.start, found.next)
      isLaterFragment = found.isLaterFragment
    default: return nil
    }
    transport = IPProtocol(rawValue: rest.next)
    payload = []
    isWhole = bytes.count >= length
    let end = min(bytes.count, length)
    guard !isLaterFragment, transport.hasPorts, end >= rest.start + 4 else { return }
    sourcePort = UInt16(Self.number(bytes, rest.start))
    destinationPort = UInt16(Self.number(bytes, rest.start + 2))
    switch transport {
    case .udp where end >= rest.start + 8:
      // A length that says less than there is hides nothing from the socket; more is cut off.
      let said = Self.number(bytes, rest.start + 4)
      let stop = said >= 8 ? min(end, rest.start + said) : end
      payload = bytes[(rest.start + 8)..<stop]
      if said > end - rest.start { isWhole = false }
    case .tcp where end >= rest.start + 20:
      let header = Int(bytes[rest.start + 12] >> 4) * 4
      guard header >= 20, rest.start + header <= end else { return }
      payload = bytes[(rest.start + header)..<end]
    default: break
    }
  }

  /// Two bytes in network order; the caller knows that they are there.
  private static func number(_ bytes: [UInt8], _ at: Int) -> Int {
    Int(bytes[at]) << 8 | Int(bytes[at + 1])
  }

  /// Where the upper protocol begins behind IPv6's extension headers.
  private static func upper(
    _ bytes: [UInt8]
  ) -> (start: Int, next: UInt8, isLaterFragment: Bool)? {
    var at = 40
    var next = bytes[6]
    var isLater = false
    // Each header is at least eight bytes, so this ends.
    while true {
      let size: Int
      switch next {
      case 0, 43, 60:
        guard at + 2 <= bytes.count else { return nil }
        size = (Int(bytes[at + 1]) + 1) * 8
      case 51:
        guard at + 2 <= bytes.count else { return nil }
        size = (Int(bytes[at + 1]) + 2) * 4
      case 44:
        guard at + 8 <= bytes.count else { return nil }
        size = 8
        if number(bytes, at + 2) & 0xfff8 != 0 { isLater = true }
      default: return (at, next, isLater)
      }
      next = bytes[at]
      at += size
      guard at <= bytes.count else { return nil }
      if isLater { return (at, next, true) }
    }
  }
}
