import Addressing

/// The bytes of a packet from its IP header on, as far as they are known.
///
/// Only UDP packets with a known payload have one: where a TCP payload begins hangs on options
/// that were not observed. IP options are taken to be absent.
struct PacketImage: Sendable {
  private let bytes: [UInt8?]

  var count: Int { bytes.count }

  /// Where the IPv4 flags stand: only the one that forbids fragments is not known to be 0.
  private var flags: Int? { bytes.first == .some(0x45) ? 6 : nil }

  /// The byte at an offset, `nil` if it is not known.
  subscript(_ offset: Int) -> UInt8? { bytes[offset] }

  /// Whether the byte at an offset can have a value.
  func may(_ offset: Int, be value: UInt8) -> Bool {
    guard let byte = bytes[offset] else { return offset != flags || value & 0xbf == 0 }
    return byte == value
  }

  /// Four bytes in network order; unknown bits where a byte is not known.
  func word(_ offset: Int) -> BitPattern {
    var result = BitPattern(0)
    for index in offset..<offset + 4 {
      result = result.shiftedLeft(8)
      let byte = bytes[index].map { BitPattern(UInt32($0)) } ?? .unknownByte
      result = result.changed(clearing: 0xff, toggling: byte, taken: 0xff)
    }
    return result
  }

  init?(_ situation: Situation, _ variant: Variant) {
    let packet = situation.packet
    guard packet.transport == .udp, let payload = packet.payload, packet.isLaterFragment == false,
      !variant.edits.contains(.payload), payload.count <= 65_507
    else { return nil }
    func number(_ value: UInt32?, _ count: Int) -> [UInt8?] {
      (0..<count).reversed().map { place in
        value.map { UInt8(truncatingIfNeeded: $0 >> UInt32(8 * place)) }
      }
    }
    func address(_ bits: UInt128?) -> [UInt8?] {
      let count = packet.family == .ipv4 ? 4 : 16
      return (0..<count).reversed().map { place in
        bits.map { UInt8(truncatingIfNeeded: $0 >> UInt128(8 * place)) }
      }
    }
    let length = UInt32(8 + payload.count)
    let service =
      variant.edits.contains(.typeOfService) ? nil : packet.typeOfService.map(UInt32.init)
    let ttl = variant.edits.contains(.ttl) ? nil : packet.ttl.map { UInt32($0) }
    // Counted down on the way through, but not by how much if a rule changed it.
    let seen = ttl.map { $0 - (situation.isRouted && $0 > 0 ? 1 : 0) }
    var result: [UInt8?]
    if packet.family == .ipv4 {
      // Identification, fragment flags and checksum are whatever the sender chose.
      result = [0x45] + number(service, 1) + number(20 + length, 2) + [nil, nil, nil, 0]
      result += number(seen, 1) + [17, nil, nil]
    } else {
      result = [service.map { 0x60 | UInt8($0 >> 4) }, nil, nil, nil]
      result += number(length, 2) + [17] + number(seen, 1)
    }
    result += address(packet.source.bits) + address(variant.destination)
    result += number(packet.sourcePort.map(UInt32.init), 2)
    result += number(variant.port.map(UInt32.init), 2) + number(length, 2) + [nil, nil]
    bytes = result + payload.map { $0 }
  }
}
