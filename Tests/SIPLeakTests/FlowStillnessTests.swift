import Conntrack
import Testing

@testable import SIPLeak

@Suite("Whether a flow stands still") struct FlowStillnessTests {
  private func held(
    timeout: UInt32 = 100, packets: (UInt64, UInt64)? = nil, _ status: FlowStatus = .seenReply
  ) -> Flow {
    var flow = flow("203.0.113.66:24376", "192.0.2.5:5060", status)
    flow.timeout = timeout
    flow.originalCounters = packets.map { Flow.Counters(packets: $0.0, bytes: 0) }
    flow.replyCounters = packets.map { Flow.Counters(packets: $0.1, bytes: 0) }
    return flow
  }

  private func answer(_ first: Flow?, _ second: Flow, after seconds: Double = 2) -> FlowStillness {
    FlowStillness(earlier: first, later: second, seconds: seconds)
  }

  @Test("Where packets are counted, one in either direction is movement, whatever the time left")
  func counted() {
    let before = held(packets: (5, 7))
    #expect(answer(before, held(timeout: 98, packets: (5, 7))) == .still)
    #expect(answer(before, held(timeout: 100, packets: (5, 7)), after: 0.2) == .still)
    #expect(answer(before, held(timeout: 98, packets: (6, 7))) == .moving)
    #expect(answer(before, held(timeout: 98, packets: (5, 8))) == .moving)
  }

  @Test("A flow that ended and began again under the same id is not the one that stood still")
  func succeeded() {
    func isUnknown(_ first: Flow, _ second: Flow, after seconds: Double = 2) -> Bool {
      if case .unknown = answer(first, second, after: seconds) { return true }
      return false
    }
    var before = held(packets: (1, 1))
    // As many packets, and all its time.
    #expect(isUnknown(before, held(timeout: 120, packets: (1, 1)), after: 0.2))
    #expect(isUnknown(before, held(timeout: 100, packets: (1, 1)), after: 5))
    // Another start, or no answer any more.
    before.start = 1
    var after = held(timeout: 98, packets: (1, 1))
    after.start = 2
    #expect(isUnknown(before, after))
    #expect(isUnknown(held(), held(timeout: 98, [])))
  }

  @Test("Where they are not, a flow without packets loses as much time as has passed")
  func timed() {
    #expect(answer(held(timeout: 100), held(timeout: 98)) == .still)
    #expect(answer(held(timeout: 100), held(timeout: 97), after: 2.4) == .still)
    for later: UInt32 in [99, 100, 120] {
      #expect(answer(held(timeout: 100), held(timeout: later)) == .moving)
    }
  }

  @Test("The time between two readings is no matter of the hour, unless nothing else is known")
  func hour() throws {
    var host = SavedHost()
    host.flows = [held(timeout: 100)]
    var before = try host.observation().sample
    host.flows = [held(timeout: 98)]
    var now = try host.observation()
    before.uptime = 50
    now.sample.uptime = 52
    func answer(_ shift: Double) -> FlowStillness {
      var now = now
      now.earlier = before
      now.sample.time = before.time + shift
      return now.stillness(of: now.sample.flows[0], earlier: FlowsByKey(before.flows))
    }
    // Set back an hour, or on, between the two.
    for shift: Double in [-3600, 2, 3600] { #expect(answer(shift) == .still) }
    now.sample.uptime = 57
    #expect(answer(2) == .moving)
    // A folder of an older sipleak.
    now.sample.uptime = nil
    #expect(answer(2) == .still)
    #expect(answer(5) == .moving)
  }

  @Test("What two readings cannot tell is unknown, with its reason")
  func unknown() {
    for status: FlowStatus in [.offload, .hardwareOffload] {
      for packets in [nil, (1, 1)] as [(UInt64, UInt64)?] {
        let flow = held(timeout: 100, packets: packets, [.seenReply, status])
        guard case .unknown(let why) = answer(flow, held(timeout: 98, packets: packets)) else {
          Issue.record("an offloaded flow is called still")
          continue
        }
        #expect(why.contains("offloaded"))
      }
    }
    guard case .unknown = answer(nil, held()),
      case .unknown = answer(held(), held(), after: 0.5),
      case .unknown = answer(held(), held(timeout: 98, [.seenReply, .fixedTimeout]))
    else {
      Issue.record("unknown is called known")
      return
    }
  }

  @Test("A flow still held proves a block only where no packet moves in it any more")
  func verification() throws {
    var host = SavedHost()
    host.flows = [held(packets: (5, 7))]
    let before = try host.observation()
    let plan = try host.plan()
    host.rules += """
      *raw
      :PREROUTING ACCEPT [0:0]
      :SIPLEAK - [0:0]
      -A PREROUTING -m comment --comment "sipleak: ahead of conntrack" -j SIPLEAK
      -A SIPLEAK -m comment --comment "sipleak: chain v1"
      -A SIPLEAK -p udp -m set --match-set sipleak4 src,dst -m comment --comment "sipleak: blocked peer" -j DROP
      COMMIT

      """
    func verify(
      _ first: Flow?, _ second: Flow?, _ dropped: [Int], problems: [String] = []
    ) throws -> Verification {
      func reading(_ flow: Flow?, _ dropped: Int) throws -> Observation {
        var host = host
        host.flows = flow.map { [$0] } ?? []
        host.sets = """
          create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
          add sipleak4 203.0.113.66,udp:5060 timeout 100 packets \(dropped) bytes 0 comment "sipleak: x"

          """
        return try host.observation()
      }
      var now = try reading(second, dropped[1])
      now.earlier = try reading(first, dropped[0]).sample
      now.earlier?.time -= 2
      now.problems = problems
      return Verification(
        plan, BlockedPackets(plan, in: before), before: before, now: now, policy: AuditPolicy())
    }
    let still = try verify(held(packets: (5, 7)), held(timeout: 98, packets: (5, 7)), [10, 30])
    #expect(still.answer == .verified, "\(still.lines)")
    #expect(still.lines[0].text.contains("30 packets counted by its block, 20 just now"))
    let moving = try verify(held(packets: (5, 7)), held(packets: (6, 7)), [10, 10])
    #expect(moving.answer == .notYetSeen)
    #expect(moving.lines[0].text.contains("packets still move in it"))
    #expect(try verify(nil, held(packets: (5, 7)), [0, 0]).answer == .notYetSeen)
    #expect(!moving.mustBeTakenBack)
    #expect(try verify(nil, nil, [0, 0]).answer == .verified)
    let unread = try verify(nil, nil, [0, 0], problems: ["the flow table"])
    #expect(unread.answer == .notYetSeen)
    #expect(!unread.lines.contains { $0.text.contains("flow gone") }, "\(unread.lines)")
    // Nor are blocks that were not read: the file for the next boot is made of all or none.
    #expect(unread.snapshot == nil && still.snapshot != nil)
  }

  @Test("A block of a peer without a flow is proved by its rules, not by those that refuse anyway")
  func withoutFlow() throws {
    var host = SavedHost()
    host.flows = []
    let before = try host.observation()
    let plan = try host.plan(BlockRequest(named: [address("203.0.113.99")]))
    #expect(!plan.entries.isEmpty)
    let packets = BlockedPackets(plan, in: before)
    let verification = Verification(
      plan, packets, before: before, now: before, policy: AuditPolicy())
    #expect(verification.answer == .failed, "\(verification.lines)")
    #expect(Verification.firstNotRefused(plan, packets, now: before) != nil)
  }
}
