import Addressing
import Conntrack
import Firewall
import HostNetwork
import Testing

@testable import SIPLeak

@Suite("Audit of translated flows")
struct AuditTranslationTests {
  private static let redirected = flow(
    "203.0.113.66:24376", "192.0.2.5:5070", [.seenReply, .destinationNAT],
    reply: ("192.0.2.5:5060", "203.0.113.66:24376"))

  private func nat(_ rules: String...) -> String {
    """
    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    \(rules.joined(separator: "\n"))
    COMMIT

    """ + SavedHost.rules
  }

  @Test("With the nat rule still there, INPUT decides, by the port behind it")
  func ruleThere() throws {
    var host = SavedHost()
    host.flows = [Self.redirected]
    host.rules = nat("[0:0] -A PREROUTING -p udp -m udp --dport 5070 -j REDIRECT --to-ports 5060")
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .establishedBypass)
    #expect(finding.level == .leak)
    #expect(finding.wire == end("192.0.2.5:5070"))
    #expect(finding.delivered == end("192.0.2.5:5060"))
    #expect(finding.isTranslated)
    #expect(finding.asNew.rule?.index == 5)
    #expect(finding.asHeld.rule?.index == 2)
    // A source that INPUT admits at 5060 is admitted by 5070 as well.
    host.flows = [
      flow(
        "198.51.100.10:5060", "192.0.2.5:5070", [.seenReply, .destinationNAT],
        reply: ("192.0.2.5:5060", "198.51.100.10:5060"))
    ]
    #expect(try host.audit().findings.isEmpty)
  }

  @Test("With the nat rule gone, a new packet does not come to where the flow goes: refused")
  func ruleGone() throws {
    var host = SavedHost()
    host.flows = [Self.redirected]
    var finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .establishedBypass)
    #expect(finding.asNew.verdict.isRefused)
    // Accepted there, but there is elsewhere.
    host.rules = SavedHost.rules.replacing(
      "[0:0] -A INPUT -p tcp",
      with: "[0:0] -A INPUT -p udp -m udp --dport 5070 -j ACCEPT\n[0:0] -A INPUT -p tcp")
    finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .establishedBypass)
    #expect(finding.asNew == JudgedVerdict(verdict: .drop, isCertain: true, rule: nil))
    #expect(finding.why.contains("192.0.2.5:5070 would go to 192.0.2.5:5070, not to"))
    #expect(finding.isBlockable == false)
  }

  @Test("Where the nat rule hangs on what is not known, so does the verdict")
  func ruleUnknown() throws {
    var host = SavedHost()
    host.flows = [Self.redirected]
    host.rules = nat(
      "[0:0] -A PREROUTING -p udp -m udp --dport 5070 -m mystery --moon full -j REDIRECT --to-ports 5060"
    ).replacing("-s 198.51.100.10/32", with: "-s 203.0.113.0/24")
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .undecided)
    #expect(!finding.isBlockable)
  }

  @Test("Where a native rule may still translate, a missing iptables rule proves nothing")
  func translatedUnseen() throws {
    var host = SavedHost()
    host.flows = [Self.redirected]
    func native(_ port: Int, _ condition: String = "") -> String {
      """
      {"nftables": [{"chain": {"family": "ip", "table": "own", "name": "pre", "handle": 1,
        "type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}},
       {"rule": {"family": "ip", "table": "own", "chain": "pre", "handle": 2, "expr": [\(condition)
        {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}},
         "right": \(port)}}, {"redirect": {"port": 5060}}]}}]}
      """
    }
    host.native = native(5070)
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .undecided)
    #expect(finding.why.contains("table own chain pre"), "\(finding.why)")
    #expect(!finding.isBlockable)
    // One that a held packet surely does not meet would still translate a new one.
    host.native = native(
      5070,
      """
      {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["new"]}},
      """)
    #expect(try host.audit().findings.map(\.cause) == [.undecided])
    host.native = native(5071)
    #expect(try host.audit().findings.map(\.cause) == [.establishedBypass])
  }

  @Test("A block of a redirected flow covers the port on the wire and the one answers leave by")
  func bothPorts() throws {
    var host = SavedHost()
    host.flows = [Self.redirected]
    host.rules = nat("[0:0] -A PREROUTING -p udp -m udp --dport 5070 -j REDIRECT --to-ports 5060")
    let plan = try host.plan()
    #expect(
      plan.entries.map(\.element) == ["203.0.113.66,udp:5070", "203.0.113.66,udp:5060"])
    #expect(plan.deletions.count == 1)
    let before = try host.plan(BlockRequest(place: .beforeStateRule))
    #expect(before.entries.map(\.element) == ["203.0.113.66,udp:5060"])
  }

  @Test("A flow of ours whose source is translated is host-opened by its wire side")
  func sourceTranslated() throws {
    var host = SavedHost()
    host.flows = [
      flow(
        "192.0.2.5:5060", "203.0.113.70:33333", [.sourceNAT],
        reply: ("203.0.113.70:33333", "192.0.2.5:6060"))
    ]
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .hostOpened)
    #expect(finding.grade == .latent)
    #expect(finding.wire == end("192.0.2.5:6060"))
    #expect(finding.delivered == end("192.0.2.5:5060"))
    #expect(finding.asNew.verdict.isRefused)
    #expect(finding.asHeld.rule?.index == 2)
  }

  /// A router with an inner PBX at 10.77.3.33.
  private func router() -> SavedHost {
    var host = SavedHost()
    host.network.addresses.append(
      LocalAddress(address: address("10.77.3.1"), prefixLength: 24, interface: "eth1"))
    host.network.interfaces.append(
      Interface(name: "eth1", index: 3, isUp: true, isLoopback: false))
    host.network.routedPrefixes = [
      RoutedPrefix(prefix: prefix("0.0.0.0/0"), interfaces: ["eth0"]),
      RoutedPrefix(prefix: prefix("10.77.3.0/24"), interfaces: ["eth1"]),
    ]
    host.rules = """
      *nat
      :PREROUTING ACCEPT [0:0]
      -A PREROUTING -d 192.0.2.5/32 -p udp -m udp --dport 5060 -j DNAT --to-destination 10.77.3.33
      COMMIT
      *filter
      :INPUT DROP [0:0]
      :FORWARD DROP [0:0]
      [5:500] -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
      [1:100] -A FORWARD -s 198.51.100.10/32 -o eth1 -p udp -m udp --dport 5060 -j ACCEPT
      COMMIT

      """
    host.flows = [
      flow(
        "203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .destinationNAT],
        reply: ("10.77.3.33:5060", "203.0.113.66:24376")),
      flow(
        "198.51.100.10:5060", "192.0.2.5:5060", [.seenReply, .destinationNAT],
        reply: ("10.77.3.33:5060", "198.51.100.10:5060"), id: 2),
    ]
    return host
  }

  private func prefix(_ text: String) -> IPPrefix {
    IPPrefix(text) ?? IPPrefix(address("0.0.0.0"))
  }

  @Test("A flow to an inner PBX is judged by FORWARD, with the interface it leaves by")
  func forwarded() throws {
    var host = router()
    let findings = try host.audit().findings
    #expect(findings.map(\.cause) == [.establishedBypass])
    #expect(findings.first?.peer == end("203.0.113.66:24376"))
    #expect(findings.first?.delivered == end("10.77.3.33:5060"))
    #expect(findings.first?.asNew.rule?.chain == "FORWARD")
    #expect(findings.first?.asHeld.rule?.index == 1)
    #expect(findings.first?.isBlockable == true)
    // The inner host's own packets pass no OUTPUT: they are dropped where they come in (facts C13).
    let plan = try host.plan()
    #expect(plan.entries.map(\.inner) == [address("10.77.3.33")])
    #expect(plan.rules.map(\.table) == ["raw", "mangle"])
    #expect(plan.rules.first?.text.contains("-s 10.77.3.33/32 -p udp -m set") == true)
    #expect(plan.rules.last?.text.contains("-d 10.77.3.33/32 -p udp -m set") == true)
    #expect(plan.setText.contains("behind this host 10.77.3.33\""))
    // Where the way out is not known, the carrier's rule may match or not.
    host.network.routedPrefixes = nil
    #expect(
      Set(try host.audit().findings.map(\.cause)) == [.establishedBypass, .undecided])
  }

  @Test("Whom FORWARD admits from some port may not be blocked, though INPUT refuses everybody")
  func admittedByForward() throws {
    var host = router()
    host.rules = host.rules.replacing(
      "[1:100]",
      with: "-A FORWARD -s 203.0.113.66/32 -p udp -m udp --sport 5060 -j ACCEPT\n[1:100]")
    let finding = try #require(
      try host.audit().findings.first { $0.peer?.address == address("203.0.113.66") })
    #expect(finding.cause == .establishedBypass)
    #expect(finding.notBlockableBecause == "may be accepted as NEW by filter FORWARD 2")
  }

  @Test("Only the flow of the zone that the peer's packets are looked up in lets it in")
  func zones() throws {
    var host = SavedHost()
    host.rules = """
      *raw
      :PREROUTING ACCEPT [0:0]
      -A PREROUTING -s 203.0.113.66/32 -j CT --zone 5
      COMMIT

      """ + SavedHost.rules
    var inZone = flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply])
    let outside = inZone
    inZone.zone = 5
    host.flows = [outside, inZone]
    let findings = try host.audit().findings
    #expect(findings.map(\.zone) == [5])
    #expect(findings.map(\.cause) == [.establishedBypass])
    // Our answers' flow in zone 0, while the peer's packets go to zone 5.
    host.flows = [flow("192.0.2.5:5060", "203.0.113.66:24376", [])]
    #expect(try host.audit().findings.isEmpty)
    host.rules = SavedHost.rules
    #expect(try host.audit().findings.map(\.cause) == [.hostOpened])
    // Who sets zone 5 without a rule is not known.
    host.flows = [inZone]
    #expect(try host.audit().findings.map(\.cause) == [.undecided])
  }

  @Test(
    "TCP is judged by the SYN that would begin a connection, and by data as held",
    arguments: [
      ("-A INPUT -p tcp ! --syn -m state --state NEW -j DROP", Cause.establishedBypass),
      ("-A INPUT -p tcp --syn -m tcp --dport 5060 -j ACCEPT", nil),
      ("-A INPUT -p tcp -m tcp --tcp-flags ALL SYN,FIN -j ACCEPT", .establishedBypass),
    ])
  func tcp(rule: String, cause: Cause?) throws {
    var host = SavedHost()
    host.rules = SavedHost.rules.replacing(
      "[0:0] -A INPUT -p tcp", with: "\(rule)\n[0:0] -A INPUT -p tcp")
    host.flows = [
      flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured], transport: .tcp)
    ]
    let audit = try host.audit(endpoints: SIPEndpoints(tcpPorts: [5060]))
    #expect(audit.findings.map(\.cause) == (cause.map { [$0] } ?? []))
  }
}
