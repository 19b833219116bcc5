import Netlink
import TestSupport
import Testing

/// Collects the attributes of some bytes; the error, if it ends with one.
private func read(_ bytes: [UInt8]) -> (found: [NetlinkAttribute], error: MalformedNetlink?) {
  let span = unsafe bytes.span.bytes
  var cursor = AttributeCursor(0..<bytes.count)
  var found: [NetlinkAttribute] = []
  do {
    while let attribute = try cursor.next(in: span) { found.append(attribute) }
    return (found, nil)
  } catch {
    return (found, error)
  }
}

@Suite("Attributes")
struct AttributeTests {
  @Test("are read with type, nesting and payload, padding skipped")
  func wellFormed() throws {
    let bytes: [UInt8] = [
      5, 0, 3, 0, 0xaa, 0, 0, 0,  // length 5, type 3, one byte, three of padding
      8, 0, 25, 0x80, 1, 2, 3, 4,  // length 8, type 25 with NLA_F_NESTED
      4, 0, 7, 0x40,  // length 4: no payload; type 7 with NLA_F_NET_BYTEORDER
    ]
    let (found, error) = read(bytes)
    #expect(error == nil)
    #expect(
      found == [
        NetlinkAttribute(type: 3, isNested: false, payload: 4..<5),
        NetlinkAttribute(type: 25, isNested: true, payload: 12..<16),
        NetlinkAttribute(type: 7, isNested: false, payload: 20..<20),
      ])
  }

  @Test("may lack the padding of the last one")
  func unpaddedEnd() {
    let (found, error) = read([5, 0, 1, 0, 9])
    #expect(error == nil)
    #expect(found.map(\.payload) == [4..<5])
  }

  @Test(
    "whose lengths contradict the bytes are an error at that place and not a hang",
    arguments: [
      ([0, 0, 1, 0], 0),  // zero length
      ([3, 0, 1, 0], 0),  // shorter than its own header
      ([9, 0, 1, 0, 1, 2, 3, 4], 0),  // longer than what is there
      ([0xff, 0xff, 1, 0, 1, 2, 3, 4], 0),  // the longest there is
      ([4, 0, 1, 0, 0, 0], 4),  // cut inside a header
      ([8, 0, 1, 0, 1, 2, 3, 4, 0, 0, 0, 0], 8),  // zero length after a good one
    ] as [([UInt8], Int)])
  func malformed(bytes: [UInt8], offset: Int) {
    #expect(read(bytes).error == MalformedNetlink(offset: offset))
  }

  @Test("past the end of the bytes are an error even if the range says otherwise")
  func rangePastEnd() throws {
    let bytes: [UInt8] = [8, 0, 1, 0]
    let span = unsafe bytes.span.bytes
    var cursor = AttributeCursor(0..<100)
    #expect(throws: MalformedNetlink.self) { try cursor.next(in: span) }
    #expect(try cursor.next(in: span) == nil)
  }

  @Test("give numbers in both orders and refuse another length")
  func numbers() throws {
    let bytes: [UInt8] = [8, 0, 1, 0, 0x12, 0x34, 0x56, 0x78]
    let span = unsafe bytes.span.bytes
    let attribute = NetlinkAttribute(type: 1, isNested: false, payload: 4..<8)
    #expect(try attribute.bigEndian(UInt32.self, in: span) == 0x1234_5678)
    #expect(try attribute.host(UInt32.self, in: span) == UInt32(littleEndian: 0x7856_3412))
    #expect(throws: MalformedNetlink.self) { try attribute.bigEndian(UInt16.self, in: span) }
    #expect(throws: MalformedNetlink.self) { try attribute.bigEndian(UInt64.self, in: span) }
    let outside = NetlinkAttribute(type: 1, isNested: false, payload: 6..<10)
    #expect(throws: MalformedNetlink.self) { try outside.bigEndian(UInt32.self, in: span) }
  }

  @Test(
    "give text up to the first NUL, whatever the bytes",
    arguments: [
      ([0x73, 0x69, 0x70, 0], "sip"), ([0x73, 0x69, 0x70], "sip"), ([], ""), ([0, 0x41], ""),
      ([0x61, 0xff], "a\u{fffd}"),
    ] as [([UInt8], String)])
  func text(payload: [UInt8], expected: String) {
    let span = unsafe payload.span.bytes
    let attribute = NetlinkAttribute(type: 1, isNested: false, payload: 0..<payload.count)
    #expect(attribute.string(in: span) == expected)
  }

  @Test("survive random bytes: always forward, always inside", arguments: 0..<200 as Range<UInt64>)
  func random(seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<50 {
      let bytes = generator.bytes(upTo: 200, smallLengths: true)
      let span = unsafe bytes.span.bytes
      var end = 0
      for attribute in read(bytes).found {
        #expect(attribute.payload.lowerBound >= end + 4)
        #expect(attribute.payload.upperBound <= bytes.count)
        end = attribute.payload.upperBound
        _ = attribute.string(in: span)
        _ = try? attribute.bigEndian(UInt32.self, in: span)
        var children = attribute.children
        while let child = try? children.next(in: span) {
          #expect(attribute.payload.contains(child.payload.lowerBound - 1))
        }
      }
    }
  }
}

extension SeededGenerator {
  /// Random bytes; with small lengths, so that walks get further than the first attribute.
  mutating func bytes(upTo limit: Int, smallLengths: Bool) -> [UInt8] {
    let count = Int.random(in: 0...limit, using: &self)
    return (0..<count).map { index in
      if smallLengths, index % 4 == 0 { return UInt8.random(in: 0...20, using: &self) }
      if smallLengths, index % 4 == 1 { return Bool.random(using: &self) ? 0 : 1 }
      return UInt8.random(in: 0...255, using: &self)
    }
  }
}
