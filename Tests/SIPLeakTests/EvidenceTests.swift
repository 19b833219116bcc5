import Addressing
import Firewall
import FoundationEssentials
import SIP
import SystemPackage
import Testing

@testable import SIPLeak

/// A UDP packet of IPv4 or IPv6, its checksums left out.
private func udp(
  _ from: String, _ to: String, port: UInt16 = 5060, sourcePort: UInt16 = 24376, _ payload: String
) throws -> [UInt8] {
  let source = try #require(IPAddress(from))
  let destination = try #require(IPAddress(to))
  func two(_ number: Int) -> [UInt8] { [UInt8(number >> 8), UInt8(number & 255)] }
  let segment =
    two(Int(sourcePort)) + two(Int(port)) + two(8 + payload.utf8.count) + [0, 0]
    + Array(payload.utf8)
  if source.family == .ipv4 {
    return [0x45, 0] + two(20 + segment.count) + [0, 0, 0, 0, 64, 17, 0, 0] + source.networkBytes
      + destination.networkBytes + segment
  }
  return [0x60, 0, 0, 0] + two(segment.count) + [17, 64] + source.networkBytes
    + destination.networkBytes + segment
}

private let attacker = "203.0.113.66"

private func invite(_ user: String = "900442070000000", agent: String = "friendly-scanner")
  -> String
{
  """
  INVITE sip:\(user)@192.0.2.5 SIP/2.0\r
  Via: SIP/2.0/UDP 198.51.100.99:5060;branch=z9hG4bK1\r
  From: "x" <sip:x@192.0.2.5>;tag=1\r
  To: <sip:\(user)@192.0.2.5>\r
  Call-ID: 1\r
  CSeq: 1 INVITE\r
  Max-Forwards: 70\r
  Contact: <sip:x@198.51.100.99>\r
  User-Agent: \(agent)\r
  \r

  """
}

@Suite("SIP evidence")
struct SIPEvidenceTests {
  private func collected(_ packets: [[UInt8]], _ peers: [String] = [attacker]) throws
    -> [PeerEvidence]
  {
    var collector = EvidenceCollector(try peers.map { try #require(IPAddress($0)) })
    for packet in packets { collector.add(packet, time: 1) }
    return collector.peers
  }

  @Test(
    "names method, target, both ports, names and the tool",
    arguments: [(attacker, "192.0.2.5"), ("2001:db8:a::66", "2001:db8:5::5")])
  func message(peer: String, local: String) throws {
    let heard = try #require(
      try collected(
        [
          try udp(peer, local, invite()), try udp(peer, local, port: 10012, invite()),
          try udp(peer, local, "\r\n\r\n"), try udp(peer, local, port: 10000, "\u{1}RTP"),
        ], [peer]
      ).first)
    #expect(heard.packets == 4 && heard.sipPackets == 2 && heard.keepalives == 1)
    #expect(heard.misdirected == 1)
    #expect(heard.hopLimits.values == [64] && heard.hopLimits.counts == [4])
    let message = try #require(heard.messages.values.last)
    #expect(message.method == "INVITE")
    #expect(message.requestURI == "sip:900442070000000@192.0.2.5")
    #expect(message.uriPort == 5060)
    #expect(message.destination?.port == 10012)
    #expect(message.isMisdirected)
    #expect(message.user == "900442070000000")
    #expect(message.from == "\"x\" <sip:x@192.0.2.5>;tag=1")
    #expect(message.contact == "<sip:x@198.51.100.99>")
    #expect(message.sentBy == "198.51.100.99:5060")
    #expect(message.agent == "friendly-scanner")
    #expect(message.problems == [])
    #expect(heard.fingerprints.values.map(\.fingerprint.id) == ["sipvicious-agent"])
    #expect(heard.fingerprints.counts == [2])
  }

  @Test("is of those who are listened to alone, and survives any bytes")
  func foreign() throws {
    var packet = try udp(attacker, "192.0.2.5", invite())
    let heard = try collected([packet], ["203.0.113.70"])
    #expect(heard.first?.packets == 0)
    var generator = SystemRandomNumberGenerator()
    var collector = EvidenceCollector([try #require(IPAddress(attacker))])
    for length in 0..<packet.count { collector.add(Array(packet.prefix(length)), time: 0) }
    for _ in 0..<2000 {
      let at = Int.random(in: 0..<60, using: &generator)
      packet[at] = UInt8.random(in: 0...255, using: &generator)
      collector.add(packet, time: 0)
      if at >= 12, at < 16 { packet.replaceSubrange(12..<16, with: [203, 0, 113, 66]) }
    }
    #expect(collector.peers.count == 1)
  }

  @Test("reads what stands behind options, extension headers and fragments")
  func headers() throws {
    // IPv4 with four bytes of options.
    var options = try udp(attacker, "192.0.2.5", invite())
    options[0] = 0x46
    options.insert(contentsOf: [1, 1, 1, 0], at: 20)
    let total = options.count
    options[2] = UInt8(total >> 8)
    options[3] = UInt8(total & 255)
    // IPv6 with hop-by-hop options before UDP.
    var extended = try udp("2001:db8:a::66", "2001:db8:5::5", invite())
    extended[6] = 0
    extended.insert(contentsOf: [17, 0, 1, 4, 0, 0, 0, 0], at: 40)
    let length = extended.count - 40
    extended[4] = UInt8(length >> 8)
    extended[5] = UInt8(length & 255)
    // A later fragment has no ports.
    var fragment = try udp(attacker, "192.0.2.5", invite())
    fragment[6] = 0
    fragment[7] = 185
    let heard = try collected(
      [options, extended, fragment], [attacker, "2001:db8:a::66"])
    #expect(heard.map(\.sipPackets) == [1, 1])
    #expect(heard.first?.packets == 2)
    #expect(heard.first?.ports.values.map(\.port) == [5060, nil])
  }

  @Test("keeps bounded numbers of everything, and says that there was more")
  func bounds() throws {
    let packets = try (0..<400).map { number in
      try udp(
        attacker, "192.0.2.5", port: UInt16(5060 + number % 100), invite("\(1000 + number)"))
    }
    let heard = try #require(try collected(packets).first)
    #expect(heard.users.values.count == 256 && heard.users.others == 144)
    #expect(heard.users.total == 400)
    #expect(heard.ports.values.count == 64)
    #expect(heard.messages.values.count == 24)
    #expect(heard.messages.total == 400)
    let long = try #require(
      try collected([
        try udp(attacker, "192.0.2.5", invite(agent: String(repeating: "é", count: 9000)))
      ])
      .first)
    #expect((long.messages.values.first?.agent?.utf8.count ?? 0) <= 260)
  }

  @Test("reaches a person escaped, the misdirected call loudest, within the width")
  func text() throws {
    let evil = invite("'or'x'='x", agent: "a\u{1b}[2J\u{202e}b\u{7}")
    var evidence = SIPEvidence(seconds: 10, heardSeconds: 10, peers: [])
    evidence.peers = try collected([try udp(attacker, "192.0.2.5", port: 10012, evil)])
    evidence.backends = ["nft"]
    let text = SIPEvidenceText(evidence, style: TextStyle()).sections.joined().joined(
      separator: "\n")
    #expect(
      text.unicodeScalars.allSatisfy {
        $0 == "\n" || $0.value >= 0x20 && $0.value < 0x7f || $0 == "…"
      }, "\(text)")
    #expect(text.contains("From  203.0.113.66  1 packet, 1 SIP"))
    #expect(text.contains("asks for port 5060 and travels to port 10012"))
    #expect(text.contains("INJECT sql in Request-URI: \"sip:'or'x'='x@192.0.2.5\""))
    #expect(text.contains("User-Agent  a\\u{1b}[2J\\u{202e}b\\u{7}"))
    #expect(text.contains("removed again"))
  }

  @Test("says when nobody was listened to, nothing came, or some of it was lost")
  func silence() throws {
    var evidence = SIPEvidence(seconds: 10, heardSeconds: 3, peers: [])
    func text() -> String {
      SIPEvidenceText(evidence, style: TextStyle()).sections.joined().joined(separator: "\n")
    }
    #expect(text().contains("nobody: no finding has a peer"))
    evidence.peers = [PeerEvidence(try #require(IPAddress(attacker)))]
    evidence.isInterrupted = true
    evidence.lost = 7
    evidence.overruns = 1
    evidence.leftovers = 1
    evidence.omittedPeers = [try #require(IPAddress("192.0.2.9"))]
    evidence.problems = ["the disk is full"]
    let said = text()
    for part in [
      "listened for 3 s of 10 s, then interrupted", "sent nothing", "7 logged packets never came",
      "had left were removed first", "192.0.2.9", "the disk is full",
    ] {
      #expect(said.contains(part), "\(said)")
    }
  }

  @Test("in JSON leaves no key out, and is null where nobody listened")
  func json() throws {
    let observation = try SavedHost().observation()
    var document = AuditJSON(Audit(observation), of: observation)
    #expect(try document.line().contains("\"sip_evidence\":null"))
    var evidence = SIPEvidence(seconds: 10, heardSeconds: 10, peers: [])
    evidence.peers = try collected([try udp(attacker, "192.0.2.5", invite())])
    document.evidence = evidence
    let line = try document.line()
    for key in [
      "seconds", "heard_seconds", "interrupted", "backends", "group", "lost", "overruns",
      "problems", "leftovers_removed", "peers_not_heard", "capture", "peers", "sip_packets",
      "keepalives", "encrypted", "misdirected", "methods", "ports", "users", "agents", "messages",
      "other_messages", "fingerprints", "injections", "request_uri", "request_uri_port",
      "transport", "source", "destination", "user", "from", "to", "contact", "user_agent",
      "via_sent_by", "first", "last", "bytes",
    ] {
      #expect(line.contains("\"\(key)\":"), "\(key)")
    }
    #expect(line.contains("\"capture\":null"))
  }
}

@Suite("The rules that listen")
struct ListenRulesTests {
  private func snapshot(
    _ rules: String, backend: Backend = .nft, family: AddressFamily = .ipv4
  ) throws -> FirewallSnapshot {
    FirewallSnapshot(rulesets: [
      try RulesetReader.read(
        Array(rules.utf8), source: "rules", backend: backend, family: family)
    ])
  }

  private let filter = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n"

  @Test("log, decide nothing, and are limited, one transaction a family")
  func insertions() throws {
    let peers = try ["203.0.113.66", "2001:db8:a::66", "203.0.113.70"].map {
      try #require(IPAddress($0))
    }
    let texts = ListenRules.insertions(peers, group: 7, in: try snapshot(filter))
    #expect(texts.map(\.family) == [.ipv4, .ipv6])
    #expect(texts.map(\.makesTable) == [true, true])
    #expect(
      texts.first?.text == """
        *raw
        -I PREROUTING 1 -s 203.0.113.66/32 -m limit --limit 200/sec --limit-burst 400 -m comment \
        --comment "sipleak:listen, table made" -j NFLOG --nflog-prefix sipleak:listen \
        --nflog-group 7 --nflog-size 16384
        -I PREROUTING 1 -s 203.0.113.70/32 -m limit --limit 200/sec --limit-burst 400 -m comment \
        --comment "sipleak:listen, table made" -j NFLOG --nflog-prefix sipleak:listen \
        --nflog-group 7 --nflog-size 16384
        COMMIT

        """)
    #expect(texts.first?.undo.contains("-D PREROUTING -s 203.0.113.66/32") == true)
  }

  @Test("go where the firewall in use is, and leave a table that was there")
  func backend() throws {
    let peer = try #require(IPAddress("203.0.113.66"))
    let raw = "*raw\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"
    let text = try #require(
      ListenRules.insertions([peer], group: 7, in: try snapshot(raw + filter, backend: .legacy))
        .first)
    #expect(text.backend == .legacy)
    #expect(!text.makesTable)
    #expect(!text.text.contains("table made"))
  }

  @Test("are known again as they are printed, and nobody else's is taken for one")
  func removals() throws {
    let rule =
      "-A PREROUTING -s 203.0.113.66/32 -m limit --limit 200/sec --limit-burst 400 -m comment "
      + "--comment \"sipleak:listen, table made\" -j NFLOG --nflog-prefix  \"sipleak:listen\" "
      + "--nflog-group 56060 --nflog-size 16384"
    let others = """
      -A PREROUTING -m comment --comment "sipleak:listen" -j DROP
      -A PREROUTING -m comment --comment "mine" -j NFLOG --nflog-group 56060
      -A PREROUTING -j NFLOG --nflog-prefix "sipleak:listen" --nflog-group 56060
      """
    let found = try snapshot(
      "*raw\n:PREROUTING ACCEPT [0:0]\n\(others)\n\(rule)\nCOMMIT\n" + filter)
    #expect(found.listenRulesLeft == 1)
    let texts = ListenRules.removals(in: found)
    #expect(texts.count == 1)
    #expect(texts.first?.makesTable == true)
    #expect(texts.first?.text == "*raw\n-D\(rule.dropFirst(2))\nCOMMIT\n")
    #expect(ListenRules.removals(in: try snapshot(filter)).isEmpty)
  }

  @Test("are given each peer once, mapped addresses as what they are")
  func peers() throws {
    let listening = Listening(
      to: try ["203.0.113.66", "::ffff:203.0.113.66", "203.0.113.70"].map {
        try #require(IPAddress($0))
      }, seconds: 1)
    #expect(listening.peers.map(\.description) == ["203.0.113.66", "203.0.113.70"])
  }
}

@Suite("A capture file")
struct PcapFileTests {
  private func folder() throws -> FilePath {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent(
      "sipleak-pcap-\(UInt64.random(in: 0 ... .max))")
    try FileManager.default.createDirectory(at: path, withIntermediateDirectories: true)
    return FilePath(path.path)
  }

  @Test("has the header and records of pcap with nanoseconds and raw IP")
  func format() throws {
    let folder = try folder()
    defer { try? FileManager.default.removeItem(atPath: folder.string) }
    let file = try PcapFile.create(folder.appending("a.pcap"))
    file.add([0x45, 1, 2], length: 1500, seconds: 0x0102_0304, nanoseconds: 5)
    let outcome = file.finish()
    #expect(outcome.packets == 1 && outcome.failure == nil)
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: file.path.string)))
    #expect(
      bytes == [
        0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0,
        4, 3, 2, 1, 5, 0, 0, 0, 3, 0, 0, 0, 0xdc, 5, 0, 0, 0x45, 1, 2,
      ])
  }

  @Test("is new, its owner's alone, and gone when nothing came")
  func safety() throws {
    let folder = try folder()
    defer { try? FileManager.default.removeItem(atPath: folder.string) }
    let path = folder.appending("a.pcap")
    let file = try PcapFile.create(path)
    #expect(try path.stat().permissions.rawValue & 0o777 == 0o600)
    do throws(SIPLeakError) {
      _ = try PcapFile.create(path)
      Issue.record("a file was written over")
    } catch {
      #expect(error.code == .badFile)
      #expect(error.advice.contains("not there yet"))
    }
    file.discard()
    #expect(!FileManager.default.fileExists(atPath: path.string))
  }
}
