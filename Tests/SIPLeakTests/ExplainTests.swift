import Addressing
import Firewall
import Foundation
import SIPLeak
import SystemPackage
import Testing

struct ExplainTests {
  private static let open = """
    *filter
    :INPUT ACCEPT [0:0]
    :FORWARD DROP [0:0]
    -A INPUT -p tcp -m tcp --tcp-flags ALL NONE -j DROP
    -A INPUT -m physdev --physdev-is-bridged -j DROP
    -A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP
    COMMIT

    """

  private func snapshot(_ text: String, six: String? = nil) async throws -> FirewallSnapshot {
    let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    var source = ExplainSource()
    let four = folder.appending(path: "rules.v4")
    try Data(text.utf8).write(to: four)
    source.ruleset = FilePath(four.path)
    if let six {
      let file = folder.appending(path: "rules.v6")
      try Data(six.utf8).write(to: file)
      source.ruleset6 = FilePath(file.path)
    }
    return try await source.snapshot()
  }

  private struct Answer: Decodable {
    struct Rule: Decodable {
      var table: String
      var chain: String
      var index: Int
      var text: String
    }
    var verdict: String?
    var certain: Bool?
    var rule: Rule?
    var unknowns: [String]?
    var assumed: [String]?
    var error: String?
  }

  private func answer(_ line: String, _ snapshot: FirewallSnapshot) throws -> Answer {
    let text = PacketRecords(snapshot).answer(Array(line.utf8), at: "p.jsonl:7").text
    return try JSONDecoder().decode(Answer.self, from: Data(text.utf8))
  }

  private static func packet(_ more: String = "", proto: String = "udp") -> String {
    #"{"proto":"\#(proto)","src":"203.0.113.66","dst":"192.0.2.5","sport":1024,"dport":5060\#(more)}"#
  }

  @Test("A save that says it leaves native rules out is no empty firewall")
  func notices() async throws {
    let incompatible = try await snapshot("# Table `filter' is incompatible, use 'nft' tool.\n")
    #expect(try answer(Self.packet(), incompatible).verdict == "unknown")
    let foreign = try await snapshot(
      "# Table `filter' contains incompatible base-chains, use 'nft' tool to list them.\n"
        + "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p udp -m udp --dport 5060 -j DROP\nCOMMIT\n")
    #expect(try answer(Self.packet(), foreign).verdict == "drop")
    let other = try answer(Self.packet(#","dport":5061"#), foreign)
    #expect(other.verdict == "unknown")
    #expect(other.unknowns?.isEmpty == false)
  }

  @Test("A packet of a family whose rules were not given is not decided")
  func missingFamily() async throws {
    let rules = try await snapshot(Self.open)
    let six = #"{"proto":"udp","src":"2001:db8::1","dst":"2001:db8::2","dport":5060}"#
    let walked = try answer(six, rules)
    #expect(walked.verdict == "unknown")
    #expect(walked.unknowns?.contains { $0.contains("--ruleset6") } == true)
    #expect(try answer(six, await snapshot(Self.open, six: Self.open)).verdict == "accept")
    #expect(try answer(Self.packet(), rules).verdict == "accept")
  }

  @Test(
    "Odd spellings of a packet's fields are understood",
    arguments: [
      #","dport":"5060""#, #","sport":null"#, #","state":"established","path":"input""#,
      #","local":"192.0.2.5/24""#, #","local":["192.0.2.5","fe80::1"]"#, #","anything":{"a":[1]}"#,
      #","proto":17"#, #","proto":"17""#, #","proto":"gre""#, #","proto":"UDP""#,
      #","payload":"OPTIONS sip:","length":500,"ttl":64,"tos":184,"mark":1"#,
      #","payload_hex":"4f50","mac":"02:00:00:00:00:01","ipsec":false,"rpfilter":true"#,
    ])
  func fields(more: String) async throws {
    let found = try answer(Self.packet(more), await snapshot(Self.open))
    #expect(found.error == nil)
    #expect(found.verdict == "accept")
  }

  @Test(
    "What is wrong with a packet's line is said with its column",
    arguments: [
      ("[1]", "p.jsonl:7:1: expected an object"),
      (#"{"proto":"udp","src":"#, "p.jsonl:7:22: expected a value"),
      (#"{"proto":"udp"}"#, "p.jsonl:7:1: expected an address as src, which is missing"),
      (
        #"{"proto":"xyz","src":"192.0.2.1","dst":"192.0.2.2"}"#,
        "p.jsonl:7:10: expected a protocol: udp, tcp, icmp, sctp, … or its number as proto"
      ),
      (
        #"{"proto":"udp","src":"192.0.2.1","dst":"::1"}"#,
        "p.jsonl:7:40: expected an address of src's family as dst"
      ),
      (
        #"{"proto":"udp","src":"192.0.2.1","dst":"192.0.2.2","sport":70000}"#,
        "p.jsonl:7:60: expected a port, 0 to 65535, as sport"
      ),
      (
        #"{"proto":"udp","src":"192.0.2.1","dst":"192.0.2.2","path":"OUTPUT"}"#,
        "p.jsonl:7:59: expected INPUT or FORWARD as path"
      ),
      (
        #"{"proto":"udp","src":"192.0.2.1","dst":"192.0.2.2"} x"#,
        "p.jsonl:7:53: expected the end of the line"
      ),
    ])
  func errors(line: String, expected: String) async throws {
    let error = try #require(try answer(line, await snapshot(Self.open)).error)
    #expect(error.hasPrefix(expected), "\(error)")
  }

  @Test("ICMP to an IPv6 address is ICMPv6")
  func icmp() async throws {
    let rules = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p ipv6-icmp -j DROP\nCOMMIT\n"
    let found = try answer(
      #"{"proto":"icmp","src":"2001:db8::1","dst":"2001:db8::2"}"#,
      await snapshot(Self.open, six: rules))
    #expect(found.verdict == "drop")
  }

  @Test("A verdict says what it takes for granted of what was not said of the packet")
  func assumptions() async throws {
    let rules = try await snapshot(Self.open)
    #expect(
      try answer(Self.packet(), rules).assumed == [PacketAssumption.noBridge.rawValue])
    #expect(
      try answer(Self.packet(proto: "tcp"), rules).assumed
        == [PacketAssumption.noBridge.rawValue, PacketAssumption.usualFlags.rawValue])
    let told = try answer(Self.packet(#","physin":"p1""#), rules)
    #expect(told.assumed == [])
    // Of a packet to the host no bridge forwards anything.
    #expect(told.verdict == "accept")
  }

  @Test("A segment of an answered flow cannot be one that tracking calls invalid")
  func flags() async throws {
    let rules = try await snapshot(Self.open)
    let held = try answer(
      Self.packet(#","state":"ESTABLISHED-orig""#, proto: "tcp"), rules)
    #expect(held.verdict == "accept")
    let scan = try answer(
      Self.packet(#","state":"INVALID","tcp_flags":"NONE""#, proto: "tcp"), rules)
    #expect(scan.rule?.index == 1)
  }

  @Test("A packet that nat sends elsewhere is followed there where the host's addresses are known")
  func routed() async throws {
    let rules = try await snapshot(
      """
      *nat
      :PREROUTING ACCEPT [0:0]
      -A PREROUTING -p udp -m udp --dport 5060 -j DNAT --to-destination 10.77.3.33:5080
      COMMIT
      *filter
      :INPUT DROP [0:0]
      :FORWARD DROP [0:0]
      -A FORWARD -d 10.77.3.33/32 -p udp -m udp --dport 5080 -j ACCEPT
      COMMIT

      """)
    let followed = try answer(Self.packet(#","local":["192.0.2.5"]"#), rules)
    #expect(followed.verdict == "accept")
    #expect(followed.rule?.chain == "FORWARD")
    #expect(try answer(Self.packet(), rules).rule?.chain == "INPUT")
    let direct = try answer(
      Self.packet(#","dport":5080,"local":["192.0.2.5"]"#), rules)
    #expect(direct.rule?.chain == "INPUT")
  }

  @Test("An answered flow is untranslated where no rule could have translated it")
  func untranslated() async throws {
    let filter = """
      *filter
      :INPUT DROP [0:0]
      -A INPUT -m conntrack --ctstate DNAT -j ACCEPT
      COMMIT

      """
    let held = Self.packet(#","state":"ESTABLISHED-orig""#)
    let plain = try answer(held, await snapshot(filter))
    #expect(plain.verdict == "drop")
    #expect(plain.assumed == [PacketAssumption.notTranslated.rawValue])
    let nat = """
      *nat
      :PREROUTING ACCEPT [0:0]
      -A PREROUTING -p udp -j REDIRECT --to-ports 1
      COMMIT

      """
    #expect(try answer(held, await snapshot(nat + filter)).verdict == "unknown")
  }
}
