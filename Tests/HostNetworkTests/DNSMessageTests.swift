import Addressing
import HostNetwork
import TestSupport
import Testing

/// Answers as name servers send them.
private enum Wire {
  static func name(_ text: String) -> [UInt8] {
    text.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
  }

  static func record(_ owner: [UInt8], _ kind: UInt8, _ data: [UInt8]) -> [UInt8] {
    owner + [0, kind, 0, 1, 0, 0, 0, 60, UInt8(data.count >> 8), UInt8(data.count & 255)] + data
  }

  static func answer(
    _ question: DNSQuestion, id: UInt16 = 7, flags: [UInt8] = [0x81, 0x80], _ records: [[UInt8]]
  ) -> [UInt8] {
    [UInt8(id >> 8), UInt8(id & 255)] + flags + [0, 1, 0, UInt8(records.count), 0, 0, 0, 0]
      + name(question.name) + [0, UInt8(question.kind.rawValue), 0, 1] + records.flatMap { $0 }
  }
}

@Suite("DNS messages") struct DNSMessageTests {
  private let host = DNSQuestion("sip.example", .a)
  /// A pointer to the question's name.
  private let pointer: [UInt8] = [0xc0, 12]

  @Test("A query has one question, recursion wanted")
  func query() {
    #expect(
      DNSMessage.query(host, id: 0x0102) == [
        1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0,  // id, RD, one question
        3, 0x73, 0x69, 0x70, 7, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0,  // sip.example
        0, 1, 0, 1,  // A IN
      ])
  }

  @Test("Addresses come by aliases too, and what belongs to another name does not count")
  func aliases() {
    let bytes = Wire.answer(
      host,
      [
        Wire.record(pointer, 5, Wire.name("Real.example")),
        Wire.record(Wire.name("real.EXAMPLE"), 1, [198, 51, 100, 10]),
        Wire.record(Wire.name("evil.example"), 1, [203, 0, 113, 66]),
      ])
    #expect(
      DNSMessage.answer(bytes, to: host, id: 7)?.records
        == [.address(IPAddress(ipv4: 0xc633_640a))])
  }

  @Test("Services and rules are read whole")
  func services() {
    let service = DNSQuestion("_sip._udp.example", .srv)
    let srv = Wire.record(pointer, 33, [0, 1, 0, 2, 0x13, 0xc4] + Wire.name("a.example"))
    #expect(
      DNSMessage.answer(Wire.answer(service, [srv]), to: service, id: 7)?.records
        == [.service(host: "a.example", port: 5060)])
    let rules = DNSQuestion("example", .naptr)
    let naptr = Wire.record(
      pointer, 35,
      [0, 1, 0, 1, 1, 0x53, 7] + Array("SIP+D2U".utf8) + [0] + Wire.name("_sip._udp.example"))
    #expect(
      DNSMessage.answer(Wire.answer(rules, [naptr]), to: rules, id: 7)?.records
        == [.rule(flags: "s", service: "SIP+D2U", replacement: "_sip._udp.example")])
  }

  @Test("An answer to something else is none")
  func others() {
    let good = Wire.record(pointer, 1, [198, 51, 100, 10])
    let bytes = Wire.answer(host, [good])
    #expect(DNSMessage.answer(bytes, to: host, id: 7) != nil)
    #expect(DNSMessage.answer(bytes, to: host, id: 8) == nil)
    #expect(DNSMessage.answer(bytes, to: DNSQuestion("other.example", .a), id: 7) == nil)
    #expect(DNSMessage.answer(bytes, to: DNSQuestion("sip.example", .aaaa), id: 7) == nil)
    // A query is no answer.
    #expect(
      DNSMessage.answer(Wire.answer(host, flags: [1, 0], [good]), to: host, id: 7) == nil)
  }

  @Test("Truncation is told, failure has its code")
  func codes() {
    let cut = Wire.answer(host, flags: [0x83, 0x80], [[1, 2, 3]])
    #expect(DNSMessage.answer(cut, to: host, id: 7)?.isTruncated == true)
    let none = DNSMessage.answer(Wire.answer(host, flags: [0x81, 0x83], []), to: host, id: 7)
    #expect(none?.isKnown == true && none?.records.isEmpty == true)
    let failed = DNSMessage.answer(Wire.answer(host, flags: [0x81, 0x82], []), to: host, id: 7)
    #expect(failed?.isKnown == false)
  }

  @Test(
    "Names that lead in circles, forward, or out of the message end the reading",
    arguments: [[0xc0, 29], [0xc0, 40], [0xc0, 0xff], [0x40, 1], [63, 1], [1, 0x2e, 0]])
  func names(owner: [Int]) {
    let bytes = Wire.answer(host, [Wire.record(owner.map { UInt8($0) }, 1, [198, 51, 100, 10])])
    #expect(DNSMessage.answer(bytes, to: host, id: 7) == nil)
  }

  @Test("Bytes changed at random, cut and grown are read or refused, and never trap")
  func hostile() {
    var random = SeededGenerator(seed: 53)
    let rules = DNSQuestion("example", .naptr)
    let data: [UInt8] = [0, 1, 0, 1, 1, 0x53, 7] + Array("SIP+D2U".utf8) + [0, 0xc0, 12]
    let service = DNSQuestion("example", .srv)
    let whole: [(DNSQuestion, [UInt8])] = [
      (host, Wire.answer(host, [Wire.record(pointer, 1, [198, 51, 100, 10])])),
      (
        rules, Wire.answer(rules, [Wire.record(pointer, 35, data), Wire.record(pointer, 35, data)])
      ),
      (
        service,
        Wire.answer(service, [Wire.record(pointer, 33, [0, 1, 0, 2, 0x13, 0xc4, 0xc0, 12])])
      ),
    ]
    for _ in 0..<30_000 {
      guard let (question, good) = whole.randomElement(using: &random) else { return }
      var bytes = good
      for _ in 0...Int.random(in: 0..<4, using: &random) {
        bytes[Int.random(in: bytes.indices, using: &random)] =
          [0, 1, 0xc0, 0xff, UInt8.random(in: .min ... .max, using: &random)]
          .randomElement(using: &random) ?? 0
      }
      if Bool.random(using: &random) {
        bytes = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &random)))
      }
      let answer = DNSMessage.answer(bytes, to: question, id: 7)
      #expect((answer?.records.count ?? 0) <= 2)
    }
  }
}
