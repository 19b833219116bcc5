import Addressing
import Conntrack
import Firewall
import HostNetwork
import Testing

@testable import SIPLeak

/// What is looked up by key instead of one after another gives the same answer.
@Suite("Many blocks")
struct ManyBlocksTests {
  private static func entry(
    _ peer: String, _ transport: IPProtocol = .udp, _ port: UInt16 = 5060, length: Int? = nil
  ) -> BlockPlan.Entry {
    BlockPlan.Entry(
      address: address(peer), transport: transport, port: port, reason: "named", grade: nil,
      seconds: 60, inner: nil, prefixLength: length)
  }

  @Test("A flow is of every entry that blocks its peer, transport and port, prefixes too")
  func flows() throws {
    var host = SavedHost()
    host.network.addresses.append(
      LocalAddress(address: address("2001:db8::5"), prefixLength: 64, interface: "eth0"))
    host.flows = [
      flow("203.0.113.66:1000", "192.0.2.5:5060", .seenReply, id: 1),
      flow("203.0.113.66:1000", "192.0.2.5:5060", .seenReply, transport: .tcp, id: 2),
      flow("203.0.113.67:1000", "192.0.2.5:5060", .seenReply, id: 3),
      flow("192.0.2.5:5060", "203.0.113.66:1001", .seenReply, id: 4),
      flow("[2001:db8:f::1]:1000", "[2001:db8::5]:5060", .seenReply, id: 5),
      flow("[2001:db8:f::2]:1000", "[2001:db8::5]:5060", .seenReply, id: 6),
      flow("[2001:db8:e::2]:1000", "[2001:db8::5]:5060", .seenReply, id: 7),
      flow("203.0.113.66:1000", "192.0.2.5:5070", .seenReply, id: 8),
    ]
    var plan = try host.plan()
    plan.request.place = .raw
    plan.entries = [
      Self.entry("203.0.113.66"), Self.entry("2001:db8:f::1"),
      Self.entry("2001:db8:f::1", length: 64), Self.entry("203.0.113.99"),
    ]
    let observation = try host.observation(
      endpoints: SIPEndpoints(udpPorts: [5060, 5070], tcpPorts: [5060]))
    let byEntry = plan.flowsByEntry(in: observation).mapValues { indices in
      indices.map { observation.sample.flows[$0].id }
    }
    #expect(byEntry == [0: [1, 4], 1: [5], 2: [5, 6]])
    let all = BlockPlan.flows(of: plan.entries, observation: observation, place: .raw)
    #expect(all.map(\.id) == [1, 4, 5, 6])
    for (number, entry) in plan.entries.enumerated() {
      let alone = BlockPlan.flows(of: [entry], observation: observation, place: .raw)
      #expect(alone.map(\.id) == byEntry[number] ?? [])
    }
  }

  private static let sets = """
    create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
    add sipleak4 203.0.113.66,udp:5060 timeout 100 packets 1 bytes 10 comment "sipleak: named"
    add sipleak4 203.0.113.66,tcp:5060 timeout 100 packets 1 bytes 10 comment "sipleak: named"
    add sipleak4 203.0.113.67,udp:5060 timeout 100 packets 1 bytes 10 comment "sipleak: named"
    create sipleak6 hash:net,port family inet6 hashsize 1024 maxelem 1000000 timeout 0 counters comment
    add sipleak6 2001:db8:f::/64,udp:5060 timeout 100 packets 1 bytes 10 comment "sipleak: named"
    add sipleak6 2001:db8:f::1,udp:5060 timeout 100 packets 1 bytes 10 comment "sipleak: named"

    """

  @Test("Sets are the same in another order and with other counters, not with other members")
  func stability() throws {
    func snapshot(_ sets: [String]) throws -> FirewallSnapshot {
      var host = SavedHost()
      host.sets = sets.map { $0 + "\n" }.joined()
      return try host.firewall().snapshot
    }
    let lines = Self.sets.split(separator: "\n").map(String.init)
    let first = try snapshot(lines)
    var other = lines
    other.swapAt(1, 3)
    other[2] = other[2].replacing("timeout 100 packets 1", with: "timeout 90 packets 7")
    #expect(Stability.isSame(first, try snapshot(other)))
    #expect(!Stability.isSame(first, try snapshot(Array(lines.dropLast()))))
    other = lines
    other[3] = other[3].replacing("203.0.113.67", with: "203.0.113.68")
    #expect(!Stability.isSame(first, try snapshot(other)))
    other = lines
    other[3] += " nomatch"
    #expect(!Stability.isSame(first, try snapshot(other)))
    #expect(!Stability.isSame(first, try snapshot(Array(lines[..<4]))))
  }

  @Test("An address is unblocked from every port and with every prefix that holds it")
  func unblock() throws {
    var host = SavedHost()
    host.sets = Self.sets
    let plan = RemovalPlan(
      .addresses([
        address("203.0.113.66"), address("203.0.113.1"), address("2001:db8:f::1"),
        address("2001:db8:f::2"),
      ]), snapshot: try host.firewall().snapshot)
    #expect(
      Set(plan.elements) == [
        "sipleak4 203.0.113.66,udp:5060", "sipleak4 203.0.113.66,tcp:5060",
        "sipleak6 2001:db8:f::1,udp:5060", "sipleak6 2001:db8:f::/64,udp:5060",
      ])
    #expect(plan.absent == [address("203.0.113.1")])
  }

  @Test("What is put back when an apply fails is each member as it was, and no other")
  func undo() throws {
    var host = SavedHost()
    host.sets = Self.sets
    var plan = try host.plan()
    plan.entries = [Self.entry("203.0.113.66"), Self.entry("203.0.113.70")]
    #expect(
      plan.setUndo(before: try host.firewall().snapshot) == [
        """
        add -exist sipleak4 203.0.113.66,udp:5060 timeout 100 comment "sipleak: named"
        del -exist sipleak4 203.0.113.70,udp:5060

        """
      ])
  }
}
