import Addressing
import Conntrack
import Firewall
import Testing

@testable import SIPLeak

@Suite struct CorrelationTests {
  private static let state = "[900:90000]"
  private static let sip = "[1:500]"

  /// A host read twice, five seconds apart.
  private func audit(
    _ flows: (before: [Flow], after: [Flow]), rules: (String) -> String
  ) throws -> Audit {
    var host = SavedHost()
    host.flows = flows.before
    let before = try host.observation().sample
    host.flows = flows.after
    host.rules = rules(SavedHost.rules)
    var now = try host.observation()
    now.earlier = before
    now.sample.time += 5
    return Audit(now)
  }

  private func counted(_ flow: Flow, _ packets: UInt64, timeout: UInt32 = 119) -> Flow {
    var flow = flow
    flow.originalCounters = Flow.Counters(packets: packets, bytes: packets * 100)
    flow.replyCounters = Flow.Counters(packets: packets, bytes: packets * 100)
    flow.timeout = timeout
    return flow
  }

  private let leak = flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured])
  private let carrier = flow("198.51.100.10:5060", "192.0.2.5:5060", [.seenReply], id: 2)

  @Test("The leaked flows' packets explain the state rule's growth, and the rest is named")
  func share() throws {
    let audit = try audit(
      ([counted(leak, 10), counted(carrier, 5)], [counted(leak, 222), counted(carrier, 35)])
    ) { $0.replacing(Self.state, with: "[1200:99999]") }
    let correlation = try #require(audit.correlation)
    let rule = try #require(correlation.stateRules.first)
    #expect(correlation.stateRules.count == 1)
    #expect(rule.growth.packets == 300)
    #expect(rule.findingPackets == 212)
    #expect(rule.otherPackets == 30)
    #expect(rule.share.map { ($0 * 1000).rounded() } == 707)
    #expect(rule.leaks == 1)
    let text = correlation.statements.joined(separator: "\n")
    #expect(
      text.contains("filter INPUT 2 let in 300 packets; 212 came in the flow of 1 finding, 70%"))
    #expect(text.contains("30 in other flows to SIP; 58 are other traffic"), "\(text)")
    // Two flows lived and no SIP rule counted: that is how such rules count, and it is said.
    #expect(text.contains("let in nothing while 2 flows to SIP lived"), "\(text)")
    #expect(text.contains("first packet of a flow only, and none began"))
    // What conntrack counted came; it is nowhere called delivered.
    #expect(!text.contains("deliver"))
  }

  @Test("An allow rule that counted is set beside the flows that began")
  func newFlows() throws {
    let audit = try audit(([counted(leak, 10)], [counted(leak, 20), counted(carrier, 3)])) {
      $0.replacing(Self.state, with: "[912:99999]").replacing(Self.sip, with: "[2:1000]")
    }
    let correlation = try #require(audit.correlation)
    #expect(correlation.newFlows == 1)
    #expect(correlation.sipRules.map(\.growth.packets) == [1])
    let text = correlation.statements.joined(separator: "\n")
    #expect(
      text.contains("let in 1 packet, the first of a flow each; 1 flow to SIP began"), "\(text)")
  }

  @Test("A flow that was given the id of one that ended is new, and has counted from nothing")
  func successor() throws {
    var before = counted(leak, 10)
    before.start = 1
    var after = counted(leak, 12)
    after.start = 2
    let audit = try audit(([before], [after])) { $0 }
    let correlation = try #require(audit.correlation)
    #expect(correlation.newFlows == 1)
    #expect(correlation.aliveFlows == 1)
    #expect(audit.findings.first?.increments?.flowPackets == 12)
    // Without starts nothing tells; with as many packets it would look dead, and it is not.
    var again = counted(leak, 10)
    again.start = 2
    let same = try self.audit(([before], [again])) { $0 }
    #expect(same.correlation?.aliveFlows == 1)
    #expect(same.findings.first?.increments?.isAlive == true)
  }

  @Test("Without accounting the refreshed timeout is the sign of life, and nothing is divided")
  func withoutAccounting() throws {
    var before = leak
    before.timeout = 110
    var after = leak
    after.timeout = 119
    let audit = try audit(([before], [after])) {
      $0.replacing(Self.state, with: "[1000:99999]")
    }
    let correlation = try #require(audit.correlation)
    let rule = try #require(correlation.stateRules.first)
    #expect(rule.findingPackets == nil)
    #expect(rule.share == nil)
    #expect(rule.aliveFindings == 1)
    let text = correlation.statements.joined(separator: "\n")
    #expect(text.contains("let in 100 packets, and whose they are is not counted"), "\(text)")
    #expect(text.contains("1 of 1 flow was refreshed by packets; how many is not counted"))
  }

  @Test("A counter that shrank makes its whole chain unknown, and it is said once")
  func reset() throws {
    let audit = try audit(([counted(leak, 10)], [counted(leak, 20)])) {
      $0.replacing(Self.state, with: "[950:99999]").replacing("[7:700]", with: "[0:0]")
    }
    let correlation = try #require(audit.correlation)
    #expect(correlation.resetChains == ["filter INPUT"])
    // 50 more than before, but from when on is not known.
    #expect(correlation.stateRules.first?.growth.packets == nil)
    #expect(correlation.stateRules.first?.growth.unknown == .reset)
    #expect(correlation.statements.first?.contains("counters of filter INPUT shrank") == true)
    #expect(!correlation.rulesChanged)
    let increments = try #require(audit.findings.first?.increments)
    #expect(increments.stateRule?.packets == nil)
    #expect(increments.flowPackets == 10)
  }

  @Test("Rules that changed in between are said to have, and others are found again by their text")
  func changed() throws {
    let audit = try audit(([counted(leak, 10)], [counted(leak, 20)])) {
      $0.replacing(Self.state, with: "[915:99999]").replacing(
        "[3:300] -A INPUT -i lo", with: "[0:0] -A INPUT -p tcp -j DROP\n[3:300] -A INPUT -i lo")
    }
    let correlation = try #require(audit.correlation)
    #expect(correlation.rulesChanged)
    #expect(correlation.statements.first?.contains("the rules changed between") == true)
    #expect(correlation.stateRules.first?.growth.rule.index == 3)
    #expect(correlation.stateRules.first?.growth.packets == 15)
  }

  @Test("A state rule that was not there before has grown by nobody knows how much")
  func newRule() throws {
    let audit = try audit(([counted(leak, 10)], [counted(leak, 20)])) {
      $0.replacing("002 accept related", with: "003 accept related")
    }
    let growth = audit.correlation?.stateRules.first?.growth
    #expect(growth?.packets == nil)
    #expect(growth?.unknown == .notThere)
  }

  @Test("More packets in the flows than the rule let in were dropped before it")
  func droppedBefore() throws {
    let audit = try audit(([counted(leak, 10)], [counted(leak, 5010)])) {
      $0.replacing(Self.state, with: "[910:99999]")
    }
    let text = try #require(audit.correlation).statements.joined(separator: "\n")
    #expect(text.contains("more than it let in, so some were dropped before it"), "\(text)")
    let still = try self.audit(([counted(leak, 10)], [counted(leak, 5010)])) { $0 }
    let none = try #require(still.correlation).statements.joined(separator: "\n")
    #expect(none.contains("none of them reached this rule"), "\(none)")
  }

  @Test("One reading correlates nothing, and markers that come or go are no change of the rules")
  func oneReading() throws {
    var host = SavedHost()
    host.flows = [leak]
    #expect(try host.audit().correlation == nil)
    let audit = try audit(([counted(leak, 10)], [counted(leak, 20)])) {
      $0.replacing(Self.state, with: "[910:99999]").replacing(
        "[3:300] -A INPUT -i lo",
        with: "[5:5] -A INPUT -s 203.0.113.66/32 -p udp -m comment --comment "
          + "\"sipleak:trace 1a 1.1\"\n[3:300] -A INPUT -i lo")
    }
    #expect(audit.correlation?.rulesChanged == false)
    #expect(audit.correlation?.stateRules.first?.growth.packets == 10)
    #expect(audit.findings.first?.asHeld.rule?.index == 2)
    #expect(audit.blindSpots.contains { $0.kind == "trace-markers" })
  }

  @Test("The document carries it, with null for what is not known")
  func json() throws {
    let audit = try audit(([leak], [leak])) { $0 }
    var host = SavedHost()
    host.flows = [leak]
    let line = try AuditJSON(audit, of: try host.observation()).line()
    #expect(line.contains("\"correlation\":{"))
    #expect(line.contains("\"finding_packets\":null"))
    #expect(
      try AuditJSON(try host.audit(), of: try host.observation()).line().contains(
        "\"correlation\":null"))
  }
}
