import Addressing
import Conntrack
import Firewall
import HostNetwork
import Testing

@testable import SIPLeak

@Suite("Blocks of IPv6 prefixes") struct PrefixBlockTests {
  private func host(nat: Bool = false, flows: [Flow] = []) -> SavedHost {
    var host = SavedHost()
    host.rules6 = """
      *filter
      :INPUT ACCEPT [0:0]
      :FORWARD ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
      -A INPUT -s 2001:db8:c::/64 -p udp -m udp --dport 5060 -j ACCEPT
      -A INPUT -j DROP
      COMMIT

      """
    if nat {
      host.rules6? += """
        *nat
        :PREROUTING ACCEPT [0:0]
        -A PREROUTING -p udp -m udp --dport 5070 -j REDIRECT --to-ports 5060
        COMMIT

        """
    }
    host.network.addresses.append(
      LocalAddress(address: address("2001:db8:5::5"), prefixLength: 64, interface: "eth0"))
    host.flows =
      [flow("[2001:db8:a::66]:24376", "[2001:db8:5::5]:5060", [.assured, .seenReply])] + flows
    return host
  }

  private func plan(
    _ host: SavedHost, _ length: Int, _ policy: AuditPolicy = AuditPolicy(),
    welcome: Set<IPAddress> = []
  ) throws -> BlockPlan {
    let observation = try host.observation()
    return BlockPlan(
      BlockRequest(limits: BlockLimits(welcome: welcome), prefix6: length),
      audit: Audit(observation, policy: policy), observation: observation, policy: policy)
  }

  @Test("The whole prefix is one entry, and the flows of all its peers go")
  func whole() throws {
    let second = flow("[2001:db8:a::99]:5060", "[2001:db8:5::5]:5060", [.seenReply], id: 2)
    let plan = try plan(host(flows: [second]), 64)
    #expect(plan.entries.map(\.element) == ["2001:db8:a::/64,udp:5060"])
    #expect(plan.setText.contains("add -exist sipleak6 2001:db8:a::/64,udp:5060 timeout 86400"))
    #expect(plan.deletions.count == 2)
    #expect(plan.omissions.isEmpty && plan.obstacles.isEmpty)
  }

  @Test("Where somebody else may be in the prefix the address alone is blocked, and it is said why")
  func refused() throws {
    let alone = ["2001:db8:a::66,udp:5060"]
    // The carrier's network is within 2001:db8:8::/45.
    var result = try plan(host(), 45)
    #expect(result.entries.map(\.element) == alone)
    #expect(result.omissions.first?.why.contains("admit") == true)
    let office = AuditPolicy(protected: PrefixSet([IPPrefix(address("2001:db8:a::7"))]))
    result = try plan(host(), 64, office)
    #expect(result.entries.map(\.element) == alone)
    #expect(result.omissions.first?.why.contains("2001:db8:a::7: protected") == true)
    result = try plan(host(), 64, welcome: [address("2001:db8:a::8")])
    #expect(result.entries.map(\.element) == alone)
    // This host sent there first: it may be a trunk.
    let opened = flow("[2001:db8:5::5]:5060", "[2001:db8:a::9]:5060", [.seenReply], id: 3)
    result = try plan(host(flows: [opened]), 64)
    #expect(result.entries.map(\.element) == alone)
    #expect(result.omissions.contains { $0.why.contains("2001:db8:a::9 talks SIP") })
    result = try plan(host(nat: true), 64)
    #expect(result.entries.map(\.element) == alone)
    #expect(result.omissions.first?.why.contains("nat table") == true)
  }

  @Test("A standing prefix is lifted by any address in it, kept over a reboot, and looked after")
  func standing() throws {
    var host = host()
    host.sets = """
      create sipleak6 hash:net,port family inet6 hashsize 1024 maxelem 1000000 timeout 0 counters comment
      add sipleak6 2001:db8:a::/64,udp:5060 timeout 3600 comment "sipleak: established-bypass"
      add sipleak6 2001:db8::/32,udp:5060 timeout 3600 comment "sipleak: established-bypass"

      """
    let observation = try host.observation()
    let snapshot = observation.sample.firewall.snapshot
    let removal = RemovalPlan(.addresses([address("2001:db8:a::77")]), snapshot: snapshot)
    #expect(
      removal.elements.contains("sipleak6 2001:db8:a::/64,udp:5060") && removal.absent.isEmpty)
    let saved = SavedBlocks(snapshot, at: 1000)
    #expect(
      SavedBlocks.setText(saved.blocks).contains("add -exist sipleak6 2001:db8:a::/64,udp:5060"))
    let blocks = StandingBlock.all(of: observation, policy: AuditPolicy())
    // The carrier is in the second one.
    #expect(blocks.map { $0.state == .admitted } == [false, true])
  }
}
