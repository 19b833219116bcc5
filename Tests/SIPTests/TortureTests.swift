@testable import SIP
import Testing

/// What RFC 4475 says about one of its messages, as far as the head goes.
struct Torture: Sendable, CustomTestStringConvertible {
  var name: String
  /// The method, or the status.
  var start: String
  /// User, host and port of the Request-URI; the whole of one that is no SIP URI.
  var target: String
  /// The URI of From.
  var from: String?
  /// The sent-by of each Via.
  var vias: [String]
  var contacts: Int
  var sequence: UInt32?
  /// Whether the RFC calls it valid: sections 3.1.1, 3.3 and 3.4 but for what they say is missing.
  var isValid: Bool
  var problems: Set<Problem> = []

  var testDescription: String { name }
}

private let longVias =
  (1...33).reversed().map { "sip\($0).example.com" } + ["host.example.com"]
private let longName =
  "amazinglylongcallername" + String(repeating: "amazinglylongcallername", count: 4)
private let oddUser = "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"

/// All 49, in the RFC's order.
private let messages: [Torture] = [
  // 3.1.1 Valid messages.
  Torture(
    name: "wsinv", start: "INVITE", target: "vivekg@chair-dnrc.example.com",
    from: "sip:jdrosen@example.com", vias: ["192.0.2.2", "spindle.example.com", "192.168.255.111"],
    contacts: 1, sequence: 9, isValid: true),
  Torture(
    name: "intmeth", start: "!interesting-Method0123456789_*+`.%indeed'~",
    target: "\(oddUser)@example.com", from: "sip:mundane@example.com", vias: ["host1.example.com"],
    contacts: 0, sequence: 139_122_385, isValid: true),
  Torture(
    name: "esc01", start: "INVITE", target: "sips%3Auser%40example.com@example.net",
    from: "sip:I%20have%20spaces@example.net", vias: ["host5.example.net"], contacts: 1,
    sequence: 234234, isValid: true),
  Torture(
    name: "escnull", start: "REGISTER", target: "example.com",
    from: "sip:null-%00-null@example.com", vias: ["host5.example.com"], contacts: 2,
    sequence: 14_398_234, isValid: true),
  Torture(
    name: "esc02", start: "RE%47IST%45R", target: "registrar.example.com",
    from: "sip:resource@example.com", vias: ["host.example.com"], contacts: 2, sequence: 29344,
    isValid: true),
  Torture(
    name: "lwsdisp", start: "OPTIONS", target: "user@example.com", from: "sip:caller@example.com",
    vias: ["funky.example.com"], contacts: 0, sequence: 60, isValid: true),
  Torture(
    name: "longreq", start: "INVITE", target: "user@example.com",
    from: "sip:\(longName)@example.net", vias: longVias, contacts: 1, sequence: 3_882_340,
    isValid: true, problems: [.missingParameter("branch", of: "Via")]),
  Torture(
    name: "dblreq", start: "REGISTER", target: "example.com", from: "sip:j.user@example.com",
    vias: ["192.0.2.125"], contacts: 1, sequence: 8, isValid: true),
  Torture(
    name: "semiuri", start: "OPTIONS", target: "user;par=u%40example.net@example.com",
    from: "sip:caller@example.org", vias: ["192.0.2.1"], contacts: 0, sequence: 8, isValid: true),
  Torture(
    name: "transports", start: "OPTIONS", target: "user@example.com",
    from: "sip:caller@example.com", vias: (1...5).map { "t\($0).example.com" }, contacts: 0,
    sequence: 60, isValid: true),
  Torture(
    name: "mpart01", start: "MESSAGE", target: "kumiko@example.org",
    from: "sip:fluffy@example.com", vias: ["127.0.0.1:5070"], contacts: 1, sequence: 1,
    isValid: true),
  Torture(
    name: "unreason", start: "200", target: "", from: "sip:user@example.com",
    vias: ["192.0.2.198"], contacts: 1, sequence: 35, isValid: true),
  Torture(
    name: "noreason", start: "100", target: "", from: "sip:user@example.com",
    vias: ["192.0.2.105"], contacts: 1, sequence: 35, isValid: true),
  // 3.1.2 Invalid messages.
  Torture(
    name: "badinv01", start: "INVITE", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["192.0.2.15"], contacts: 1, sequence: 8, isValid: false,
    problems: [
      .malformedParameters(in: "Via"), .malformedHeader("Via"),
      .malformedParameters(in: "Contact"), .missingParameter("branch", of: "Via"),
    ]),
  Torture(
    name: "clerr", start: "INVITE", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["host5.example.com"], contacts: 1, sequence: 8, isValid: false, problems: [.shortBody]),
  Torture(
    name: "ncl", start: "INVITE", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["192.0.2.53"], contacts: 1, sequence: 0, isValid: false,
    problems: [.malformedHeader("Content-Length")]),
  Torture(
    name: "scalar02", start: "REGISTER", target: "example.com", from: "sip:user@example.com",
    vias: ["host129.example.com"], contacts: 1, sequence: nil, isValid: false,
    problems: [
      .numberOutOfRange(in: "CSeq"), .numberOutOfRange(in: "Max-Forwards"),
      .numberOutOfRange(in: "Expires"), .numberOutOfRange(in: "Contact"),
    ]),
  Torture(
    name: "scalarlg", start: "503", target: "", from: "sip:other@example.net",
    vias: ["host129.example.com"], contacts: 0, sequence: nil, isValid: false,
    problems: [
      .numberOutOfRange(in: "CSeq"), .numberOutOfRange(in: "Retry-After"),
      .malformedHeader("Warning"),
    ]),
  Torture(
    name: "quotbal", start: "INVITE", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["192.0.2.59:5050"], contacts: 1, sequence: 8, isValid: false,
    problems: [.unbalancedQuote(in: "To")]),
  Torture(
    name: "ltgtruri", start: "INVITE", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["192.0.2.5"], contacts: 1, sequence: 1, isValid: false,
    problems: [
      .malformedURI(in: "the Request-URI"), .missingParameter("branch", of: "Via"),
    ]),
  Torture(
    name: "lwsruri", start: "INVITE", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["192.0.2.1:5060"], contacts: 1, sequence: 2_130_706_432, isValid: false,
    problems: [.malformedURI(in: "the Request-URI")]),
  Torture(
    name: "lwsstart", start: "INVITE", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["host1.example.com"], contacts: 1, sequence: 1_893_884, isValid: false,
    problems: [.startLineSpacing]),
  Torture(
    name: "trws", start: "OPTIONS", target: "remote-target@example.com",
    from: "sip:local-resource@example.com", vias: ["host1.examle.com"], contacts: 0,
    sequence: 238923, isValid: false, problems: [.startLineSpacing]),
  Torture(
    name: "escruri", start: "INVITE", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["host-of-the-hour.example.com"], contacts: 1, sequence: 149_209_342, isValid: false,
    problems: [.misplacedURI(in: "the Request-URI")]),
  Torture(
    name: "baddate", start: "INVITE", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["host.example.com"], contacts: 1, sequence: 1_392_934, isValid: false,
    problems: [.malformedHeader("Date")]),
  Torture(
    name: "regbadct", start: "REGISTER", target: "example.com", from: "sip:user@example.com",
    vias: ["135.180.130.133:5060"], contacts: 1, sequence: 1, isValid: false,
    problems: [.misplacedURI(in: "Contact")]),
  Torture(
    name: "badaspec", start: "OPTIONS", target: "user@example.org",
    from: "sip:a.g.bell@example.com", vias: ["host4.example.com:5060"], contacts: 0,
    sequence: 3_923_239, isValid: false, problems: [.malformedURI(in: "To")]),
  Torture(
    name: "baddn", start: "OPTIONS", target: "t.watson@example.org",
    from: "sip:a.g.bell@example.com", vias: ["c.example.com:5060"], contacts: 0,
    sequence: 3_923_239, isValid: false,
    problems: [.malformedDisplayName(in: "From"), .malformedDisplayName(in: "To")]),
  Torture(
    name: "badvers", start: "OPTIONS", target: "t.watson@example.org",
    from: "sip:a.g.bell@example.com", vias: ["c.example.com"], contacts: 0, sequence: 1,
    isValid: false, problems: [.unsupportedVersion]),
  Torture(
    name: "mismatch01", start: "OPTIONS", target: "user@example.com",
    from: "sip:caller@example.net", vias: ["host.example.com"], contacts: 0, sequence: 8,
    isValid: false, problems: [.methodMismatch]),
  Torture(
    name: "mismatch02", start: "NEWMETHOD", target: "user@example.com",
    from: "sip:caller@example.net", vias: ["host.example.net"], contacts: 1, sequence: 8,
    isValid: false, problems: [.methodMismatch]),
  Torture(
    name: "bigcode", start: "4294967301", target: "", from: "sip:user@example.com",
    vias: ["192.0.2.105"], contacts: 1, sequence: 353494, isValid: false,
    problems: [.statusOutOfRange]),
  // 3.2 Transaction layer.
  Torture(
    name: "badbranch", start: "OPTIONS", target: "user@example.com",
    from: "sip:caller@example.org", vias: ["192.0.2.1"], contacts: 0, sequence: 8, isValid: false,
    problems: [.emptyBranch]),
  // 3.3 Application layer: the heads are well-formed unless something is missing or doubled.
  Torture(
    name: "insuf", start: "INVITE", target: "user@example.com", from: nil, vias: ["192.0.2.95"],
    contacts: 0, sequence: 193942, isValid: false,
    problems: [
      .missingHeader("Call-ID"), .missingHeader("From"), .missingHeader("To"),
      .missingHeader("Max-Forwards"),
    ]),
  Torture(
    name: "unkscm", start: "OPTIONS", target: "nobodyKnowsThisScheme:totallyopaquecontent",
    from: "sip:caller@example.net", vias: ["host9.example.com"], contacts: 0, sequence: 3_923_423,
    isValid: true),
  Torture(
    name: "novelsc", start: "OPTIONS", target: "soap.beep://192.0.2.103:3002",
    from: "sip:caller@example.net", vias: ["host9.example.com"], contacts: 0, sequence: 3_923_423,
    isValid: true),
  Torture(
    name: "unksm2", start: "REGISTER", target: "example.com", from: "http://www.example.com",
    vias: ["192.0.2.21:5060"], contacts: 1, sequence: 234902, isValid: true),
  Torture(
    name: "bext01", start: "OPTIONS", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["fold-and-staple.example.com"], contacts: 0, sequence: 8, isValid: true),
  Torture(
    name: "invut", start: "INVITE", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["somehost.example.com"], contacts: 1, sequence: 235448, isValid: true),
  Torture(
    name: "regaut01", start: "REGISTER", target: "example.com", from: "sip:j.user@example.com",
    vias: ["192.0.2.253"], contacts: 0, sequence: 9338, isValid: true),
  Torture(
    name: "multi01", start: "INVITE", target: "user@company.com", from: "sip:caller@example.com",
    vias: ["192.0.2.25"], contacts: 2, sequence: 5, isValid: false,
    problems: [
      .repeatedHeader("Call-ID"), .repeatedHeader("CSeq"), .repeatedHeader("From"),
      .repeatedHeader("Max-Forwards"), .repeatedHeader("To"),
    ]),
  Torture(
    name: "mcl01", start: "OPTIONS", target: "user@example.com", from: "sip:other@example.net",
    vias: ["host5.example.net"], contacts: 0, sequence: 15932, isValid: false,
    problems: [.repeatedHeader("Content-Length")]),
  Torture(
    name: "bcast", start: "200", target: "", from: "sip:user@example.com",
    vias: ["192.0.2.198", "255.255.255.255"], contacts: 1, sequence: 35, isValid: true),
  Torture(
    name: "zeromf", start: "OPTIONS", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["host1.example.com"], contacts: 0, sequence: 39_234_321, isValid: true),
  Torture(
    name: "cparam01", start: "REGISTER", target: "example.com", from: "sip:watson@example.com",
    vias: ["saturn.example.com:5060"], contacts: 1, sequence: 2, isValid: true),
  Torture(
    name: "cparam02", start: "REGISTER", target: "example.com", from: "sip:watson@example.com",
    vias: ["saturn.example.com:5060"], contacts: 1, sequence: 3, isValid: true),
  Torture(
    name: "regescrt", start: "REGISTER", target: "example.com", from: "sip:user@example.com",
    vias: ["host5.example.com"], contacts: 1, sequence: 14_398_234, isValid: true),
  // 3.4 Backward compatibility.
  Torture(
    name: "inv2543", start: "INVITE", target: "UserB@example.com",
    from: "sip:+13035551111@ift.client.example.net;user=phone", vias: ["iftgw.example.com"],
    contacts: 0, sequence: 56, isValid: true,
    problems: [
      .missingHeader("Max-Forwards"), .missingParameter("tag", of: "From"),
      .missingParameter("branch", of: "Via"),
    ]),
  Torture(
    name: "sdp01", start: "INVITE", target: "user@example.com", from: "sip:caller@example.net",
    vias: ["192.0.2.15"], contacts: 1, sequence: 8, isValid: true),
]

@Suite("RFC 4475's torture messages", .enabled(if: Corpus.isPresent, "no corpus"))
struct TortureTests {
  @Test("are read as the RFC says", arguments: messages)
  func reading(expected: Torture) throws {
    let head = try #require(MessageHead.parse(try Corpus.message(expected.name)))
    #expect(head.method ?? head.status.map(String.init) == expected.start)
    let uri = head.requestURI
    let target =
      uri?.isSIP == true
      ? [uri?.user, uri?.host].compactMap(\.self).joined(separator: "@") : uri?.text ?? ""
    #expect(target == expected.target)
    #expect(head.from?.uri?.text == expected.from)
    #expect(head.vias.map(\.sentBy) == expected.vias)
    #expect(head.contacts.count == expected.contacts)
    #expect(head.sequence == expected.sequence)
    #expect(Set(head.problems) == expected.problems)
    #expect(head.isValid == expected.isValid)
  }

  @Test("are all in the table, once")
  func complete() {
    #expect(messages.map(\.name).sorted() == Corpus.names)
    #expect(messages.count == 49)
  }

  @Test("show no scanner and no injection, odd as they are", arguments: messages)
  func harmless(expected: Torture) throws {
    let head = try #require(MessageHead.parse(try Corpus.message(expected.name)))
    #expect(Fingerprint.matches(in: head) == [])
    #expect(Injection.attempts(in: head) == [])
  }

  @Test("cut anywhere are read without more than is there")
  func cut() throws {
    for name in Corpus.names {
      let bytes = try Corpus.message(name)
      for length in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 200)) {
        guard let head = MessageHead.parse(Array(bytes.prefix(length))) else { continue }
        #expect(head.length <= length)
      }
    }
  }

  @Test("keep what is hard about them")
  func details() throws {
    let wsinv = try #require(MessageHead.parse(try Corpus.message("wsinv")))
    #expect(wsinv.from?.displayName == "J Rosenberg \\\"")
    #expect(wsinv.from?.tag == "98asjd8")
    #expect(wsinv.to?.tag == "1918181833n")
    #expect(wsinv.text("Max-Forwards") == "0068")
    #expect(wsinv.text("NewFangledHeader") == "newfangled value continued newfangled value")
    #expect(wsinv.vias.map(\.branch) == ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"])
    #expect(wsinv.contacts.first?.displayName == "Quoted string \"\"")
    #expect(
      wsinv.contacts.first?.parameters == [
        Parameter(name: "newparam", value: "newvalue"), Parameter(name: "secondparam", value: nil),
        Parameter(name: "q", value: "0.33"),
      ])
    let intmeth = try #require(MessageHead.parse(try Corpus.message("intmeth")))
    #expect(intmeth.to?.displayName == "BEL:\u{7} NUL:\0 DEL:\u{7f}")
    #expect(intmeth.from?.displayName == "token1~` token2'+_ token3*%!.-")
    #expect(intmeth.from?.parameters.first?.value == "работающий")
    #expect(intmeth.requestURI?.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)")
    let esc01 = try #require(MessageHead.parse(try Corpus.message("esc01")))
    #expect(esc01.requestURI?.decodedUser == "sips:user@example.com")
    #expect(esc01.to?.uri?.decodedUser == "user")
    let registration = try #require(MessageHead.parse(try Corpus.message("regescrt")))
    #expect(registration.contacts.first?.uri?.headers == "Route=%3Csip:sip.example.com%3E")
    let quote = try #require(MessageHead.parse(try Corpus.message("quotbal")))
    #expect(quote.to?.uri?.text == "sip:j.user@example.com")
  }
}
