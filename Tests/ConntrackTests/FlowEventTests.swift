import Addressing
import Netlink
import Testing

@testable import Conntrack

private func decode(
  _ message: EventBytes, _ filter: FlowEventFilter = FlowEventFilter()
) throws -> FlowEvent? {
  let header = NetlinkMessage(
    type: message.type, flags: message.flags, sequence: 0, portID: 0,
    payload: 16..<(16 + message.payload.count))
  return try FlowEvent.decode(header, unsafe message.payload.span.bytes, filter)
}

private func flow(_ text: String, status: FlowStatus = [.seenReply, .confirmed]) -> Flow {
  let tuple = FlowTuple.udp(text)
  return Flow(original: tuple, reply: tuple.inverted, status: status, id: 7)
}

@Suite("A flow event")
struct FlowEventTests {
  @Test("is told NEW from UPDATE by its flags, DESTROY by its type")
  func kinds() throws {
    let tuple = FlowTuple.udp("203.0.113.66:24376 > 192.0.2.5:5060")
    let flow = flow("203.0.113.66:24376 > 192.0.2.5:5060")
    #expect(try decode(.flow(tuple, flags: 0x600)) == .new(flow))
    #expect(try decode(.flow(tuple)) == .update(flow))
    #expect(try decode(.flow(tuple, type: 0x102)) == .destroy(flow))
    #expect(try decode(.flow(tuple, type: 0x1ff)) == nil)
  }

  @Test("is tested again, whatever the kernel let pass")
  func filtered() throws {
    #expect(try decode(.flow(.udp("203.0.113.66:24376 > 192.0.2.5:53"))) == nil)
    var filter = FlowEventFilter(leavesOutUnanswered: true)
    let unanswered = EventBytes.flow(.udp("203.0.113.66:24376 > 192.0.2.5:5060"), status: 8)
    #expect(try decode(unanswered, filter) == nil)
    filter.leavesOutUnanswered = false
    #expect(try decode(unanswered, filter) != nil)
    #expect(try decode(.expectation(.udp("203.0.113.66:0 > 192.0.2.5:16384"))) == nil)
  }

  @Test("of an expectation tells its beginning and its end")
  func expectations() throws {
    let tuple = FlowTuple.udp("198.51.100.10:0 > 192.0.2.5:5060")
    let expectation = Expectation(tuple: tuple, mask: tuple, master: tuple, id: 9)
    var message = EventBytes.expectation(tuple)
    #expect(try decode(message) == .expectation(expectation))
    message.type = 0x202
    #expect(try decode(message) == .expectationEnd(expectation))
    #expect(
      try decode(.expectation(.udp("198.51.100.10:0 > 192.0.2.5:1"), nat: true)) != nil)
  }

  @Test("cut anywhere is malformed or nothing, and never a crash")
  func truncated() throws {
    let whole = EventBytes.flow(.udp("203.0.113.66:24376 > 192.0.2.5:5060"))
    for length in 0..<whole.payload.count {
      var cut = whole
      cut.payload = Array(whole.payload.prefix(length))
      #expect(throws: MalformedNetlink.self) { try decode(cut) }
    }
  }

  @Test("leaves out what has not changed, and that is kept")
  func updated() {
    var known = flow("203.0.113.66:1 > 192.0.2.5:5060", status: [.confirmed, .expected, .assured])
    known.master = .udp("192.0.2.5:5060 > 198.51.100.10:5060")
    known.helper = "sip"
    known.start = 5
    known.mark = 3
    known.timeout = 30
    var event = flow(
      "203.0.113.66:1 > 192.0.2.5:5060", status: [.seenReply, .confirmed, .expected])
    event.timeout = 120
    var expected = known
    expected.status = [.seenReply, .confirmed, .expected, .assured]
    expected.timeout = 120
    #expect(known.updated(by: event) == expected)
    // Without the helper's bit it is another flow that was given the same id: nothing of the first.
    event.status.remove(.expected)
    #expect(known.updated(by: event) == event)
  }
}

@Suite("A dump joined with the events since it began")
struct DumpMergeTests {
  private let one = flow("203.0.113.1:1 > 192.0.2.5:5060")
  private let two = flow("203.0.113.2:1 > 192.0.2.5:5060")

  private func merge(_ events: [FlowEvent], with dump: [Flow]) -> [Flow] {
    var merge = DumpMerge()
    for event in events { merge.apply(event) }
    return merge.flows(with: dump).sorted { $0.original.source < $1.original.source }
  }

  @Test("is the dump where nothing happened, each flow once")
  func plain() {
    #expect(merge([], with: [one, two]) == [one, two])
    #expect(merge([], with: [one, one]) == [one])
    #expect(merge([.loss(.backlog)], with: [one]) == [one])
  }

  @Test("has what began behind the dump's back, and not what ended since it was read")
  func beganAndEnded() {
    #expect(merge([.new(two)], with: [one]) == [one, two])
    #expect(merge([.destroy(one)], with: [one, two]) == [two])
    #expect(merge([.new(one), .destroy(one)], with: []) == [])
    #expect(merge([.new(one), .destroy(one)], with: [one]) == [])
  }

  @Test("has a flow as the last event left it, whichever was read first")
  func updates() {
    let unanswered = flow("203.0.113.1:1 > 192.0.2.5:5060", status: .confirmed)
    let assured = flow(
      "203.0.113.1:1 > 192.0.2.5:5060", status: [.seenReply, .confirmed, .assured])
    #expect(merge([.update(one)], with: [unanswered]) == [one])
    // The dump is the younger: the event that says so is still to come.
    #expect(merge([.update(one)], with: [assured]) == [assured])
    #expect(merge([.update(one), .update(one)], with: [unanswered]) == [one])
    // NEW was left out by the filter, or lost.
    #expect(merge([.update(one)], with: []) == [one])
  }

  @Test("takes a flow for alive where the order is in doubt")
  func doubt() {
    // A successor in the same memory has the same id; after DESTROY before NEW a ghost may stand
    // until the next dump, which is better than a leak left out.
    #expect(merge([.destroy(one), .new(one)], with: []) == [one])
    #expect(merge([.destroy(one), .update(one)], with: [one]) == [one])
  }

  @Test("gives a successor with the same id nothing of the flow before it")
  func succession() {
    var before = one
    before.master = .udp("192.0.2.5:5060 > 198.51.100.10:5060")
    before.mark = 7
    before.start = 1
    #expect(merge([.destroy(before), .new(one)], with: [before]) == [one])
    #expect(merge([.destroy(before), .update(one)], with: [before]) == [one])
    #expect(merge([.new(before), .destroy(before), .new(one), .update(one)], with: []) == [one])
    var merge = DumpMerge()
    for event in [FlowEvent.destroy(before), .new(one), .new(two)] { merge.apply(event) }
    #expect(merge.changes().succeeded == [one.key])
  }

  @Test("keeps what only NEW says")
  func master() {
    var began = flow("203.0.113.1:1 > 192.0.2.5:5060", status: [.confirmed, .expected])
    began.master = .udp("192.0.2.5:5060 > 198.51.100.10:5060")
    var answered = one
    answered.status.insert(.expected)
    let result = merge([.new(began), .update(answered)], with: [])
    #expect(result.first?.master == began.master)
    #expect(result.first?.status == [.confirmed, .expected, .seenReply])
  }
}

@Suite("The queue between the receiving thread and the reader")
struct EventQueueTests {
  private let event = FlowEvent.new(flow("203.0.113.1:1 > 192.0.2.5:5060"))

  private func taken(_ queue: EventQueue) async -> [FlowEvent]? {
    guard case .events(let events) = await queue.take() else { return nil }
    return events
  }

  @Test("hands over in order, and what is pending before the end")
  func order() async {
    let queue = EventQueue(capacity: 10)
    queue.push([event])
    queue.push([event, .loss(.receiveBuffer)])
    queue.end()
    queue.push([event])
    #expect(await taken(queue) == [event, event, .loss(.receiveBuffer)])
    #expect(await taken(queue) == nil)
  }

  @Test("that is full drops, says so once behind what is pending, and counts")
  func overflow() async {
    let queue = EventQueue(capacity: 2)
    for _ in 0..<5 { queue.push([event]) }
    #expect(await taken(queue) == [event, event, .loss(.backlog)])
    #expect(queue.counts.dropped == 3)
    #expect(queue.counts.losses == 1)
    // From here on the dump that repairs it is younger: nothing more is dropped.
    queue.push([event])
    #expect(await taken(queue) == [event])
  }

  @Test("wakes whoever waits: with events, an empty nudge, the end, an error")
  func waiting() async {
    let queue = EventQueue(capacity: 10)
    async let first = taken(queue)
    while queue.isWaited == false { await Task.yield() }
    queue.push([event])
    #expect(await first == [event])
    async let second = taken(queue)
    while queue.isWaited == false { await Task.yield() }
    queue.push([])
    #expect(await second == [])
    async let third = queue.take()
    while queue.isWaited == false { await Task.yield() }
    queue.end(ConntrackError(.interrupted, operation: "test"))
    guard case .failure(let error) = await third else {
      Issue.record("no error")
      return
    }
    #expect(error.code == .interrupted)
  }
}
