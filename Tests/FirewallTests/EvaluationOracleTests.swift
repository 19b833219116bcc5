import Addressing
import Firewall
import Foundation
import Testing

/// Real packets sent through real rulesets: what the kernel did with them.
struct OracleCase: Decodable {
  struct Sent: Decodable {
    var path: String
    var proto: String
    var src: String
    var dst: String
    var sport: UInt16?
    var dport: UInt16?
    var state: String
  }
  struct Decisive: Decodable {
    var table: String
    var chain: String
    var index: Int
  }
  struct Hit: Decodable, Hashable {
    var table: String
    var chain: String
    var index: Int

    init(_ table: String, _ chain: String, _ index: Int) {
      self.table = table
      self.chain = chain
      self.index = index
    }

    init(from decoder: any Decoder) throws {
      var list = try decoder.unkeyedContainer()
      table = try list.decode(String.self)
      chain = try list.decode(String.self)
      index = try list.decode(Int.self)
    }
  }

  var ruleset: String
  var stateful: Bool
  var sets_empty: [String]
  var inif: String
  var outif: String
  var local: [String]
  var pkt: Sent
  var verdict: String
  var decisive: Decisive
  var hits: [Hit]

  static func all() throws -> [OracleCase] {
    try Corpus.bytes("oracle/verdicts.jsonl").split(separator: 10).map {
      try JSONDecoder().decode(OracleCase.self, from: Data($0))
    }
  }

  var path: PacketPath { pkt.path == "FORWARD" ? .forward : .input }

  func packet() throws -> Packet {
    var connection = ConnectionFacts.new
    if pkt.state != "NEW" {
      connection = ConnectionFacts(
        state: .established, direction: pkt.state == "ESTABLISHED-orig" ? .original : .reply)
      connection.status = 0xa
      connection.mark = 0
      connection.zone = 0
      connection.helper = ""
    }
    let transports: [String: IPProtocol] = ["udp": .udp, "tcp": .tcp, "icmp": .icmp]
    var packet = Packet(
      transport: try #require(transports[pkt.proto]), source: try #require(IPAddress(pkt.src)),
      destination: try #require(IPAddress(pkt.dst)), sourcePort: pkt.sport,
      destinationPort: pkt.dport, inInterface: inif, connection: connection)
    if path == .forward { packet.outInterface = outif }
    if pkt.proto == "icmp" { packet.icmp = (type: 8, code: 0) }
    if pkt.proto == "tcp" { packet.tcpFlags = 2 }
    packet.bridgePort = BridgePort.none
    return packet
  }

  func evaluation() throws -> Evaluation {
    let name = ruleset.replacingOccurrences(of: "rulesets/", with: "")
      .replacingOccurrences(of: "/", with: "~")
    let canonical = try? Corpus.bytes("oracle/canonical/\(name).save")
    let text = try canonical ?? Corpus.bytes(ruleset)
    let rules = try RulesetReader.read(text, source: ruleset, backend: .legacy, family: .ipv4)
    var snapshot = FirewallSnapshot(rulesets: [rules])
    snapshot.sets = sets_empty.map { AddressSet(name: $0, type: "hash:ip", family: .ipv4) }
    snapshot.localAddresses = local.compactMap { IPAddress($0) }
    return Evaluation(snapshot)
  }
}

@Suite(.enabled(if: Corpus.isPresent, "the corpus is not beside this clone"))
struct EvaluationOracleTests {
  @Test("No certain verdict differs from the kernel's, nor does the rule that decides")
  func verdicts() throws {
    let cases = try OracleCase.all()
    #expect(cases.count == 269)
    var uncertain = 0
    var plain = 0
    for (number, oracle) in cases.enumerated() {
      let walk = try oracle.evaluation().walk(oracle.packet(), to: oracle.path)
      if !oracle.stateful { plain += 1 }
      guard walk.isCertain else {
        if !oracle.stateful { uncertain += 1 }
        continue
      }
      let rule = walk.decidingRule
      #expect(
        walk.verdict.rawValue.uppercased() == oracle.verdict && rule?.table == oracle.decisive.table
          && rule?.chain == oracle.decisive.chain && rule?.index == oracle.decisive.index,
        "line \(number + 1), \(oracle.ruleset): \(oracle.pkt)")
    }
    #expect(uncertain * 100 <= plain * 3, "\(uncertain) of \(plain) are not certain")
  }

  @Test("The rules the kernel counted are those the walk meets")
  func hits() throws {
    for (number, oracle) in try OracleCase.all().enumerated() {
      let walk = try oracle.evaluation().walk(oracle.packet(), to: oracle.path)
      func places(_ hits: [RuleHit]) -> Set<OracleCase.Hit> {
        Set(hits.map { OracleCase.Hit($0.rule.table, $0.rule.chain, $0.rule.index) })
      }
      let counted = Set(oracle.hits)
      let certain = places(walk.path.filter(\.isCertain))
      let possible = places(walk.path)
      let comment: Comment = "line \(number + 1), \(oracle.ruleset): \(oracle.pkt)"
      #expect(certain.isSubset(of: counted), comment)
      #expect(counted.isSubset(of: possible), comment)
    }
  }
}
