import Testing

@testable import Netlink

@Suite("Requests")
struct RequestTests {
  @Test("are laid out byte for byte as the kernel reads them")
  func layout() {
    var request = NetlinkRequest(type: 0x0101, flags: 0x0400)
    request.append(bytes: [2, 0, 0, 0])  // nfgenmsg
    request.nest(1) { tuple in
      tuple.attribute(2, bigEndian: UInt16(5060))
      tuple.attribute(3, text: "sip")
    }
    request.attribute(25, host: UInt32(0x28))
    #expect(
      request.finished(flags: 0x0301, sequence: 7, portID: 9) == [
        48, 0, 0, 0,  // length of all
        0x01, 0x01, 0x01, 0x07,  // type, flags of both
        7, 0, 0, 0, 9, 0, 0, 0,  // sequence, port
        2, 0, 0, 0,  // family, version, resource id
        20, 0, 1, 0x80,  // nest: 4 + 8 + 8, NLA_F_NESTED
        6, 0, 2, 0, 0x13, 0xc4, 0, 0,  // 5060 in network order, padding
        8, 0, 3, 0, 0x73, 0x69, 0x70, 0,  // "sip" and NUL
        8, 0, 25, 0, 0x28, 0, 0, 0,  // host order
      ])
  }

  @Test("that were built are read back the same")
  func roundTrip() throws {
    var request = NetlinkRequest(type: 1)
    request.nest(4) { $0.nest(5) { $0.attribute(6, bigEndian: UInt64.max - 1) } }
    request.attribute(7, bytes: [])
    let bytes = request.bytes
    let span = unsafe bytes.span.bytes
    var cursor = AttributeCursor(16..<bytes.count)
    let outer = try #require(try cursor.next(in: span))
    var middle = outer.children
    let inner = try #require(try middle.next(in: span))
    var last = inner.children
    let number = try #require(try last.next(in: span))
    #expect([outer.type, inner.type, number.type] == [4, 5, 6])
    #expect(outer.isNested && inner.isNested && !number.isNested)
    #expect(try number.bigEndian(UInt64.self, in: span) == UInt64.max - 1)
    #expect(try cursor.next(in: span)?.payload.isEmpty == true)
    #expect(try cursor.next(in: span) == nil)
  }

  @Test("with an attribute longer than 65,535 bytes are refused before they are sent")
  func oversized() throws {
    var fits = NetlinkRequest(type: 1)
    fits.attribute(1, bytes: [UInt8](repeating: 0, count: 65531))
    #expect(!fits.isOversized)
    var request = NetlinkRequest(type: 1)
    request.attribute(1, bytes: [UInt8](repeating: 0, count: 65532))
    #expect(request.isOversized)
    var socket = try NetlinkSocket.open(.route)
    #expect {
      try socket.request(request, operation: "test")
    } throws: {
      ($0 as? NetlinkError)?.code == .invalidRequest
    }
  }
}
