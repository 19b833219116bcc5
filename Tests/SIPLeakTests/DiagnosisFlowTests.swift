import Addressing
import Conntrack
import Firewall
import HostNetwork
import Testing

@testable import SIPLeak

/// The explanations that flows and expectations decide.
@Suite("Diagnosis of flows")
struct DiagnosisFlowTests {
  @Test("Every explanation is judged once, what holds stands first")
  func order() throws {
    let diagnosis = try SavedHost.leaking.diagnosis()
    #expect(Set(diagnosis.explanations.map(\.kind)) == Set(Explanation.Kind.allCases))
    #expect(diagnosis.explanations.count == Explanation.Kind.allCases.count)
    let order = diagnosis.explanations.map {
      Explanation.Verdict.allCases.firstIndex(of: $0.verdict) ?? -1
    }
    #expect(order == order.sorted())
    #expect(diagnosis.explanations.first?.kind == .establishedFlow)
  }

  @Test("An established flow outlives its rule where a leak stands, and not where none does")
  func establishedFlow() throws {
    let leak = try SavedHost.leaking.diagnosis()
    expect(
      leak, .establishedFlow, .supported,
      "state rule at filter INPUT 2 stands before every SIP rule")
    #expect(leak[.establishedFlow]?.command == "sipleak block 203.0.113.66")
    #expect(
      leak[.establishedFlow]?.evidence.contains { $0.rule?.counters?.packets == 900 } == true)
    var host = SavedHost()
    expect(try host.diagnosis(), .establishedFlow, .ruledOut, "no flow to SIP")
    host.flows = [flow("198.51.100.10:5060", "192.0.2.5:5060", [.seenReply, .assured])]
    expect(try host.diagnosis(), .establishedFlow, .ruledOut)
  }

  @Test("A flow that this host opened is told from one the peer opened")
  func hostOpened() throws {
    var host = SavedHost()
    host.flows = [flow("192.0.2.5:5060", "203.0.113.70:33333", [])]
    let lured = try host.diagnosis()
    expect(lured, .hostOpened, .supported, "this host sent first", "unanswered")
    expect(lured, .establishedFlow, .ruledOut)
    #expect(lured[.hostOpened]?.command == "sipleak diagnose --trust 203.0.113.70")
    expect(try SavedHost.leaking.diagnosis(), .hostOpened, .ruledOut, "no flow to SIP was opened")
    // A trunk is no explanation of strangers, and is one of itself.
    expect(try host.diagnosis(trusted: ["203.0.113.70"]), .hostOpened, .ruledOut, "trusted")
    expect(
      try host.diagnosis(of: "203.0.113.70", trusted: ["203.0.113.70"]), .hostOpened, .supported)
  }

  private static func expectation(from source: String, mask: String) -> Conntrack.Expectation {
    let tuple = FlowTuple(
      source: address(source), destination: address("192.0.2.5"), transport: .udp,
      sourcePort: 0, destinationPort: 5060)
    let masked = FlowTuple(
      source: address(mask), destination: address("255.255.255.255"), transport: .udp,
      sourcePort: 0, destinationPort: 65535)
    var result = Conntrack.Expectation(tuple: tuple, mask: masked, master: tuple, id: 1)
    result.flags = .permanent
    return result
  }

  @Test("A helper is supported by an expectation that admits the peer, or by its EXPECTED flow")
  func helper() throws {
    let any = Self.expectation(from: "0.0.0.0", mask: "0.0.0.0")
    let carrier = Self.expectation(from: "198.51.100.10", mask: "255.255.255.255")
    expect(
      try SavedHost().diagnosis { $0.expectations = [any] }, .helper, .supported, "anybody")
    expect(
      try SavedHost.leaking.diagnosis { $0.expectations = [any] }, .helper, .supported)
    // It admits the carrier, not the peer that leaks.
    expect(
      try SavedHost.leaking.diagnosis { $0.expectations = [carrier] }, .helper, .ruledOut)
    expect(
      try SavedHost().diagnosis(of: "198.51.100.10") { $0.expectations = [carrier] }, .helper,
      .supported, "198.51.100.10 from any port")
    var inactive = any
    inactive.flags = [.inactive]
    expect(
      try SavedHost().diagnosis { $0.expectations = [inactive] }, .helper, .ruledOut)
    var expected = SavedHost()
    expected.flows = [
      flow("203.0.113.66:5060", "192.0.2.5:5060", [.seenReply, .expected, .assured])
    ]
    expect(
      try expected.diagnosis(), .helper, .supported, "let 203.0.113.66:5060 in as RELATED")
  }

  @Test("A helper rule without an expectation cannot tell; no rule rules it out, modules said")
  func helperRule() throws {
    let raw = """
      *raw
      :PREROUTING ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      [5:500] -A PREROUTING -p udp -m udp --dport 5060 -j CT --helper sip
      COMMIT

      """
    var host = SavedHost()
    host.rules = raw + SavedHost.rules
    let some = try host.diagnosis { observation in
      observation.settings.sipHelper = SIPHelperSettings(isLoaded: true)
      observation.settings.sipHelper?.directSignalling = false
    }
    expect(some, .helper, .cannotTell, "raw PREROUTING 1")
    #expect(
      some[.helper]?.command == "iptables -t raw -D PREROUTING 1 && conntrack -F expect")
    #expect(
      some[.helper]?.evidence.contains {
        $0.setting?.name == "/sys/module/nf_conntrack_sip/parameters/sip_direct_signalling"
          && $0.setting?.value == "0"
      } == true)
    let none = try SavedHost().diagnosis { observation in
      observation.settings.sipHelper = SIPHelperSettings(isLoaded: false)
      // Other settings are there, and no nf_conntrack_helper: this kernel has none.
      observation.settings.count = 1
    }
    expect(none, .helper, .ruledOut, "no helper rule", "not in the kernel")
    let automatic = try SavedHost().diagnosis { observation in
      observation.settings.sipHelper = SIPHelperSettings(isLoaded: true)
      observation.settings.automaticHelpers = true
    }
    expect(automatic, .helper, .cannotTell)
    #expect(automatic[.helper]?.command == "sysctl -w net.netfilter.nf_conntrack_helper=0")
  }

  @Test("Counters younger than a flow prove a reload; older ones prove nothing")
  func reloadWindow() throws {
    var host = SavedHost.leaking
    host.flows[0].originalCounters = Flow.Counters(packets: 5000, bytes: 1)
    expect(
      try host.diagnosis(), .reloadWindow, .supported, "5,000 packets", "counted 900",
      "loaded after it began")
    host.flows[0].originalCounters = Flow.Counters(packets: 800, bytes: 1)
    expect(try host.diagnosis(), .reloadWindow, .cannotTell, "policy of filter INPUT is ACCEPT")
    // The policy would hold while the rules are gone, and nobody leaks.
    let closed = SavedHost.input(
      SavedHost.state, SavedHost.carrierRule, policy: "DROP")
    expect(try closed.diagnosis(), .reloadWindow, .ruledOut, "DROP")
    expect(
      try SavedHost().diagnosis(of: "203.0.113.9"), .reloadWindow, .ruledOut, "no flow")
  }

  @Test("A script that flushes is a practice that opens a window, if the policy is ACCEPT")
  func flushingScript() throws {
    let line = FlushingLine(path: "/etc/rc.local", line: 3, text: "iptables -F")
    expect(
      try SavedHost.leaking.diagnosis { $0.reloadScripts = [line] }, .reloadWindow, .supported,
      "/etc/rc.local:3 flushes")
    let closed = SavedHost.input(SavedHost.state, SavedHost.carrierRule, policy: "DROP")
    expect(
      try closed.diagnosis { $0.reloadScripts = [line] }, .reloadWindow, .ruledOut)
  }

  @Test(
    "Lines of scripts that flush the filter table are known in any spelling",
    arguments: [
      ("iptables -F", true), ("  /sbin/iptables --flush INPUT", true), ("$IPT -F", true),
      ("ip6tables -t filter -F", true), ("iptables -w -F; iptables -X", true),
      ("\"$IPTABLES\" -F", true), ("# iptables -F", false), ("iptables -t nat -F", false),
      ("iptables -A INPUT -j ACCEPT", false), ("iptables-restore -F x", false),
      ("conntrack -F", false), ("grep -F iptables x", false),
    ])
  func flushingLines(line: String, flushes: Bool) {
    let found = FlushingLine.lines(of: Array("#!/bin/sh\n\(line)\n".utf8), path: "/x")
    #expect(found.map(\.line) == (flushes ? [2] : []))
    #expect(FlushingLine.lines(of: [0] + Array(line.utf8), path: "/x").isEmpty)
  }

  @Test("A change of the rules between two readings is a reload that was seen")
  func reloadSeen() throws {
    var host = SavedHost.leaking
    host.status = SavedHost.nothingElse
    let before = try host.observation().sample
    func after(_ rules: String) throws -> Diagnosis {
      var changed = host
      changed.rules = rules
      return try changed.diagnosis {
        $0.earlier = before
        $0.sample.time += 5
      }
    }
    expect(try after(SavedHost.rules), .reloadWindow, .cannotTell)
    expect(
      try after(SavedHost.rules.replacing("[900:90000]", with: "[3:90]")), .reloadWindow,
      .supported, "counted less than before")
    expect(
      try after(SavedHost.rules.replacing("198.51.100.10", with: "198.51.100.11")), .reloadWindow,
      .cannotTell, "changed between the two readings", "not known")
  }

  @Test("A stream timeout is held against the keepalive the operator knows, or what was seen")
  func streamTimeout() throws {
    var host = SavedHost()
    host.flows = [flow("192.0.2.5:5060", "203.0.113.70:5060", [.seenReply, .assured])]
    func judge(_ keepalive: Double?, _ change: (inout Observation) -> Void = { _ in }) throws
      -> Diagnosis
    {
      try host.diagnosis(keepalive: keepalive) {
        $0.settings.udpStreamTimeout = 120
        $0.settings.udpTimeout = 30
        change(&$0)
      }
    }
    expect(try judge(nil), .streamTimeout, .cannotTell, "120 s", "longest silence now 20 s")
    expect(try judge(60), .streamTimeout, .ruledOut)
    expect(try judge(180), .streamTimeout, .supported, "203.0.113.70:5060 may be refused")
    expect(try host.diagnosis(), .streamTimeout, .cannotTell, "not known")
    // The same ends, another entry: it ended and began anew.
    let reopened = try judge(nil) { observation in
      var earlier = observation.sample
      earlier.flows[0].id = 77
      observation.earlier = earlier
    }
    expect(reopened, .streamTimeout, .supported, "ended and began again")
    // The kernel gave it the same id again; its start differs.
    let sameID = try judge(nil) { observation in
      observation.sample.flows[0].start = 2_000_000_000
      var earlier = observation.sample
      earlier.flows[0].start = 1_000_000_000
      observation.earlier = earlier
    }
    expect(sameID, .streamTimeout, .supported, "ended and began again")
    // A trunk that is admitted as NEW loses nothing.
    host.flows = [flow("198.51.100.10:5060", "192.0.2.5:5060", [.seenReply, .assured])]
    expect(try judge(180), .streamTimeout, .ruledOut, "admit the next packet")
  }

  @Test("The distance of a TTL in a recent list is held against the address")
  func hopDistance() throws {
    func judge(_ entries: (String, UInt8)..., of peer: String? = nil) throws -> Diagnosis {
      try SavedHost.leaking.diagnosis(of: peer) { observation in
        observation.network.routedPrefixes = [
          RoutedPrefix(prefix: prefix("192.0.2.0/24"), interfaces: ["eth0"]),
          RoutedPrefix(prefix: prefix("0.0.0.0/0"), interfaces: ["eth0"]),
        ]
        observation.sample.firewall.snapshot.recentLists = [
          RecentList(
            name: "sip",
            entries: entries.map {
              RecentList.Entry(address: address($0.0), ttl: $0.1, lastSeen: 1, stamps: [1])
            })
        ]
      }
    }
    expect(try SavedHost.leaking.diagnosis(), .hopDistance, .cannotTell, "no TTL")
    // With nothing to compare it with, a distance contradicts nothing and proves nothing.
    let alone = try judge(("203.0.113.66", 52))
    expect(alone, .hopDistance, .cannotTell, "12 hops", "nobody in its network")
    #expect(alone[.hopDistance]?.command == "traceroute -n 203.0.113.66")
    // An address of our own network that came through routers was forged.
    let inside = try judge(("192.0.2.9", 52), of: "192.0.2.9")
    expect(inside, .hopDistance, .supported, "12 routers between")
    expect(inside, .spoofedSource, .supported)
    expect(try judge(("192.0.2.9", 64), of: "192.0.2.9"), .hopDistance, .ruledOut)
    // A far address that came through none was sent from the next wire.
    expect(try judge(("203.0.113.66", 64)), .hopDistance, .supported, "next wire")
    expect(
      try judge(("203.0.113.66", 52), ("203.0.113.9", 117)), .hopDistance, .ruledOut)
    expect(
      try judge(("203.0.113.66", 52), ("203.0.113.9", 60)), .hopDistance, .supported, "neighbour")
    expect(try judge(("203.0.113.66", 0)), .hopDistance, .cannotTell)
  }

  @Test("What was heard of a peer tells its distance as well, and asking for it is proposed")
  func heardDistance() throws {
    func judge(_ limits: [UInt8]) throws -> Explanation? {
      let observation = try SavedHost.leaking.observation()
      return Diagnosis(
        Audit(observation), of: observation, hopLimits: [address("203.0.113.66"): limits])[
          .hopDistance]
    }
    let before = try judge([])
    #expect(before?.verdict == .cannotTell)
    #expect(before?.command == "sipleak diagnose --listen 10s")
    #expect(try judge([52])?.summary.contains("12 hops") == true)
    #expect(try judge([52])?.evidence.first?.text == "TTL 52 heard: 12 hops")
    // One address from two distances, and none of it by another first TTL.
    #expect(try judge([52, 116])?.verdict == .cannotTell)
    let two = try judge([52, 61])
    #expect(two?.verdict == .supported)
    #expect(two?.summary.contains("3 and 12 hops") == true)
  }

  @Test("An incomplete reading rules nothing out that hangs on what was not read")
  func incomplete() throws {
    var host = SavedHost()
    host.problems = ["the expectations: Operation not permitted"]
    let diagnosis = try host.diagnosis()
    let ruledOut = diagnosis.explanations.filter { $0.verdict == .ruledOut }.map(\.kind)
    #expect(ruledOut == [.icmp])
    expect(diagnosis, .helper, .cannotTell, "not everything could be read")
    #expect(
      diagnosis[.helper]?.evidence.contains { $0.text.contains("Operation not permitted") } == true)
  }
}
