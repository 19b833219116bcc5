import Addressing
import Conntrack
import Firewall
import FoundationEssentials
import Testing

@testable import SIPLeak

@Suite("Plain blocks") struct PlainBlockTests {
  private static let time = 1_795_225_330.0

  /// A leaking host, with or without ipset.
  private func host(_ count: Int = 1, hasSets: Bool = false) -> SavedHost {
    var host = SavedHost()
    host.flows = (0..<count).map {
      flow(
        "203.0.\(113 + $0 / 200).\(1 + $0 % 200):24376", "192.0.2.5:5060", [.seenReply],
        id: UInt32($0))
    }
    host.hasSets = hasSets
    return host
  }

  /// The host once a plan is applied.
  private func applied(_ plan: BlockPlan, to host: SavedHost) throws -> SavedHost {
    var model = PlanModel(family: .ipv4)
    try model.restore(host.rules.replacing(/\[\d+:\d+\] -A/, with: "-A"), .nft)
    for rules in plan.rules { try model.restore(rules.text, rules.backend) }
    var result = host
    result.rules = String(decoding: model.files["ipv4.nft.save"] ?? [], as: UTF8.self)
    result.flows = []
    return result
  }

  private func plain(_ source: String, until: Int64?, reason: String = "named") throws -> PlainBlock
  {
    var block = try #require(
      PlainBlock(
        element: "\(source),udp:5060", note: "sipleak: until unblocked, \(reason)"))
    block.until = until
    return block
  }

  /// A host on which blocks stand.
  private func standing(_ blocks: [PlainBlock], hasSets: Bool = false) throws -> SavedHost {
    let empty = host(0, hasSets: hasSets)
    let snapshot = try empty.firewall().snapshot
    let standing = StandingRules(snapshot, at: Self.time, isPlain: true)
    var plan = try empty.plan()
    plan.rules = Placement(renewing: snapshot, standing: standing, restored: blocks).rules
    return try applied(plan, to: empty)
  }

  @Test("The plan is the exact input of iptables-restore, a rule for each source, with its end")
  func exactInput() throws {
    let plan = try host().plan()
    #expect(plan.plainBecause == "ipset is not installed")
    #expect(plan.setText.isEmpty)
    #expect(
      plan.rules.map(\.text) == [
        """
        *raw
        :SIPLEAK - [0:0]
        :SIPLEAK-OUT - [0:0]
        -A SIPLEAK -m comment --comment "sipleak: chain v1, table made"
        -A SIPLEAK -s 203.0.113.1/32 -p udp -m udp --dport 5060 -m comment --comment "sipleak: until 2026-11-22T01:42:10Z, established-bypass" -j DROP
        -A SIPLEAK-OUT -m comment --comment "sipleak: chain v1, table made"
        -A SIPLEAK-OUT -d 203.0.113.1/32 -p udp -m udp --sport 5060 -m comment --comment "sipleak: until 2026-11-22T01:42:10Z, established-bypass" -j CT --notrack
        -I PREROUTING 1 -m comment --comment "sipleak: ahead of conntrack" -j SIPLEAK
        -I OUTPUT 1 -m comment --comment "sipleak: answers stay untracked" -j SIPLEAK-OUT
        COMMIT

        """
      ])
    let text = PlanText.text(plan, command: "sipleak block --apply")
    #expect(text.contains("ipset is not installed:"))
    #expect(text.contains(BlockPlan.plainNote))
    #expect(PlanText.restoreText(plan).hasPrefix("# \(BlockPlan.plainNote)\n"))
    let json = try PlanJSON(plan, time: Self.time).line()
    #expect(json.contains(BlockPlan.plainNote))
    #expect(json.contains("\"holder\":\"rules\""))
  }

  @Test("A block is read back from each of its rules as it was written")
  func roundTrip() throws {
    for reason in ["named", "expected behind this host 10.77.3.33"] {
      for until in [nil, 1_795_230_000] as [Int64?] {
        let block = try plain("203.0.113.0/24", until: until, reason: reason)
        #expect((block.inner != nil) == reason.contains("behind"))
        for text in [block.drop, block.untracked, block.dropFromInside, block.dropToInside] {
          guard let text else { continue }
          let save = "*raw\n:SIPLEAK - [0:0]\n-A SIPLEAK \(text)\nCOMMIT\n"
          let ruleset = try RulesetReader.read(
            Array(save.utf8), source: "rule", backend: .nft, family: .ipv4)
          let rule = try #require(ruleset.table("raw")?.chain("SIPLEAK")?.rules.first)
          #expect(PlainBlock(rule) == block, "\(text)")
        }
      }
    }
  }

  @Test(
    "A comment that no block of ours has makes no block",
    arguments: [
      "sipleak: until soon, named", "sipleak: until ", "sipleak: until unblocked",
      "until unblocked, named", "sipleak: blocked peer",
    ])
  func strangeNotes(note: String) {
    #expect(PlainBlock(element: "203.0.113.1,udp:5060", note: note) == nil)
  }

  @Test("No comment is too long for a rule, and none has quotes, whatever the reason was")
  func noteLength() throws {
    let block = PlainBlock(
      prefix: IPPrefix(address("203.0.113.1")), transport: .udp, port: 5060, seconds: 60,
      from: Self.time, reason: String(repeating: "x\"\n", count: 400))
    #expect(block.note.utf8.count <= 255)
    #expect(block.note.utf8.allSatisfy { (0x20...0x7e).contains($0) && $0 != 0x22 })
    #expect(PlainBlock(element: block.element, note: block.note) == block)
  }

  @Test("Two hundred sources may stand, one more is none at all, and ipset is the way out")
  func cap() throws {
    #expect(try host(200).plan().entries.count == 200)
    let many = try host(201).plan()
    #expect(many.isEmpty)
    #expect(many.obstacles.first?.contains("apt-get install ipset") == true, "\(many.obstacles)")
    #expect(try host(201, hasSets: true).plan().entries.count == 201)
    let asked = try host(201, hasSets: true).plan(BlockRequest(isPlain: true))
    #expect(asked.obstacles.first?.contains("leave out --plain") == true)

    // What stands counts, what is over does not, and one that is blocked again is no new source.
    var blocks = try (1...200).map { try plain("198.18.0.\($0)", until: Int64(Self.time) + 60) }
    var standing = try self.standing(blocks)
    standing.flows = host().flows
    #expect(try standing.plan().obstacles.first?.contains("beside 200 standing ones") == true)
    let again = try standing.plan(BlockRequest(named: [address("198.18.0.7")]))
    #expect(again.entries.count == 1, "\(again.obstacles)")
    blocks[0].until = Int64(Self.time) - 1
    standing = try self.standing(blocks)
    standing.flows = host().flows
    let freed = try standing.plan()
    #expect(freed.entries.count == 1)
    #expect(freed.lifted.map(\.element) == ["198.18.0.1,udp:5060"])
  }

  @Test("Plain blocks count towards the total of all")
  func total() throws {
    var host = try standing([
      plain("198.18.0.1", until: Int64(Self.time) + 60),
      plain("198.18.0.2", until: Int64(Self.time) - 60),
    ])
    host.flows = self.host().flows
    let few = try host.plan(BlockRequest(limits: BlockLimits(total: 1)))
    #expect(few.obstacles.first?.contains("1 new sources beside 1 standing ones") == true)
    #expect(try host.plan(BlockRequest(limits: BlockLimits(total: 2))).entries.count == 1)
  }

  @Test("A new block leaves the others, in order, and renewing one changes its end alone")
  func merge() throws {
    let later = Int64(Self.time) + 60
    var host = try standing([
      plain("198.18.0.1", until: nil), plain("203.0.113.9", until: later),
    ])
    host.flows = self.host().flows
    let plan = try host.plan()
    let once = try applied(plan, to: host)
    let blocks = try once.firewall().snapshot.ownBlocks(at: Self.time)
    #expect(
      blocks.map(\.element) == [
        "198.18.0.1,udp:5060", "203.0.113.1,udp:5060", "203.0.113.9,udp:5060",
      ])
    #expect(blocks.map(\.secondsLeft) == [nil, 86400, 60])
    #expect(blocks.allSatisfy { $0.isHooked && $0.holder == .rules })
    #expect(try once.plan().isEmpty)
    let renewed = try once.plan(BlockRequest(named: [address("203.0.113.9")], seconds: 600))
    let twice = try applied(renewed, to: once).firewall().snapshot.ownBlocks(at: Self.time)
    #expect(twice.map(\.element) == blocks.map(\.element))
    #expect(twice.map(\.secondsLeft) == [nil, 86400, 600])
    // The undo is what stood.
    #expect(renewed.rules.first?.undo.contains("until \(Quantity.rfc3339(Double(later)))") == true)
  }

  @Test("With sets there again, blocks move with the time they have left, and what is over goes")
  func migration() throws {
    let host = try standing(
      [
        plain("198.18.0.1", until: nil), plain("198.18.0.2", until: Int64(Self.time) + 90),
        plain("198.18.0.3", until: Int64(Self.time)),
      ], hasSets: true)
    let plan = try host.plan()
    #expect(plan.isRenewal && !plan.isPlain)
    #expect(plan.moved.map(\.element) == ["198.18.0.1,udp:5060", "198.18.0.2,udp:5060"])
    #expect(plan.lifted.map(\.element) == ["198.18.0.3,udp:5060"])
    #expect(
      plan.setText.contains(
        "add -exist sipleak4 198.18.0.1,udp:5060 timeout 0 comment \"sipleak: named\"\n"
          + "add -exist sipleak4 198.18.0.2,udp:5060 timeout 90 comment \"sipleak: named\"\n"))
    #expect(plan.rules.count == 1)
    #expect(plan.rules.first?.text.contains("--match-set sipleak4 src,dst") == true)
    #expect(plan.rules.first?.text.contains("until ") == false)
    let text = PlanText.text(plan, command: "x")
    #expect(text.contains("198.18.0.2,udp:5060   moved"))
    #expect(text.contains("198.18.0.3,udp:5060   lifted: its time is over"))
    // Asked for plain rules, they stay, without what is over.
    let stay = try host.plan(BlockRequest(isPlain: true))
    #expect(stay.moved.isEmpty && stay.setText.isEmpty)
    #expect(stay.rules.first?.text.contains("198.18.0.3") == false)
    #expect(stay.rules.first?.text.contains("198.18.0.2") == true)
  }

  @Test("Members of our sets keep plain rules out; a purge plan names both")
  func besideMembers() throws {
    var host = try standing([plain("198.18.0.1", until: nil)], hasSets: true)
    host.sets = """
      create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
      add sipleak4 203.0.113.99,udp:5060 timeout 100 packets 0 bytes 0 comment "sipleak: x"

      """
    let plan = try host.plan(BlockRequest(isPlain: true))
    #expect(plan.isEmpty)
    #expect(plan.obstacles.first?.contains("1 block stands in our sets") == true)
    let snapshot = try host.firewall().snapshot
    #expect(
      RemovalPlan(.all, snapshot: snapshot).elements == [
        "sipleak4 203.0.113.99,udp:5060", "SIPLEAK 198.18.0.1,udp:5060",
      ])
    let lift = RemovalPlan(.addresses([address("198.18.0.1")]), snapshot: snapshot)
    #expect(lift.setText.isEmpty && lift.absent.isEmpty)
    #expect(lift.rules.map(\.table) == ["raw"])
    // The set's members wait for a hook that asks for them.
    #expect(snapshot.ownBlocks(at: Self.time).map(\.isHooked) == [false, true])
  }

  @Test("A removal names whose blocks end by it, and not those that stay in force")
  func ended() throws {
    var host = try standing([plain("198.18.0.1", until: nil)], hasSets: true)
    host.rules = host.rules.replacing(
      "-A PREROUTING", with: "-A SIPLEAK -s 192.0.2.200/32\n-A PREROUTING", maxReplacements: 1)
    host.sets = """
      create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
      add sipleak4 203.0.113.99,udp:5060 timeout 100 packets 0 bytes 0 comment "sipleak: x"

      """
    let snapshot = try host.firewall().snapshot
    let all = RemovalPlan(.all, snapshot: snapshot)
    #expect(all.stillBlocked == ["198.18.0.1,udp:5060"])
    #expect(all.ended == [address("203.0.113.99")])
    let both = RemovalPlan(
      .addresses([address("198.18.0.1"), address("203.0.113.99")]), snapshot: snapshot)
    #expect(both.ended == [address("203.0.113.99")])
    #expect(RemovalPlan(.purge, snapshot: snapshot).ended == nil)
  }

  @Test("A saved list that somebody changed makes no rule that a set would refuse")
  func hostileList() throws {
    let blocks = try ["0.0.0.0/0,udp:5060", "10.0.0.0/7,udp:5060", "203.0.113.1,icmp:8"].map {
      let saved = #"{"family":"ipv4","element":"\#($0)","timeout":9,"comment":"x"}"#
      return try JSONDecoder().decode(SavedBlocks.Block.self, from: Data(saved.utf8))
    }
    #expect(SavedBlocks.plain(blocks, from: 0).isEmpty)
  }
}
