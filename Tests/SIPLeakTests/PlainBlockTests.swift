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
        -A SIPLEAK -m comment --comment "sipleak: chain v2, table made"
        -A SIPLEAK -s 203.0.113.1/32 -p udp -m udp --dport 5060 -m comment --comment "sipleak: until 2026-11-22T01:42:10Z, established-bypass" -j DROP
        -A SIPLEAK-OUT -m comment --comment "sipleak: chain v2, table made"
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
        let rules = [PeerRule.drop, .untracked, .dropFromInside, .dropToInside]
        #expect(rules.compactMap { $0.text(of: block) }.count == (block.inner == nil ? 2 : 4))
        for text in rules.compactMap({ $0.text(of: block) }) {
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

  /// The firewall of a host as something that plans are applied to.
  private func model(_ host: SavedHost) throws -> PlanModel {
    var model = PlanModel(family: .ipv4)
    try model.restore(host.rules.replacing(/\[\d+:\d+\] -A/, with: "-A"), .nft)
    return model
  }

  @Test(
    "A renewed block writes its own rules alone, and the undo puts the old ones where they were")
  func onlyWhatDiffers() throws {
    let later = Int64(Self.time) + 60
    let host = try standing(
      ["198.18.0.1", "198.18.0.2", "198.18.0.3"].map { try plain($0, until: later) })
    let plan = try host.plan(BlockRequest(named: [address("198.18.0.2")], seconds: 600))
    let drop = "-s 198.18.0.2/32 -p udp -m udp --dport 5060 -m comment --comment"
    let answer = "-d 198.18.0.2/32 -p udp -m udp --sport 5060 -m comment --comment"
    let old = "\"sipleak: until 2026-11-21T01:43:10Z, named\""
    let new = "\"sipleak: until 2026-11-21T01:52:10Z, named\""
    #expect(
      plan.rules.map(\.text) == [
        """
        *raw
        -I SIPLEAK 3 \(drop) \(new) -j DROP
        -D SIPLEAK \(drop) \(old) -j DROP
        -I SIPLEAK-OUT 3 \(answer) \(new) -j CT --notrack
        -D SIPLEAK-OUT \(answer) \(old) -j CT --notrack
        COMMIT

        """
      ])
    #expect(
      plan.rules.map(\.undo) == [
        """
        *raw
        -I SIPLEAK-OUT 4 \(answer) \(old) -j CT --notrack
        -D SIPLEAK-OUT \(answer) \(new) -j CT --notrack
        -I SIPLEAK 4 \(drop) \(old) -j DROP
        -D SIPLEAK \(drop) \(new) -j DROP
        COMMIT

        """
      ])
    let before = try model(host)
    var after = before
    for rules in plan.rules { try after.restore(rules.text, rules.backend) }
    #expect(after != before)
    for rules in plan.rules.reversed() { try after.restore(rules.undo, rules.backend) }
    #expect(after == before)
  }

  @Test("Many sources come in several transactions of iptables-nft, the jumps with the last one")
  func severalTransactions() throws {
    let host = host(200)
    let plan = try host.plan()
    #expect(plan.rules.count == 3)
    #expect(plan.rules.map(\.makesTable) == [true, false, false])
    for rules in plan.rules {
      #expect(rules.text.split(separator: "\n").count { $0.hasPrefix("-A") } <= 200)
    }
    #expect(plan.rules.map { $0.text.contains("-j SIPLEAK") } == [false, false, true])
    #expect(plan.rules[0].text.hasPrefix("*raw\n:SIPLEAK - [0:0]\n:SIPLEAK-OUT - [0:0]\n"))
    #expect(try host.plan(BlockRequest(backend: .legacy)).rules.count == 1)

    let complete = try applied(plan, to: host).rules
    var part = plan
    for count in 1...2 {
      // What died in between is completed by the next run, and lifted by the one after.
      part.rules = Array(plan.rules.prefix(count))
      var half = try applied(part, to: host)
      #expect(try half.firewall().snapshot.ownBlocks(at: Self.time).contains { !$0.isHooked })
      half.flows = host.flows
      let rest = try half.plan()
      #expect(rest.obstacles == [])
      #expect(try applied(rest, to: half).rules == complete)
      var undone = try model(half)
      for rules in part.rules.reversed() { try undone.restore(rules.undo, rules.backend) }
      #expect(try undone.essence.filter { $0.key.table != "raw" } == model(host).essence)
    }
    var all = try applied(plan, to: host)
    let removal = RemovalPlan(.all, snapshot: try all.firewall().snapshot)
    #expect(removal.rules.count == 2)
    var lifted = try model(all)
    for rules in removal.rules { try lifted.restore(rules.text, rules.backend) }
    all.rules = String(decoding: lifted.files["ipv4.nft.save"] ?? [], as: UTF8.self)
    #expect(try all.firewall().snapshot.ownBlocks(at: Self.time).isEmpty)
    for rules in removal.rules.reversed() { try lifted.restore(rules.undo, rules.backend) }
    #expect(try lifted == model(applied(plan, to: host)))
  }

  @Test(
    "A chain in another shape is written as a whole",
    arguments: ["chain v0", "twice", "disorder"])
  func anotherShape(shape: String) throws {
    let later = Int64(Self.time) + 60
    var host = try standing(["198.18.0.1", "198.18.0.2"].map { try plain($0, until: later) })
    let lines = host.rules.split(separator: "\n").map(String.init)
    let drops = lines.indices.filter {
      lines[$0].contains("-j DROP") && lines[$0].contains("until")
    }
    try #require(drops.count == 2)
    var changed = lines
    switch shape {
    case "twice": changed.insert(lines[drops[0]], at: drops[0])
    case "disorder": changed.swapAt(drops[0], drops[1])
    default: changed = lines.map { $0.replacing("chain \(OwnObjects.version)", with: shape) }
    }
    host.rules = changed.map { $0 + "\n" }.joined()
    let plan = try host.plan()
    let text = try #require(plan.rules.first?.text)
    #expect(text.hasPrefix("*raw\n:SIPLEAK - [0:0]\n:SIPLEAK-OUT - [0:0]\n"), "\(text)")
    #expect(!text.contains("-D SIPLEAK "))
    let after = try applied(plan, to: host)
    #expect(
      try after.firewall().snapshot.ownBlocks(at: Self.time).map(\.element) == [
        "198.18.0.1,udp:5060", "198.18.0.2,udp:5060",
      ])
    #expect(try after.plan().isEmpty)
  }

  @Test("Of an old end and a new one that stand side by side after a crash, the later one holds")
  func twoEnds() throws {
    let later = Int64(Self.time) + 60
    let host = try standing([plain("198.18.0.1", until: later)])
    let longer = try standing([plain("198.18.0.1", until: later + 60)])
    for (first, second) in [(host, longer), (longer, host)] {
      let other = try #require(
        second.rules.split(separator: "\n").first { $0.contains("-j DROP") && $0.contains("until") }
      )
      var both = first
      both.rules = first.rules.replacing(
        "-A SIPLEAK-OUT", with: "\(other)\n-A SIPLEAK-OUT", maxReplacements: 1)
      let after = try applied(both.plan(), to: both)
      #expect(after.rules == longer.rules)
    }
  }

  @Test("What is over is lifted whatever stands against new blocks, and nothing else is touched")
  func liftedBesideObstacles() throws {
    var host = try standing([
      plain("198.18.0.1", until: Int64(Self.time) + 60),
      plain("198.18.0.2", until: Int64(Self.time) - 60),
    ])
    host.flows = self.host(3).flows
    // Somebody let all of them in; no jump is put back for that.
    host.rules = host.rules.split(separator: "\n").filter { !$0.contains("-j SIPLEAK") }.map {
      $0 + "\n"
    }.joined()
    let plan = try host.plan(BlockRequest(limits: BlockLimits(perRun: 2)))
    #expect(plan.obstacles.first?.contains("--at-most") == true)
    #expect(plan.entries.isEmpty && plan.deletions.isEmpty && plan.moved.isEmpty)
    #expect(plan.lifted.map(\.element) == ["198.18.0.2,udp:5060"])
    let after = try applied(plan, to: host)
    #expect(
      Set(host.rules.split(separator: "\n")).subtracting(after.rules.split(separator: "\n")).count
        == 2)
    #expect(
      try after.firewall().snapshot.ownBlocks(at: Self.time).map(\.element) == [
        "198.18.0.1,udp:5060"
      ])
    var undone = try model(after)
    for rules in plan.rules { try undone.restore(rules.undo, rules.backend) }
    #expect(try undone == model(host))
    let text = PlanText.text(plan, command: "sipleak block --apply")
    #expect(text.hasPrefix("Nobody would be blocked; what is over would be lifted.\n"), "\(text)")
    #expect(text.contains("Cannot block: 3 new sources"))
    #expect(text.contains("198.18.0.2,udp:5060   lifted: its time is over"))
    #expect(text.contains("-D SIPLEAK -s 198.18.0.2/32"))
    let json = try PlanJSON(plan, time: Self.time).line()
    #expect(json.contains("\"lifted\":[\"198.18.0.2,udp:5060\"]"))
    #expect(json.contains("\"obstacles\":[\"3 new sources"))
    #expect(PlanText.restoreText(plan).contains("-D SIPLEAK -s 198.18.0.2/32"))
    // With sets there again, and an obstacle, nothing moves either.
    host.hasSets = true
    let sets = try host.plan(BlockRequest(limits: BlockLimits(perRun: 2)))
    #expect(sets.rules == plan.rules && sets.setText.isEmpty && sets.moved.isEmpty)
    #expect(sets.lifted == plan.lifted)
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
    let left = try applied(stay, to: host).firewall().snapshot.ownBlocks(at: Self.time)
    #expect(left.map(\.element) == ["198.18.0.1,udp:5060", "198.18.0.2,udp:5060"])
    #expect(stay.rules.first?.text.contains("198.18.0.2") == false)
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
