import Addressing
import Conntrack
import Firewall
import HostNetwork
import Testing

@testable import SIPLeak

/// Markers of a trace and rules that log come and go while others judge, compare and block.
@Suite struct ProbeTests {
  private static let marker =
    "[5:500] -A INPUT -s 203.0.113.66/32 -p udp -m comment --comment \"sipleak:trace 1a 1.1\"\n"
  private static let listening = """
    *raw
    :PREROUTING ACCEPT [0:0]
    :OUTPUT ACCEPT [0:0]
    [5:500] -A PREROUTING -s 203.0.113.66/32 -m limit --limit 200/sec --limit-burst 400 -m comment --comment "sipleak:listen, table made" -j NFLOG --nflog-prefix "sipleak:listen" --nflog-group 7 --nflog-size 16384
    COMMIT

    """

  private static func marked(_ rules: String) -> String {
    rules.replacing("[3:300] -A INPUT -i lo", with: marker + "[3:300] -A INPUT -i lo")
  }

  @Test("Explanations give the positions that an operator counts, in commands as well")
  func positions() throws {
    var host = SavedHost.leaking
    let icmp = "[4:400] -A INPUT -p icmp -j ACCEPT\n"
    host.rules = host.rules.replacing(
      "[3:300] -A INPUT -i lo", with: icmp + "[3:300] -A INPUT -i lo")
    let plain = try host.diagnosis()
    #expect(plain[.icmp]?.command?.contains("-R INPUT 1 ") == true)
    host.rules = host.rules.replacing(icmp, with: Self.marker + icmp)
    #expect(try host.diagnosis().explanations == plain.explanations)
  }

  @Test("A probe that came between two readings is no reload, and no change of the firewall")
  func between() throws {
    let host = SavedHost.leaking
    let before = try host.observation().sample
    for rules in [Self.marked(host.rules), host.rules + Self.listening] {
      var later = host
      later.rules = rules
      let diagnosis = try later.diagnosis {
        $0.earlier = before
        $0.sample.time += 5
      }
      #expect(diagnosis[.reloadWindow]?.verdict == .cannotTell, "\(diagnosis)")
      var observation = try later.observation()
      observation.earlier = before
      #expect(Stability(observation, policy: AuditPolicy())?.objection == nil)
      #expect(Audit(observation).correlation?.rulesChanged == false)
    }
    // What does decide is still seen.
    var later = host
    later.rules = host.rules.replacing("198.51.100.10/32", with: "198.51.100.11/32")
    var observation = try later.observation()
    observation.earlier = before
    #expect(Stability(observation, policy: AuditPolicy())?.objection != nil)
  }

  @Test("A table that a listener made is none of others': a block that finds it makes it")
  func madeTable() throws {
    var host = SavedHost.leaking
    host.rules += Self.listening
    let plan = try host.plan()
    #expect(plan.rules.first?.text.contains("table made") == true, "\(plan.rules)")
    #expect(
      try host.observation().withoutProbes.sample.firewall.snapshot.rulesets[0].table("raw") == nil)
  }

  @Test(
    "A rule that only says it listens is somebody else's",
    arguments: [
      ("-m comment --comment \"sipleak:listen\" -j NFLOG --nflog-group 7", true),
      ("-m comment --comment \"sipleak:listening in\" -j NFLOG --nflog-group 7", false),
      ("-m recent --set --name x -m comment --comment \"sipleak:listen\" -j NFLOG", false),
      ("-m comment --comment \"sipleak:listen\" -j DROP", false),
    ])
  func identity(text: String, isOurs: Bool) throws {
    let ruleset = try RulesetReader.read(
      Array("*raw\n:PREROUTING ACCEPT\n-A PREROUTING \(text)\nCOMMIT\n".utf8), source: "text",
      backend: .nft, family: .ipv4)
    let rule = try #require(ruleset.tables[0].chains[0].rules.first)
    #expect(ListenRules.owns(rule) == isOurs)
  }

  @Test("Commands of explanations act in the namespace they are about")
  func namespace() throws {
    var host = SavedHost.leaking
    host.rules = host.rules.replacing(
      "[3:300] -A INPUT -i lo", with: "[4:400] -A INPUT -p icmp -j ACCEPT\n[3:300] -A INPUT -i lo")
    let diagnosis = try host.diagnosis { $0.host.namespace = "a b" }
    #expect(
      diagnosis[.establishedFlow]?.command == "sipleak block 203.0.113.66 --netns 'a b'")
    #expect(
      diagnosis[.icmp]?.command?.hasPrefix("nsenter --net='/run/netns/a b' iptables -R") == true)
  }

  @Test("What the rules' reading saw later than the flows' is not called other traffic")
  func skew() throws {
    var host = SavedHost()
    var leak = flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured])
    leak.originalCounters = Flow.Counters(packets: 10, bytes: 1000)
    host.flows = [leak]
    let before = try host.observation().sample
    leak.originalCounters = Flow.Counters(packets: 33, bytes: 3300)
    host.flows = [leak]
    host.rules = host.rules.replacing("[900:90000]", with: "[925:92500]")
    var now = try host.observation()
    now.earlier = before
    now.sample.time += 1
    let text = Audit(now).correlation?.statements.joined(separator: "\n") ?? ""
    #expect(text.contains("23 came in the flow of 1 finding"), "\(text)")
    #expect(text.contains("the other 2 came between the two readings, or are"), "\(text)")
  }

  @Test("A setting that an explanation has said is not said again")
  func settings() throws {
    let host = SavedHost.twoLegged(SavedHost.state, SavedHost.carrierRule, SavedHost.reject)
    var observation = try host.observation()
    observation.sample.firewall.snapshot.localAddresses = observation.network.addresses.map(
      \.address)
    let audit = Audit(observation)
    let diagnosis = Diagnosis(audit, of: observation)
    let text = DiagnosisText(audit, of: observation, style: TextStyle(), diagnosis: diagnosis)
      .text()
    #expect(text.ranges(of: "em2 is 0").isEmpty, "\(text)")
    #expect(text.ranges(of: "rp_filter is 0 on em2").count == 1, "\(text)")
  }
}
