import SystemPackage
import TestSupport
import Testing

@testable import Netlink

private func read(_ bytes: [UInt8]) -> (found: [NetlinkMessage], error: MalformedNetlink?) {
  let span = unsafe bytes.span.bytes
  var cursor = MessageCursor()
  var found: [NetlinkMessage] = []
  do {
    while let message = try cursor.next(in: span) { found.append(message) }
    return (found, nil)
  } catch {
    return (found, error)
  }
}

/// One message on a little-endian machine.
private func message(
  _ type: UInt8, flags: UInt16 = 0, sequence: UInt8 = 1, payload: [UInt8]
) -> [UInt8] {
  [
    UInt8(16 + payload.count), 0, 0, 0,  // length
    type, 0,  // type
    UInt8(flags & 0xff), UInt8(flags >> 8),
    sequence, 0, 0, 0,
    9, 0, 0, 0,  // port
  ] + payload
}

@Suite("Messages")
struct MessageTests {
  @Test("of one datagram are read one after another, padding skipped")
  func several() {
    var bytes = message(20, flags: 2, sequence: 7, payload: [1, 2, 3, 4, 5])
    bytes += [0, 0, 0]
    bytes += message(3, payload: [0, 0, 0, 0])
    let (found, error) = read(bytes)
    #expect(error == nil)
    #expect(
      found == [
        NetlinkMessage(type: 20, flags: 2, sequence: 7, portID: 9, payload: 16..<21),
        NetlinkMessage(type: 3, flags: 0, sequence: 1, portID: 9, payload: 40..<44),
      ])
  }

  @Test(
    "whose lengths contradict the bytes are an error and not a hang",
    arguments: [
      [], [0, 0, 0, 0], [15, 0, 0, 0], [17, 0, 0, 0], [0xff, 0xff, 0xff, 0xff],
      [0xff, 0xff, 0xff, 0x7f],
    ] as [[UInt8]])
  func malformed(length: [UInt8]) {
    let bytes = length + [UInt8](repeating: 0, count: length.isEmpty ? 0 : 12)
    let (found, error) = read(bytes)
    #expect(found.isEmpty)
    #expect((error == nil) == length.isEmpty)
  }

  @Test("end an exchange, fail it, or carry data")
  func steps() throws {
    let request = [UInt8](repeating: 0, count: 16)
    let cases: [([UInt8], Bool, NetlinkSocket.Step)] = [
      (message(1, payload: []), true, .skip),  // NLMSG_NOOP
      (message(4, payload: []), true, .broken(.overrun)),  // NLMSG_OVERRUN
      (message(2, payload: [0, 0, 0, 0] + request), false, .done),  // acknowledgement
      (message(2, payload: [0, 0, 0, 0] + request), true, .skip),
      (message(2, payload: [0xff, 0xff, 0xff, 0xff] + request), true, .failed(.notPermitted, nil)),
      (message(2, payload: [0, 0, 0, 0x80] + request), true, .failed(Errno(rawValue: .max), nil)),
      (message(2, payload: [0xff, 0xff]), true, .broken(.malformed)),
      (message(3, payload: []), true, .done),  // NLMSG_DONE of an old kernel
      (message(3, payload: [0, 0, 0, 0]), true, .done),
      (message(3, payload: [0xfc, 0xff, 0xff, 0xff]), true, .failed(.interrupted, nil)),
      (message(9, payload: []), true, .skip),  // reserved
      (message(16, payload: []), true, .data),
    ]
    for (bytes, isDump, expected) in cases {
      let span = unsafe bytes.span.bytes
      var cursor = MessageCursor()
      let header = try #require(try cursor.next(in: span))
      #expect(NetlinkSocket.step(header, span, isDump: isDump) == expected)
    }
  }

  @Test("of an error carry the kernel's own words behind the quoted request")
  func explanation() throws {
    let error: [UInt8] =
      [0xea, 0xff, 0xff, 0xff]  // -EINVAL
      + [20, 0, 0, 0] + [UInt8](repeating: 0, count: 12)  // the request's header, length 20
    let words: [UInt8] = [8, 0, 1, 0, 0x6e, 0x6f, 0x21, 0]  // NLMSGERR_ATTR_MSG "no!"
    let capped: UInt16 = 0x100
    let withWords: UInt16 = 0x200
    let cases: [([UInt8], UInt16, String?)] = [
      (error + words, capped | withWords, "no!"),  // only the header quoted
      (error + [1, 2, 3, 4] + words, withWords, "no!"),  // quoted whole
      (error + words, capped, nil),  // no flag: not attributes
      (error, withWords, nil),  // quoted length past the end
    ]
    for (payload, flags, expected) in cases {
      let bytes = message(2, flags: flags, payload: payload)
      let span = unsafe bytes.span.bytes
      var cursor = MessageCursor()
      let header = try #require(try cursor.next(in: span))
      #expect(
        NetlinkSocket.step(header, span, isDump: true) == .failed(.invalidArgument, expected))
    }
  }

  @Test("of random bytes are read or refused", arguments: 0..<200 as Range<UInt64>)
  func random(seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<50 {
      let bytes = generator.bytes(upTo: 300, smallLengths: false)
      let span = unsafe bytes.span.bytes
      for message in read(bytes).found {
        #expect(message.payload.upperBound <= bytes.count)
        _ = NetlinkSocket.step(message, span, isDump: true)
      }
    }
  }
}
