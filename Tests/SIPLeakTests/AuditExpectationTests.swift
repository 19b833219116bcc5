import Addressing
import Conntrack
import Firewall
import FoundationEssentials
import Testing

@testable import SIPLeak

@Suite("Audit of expected flows and expectations")
struct AuditExpectationTests {
  private static let registrar = "198.51.100.20"
  /// This host's registration, as its first packet went.
  private static let master = FlowTuple(
    source: address(SavedHost.pbx), destination: address(registrar), transport: .udp,
    sourcePort: 5060, destinationPort: 5060)

  private func expected(_ from: String, status: FlowStatus = [.seenReply, .expected]) -> Flow {
    var result = flow(from, "192.0.2.5:5060", status)
    result.master = Self.master
    return result
  }

  private func expectation(
    _ source: String, mask: String, to destination: String = "192.0.2.5:5060"
  ) -> Conntrack.Expectation {
    let end = end(destination)
    func tuple(_ source: String, _ destination: Endpoint) -> FlowTuple {
      FlowTuple(
        source: address(source), destination: destination.address, transport: .udp, sourcePort: 0,
        destinationPort: destination.port)
    }
    var result = Conntrack.Expectation(
      tuple: tuple(source, end),
      mask: tuple(mask, Endpoint(address("255.255.255.255"), .max)), master: Self.master, id: 1)
    result.helper = "sip"
    result.flags = .permanent
    return result
  }

  @Test("A stranger that a helper let in is a leak; its master's own far end is looked at")
  func flows() throws {
    var host = SavedHost()
    host.flows = [expected("203.0.113.66:31000"), expected("\(Self.registrar):31000")]
    let findings = try host.audit().findings
    #expect(findings.map(\.cause) == [.expected, .expected])
    #expect(findings.map(\.level) == [.leak, .look])
    #expect(findings.map(\.peer) == [end("203.0.113.66:31000"), end("\(Self.registrar):31000")])
    #expect(findings.allSatisfy { $0.isBlockable })
    #expect(try host.audit().exitStatus == 2)
    // Only the leak is blocked unasked.
    #expect(try host.plan().entries.map(\.address) == [address("203.0.113.66")])
    host.flows.removeFirst()
    #expect(try host.audit().exitStatus == 1)
    #expect(try host.audit(trusted: [Self.registrar]).findings.isEmpty)
  }

  @Test("Before its first answer an expected flow is RELATED, and let in by what accepts that")
  func related() throws {
    var host = SavedHost()
    host.flows = [expected("203.0.113.66:31000", status: .expected)]
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .expected)
    #expect(finding.level == .leak)
    host.rules = SavedHost.rules.replacing("RELATED,ESTABLISHED", with: "ESTABLISHED")
    #expect(try host.audit().findings.isEmpty)
  }

  @Test("The far end of a translated master stands in its reply")
  func translatedMaster() throws {
    var host = SavedHost()
    var master = flow(
      "192.0.2.5:5060", "198.51.100.99:5060", [.seenReply],
      reply: ("\(Self.registrar):5060", "192.0.2.5:5060"), id: 7)
    master.helper = "sip"
    var held = flow("\(Self.registrar):31000", "192.0.2.5:5060", [.seenReply, .expected])
    held.master = master.original
    host.flows = [master, held]
    let finding = try #require(try host.audit().findings.first { $0.peer?.port == 31000 })
    #expect(finding.cause == .expected)
    #expect(finding.level == .look)
  }

  @Test("Whom the rules admit needed no helper")
  func admitted() throws {
    var host = SavedHost()
    host.flows = [expected("\(SavedHost.carrier):31000")]
    #expect(try host.audit().findings.isEmpty)
    #expect(try host.audit(trusted: ["192.0.2.77"]).findings.map(\.cause) == [.admitted])
  }

  @Test("Without the master it is not known whose call it is: undecided, never blocked")
  func masterMissing() throws {
    var host = SavedHost()
    host.flows = [flow("203.0.113.66:31000", "192.0.2.5:5060", [.seenReply, .expected])]
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .undecided)
    #expect(finding.why.contains("whose call"))
    #expect(!finding.isBlockable)
    #expect(try host.plan().isEmpty)
  }

  @Test("What our side sent first is no leak, though a helper expected it")
  func opened() throws {
    var host = SavedHost()
    var held = flow("192.0.2.5:5060", "203.0.113.66:31000", [.seenReply, .expected])
    held.master = Self.master
    host.flows = [held]
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .expected)
    #expect(finding.level == .look)
    #expect(try host.plan().isEmpty)
  }

  @Test("An expectation of anybody at a SIP port is a leak before anybody comes")
  func anybody() throws {
    var host = SavedHost()
    host.expectations = [expectation("0.0.0.0", mask: "0.0.0.0")]
    let audit = try host.audit()
    let finding = try #require(audit.findings.first)
    #expect(audit.findings.count == 1)
    #expect(finding.cause == .expected)
    #expect(finding.level == .leak)
    #expect(finding.grade == nil)
    #expect(finding.peer == nil)
    #expect(finding.wire == end("192.0.2.5:5060"))
    #expect(finding.asNew.rule?.index == 5)
    #expect(finding.asHeld.rule?.index == 2)
    #expect(finding.why.contains("expects anybody"))
    #expect(finding.why.contains("conntrack -F expect"))
    #expect(!finding.isBlockable)
    #expect(audit.exitStatus == 2)
    #expect(try host.plan().isEmpty)
    let observation = try host.observation()
    let line = AuditLines.text(audit, of: observation, isQuiet: false)
    #expect(line.contains(" leak cause=expected grade=none src=any sport=any dst=192.0.2.5"))
    let style = TextStyle()
    let text = DiagnosisText(audit, of: observation, style: style).text()
    #expect(text.contains("anybody is expected"))
    let json = try AuditJSON(audit, of: observation).line()
    #expect(
      json.contains(
        #""expectation":{"helper":"sip","mask":"0.0.0.0","permanent":true,"port":null"#))
    #expect(json.contains(#""master":{"destination":"#))
    // Two registrations open the same door.
    host.expectations.append(host.expectations[0])
    #expect(try host.audit().findings.count == 1)
  }

  @Test(
    "No finding where it opens nothing",
    arguments: [
      ("RELATED is refused", "RELATED,ESTABLISHED", "ESTABLISHED", "192.0.2.5:5060"),
      ("media", "", "", "192.0.2.5:16384"), ("somebody else's address", "", "", "192.0.2.9:5060"),
      ("admitted anyway", "-s 198.51.100.10/32 -p udp", "-p udp", "192.0.2.5:5060"),
    ])
  func harmless(name: String, old: String, new: String, destination: String) throws {
    var host = SavedHost()
    if !old.isEmpty { host.rules = SavedHost.rules.replacing(old, with: new) }
    host.expectations = [expectation("0.0.0.0", mask: "0.0.0.0", to: destination)]
    #expect(try host.audit().findings.isEmpty, "\(name)")
  }

  @Test("An inactive expectation admits nothing yet")
  func inactive() throws {
    var host = SavedHost()
    var waiting = expectation("0.0.0.0", mask: "0.0.0.0")
    waiting.flags = [.permanent, .inactive]
    host.expectations = [waiting]
    #expect(try host.audit().findings.isEmpty)
  }

  @Test("Whether RELATED is accepted may hang on what is not known: undecided")
  func relatedUnknown() throws {
    var host = SavedHost()
    host.rules = SavedHost.rules.replacing(
      "-m state --state RELATED,ESTABLISHED",
      with: "-m state --state RELATED,ESTABLISHED -m mystery --moon full")
    host.expectations = [expectation("0.0.0.0", mask: "0.0.0.0")]
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .undecided)
    #expect(finding.level == .look)
    #expect(finding.why.contains("RELATED hangs on"))
  }

  @Test("An expectation of one address: its master's far end is looked at, another's is a leak")
  func oneAddress() throws {
    var host = SavedHost()
    host.expectations = [
      expectation(Self.registrar, mask: "255.255.255.255"),
      expectation("203.0.113.66", mask: "255.255.255.255"),
    ]
    let findings = try host.audit().findings
    #expect(findings.map(\.level) == [.leak, .look])
    #expect(findings.map(\.peer?.address) == [address("203.0.113.66"), address(Self.registrar)])
    #expect(findings.allSatisfy { $0.peerPort == nil && $0.isBlockable })
    // The carrier, which a rule admits, and this host itself.
    host.expectations = [
      expectation(SavedHost.carrier, mask: "255.255.255.255"),
      expectation(SavedHost.pbx, mask: "255.255.255.255"),
    ]
    #expect(try host.audit().findings.isEmpty)
    // Once the registrar has come, its flow says so alone.
    host.expectations = [expectation(Self.registrar, mask: "255.255.255.255")]
    host.flows = [expected("\(Self.registrar):31000")]
    #expect(try host.audit().findings.map(\.peer) == [end("\(Self.registrar):31000")])
  }

  @Test("Unattended, a peer that only an expectation names is not blocked: it was read once")
  func twoReadings() throws {
    var host = SavedHost()
    host.expectations = [expectation("203.0.113.66", mask: "255.255.255.255")]
    #expect(try host.plan().entries.map(\.element) == ["203.0.113.66,udp:5060"])
    var observation = try host.observation()
    observation.earlier = observation.sample
    let plan = BlockPlan(
      BlockRequest(), audit: Audit(observation), observation: observation, policy: AuditPolicy())
    #expect(plan.entries.isEmpty)
    #expect(plan.omissions.map(\.address) == [address("203.0.113.66")])
  }

  @Test("A helper that translates sends on to the inner PBX: FORWARD decides")
  func translated() throws {
    var host = SavedHost()
    var inner = expectation("0.0.0.0", mask: "0.0.0.0", to: "192.0.2.5:1024")
    inner.translatedDestination = end("10.77.3.33:5060")
    host.expectations = [inner]
    host.rules = SavedHost.rules.replacing(":FORWARD ACCEPT", with: ":FORWARD DROP")
    #expect(try host.audit().findings.isEmpty)
    host.rules = host.rules.replacing(
      "COMMIT", with: "-A FORWARD -m state --state RELATED,ESTABLISHED -j ACCEPT\nCOMMIT")
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .expected)
    #expect(finding.level == .leak)
    #expect(finding.delivered == end("10.77.3.33:5060"))
    #expect(finding.wire == end("192.0.2.5:1024"))
    #expect(finding.asHeld.rule?.chain == "FORWARD")
  }
}
