import Addressing
import Firewall
import Foundation
import Testing

/// kube-proxy's own expectations of its ruleset, as its tracer states them.
///
/// That tracer takes states, marks and recent lists never to match and follows every random
/// choice; what it calls an output is where the packet goes, not whether it may.
@Suite(.enabled(if: Corpus.isPresent, "the corpus is not beside this clone"))
struct WalkKubernetesTests {
  struct Trace: Decodable {
    var name: String
    var src: String
    var dst: String
    var dport: UInt16
    var output: String
    var masq: Bool
  }
  struct Expectations: Decodable {
    var local: [String]
    var cases: [Trace]
  }

  @Test("Every packet of kube-proxy's tracer fares as it expects")
  func traces() throws {
    let folder = "rulesets/kubernetes/tracepacket-newer"
    let expectations = try JSONDecoder().decode(
      Expectations.self, from: Data(Corpus.bytes("\(folder).expected.json")))
    #expect(expectations.cases.count == 7)
    var snapshot = FirewallSnapshot(rulesets: [
      try RulesetReader.read(
        Corpus.bytes("\(folder).save"), source: "newer", backend: .legacy, family: .ipv4)
    ])
    snapshot.localAddresses = expectations.local.compactMap { IPAddress($0) }
    let evaluation = Evaluation(snapshot)
    for trace in expectations.cases {
      var packet = try Given.packet(
        .tcp, from: "\(trace.src):40000", to: "\(trace.dst):\(trace.dport)")
      packet.outInterface = "eth1"
      let isLocal = expectations.local.contains(trace.dst)
      let walk = evaluation.walk(packet, to: isLocal ? .input : .forward)
      let comment: Comment = "\(trace.name)"
      switch trace.output {
      case "DROP", "REJECT", "ACCEPT":
        #expect(walk.isCertain, comment)
        #expect(walk.verdict.rawValue.uppercased() == trace.output, comment)
      case "":
        #expect(walk.verdict == .accept && walk.translation == .asAsked, comment)
      default:
        let ends = trace.output.split(separator: ",").compactMap {
          Endpoint($0.trimmingCharacters(in: .whitespaces))
        }
        if ends.count == 1 {
          #expect(walk.redirectedTo == ends[0], comment)
        } else {
          #expect(walk.translation == .elsewhere(nil), comment)
        }
        #expect(walk.verdict == .accept, comment)
      }
      let isMarked = walk.path.contains { $0.rule.chain == "KUBE-MARK-MASQ" }
      #expect(isMarked == trace.masq, comment)
    }
  }
}
