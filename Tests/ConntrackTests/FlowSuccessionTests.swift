import Addressing
import Conntrack
import Testing

/// Telling a flow from the one that was there before it, also where the kernel reuses its id.
@Suite("Succession of flows")
struct FlowSuccessionTests {
  private let flow: Flow

  init() throws {
    let tuple = FlowTuple(
      source: try #require(IPAddress("203.0.113.66")),
      destination: try #require(IPAddress("192.0.2.5")), transport: .udp, sourcePort: 5060,
      destinationPort: 5060)
    var flow = Flow(original: tuple, reply: tuple, status: [.seenReply, .assured], id: 7)
    flow.start = 1_000
    flow.originalCounters = Flow.Counters(packets: 5, bytes: 500)
    flow.replyCounters = Flow.Counters(packets: 4, bytes: 400)
    self.flow = flow
  }

  @Test("A flow that only went on is itself")
  func same() {
    #expect(!flow.isSuccessor(of: flow))
    var later = flow
    later.originalCounters?.packets = 9
    later.timeout = 3
    later.status.insert(.offload)
    #expect(!later.isSuccessor(of: flow))
    later.status.remove(.offload)
    #expect(!later.isSuccessor(of: flow))
    // Somebody has set the counters to nothing.
    later.originalCounters?.packets = 1
    #expect(!later.isSuccessor(of: flow))
    later.start = nil
    later.replyCounters = nil
    #expect(!later.isSuccessor(of: flow))
  }

  @Test("Another id, zone or start, a lost answer or another cause tell a successor")
  func another() {
    for change in [
      { $0.id = 8 }, { $0.zone = 2 }, { $0.start = 2_000 },
      {
        $0.start = nil
        $0.status = [.seenReply]
      },
      {
        $0.start = nil
        $0.status = []
      },
      {
        $0.start = nil
        $0.status.insert(.expected)
      },
    ] as [(inout Flow) -> Void] {
      var later = flow
      change(&later)
      #expect(later.isSuccessor(of: flow))
    }
  }
}
