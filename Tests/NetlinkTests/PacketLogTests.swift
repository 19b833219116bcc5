import Testing

@testable import Netlink

/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET`, as a little-endian machine has it.
private let packetType: [UInt8] = [0, 4]

private func attribute(_ type: UInt8, _ payload: [UInt8]) -> [UInt8] {
  let padding = [UInt8](repeating: 0, count: (4 - payload.count % 4) % 4)
  return [UInt8(4 + payload.count), 0, type, 0] + payload + padding
}

private func message(_ attributes: [UInt8], type: [UInt8] = packetType) -> [UInt8] {
  let payload: [UInt8] = [2, 0, 0xda, 0xfd] + attributes  // IPv4, version 0, group 56061
  return [UInt8(16 + payload.count), 0, 0, 0] + type + [0, 0] + [UInt8](repeating: 0, count: 8)
    + payload
}

private func read(_ bytes: [UInt8]) throws -> LoggedPacket? {
  let span = unsafe bytes.span.bytes
  var cursor = MessageCursor()
  guard let first = try cursor.next(in: span) else { return nil }
  return try LoggedPacket(first, in: span)
}

@Suite("A logged packet")
struct LoggedPacketTests {
  @Test("is read with its prefix, number, time and interface")
  func whole() throws {
    let packet = try read(
      message(
        attribute(10, Array("sipleak:listen\0".utf8))  // NFULA_PREFIX
          + attribute(12, [0, 0, 0, 7])  // NFULA_SEQ
          + attribute(4, [0, 0, 0, 3])  // NFULA_IFINDEX_INDEV
          + attribute(3, [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9])  // NFULA_TIMESTAMP
          + attribute(9, [0x45, 0, 1])  // NFULA_PAYLOAD
          + attribute(200, [1])))
    #expect(packet?.family == 2)
    #expect(packet?.prefix == "sipleak:listen")
    #expect(packet?.sequence == 7)
    #expect(packet?.interfaceIndex == 3)
    #expect(packet?.seconds == 5)
    #expect(packet?.microseconds == 9)
    #expect(packet?.bytes == [0x45, 0, 1])
  }

  @Test("without a time or anything else is a packet still")
  func bare() throws {
    let packet = try read(message([]))
    #expect(packet?.bytes == [])
    #expect(packet?.seconds == nil && packet?.sequence == nil && packet?.prefix == "")
  }

  @Test("is no message of another kind")
  func others() throws {
    #expect(try read(message([], type: [1, 4])) == nil)
    #expect(try read(message([], type: [0, 1])) == nil)
  }

  @Test(
    "whose numbers have the wrong length is an error",
    arguments: [
      attribute(12, [0, 7]), attribute(4, [3]), attribute(3, [0, 0, 0, 0, 0, 0, 0, 5]),
      [3, 0, 9, 0], [200, 0, 9, 0, 1, 2],
    ])
  func malformed(attributes: [UInt8]) {
    #expect(throws: MalformedNetlink.self) { try read(message(attributes)) }
  }
}
