import Addressing
import Firewall

/// A packet as it goes over the cable, made whole: Ethernet, IP, transport, payload.
enum TestFrame {
  /// Ends of the cable between the sender and the host under test.
  private static let ethernet: [UInt8] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]
  /// Local experimental EtherType 1 of IEEE 802.
  static let markerType: UInt16 = 0x88b5

  /// The frame of a packet.
  ///
  /// - Parameters:
  ///   - packet: The packet, with everything known that stands in its headers.
  ///   - identifier: The ICMP identifier, which tells the flows apart.
  /// - Returns: The bytes.
  static func bytes(of packet: Packet, identifier: UInt16) -> [UInt8] {
    let isIPv4 = packet.family == .ipv4
    var body = transport(packet, identifier: identifier)
    // ICMP of IPv4 alone has no pseudo-header.
    let pseudo =
      packet.transport == .icmp
      ? []
      : packet.source.networkBytes + packet.destination.networkBytes
        + big(UInt32(body.count)) + big(UInt32(packet.transport.rawValue))
    let sum = checksum(pseudo + body)
    let place = packet.transport == .tcp ? 16 : packet.transport == .udp ? 6 : 2
    // Zero means none to UDP.
    if packet.transport != .sctp {
      body.replaceSubrange(place..<place + 2, with: big(sum == 0 ? 0xffff : sum))
    }
    let addresses = packet.source.networkBytes + packet.destination.networkBytes
    let service = packet.typeOfService ?? 0
    let hops = packet.ttl ?? 64
    let number = packet.transport.rawValue
    guard isIPv4 else {
      let header = big(6 << 28 | UInt32(service) << 20) + big(UInt16(body.count)) + [number, hops]
      return ethernet + big(0x86dd as UInt16) + header + addresses + body
    }
    var header: [UInt8] = [0x45, service]
    header += big(UInt16(20 + body.count)) + big(0x1234 as UInt16) + [0, 0, hops, number, 0, 0]
    header += addresses
    header.replaceSubrange(10..<12, with: big(checksum(header)))
    return ethernet + big(0x0800 as UInt16) + header + body
  }

  /// A frame no firewall sees, to find out that all before it have been handled.
  static func marker(_ number: UInt64) -> [UInt8] {
    ethernet + big(markerType) + big(number) + Array(repeating: 0, count: 38)
  }

  private static func transport(_ packet: Packet, identifier: UInt16) -> [UInt8] {
    let payload = packet.payload ?? []
    let ports = big(packet.sourcePort ?? 0) + big(packet.destinationPort ?? 0)
    switch packet.transport {
    case .udp:
      return ports + big(UInt16(8 + payload.count)) + [0, 0] + payload
    case .tcp:
      let flags = packet.tcpFlags ?? 0
      let acknowledged: UInt32 = flags & 16 == 0 ? 0 : 1000
      var header = ports
      header += big(1000 as UInt32)
      header += big(acknowledged)
      header += [0x50, flags]
      header += big(8192 as UInt16)
      return header + [0, 0, 0, 0] + payload
    case .sctp:
      // One INIT chunk with a tag of its own, and DATA-less padding in the shape of a parameter.
      let chunk = big(UInt16(20 + payload.count)) + big(7 as UInt32) + big(65536 as UInt32)
      let streams = big(1 as UInt16) + big(1 as UInt16) + big(9 as UInt32)
      var body = ports + [0, 0, 0, 0, 0, 0, 0, 0, 1, 0] + chunk + streams + payload
      body.replaceSubrange(8..<12, with: crc32c(body))
      return body
    default:
      var header: [UInt8] = packet.icmp.map { [$0.type, $0.code] } ?? [0, 0]
      header += [0, 0]
      header += big(identifier)
      header += big(1 as UInt16)
      return header + payload
    }
  }

  private static func big<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    (0..<Number.bitWidth / 8).map {
      UInt8(truncatingIfNeeded: number >> (Number.bitWidth - 8 - 8 * $0))
    }
  }

  /// SCTP's checksum, as it stands in the header.
  private static func crc32c(_ bytes: [UInt8]) -> [UInt8] {
    var value = UInt32.max
    for byte in bytes {
      value ^= UInt32(byte)
      for _ in 0..<8 { value = value >> 1 ^ (value & 1 == 1 ? 0x82f6_3b78 : 0) }
    }
    return Array(big(~value).reversed())
  }

  /// The internet checksum of RFC 1071.
  private static func checksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt64 = 0
    for index in stride(from: 0, to: bytes.count, by: 2) {
      let low = index + 1 < bytes.count ? bytes[index + 1] : 0
      sum += UInt64(bytes[index]) << 8 | UInt64(low)
    }
    while sum >> 16 != 0 { sum = sum & 0xffff + sum >> 16 }
    return ~UInt16(sum)
  }
}
