import Addressing
import Conntrack
import Firewall
import FoundationEssentials
import HostNetwork
import Testing

@testable import SIPLeak

@Suite("Audit")
struct AuditTests {
  private static let openRules = """
    *filter
    :INPUT ACCEPT [9:900]
    :FORWARD ACCEPT [0:0]
    :OUTPUT ACCEPT [0:0]
    COMMIT

    """

  @Test(
    "A replied flow of a peer that the rules refuse as NEW is a leak, ASSURED or not",
    arguments: [
      (FlowStatus([.seenReply, .assured]), Grade.assured), (FlowStatus.seenReply, .established),
    ])
  func leak(status: FlowStatus, grade: Grade) throws {
    var host = SavedHost()
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", status)]
    let audit = try host.audit()
    let finding = try #require(audit.findings.first)
    #expect(audit.findings.count == 1)
    #expect(finding.cause == .establishedBypass)
    #expect(finding.level == .leak)
    #expect(finding.grade == grade)
    #expect(finding.asNew.verdict == .reject)
    #expect(finding.asNew.rule?.index == 5)
    #expect(finding.asHeld.verdict == .accept)
    #expect(finding.asHeld.rule?.index == 2)
    #expect(finding.asHeld.rule?.counters == RuleCounters(packets: 900, bytes: 90000))
    #expect(finding.isBlockable)
    #expect(audit.exitStatus == 2)
  }

  @Test("A flow in a flowtable passes by the rules: what they refuse is undecided, and it is said")
  func offloaded() throws {
    var host = SavedHost()
    let lines = SavedHost.rules.split(separator: "\n").filter { !$0.contains("ESTABLISHED") }
    host.rules = lines.joined(separator: "\n") + "\n"
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured])]
    #expect(try host.audit().findings == [])
    host.flows[0].status.insert(.offload)
    var audit = try host.audit()
    #expect(audit.findings.map(\.cause) == [.undecided])
    #expect(audit.findings.first?.why.contains("flowtable") == true)
    #expect(audit.blindSpots.contains { $0.kind == "flowtable" && $0.text.hasPrefix("a flow is") })
    // With the state rule it is the leak it is anyway.
    host.rules = SavedHost.rules
    audit = try host.audit()
    #expect(audit.findings.map(\.cause) == [.establishedBypass])
    // A flowtable that no flow of ours is in yet.
    host.flows[0].status.remove(.offload)
    host.native =
      #"{"nftables":[{"flowtable":{"family":"inet","name":"f","table":"t","handle":1}}]}"#
    #expect(try host.audit().blindSpots.contains { $0.kind == "flowtable" })
  }

  @Test(
    "What the rules decide themselves is no finding",
    arguments: [
      // Not answered yet: still NEW.
      flow("203.0.113.66:24376", "192.0.2.5:5060", []),
      // The carrier, which is allowed.
      flow("198.51.100.10:5060", "192.0.2.5:5060", [.seenReply, .assured]),
      // A phone whose own port is 5060 talking to a media port.
      flow("203.0.113.66:5060", "192.0.2.5:16384", [.seenReply, .assured]),
      // Media.
      flow("203.0.113.66:20000", "192.0.2.5:16384", [.seenReply, .assured]),
      // The host as a client of somebody's port 5060.
      flow("192.0.2.5:40000", "203.0.113.66:5060", [.seenReply, .assured]),
      // The host talking to itself.
      flow("192.0.2.5:40000", "192.0.2.5:5060", [.seenReply, .assured]),
      // TCP 5060 is no SIP port unless configured.
      flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply], transport: .tcp),
    ])
  func noFinding(flow: Flow) throws {
    var host = SavedHost()
    host.flows = [flow]
    #expect(try host.audit().findings.isEmpty)
    #expect(try host.audit().exitStatus == 0)
  }

  @Test(
    "A flow this host opened is host-opened, latent before an answer, and not blockable unasked")
  func hostOpened() throws {
    var host = SavedHost()
    host.flows = [flow("192.0.2.5:5060", "203.0.113.70:33333", [])]
    let audit = try host.audit()
    let finding = try #require(audit.findings.first)
    #expect(finding.cause == .hostOpened)
    #expect(finding.level == .look)
    #expect(finding.grade == .latent)
    #expect(finding.peer == end("203.0.113.70:33333"))
    #expect(finding.wire == end("192.0.2.5:5060"))
    #expect(audit.exitStatus == 1)
    #expect(try host.plan().isEmpty)
    let named = try host.plan(BlockRequest(named: [address("203.0.113.70")]))
    #expect(named.entries.map(\.element) == ["203.0.113.70,udp:5060"])
    #expect(try host.audit(trusted: ["203.0.113.70"]).findings.isEmpty)
  }

  @Test("With trust configured, a peer that a rule admits and nobody trusts is admitted")
  func admitted() throws {
    var host = SavedHost()
    host.flows = [flow("198.51.100.10:5060", "192.0.2.5:5060", [.seenReply, .assured])]
    let finding = try #require(try host.audit(trusted: ["203.0.113.1"]).findings.first)
    #expect(finding.cause == .admitted)
    #expect(finding.asNew.rule?.index == 3)
    #expect(!finding.isBlockable)
    #expect(try host.audit(trusted: ["198.51.100.0/24"]).findings.isEmpty)
  }

  @Test("Without a state rule nothing gets past the rules, and nothing is found")
  func noStateRule() throws {
    var host = SavedHost()
    host.rules =
      SavedHost.rules.split(separator: "\n")
      .filter { !$0.contains("ESTABLISHED") }.joined(separator: "\n") + "\n"
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured])]
    #expect(try host.audit().findings.isEmpty)
  }

  @Test("A host where everything is open is unfiltered, once")
  func unfiltered() throws {
    var host = SavedHost()
    host.rules = Self.openRules
    host.network.listeners = [
      Listener(transport: .udp, address: end("0.0.0.0:5060"), isIPv6Only: nil)
    ]
    let audit = try host.audit()
    #expect(audit.findings.map(\.cause) == [.unfiltered])
    #expect(audit.findings.first?.peer == nil)
    #expect(audit.exitStatus == 1)
  }

  @Test("Flows that no rule decides about are one finding of the host, whoever sends them")
  func unfilteredOnce() throws {
    var host = SavedHost()
    host.rules = Self.openRules
    host.flows = (1...5).map {
      flow("203.0.113.\($0):5060", "192.0.2.5:5060", [.seenReply, .assured], id: UInt32($0))
    }
    let audit = try host.audit()
    #expect(audit.findings.map(\.cause) == [.unfiltered])
    #expect(audit.findings.first?.peer == nil)
    host.flows.reverse()
    #expect(try host.audit().findings == audit.findings)
  }

  @Test("An open port is found though the SIP address stands on the loopback interface")
  func unfilteredByLoopbackAddress() throws {
    var host = SavedHost()
    host.rules = SavedHost.rules.replacing(
      "-A INPUT -m comment --comment \"999", with: "-A FORWARD -m comment --comment \"999")
    host.network.addresses = [
      LocalAddress(address: address(SavedHost.pbx), prefixLength: 32, interface: "lo")
    ]
    host.network.listeners = [
      Listener(transport: .udp, address: end("0.0.0.0:5060"), isIPv6Only: nil)
    ]
    #expect(try host.audit().findings.map(\.cause) == [.unfiltered])
    // One interface of two is enough, and without a list of them the rules decide.
    host.network.interfaces.append(Interface(name: "eth1", index: 3, isUp: true))
    host.rules = host.rules.replacing("COMMIT", with: "-A INPUT -i eth0 -j DROP\nCOMMIT")
    #expect(try host.audit().findings.map(\.cause) == [.unfiltered])
    host.network.interfaces.removeLast()
    #expect(try host.audit().findings.isEmpty)
    host.network.interfaces = []
    #expect(try host.audit().findings.isEmpty)
  }

  /// SIP kept away from connection tracking, and a rule that lets in what is.
  private static func untrackedRules(_ accept: String) -> String {
    """
    *raw
    :PREROUTING ACCEPT [0:0]
    :OUTPUT ACCEPT [0:0]
    [0:0] -A PREROUTING -p udp -m udp --dport 5060 -j CT --notrack
    COMMIT

    """
      + SavedHost.rules.replacing(
        "[0:0] -A INPUT -p tcp", with: "\(accept)\n[0:0] -A INPUT -p tcp")
  }

  @Test(
    "Whoever gets in only because nothing is tracked is a finding, unless a rule names sources",
    arguments: [
      ("-A INPUT -m conntrack --ctstate UNTRACKED -j ACCEPT", true),
      ("-A INPUT -m state --state UNTRACKED,ESTABLISHED -j ACCEPT", true),
      ("-A INPUT -m conntrack ! --ctstate NEW,INVALID -j ACCEPT", true),
      ("-A INPUT -s 198.51.100.0/24 -m conntrack --ctstate UNTRACKED -j ACCEPT", false),
      // A rule that says so itself accepts everybody, tracked or not.
      ("-A INPUT -p udp -m udp --dport 5060 -j ACCEPT", false),
      ("-A INPUT -p tcp -m tcp --dport 23 -j ACCEPT", false),
    ])
  func untracked(rule: String, isOpen: Bool) throws {
    var host = SavedHost()
    host.rules = Self.untrackedRules(rule)
    host.network.listeners = [
      Listener(transport: .udp, address: end("0.0.0.0:5060"), isIPv6Only: nil)
    ]
    let findings = try host.audit().findings
    #expect(findings.map(\.cause) == (isOpen ? [.unfiltered] : []))
    #expect(findings.allSatisfy { $0.why.contains("untracked") && $0.asNew.rule?.index == 4 })
  }

  @Test("A family without any rule says so")
  func noRules() throws {
    var host = SavedHost()
    host.rules6 = ""
    host.network.addresses.append(
      LocalAddress(address: address("2001:db8::5"), prefixLength: 64, interface: "eth0"))
    host.network.listeners = [
      Listener(transport: .udp, address: end("[::]:5060"), isIPv6Only: true)
    ]
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .unfiltered)
    #expect(finding.why.contains("no ip6tables rule: everything is accepted"))
    host.flows = [flow("[2001:db8:1::66]:5060", "[2001:db8::5]:5060", [.seenReply])]
    #expect(
      try host.audit().findings.map(\.why).allSatisfy {
        $0.contains("no ip6tables rule: everything is accepted")
      })
  }

  @Test("Where the interface is only assumed, a rule that asks for it makes no leak")
  func uncertainInterface() throws {
    var host = SavedHost()
    host.network.interfaces.append(Interface(name: "eth1", index: 3, isUp: true))
    host.rules = SavedHost.rules.replacing(
      "-s 198.51.100.10/32", with: "-i eth1 -s 198.51.100.10/32")
    host.flows = [flow("198.51.100.10:5060", "192.0.2.5:5060", [.seenReply, .assured])]
    #expect(try host.audit().findings.map(\.cause) == [.establishedBypass])
    host.isInterfaceCertain = true
    #expect(try host.audit().findings.map(\.cause) == [.establishedBypass])
    host.isInterfaceCertain = false
    var audit = try host.audit()
    #expect(audit.findings.map(\.cause) == [.undecided])
    #expect(audit.findings.first?.why.contains("interface") == true)
    #expect(audit.blindSpots.map(\.kind).contains("ingress-unknown"))
    // Refused by every interface is a leak still, `-i lo -j ACCEPT` or not.
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured])]
    audit = try host.audit()
    #expect(audit.findings.map(\.cause) == [.establishedBypass])
    #expect(audit.findings.first?.asNew.rule?.index == 5)
    #expect(audit.findings.first?.isBlockable == true)
    // And without a list of interfaces nothing is known.
    host.network.interfaces = []
    #expect(try host.audit().findings.map(\.cause) == [.undecided])
  }

  @Test("An observation saved without the interface's certainty is read as certain")
  func oldPeerRoute() throws {
    let saved = NetworkFacts.PeerRoute(
      peer: address("203.0.113.66"), local: address(SavedHost.pbx), route: Route(kind: .unicast))
    let data = try JSONEncoder().encode(saved)
    #expect(!String(decoding: data, as: UTF8.self).contains("isInterfaceCertain"))
    #expect(try JSONDecoder().decode(NetworkFacts.PeerRoute.self, from: data) == saved)
  }

  @Test("A verdict that hangs on an unknown match is never a leak")
  func unknownMatch() throws {
    var host = SavedHost()
    host.rules = SavedHost.rules.replacing(
      "[0:0] -A INPUT -p tcp",
      with: "[0:0] -A INPUT -m mystery --moon full -j ACCEPT\n[0:0] -A INPUT -p tcp")
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured])]
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .undecided)
    #expect(finding.level == .look)
    #expect(!finding.isBlockable)
  }

  @Test("Phones behind one rule on payload or rate are one finding, behind two rules two")
  func conditionalRules() throws {
    var host = SavedHost()
    let string = "-m string --string REGISTER --algo bm --to 65535 -j ACCEPT"
    let limit = "-m limit --limit 5/sec -j ACCEPT"
    host.rules = SavedHost.rules.replacing(
      "[0:0] -A INPUT -p tcp",
      with: """
        [0:0] -A INPUT -s 203.0.113.0/25 -p udp -m udp --dport 5060 \(string)
        [0:0] -A INPUT -s 203.0.113.128/25 -p udp -m udp --dport 5060 \(limit)
        [0:0] -A INPUT -p tcp
        """)
    host.flows = [1, 2, 129, 130, 131].map {
      flow("203.0.113.\($0):5060", "192.0.2.5:5060", [.seenReply], id: UInt32($0))
    }
    let findings = try host.audit().findings
    #expect(findings.map(\.cause) == [.conditional, .conditional])
    #expect(findings.map(\.peer?.address) == [address("203.0.113.1"), address("203.0.113.129")])
  }

  @Test("A partial reading is never clean")
  func incomplete() throws {
    var host = SavedHost()
    host.problems = ["the table was resized while it was read"]
    let audit = try host.audit()
    #expect(audit.findings.isEmpty)
    #expect(!audit.isComplete)
    #expect(audit.exitStatus == 3)
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured])]
    #expect(try host.audit().exitStatus == 2)
  }

  @Test("Two samples show packets in the flow, growth at the state rule, none at the SIP rules")
  func increments() throws {
    var host = SavedHost()
    var talking = flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured])
    talking.originalCounters = Flow.Counters(packets: 10, bytes: 1000)
    talking.timeout = 110
    host.flows = [talking]
    let before = try host.observation().sample
    talking.originalCounters = Flow.Counters(packets: 222, bytes: 22200)
    talking.timeout = 119
    host.flows = [talking]
    host.rules = SavedHost.rules.replacing("[900:90000]", with: "[1114:99999]")
    var now = try host.observation()
    now.earlier = before
    now.sample.time += 5
    let increments = try #require(Audit(now).findings.first?.increments)
    #expect(increments.flowPackets == 212)
    #expect(increments.isAlive == true)
    #expect(increments.stateRule?.packets == 214)
    #expect(increments.sipRules.map(\.packets) == [0])
    #expect(increments.refusingRule?.packets == 0)
  }

  @Test("A counter that shrank is said to be reset, not guessed")
  func resetCounter() throws {
    var host = SavedHost()
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply])]
    let before = try host.observation().sample
    host.rules = SavedHost.rules.replacing("[900:90000]", with: "[2:200]")
    var now = try host.observation()
    now.earlier = before
    now.sample.time += 5
    let increments = try #require(Audit(now).findings.first?.increments)
    #expect(increments.stateRule?.packets == nil)
    #expect(increments.flowPackets == nil)
  }

  @Test(
    "Unseen filters are blind spots as far as they may touch a SIP endpoint's packets",
    arguments: [
      ("tcp", "22", SIPEndpoints(), false), ("tcp", "5060", SIPEndpoints(), false),
      ("tcp", "5060", SIPEndpoints(tcpPorts: [5060]), true), ("udp", "5060", SIPEndpoints(), true),
      ("udp", "5060", SIPEndpoints(udpPorts: [5062]), false),
      // The port on the wire of a flow that is translated to 5060.
      ("udp", "25060", SIPEndpoints(), true), ("udp", "25061", SIPEndpoints(), false),
    ])
  func unseenFilters(header: String, port: String, endpoints: SIPEndpoints, isBlind: Bool) throws {
    var host = SavedHost()
    host.native = """
      {"nftables": [{"chain": {"family": "inet", "table": "f2b-table", "name": "f2b-chain",
        "handle": 1, "type": "filter", "hook": "input", "prio": -1, "policy": "accept"}},
       {"rule": {"family": "inet", "table": "f2b-table", "chain": "f2b-chain", "handle": 4,
        "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "\(header)",
        "field": "dport"}}, "right": {"set": [\(port)]}}}, {"reject": null}]}}]}
      """
    host.flows = [
      flow(
        "203.0.113.66:24376", "192.0.2.5:25060", [.seenReply, .destinationNAT],
        reply: ("192.0.2.5:5060", "203.0.113.66:24376"))
    ]
    let spots = try host.audit(endpoints: endpoints).blindSpots
    #expect(spots.contains { $0.text.contains("f2b-chain") } == isBlind)
  }
}
