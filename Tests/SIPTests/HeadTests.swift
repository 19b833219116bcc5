import Addressing
import TestSupport
import Testing

@testable import SIP

/// A small request with chosen lines.
func request(
  _ start: String = "OPTIONS sip:100@192.0.2.5 SIP/2.0", _ lines: String..., body: String = ""
) -> [UInt8] {
  Array((([start] + lines).joined(separator: "\r\n") + "\r\n\r\n" + body).utf8)
}

/// Every header that a request has to have.
let complete = [
  "Via: SIP/2.0/UDP 203.0.113.66:24376;branch=z9hG4bK1;rport", "Max-Forwards: 70",
  "From: <sip:a@203.0.113.66>;tag=1", "To: <sip:100@192.0.2.5>", "Call-ID: x", "CSeq: 1 OPTIONS",
]

private func parsed(_ start: String, _ lines: String...) throws -> MessageHead {
  try #require(
    MessageHead.parse(Array(([start] + lines + ["", ""]).joined(separator: "\r\n").utf8)))
}

@Suite("A message head")
struct HeadTests {
  @Test("with all that is demanded has no problems")
  func whole() throws {
    let head = try #require(
      MessageHead.parse(
        Array(
          (["OPTIONS sip:100@192.0.2.5 SIP/2.0"] + complete + ["", ""])
            .joined(separator: "\r\n").utf8)))
    #expect(head.problems == [])
    #expect(head.isValid)
    #expect(head.vias.first?.sentBy == "203.0.113.66:24376")
    #expect(head.vias.first?.parameters.last == Parameter(name: "rport", value: nil))
  }

  @Test("is read behind line breaks, with bare line feeds, in lower case, and all is said")
  func dirt() throws {
    let head = try #require(
      MessageHead.parse(Array("\r\n\r\n \ninvite sip:1@h SIP/2.0\nf: <sip:a@b>\n\n".utf8)))
    #expect(head.method == "invite")
    #expect(head.leadingBreaks == 3)
    #expect(head.from?.uri?.user == "a")
    let said = Set(head.problems)
    #expect(said.isSuperset(of: [.leadingBytes, .bareLineFeed, .methodCase]))
    #expect(said.contains(.missingHeader("Via")))
    #expect(!head.isValid)
  }

  @Test(
    "is not seen in what is none",
    arguments: [
      "", "\r\n\r\n", "\0\0\0\0", "GET / HTTP/1.1\r\n\r\n", "INVITE", "SIP/2.0", "SIP/2.0 abc",
      "hello world\r\n", "\u{80}\u{0}\u{0}\u{1}RTP", "OPTIONS\r\n\r\n", "INVITEsip:x SIP\r\n",
    ])
  func none(text: String) {
    #expect(MessageHead.parse(Array(text.utf8)) == nil)
  }

  @Test("without a version is taken when the method is known")
  func version() throws {
    let head = try parsed("REGISTER sip:h")
    #expect(head.requestURI?.host == "h")
    #expect(head.problems.contains(.missingVersion))
    #expect(MessageHead.parse(Array("FOO sip:h\r\n\r\n".utf8)) == nil)
  }

  @Test("names headers in full however they are written")
  func names() throws {
    let head = try parsed(
      "INVITE sip:1@h SIP/2.0", "v: SIP/2.0/UDP a;branch=z9hG4bK1", "cAlL-iD: 1", "USER-AGENT: x",
      "X-Own: 1", "m: <sip:a@b>, \"x, y\" <sip:c@d;p=1>;q=0.5, *")
    #expect(head.fields.map(\.name) == ["Via", "Call-ID", "User-Agent", "X-Own", "Contact"])
    #expect(head.fields.first?.writtenName == "v")
    #expect(head.agent == "x")
    #expect(head.contacts.map(\.displayName) == [nil, "x, y", nil])
    #expect(head.contacts[1].uri?.parameters == [Parameter(name: "p", value: "1")])
    #expect(head.contacts[1].parameters == [Parameter(name: "q", value: "0.5")])
    #expect(head.contacts[2].uri == nil)
  }

  @Test("that never ends, or names no header, is read and said")
  func unended() throws {
    let head = try #require(MessageHead.parse(Array("OPTIONS sip:h SIP/2.0\r\nrubbish".utf8)))
    #expect(head.problems.contains(.unendedHead))
    #expect(head.problems.contains(.malformedLine))
  }

  @Test("tells control characters, and a body shorter than said only where it is all there")
  func controls() throws {
    let text = "OPTIONS sip:h SIP/2.0\r\nSubject: a\u{1b}[2Jb\r\nContent-Length: 9\r\n\r\nabc"
    let whole = try #require(MessageHead.parse(Array(text.utf8)))
    #expect(whole.problems.contains(.controlCharacter))
    #expect(whole.problems.contains(.shortBody))
    let part = try #require(MessageHead.parse(Array(text.utf8), isWhole: false))
    #expect(!part.problems.contains(.shortBody))
  }

  @Test("of the size of a datagram is read in bounded memory and linear time")
  func large() throws {
    let start = "INVITE sip:1@h SIP/2.0\r\n"
    let hostile = [
      String(repeating: "a: b\r\n", count: 10000), "Via: " + String(repeating: ",", count: 60000),
      "Contact: " + String(repeating: "<", count: 60000),
      "Contact: " + String(repeating: "\"", count: 60001),
      "From: <sip:a@b>" + String(repeating: ";a=\"", count: 15000),
      "To: x\r\n" + String(repeating: " \r\n", count: 20000),
      "Subject: " + String(repeating: "'or/*", count: 12000),
      "Subject: " + String(repeating: ";", count: 60000),
      "Subject: " + String(repeating: "; ", count: 30000),
      "Subject: " + String(repeating: "%", count: 60000),
      "Subject: " + String(repeating: "`", count: 60000),
    ]
    for text in hostile {
      let head = try #require(MessageHead.parse(Array((start + text).utf8)))
      #expect(head.fields.count <= 256)
      #expect(head.vias.count <= 64 && head.contacts.count <= 64)
      #expect((head.from?.parameters.count ?? 0) <= 64)
      _ = Injection.attempts(in: head)
    }
  }

  @Test("made of random pieces never says more than it was given")
  func random() throws {
    var generator = SeededGenerator(seed: 4475)
    let pieces = [
      "INVITE", " ", "sip:", "SIP/2.0", "\r\n", "\n", "Via:", "v:", "<", ">", "\"", ";", ",", "=",
      "@", "a", "%41", "%", "[2001:db8::1]", ":5060", "\\", "\t", "From:", "t:", "Contact:", "*",
      "CSeq:", "1", "\u{0}", "é", "branch=z9hG4bK", "tag=", "'", "(", "$", "/*", "tel:+1",
    ]
    for _ in 0..<4000 {
      var text = Bool.random(using: &generator) ? "INVITE sip:a@b SIP/2.0\r\n" : ""
      for _ in 0..<Int.random(in: 0..<40, using: &generator) {
        text += pieces.randomElement(using: &generator) ?? ""
      }
      let bytes = Array(text.utf8)
      guard let head = MessageHead.parse(bytes) else { continue }
      #expect(head.length <= bytes.count)
      #expect(head.fields.reduce(0) { $0 + $1.value.count } <= bytes.count)
      #expect(head.problems.count == Set(head.problems).count)
      // What was read reads the same again.
      #expect(MessageHead.parse(bytes) == head)
      _ = Fingerprint.matches(in: head)
      _ = Injection.attempts(in: head)
    }
  }
}

@Suite("A URI")
struct URITests {
  private func uri(_ text: String) -> URI { URI(Array(text.utf8)[...]) }

  @Test(
    "has its parts",
    arguments: [
      ("sip:h", nil, "h", nil, true), ("SIP:u@h:5070", "u", "h", 5070, true),
      ("sips:u:p@h;transport=tls?x=y", "u", "h", nil, true),
      ("sip:u@[2001:db8::5]:5061", "u", "2001:db8::5", 5061, true),
      ("sip:[2001:db8::5]", nil, "2001:db8::5", nil, true),
      ("sip:u@192.0.2.5:65536", "u", "192.0.2.5", nil, false),
      ("sip:u@192.0.2.5:", "u", "192.0.2.5", nil, false),
      ("sip:u@[192.0.2.5]", "u", "192.0.2.5", nil, false),
      ("sip:a@b@h", "a@b", "h", nil, false), ("sip:'or'x'='x@h", "'or'x'='x", "h", nil, true),
      ("sip:u%4@h", "u%4", "h", nil, false), ("sip:", nil, nil, nil, false),
      ("sip:@h", "", "h", nil, false), ("sip:u @h", "u ", "h", nil, false),
      ("tel:+1-201-555-0123;phone-context=x", "+1-201-555-0123", nil, nil, true),
      ("tel:call", "call", nil, nil, false),
    ] as [(String, String?, String?, UInt16?, Bool)])
  func parts(text: String, user: String?, host: String?, port: UInt16?, isFine: Bool) {
    let read = uri(text)
    #expect(read.user == user)
    #expect(read.host == host)
    #expect(read.port == port)
    #expect(read.isWellFormed == isFine, "\(read)")
    #expect(read.text == text)
  }

  @Test("knows addresses and the port it means")
  func meaning() {
    #expect(uri("sip:u@[2001:db8::5]").address == IPAddress("2001:db8::5"))
    #expect(uri("sip:u@192.0.2.5").address == IPAddress("192.0.2.5"))
    #expect(uri("sip:u@host").address == nil)
    #expect(uri("sip:h").effectivePort == 5060)
    #expect(uri("sips:h").effectivePort == 5061)
    #expect(uri("sip:h:5070").effectivePort == 5070)
    #expect(uri("tel:1").effectivePort == nil)
    #expect(uri("sips:u:p@h;transport=tls?x=y").password == "p")
    #expect(uri("sips:u:p@h;transport=tls?x=y").headers == "x=y")
    #expect(uri("").scheme == "" && !uri("").isWellFormed)
    #expect(uri("no scheme").scheme == "")
  }
}
