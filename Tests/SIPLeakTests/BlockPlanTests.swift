import Addressing
import Conntrack
import Firewall
import HostNetwork
import Testing

@testable import SIPLeak

@Suite("Block plan")
struct BlockPlanTests {
  private func leaking() -> SavedHost {
    var host = SavedHost()
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured], id: 7)]
    return host
  }

  @Test("The plan is the exact input of ipset and iptables-restore")
  func exactInput() throws {
    let plan = try leaking().plan()
    #expect(
      plan.setText == """
        create -exist sipleak4 hash:net,port family inet timeout 0 maxelem 1000000 counters comment
        add -exist sipleak4 203.0.113.66,udp:5060 timeout 86400 comment "sipleak: established-bypass"

        """)
    #expect(plan.rules.count == 1)
    #expect(
      plan.rules.first?.text == """
        *raw
        :SIPLEAK - [0:0]
        :SIPLEAK-OUT - [0:0]
        -A SIPLEAK -p udp -m set --match-set sipleak4 src,dst -m comment --comment "sipleak: chain v2, table made: blocked peer" -j DROP
        -A SIPLEAK-OUT -p udp -m set --match-set sipleak4 dst,src -m comment --comment "sipleak: chain v2, table made: opens nothing to a blocked peer" -j CT --notrack
        -I PREROUTING 1 -m comment --comment "sipleak: ahead of conntrack" -j SIPLEAK
        -I OUTPUT 1 -m comment --comment "sipleak: answers stay untracked" -j SIPLEAK-OUT
        COMMIT

        """)
    #expect(plan.deletions.map(\.id) == [7])
  }

  @Test("What stands already is not written again")
  func idempotent() throws {
    var host = leaking()
    let plan = try host.plan()
    host.rules += """
      *raw
      :PREROUTING ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      :SIPLEAK - [0:0]
      :SIPLEAK-OUT - [0:0]
      [0:0] -A PREROUTING -m comment --comment "sipleak: ahead of conntrack" -j SIPLEAK
      [0:0] -A OUTPUT -m comment --comment "sipleak: answers stay untracked" -j SIPLEAK-OUT
      [0:0] -A SIPLEAK -p udp -m set --match-set sipleak4 src,dst -m comment --comment "sipleak: chain v2: blocked peer" -j DROP
      [0:0] -A SIPLEAK-OUT -p udp -m set --match-set sipleak4 dst,src -m comment --comment "sipleak: chain v2: opens nothing to a blocked peer" -j CT --notrack
      COMMIT

      """
    host.sets =
      "create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment\n"
    let again = try host.plan()
    #expect(again.entries == plan.entries)
    #expect(again.rules.isEmpty)
    // Somebody put a rule before our jump: it moves back to the front, once.
    host.rules = host.rules.replacing(
      "[0:0] -A PREROUTING",
      with: "[0:0] -A PREROUTING -s 192.0.2.99/32 -j ACCEPT\n[0:0] -A PREROUTING")
    let moved = try #require(try host.plan().rules.first)
    #expect(
      moved.text.contains(
        "-D PREROUTING -m comment --comment \"sipleak: ahead of conntrack\" -j SIPLEAK\n"))
    #expect(moved.text.contains("-I PREROUTING 1 "))
  }

  @Test("Before the state rule means just there, in its chain, with no answer chain")
  func beforeStateRule() throws {
    let plan = try leaking().plan(BlockRequest(place: .beforeStateRule, seconds: 3600))
    let text = try #require(plan.rules.first?.text)
    #expect(plan.rules.first?.table == "filter")
    #expect(
      text.contains(
        "-I INPUT 2 -m comment --comment \"sipleak: before the state rule\" -j SIPLEAK\n"))
    #expect(!text.contains("SIPLEAK-OUT"))
    #expect(plan.setText.contains("timeout 3600"))
  }

  @Test("A chain or set of our name that is somebody else's stops the plan")
  func foreignObjects() throws {
    var host = leaking()
    host.rules += """
      *raw
      :PREROUTING ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      :SIPLEAK - [0:0]
      [0:0] -A SIPLEAK -s 192.0.2.99/32 -j ACCEPT
      COMMIT

      """
    var plan = try host.plan()
    #expect(plan.isEmpty)
    #expect(plan.rules.isEmpty)
    #expect(plan.obstacles.count == 1)
    host = leaking()
    host.sets = "create sipleak4 hash:ip family inet hashsize 1024 maxelem 65536\n"
    plan = try host.plan()
    #expect(plan.isEmpty)
    #expect(plan.setText.isEmpty)
    #expect(plan.obstacles.count == 1)
  }

  @Test(
    "Protected addresses are never planned, named or not",
    arguments: ["192.0.2.1", "192.0.2.5", "127.0.0.1", "198.51.100.10", "224.0.0.1", "0.0.0.0"])
  func protected(text: String) throws {
    let plan = try leaking().plan(BlockRequest(named: [address(text)]))
    #expect(plan.isEmpty)
    #expect(plan.omissions.map(\.address) == [address(text)])
    #expect(plan.omissions.allSatisfy { !$0.isOnRequest })
  }

  @Test("A trunk admitted from one port keeps its trunk when it talks from another")
  func reboundTrunk() throws {
    var host = SavedHost()
    host.rules = SavedHost.rules.replacing(
      "-p udp -m udp --dport 5060", with: "-p udp -m udp --sport 5060 --dport 5060")
    host.flows = [flow("198.51.100.10:40000", "192.0.2.5:5060", [.seenReply, .assured])]
    let finding = try #require(try host.audit().findings.first)
    #expect(finding.cause == .establishedBypass)
    #expect(!finding.isBlockable)
    #expect(try host.plan().isEmpty)
  }

  @Test("Admission on another interface or to another address of ours protects as well")
  func otherWays() throws {
    var host = leaking()
    host.network.interfaces.append(
      Interface(name: "eth1", index: 3, isUp: true, isLoopback: false))
    host.rules = SavedHost.rules.replacing(
      "[0:0] -A INPUT -p tcp", with: "[0:0] -A INPUT -i eth1 -j ACCEPT\n[0:0] -A INPUT -p tcp")
    #expect(try host.plan().isEmpty)
    host = leaking()
    host.network.addresses.append(
      LocalAddress(address: address("192.0.2.6"), prefixLength: 24, interface: "eth0"))
    host.rules = SavedHost.rules.replacing(
      "[0:0] -A INPUT -p tcp",
      with: "[0:0] -A INPUT -d 192.0.2.6/32 -j ACCEPT\n[0:0] -A INPUT -p tcp")
    #expect(try host.plan().isEmpty)
  }

  @Test("Two flows of one peer make one entry and two deletions")
  func oneEntryAPeer() throws {
    var host = leaking()
    host.flows.append(flow("203.0.113.66:24377", "192.0.2.5:5060", [.seenReply], id: 8))
    host.flows.append(flow("192.0.2.5:5060", "203.0.113.66:9999", [], id: 9))
    let plan = try host.plan()
    #expect(plan.entries.map(\.element) == ["203.0.113.66,udp:5060"])
    #expect(plan.deletions.map(\.id).sorted() == [7, 8, 9])
  }

  @Test("Purge removes ours and nothing else, and says what it leaves")
  func purge() throws {
    var host = SavedHost()
    host.rules += """
      *raw
      :PREROUTING ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      :SIPLEAK - [0:0]
      :SIPLEAK-OUT - [0:0]
      [5:50] -A PREROUTING -m comment --comment "sipleak: ahead of conntrack" -j SIPLEAK
      [5:50] -A PREROUTING -s 192.0.2.99/32 -j ACCEPT
      [0:0] -A OUTPUT -j SIPLEAK-OUT
      [0:0] -A SIPLEAK -m comment --comment "sipleak: chain v1"
      [0:0] -A SIPLEAK-OUT -m comment --comment "sipleak: chain v1"
      COMMIT

      """
    host.sets = """
      create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
      add sipleak4 203.0.113.66,udp:5060 timeout 99 packets 0 bytes 0 comment "sipleak: x"

      """
    let plan = RemovalPlan(.purge, snapshot: try host.firewall().snapshot)
    #expect(
      plan.rules.map(\.text) == [
        """
        *raw
        -D PREROUTING -m comment --comment "sipleak: ahead of conntrack" -j SIPLEAK
        -F SIPLEAK
        -X SIPLEAK
        COMMIT

        """
      ])
    #expect(plan.kept.count == 1)
    #expect(plan.setText == "destroy sipleak4\n")
    let lift = RemovalPlan(
      .addresses([address("203.0.113.66"), address("203.0.113.67")]),
      snapshot: try host.firewall().snapshot)
    #expect(lift.setText == "del -exist sipleak4 203.0.113.66,udp:5060\n")
    #expect(lift.absent == [address("203.0.113.67")])
    #expect(lift.rules.isEmpty)
  }

  @Test("With two readings, only what both show is planned, and nothing while the firewall changed")
  func twoReadings() throws {
    var host = leaking()
    var observation = try host.observation()
    observation.earlier = observation.sample
    func plan(_ observation: Observation) -> BlockPlan {
      BlockPlan(
        BlockRequest(), audit: Audit(observation), observation: observation, policy: AuditPolicy())
    }
    #expect(plan(observation).entries.count == 1)
    // A trunk whose allow rule is loaded a moment later.
    host.rules =
      SavedHost.rules.split(separator: "\n")
      .filter { !$0.contains("accept SIP") }.joined(separator: "\n") + "\n"
    observation.earlier = try host.observation().sample
    #expect(plan(observation).isEmpty)
    #expect(plan(observation).obstacles.count == 1)
    // The flow is new in the second reading.
    host = leaking()
    host.flows = []
    observation.earlier = try host.observation().sample
    #expect(plan(observation).isEmpty)
    #expect(plan(observation).obstacles.isEmpty)
    #expect(plan(observation).omissions.count == 1)
  }

  @Test("A leak of an address this host also talks to by itself is blocked only when named")
  func trunkThatLeaks() throws {
    var host = leaking()
    host.flows.append(flow("192.0.2.5:5060", "203.0.113.66:5060", [.seenReply], id: 9))
    let plan = try host.plan()
    #expect(plan.isEmpty)
    #expect(plan.omissions.map(\.why) == ["host-opened by another of its flows"])
    #expect(plan.omissions.map(\.isOnRequest) == [true])
    let named = try host.plan(BlockRequest(named: [address("203.0.113.66")]))
    #expect(named.entries.map(\.element) == ["203.0.113.66,udp:5060"])
    #expect(named.deletions.count == 2)
    #expect(named.omissions.isEmpty)
  }

  @Test("Members of timed sets come and go: that is no change of the firewall; of others it is")
  func timedSets() throws {
    var host = leaking()
    func observation(_ options: String, member: Int) throws -> Observation {
      host.sets = "create bad hash:ip family inet \(options)\nadd bad 198.18.0.\(member)\n"
      return try host.observation()
    }
    for (options, count) in [
      ("hashsize 1024 maxelem 65536 timeout 600", 1), ("hashsize 1024 maxelem 65536", 0),
    ] {
      var second = try observation(options, member: 2)
      second.earlier = try observation(options, member: 1).sample
      let plan = BlockPlan(
        BlockRequest(), audit: Audit(second), observation: second, policy: AuditPolicy())
      #expect(plan.entries.count == count, "\(options): \(plan.obstacles)")
    }
  }

  @Test("No hook is put back that would cut somebody whom the rules admit by now")
  func wokenMember() throws {
    var host = leaking()
    host.rules = SavedHost.rules.replacing(
      "[0:0] -A INPUT -p tcp",
      with: "[0:0] -A INPUT -s 203.0.113.70/32 -p udp -m udp --dport 5060 -j ACCEPT\n"
        + "[0:0] -A INPUT -p tcp")
    host.sets = """
      create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
      add sipleak4 203.0.113.70,udp:5060 timeout 100 packets 0 bytes 0 comment "sipleak: x"

      """
    var idle = host
    idle.flows = []
    for plan in [try host.plan(), try idle.plan()] {
      #expect(plan.isEmpty)
      #expect(plan.obstacles.count == 1)
      #expect(plan.obstacles.first?.contains("would cut 203.0.113.70,udp:5060") == true)
      #expect(plan.obstacles.first?.contains("sipleak unblock 203.0.113.70") == true)
    }
    // Where the hook stands already, nothing new happens to that member.
    host.rules += """
      *raw
      :PREROUTING ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      :SIPLEAK - [0:0]
      -A PREROUTING -m comment --comment "sipleak: ahead of conntrack" -j SIPLEAK
      -A SIPLEAK -m comment --comment "sipleak: chain v1"
      -A SIPLEAK -p udp -m set --match-set sipleak4 src,dst -m comment --comment "sipleak: blocked peer" -j DROP
      COMMIT

      """
    #expect(try host.plan().entries.map(\.address) == [address("203.0.113.66")])
  }

  @Test("An inside interface that accepts everything does not protect who cannot come by it")
  func insideInterface() throws {
    var host = leaking()
    host.network.interfaces.append(Interface(name: "eth1", index: 3, isUp: true, isLoopback: false))
    host.rules = SavedHost.rules.replacing(
      "[0:0] -A INPUT -p tcp", with: "[0:0] -A INPUT -i eth1 -j ACCEPT\n[0:0] -A INPUT -p tcp")
    let inside = try #require(IPPrefix("10.0.0.0/8"))
    let everywhere = try #require(IPPrefix("0.0.0.0/0"))
    host.network.routedPrefixes = [
      RoutedPrefix(prefix: everywhere, interfaces: ["eth0"]),
      RoutedPrefix(prefix: inside, interfaces: ["eth1"]),
    ]
    #expect(try host.plan().entries.count == 1)
    // A second default route: the peer may come by either.
    host.network.routedPrefixes?.append(RoutedPrefix(prefix: everywhere, interfaces: ["eth1"]))
    #expect(try host.plan().isEmpty)
  }

  @Test("Purge leaves rules, chains and sets that only look like ours")
  func lookalikes() throws {
    var host = SavedHost()
    host.rules = SavedHost.rules.replacing(
      "[0:0] -A INPUT -p tcp",
      with:
        "[0:0] -A INPUT -s 203.0.113.9/32 -m comment --comment \"sipleak: banned by joe\" -j DROP\n[0:0] -A INPUT -p tcp"
    )
    host.rules += """
      *raw
      :PREROUTING ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      :SIPLEAK - [0:0]
      COMMIT

      """
    host.sets =
      "create sipleak4 hash:net,port family inet hashsize 1024 maxelem 65536 timeout 0 counters comment\n"
    let plan = RemovalPlan(.purge, snapshot: try host.firewall().snapshot)
    #expect(plan.isEmpty)
    #expect(plan.kept.count == 2)
  }

  @Test("Undo of a plan that widens standing chains puts them back as they were")
  func undoOfAWiderPlan() throws {
    var host = leaking()
    host.rules += """
      *raw
      :PREROUTING ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      :SIPLEAK - [0:0]
      [0:0] -A PREROUTING -m comment --comment "sipleak: ahead of conntrack" -j SIPLEAK
      [0:0] -A SIPLEAK -m comment --comment "sipleak: chain v1"
      [0:0] -A SIPLEAK -p tcp -m set --match-set sipleak4 src,dst -m comment --comment "sipleak: blocked peer" -j DROP
      COMMIT

      """
    host.sets =
      "create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment\n"
    #expect(
      try host.plan().rules.first?.undo == """
        *raw
        :SIPLEAK - [0:0]
        -A SIPLEAK -m comment --comment "sipleak: chain v1"
        -A SIPLEAK -p tcp -m set --match-set sipleak4 src,dst -m comment --comment "sipleak: blocked peer" -j DROP
        -D OUTPUT -m comment --comment "sipleak: answers stay untracked" -j SIPLEAK-OUT
        -F SIPLEAK-OUT
        -X SIPLEAK-OUT
        COMMIT

        """)
  }

  @Test("The document of a failure says what became of it, with the plan, or without one")
  func failure() throws {
    var host = SavedHost()
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply])]
    let plan = try host.plan()
    #expect(try PlanJSON(plan, time: 0).line().contains(#""result":"planned""#))
    #expect(
      try PlanJSON(plan, time: 0, isApplying: true).line().contains(#""result":"unchanged""#))
    let codes: [(SIPLeakError.Code, String)] = [
      (.undone, "undone"), (.notUndone, "left"), (.unchanged, "unchanged"), (.locked, "unchanged"),
    ]
    for (code, word) in codes {
      let error = SIPLeakError(code, "it failed", advice: "do this", detail: "a\u{1b}[31m")
      let line = try PlanJSON(error, plan: plan, time: 0).line()
      #expect(line.contains(#""result":"\#(word)""#))
      #expect(line.contains(#""applied":false"#))
      #expect(line.contains(#""message":"it failed""#))
      #expect(line.contains(#""address":"203.0.113.66""#))
      #expect(!line.contains("\u{1b}"))
      let bare = try PlanJSON(error, plan: nil, time: nil).line()
      #expect(bare.contains(#""blocked":null"#) && bare.contains(#""time":null"#))
    }
  }
}
