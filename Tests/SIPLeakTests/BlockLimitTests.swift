import Addressing
import Conntrack
import Firewall
import HostNetwork
import Testing

@testable import SIPLeak

@Suite("Block limits") struct BlockLimitTests {
  private func leaking(_ count: Int = 3, status: FlowStatus = [.seenReply]) -> SavedHost {
    var host = SavedHost()
    host.flows = (0..<count).map {
      flow("203.0.113.\(60 + $0):24376", "192.0.2.5:5060", status, id: UInt32($0))
    }
    return host
  }

  private func plan(_ limits: BlockLimits, named: [String] = []) throws -> BlockPlan {
    try leaking().plan(BlockRequest(named: named.map(address), limits: limits))
  }

  @Test("More new sources than one run may block are none, and it is said")
  func perRun() throws {
    let plan = try plan(BlockLimits(perRun: 2))
    #expect(plan.isEmpty)
    #expect(plan.obstacles.first?.contains("3 new sources are more than the 2") == true)
    #expect(try self.plan(BlockLimits(perRun: 3)).entries.count == 3)
  }

  @Test("Standing blocks count towards the total, and renewing one is no new source")
  func total() throws {
    var host = leaking()
    host.sets = """
      create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
      add sipleak4 203.0.113.60,udp:5060 timeout 100 packets 0 bytes 0 comment "sipleak: x"
      add sipleak4 203.0.113.99,udp:5060 timeout 100 packets 0 bytes 0 comment "sipleak: x"

      """
    let few = try host.plan(BlockRequest(limits: BlockLimits(total: 3)))
    #expect(few.isEmpty)
    #expect(few.obstacles.first?.contains("2 new sources beside 2 standing ones") == true)
    #expect(try host.plan(BlockRequest(limits: BlockLimits(total: 4))).entries.count == 3)
    #expect(try host.plan(BlockRequest(limits: BlockLimits(perRun: 2))).entries.count == 3)
  }

  @Test("A grade and causes narrow what is blocked unnamed; a name overrides them")
  func grade() throws {
    for limits in [BlockLimits(grade: .assured), BlockLimits(causes: [.expected])] {
      let plan = try plan(limits)
      #expect(plan.isEmpty)
      #expect(plan.omissions.count == 3)
      #expect(plan.omissions.map(\.isOnRequest) == [true, true, true])
      #expect(try self.plan(limits, named: ["203.0.113.61"]).entries.count == 1)
    }
  }

  @Test("Who was welcome within a day is not blocked unnamed")
  func welcome() throws {
    let plan = try plan(BlockLimits(welcome: [address("203.0.113.61")]))
    #expect(plan.entries.map(\.address) == [address("203.0.113.60"), address("203.0.113.62")])
    #expect(plan.omissions.first?.why.contains("24 h") == true)
  }

  @Test("Where it is not known who was welcome, only who is named is blocked")
  func welcomeUnknown() throws {
    let limits = BlockLimits(welcomeGap: "there is no history")
    let plan = try plan(limits)
    #expect(plan.isEmpty)
    #expect(plan.obstacles.count == 1)
    #expect(plan.obstacles.first?.hasSuffix("nobody is blocked: there is no history") == true)
    #expect(try self.plan(limits, named: ["203.0.113.61"]).entries.count == 1)
  }

  @Test("Each time a peer came back doubles its time, up to 24 days")
  func doubling() throws {
    let peer = address("203.0.113.61")
    for (times, seconds) in [
      (0, 86400), (1, 172_800), (3, 691_200), (9, 2_073_600), (99, 2_073_600),
    ] {
      let plan = try plan(BlockLimits(offences: [peer: times]))
      let entry = try #require(plan.entries.first { $0.address == peer })
      #expect(entry.seconds == seconds)
      #expect(plan.setText.contains("203.0.113.61,udp:5060 timeout \(seconds) "))
      #expect(plan.setText.contains("203.0.113.60,udp:5060 timeout 86400 "))
    }
    #expect(BlockLimits(offences: [peer: 3]).seconds(0, for: peer) == 0)
    #expect(BlockLimits(offences: [peer: 1]).seconds(2_147_483, for: peer) == 2_147_483)
  }

  @Test("Without a time of its own a run shortens no block that stands for longer")
  func standing() throws {
    for (standing, asked, kept) in [(0, 86400, 0), (100_000, 86400, 100_000), (5, 86400, 86400)] {
      var host = leaking(1)
      host.sets = """
        create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
        add sipleak4 203.0.113.60,udp:5060 timeout \(standing) packets 0 bytes 0 comment "sipleak: x"

        """
      var request = BlockRequest()
      #expect(try host.plan(request).entries.map(\.seconds) == [UInt32(asked)])
      request.shortens = false
      #expect(try host.plan(request).entries.map(\.seconds) == [UInt32(kept)])
    }
  }

  @Test("The tools' input alone is what the plan shows")
  func restoreFormat() throws {
    let plan = try plan(BlockLimits())
    let text = PlanText.restoreText(plan)
    #expect(text.hasPrefix("# ipset restore\ncreate -exist sipleak4 "))
    #expect(text.contains("\n# iptables-nft-restore --noflush\n*raw\n"))
    #expect(text.hasSuffix("COMMIT\n"))
    let nothing = try SavedHost().plan()
    #expect(PlanText.restoreText(nothing) == "")
  }

  @Test("Before the state rule of two firewalls, the operator says which")
  func bothBackends() throws {
    let host = leaking(1)
    var observation = try host.observation()
    let other = try RulesetReader.read(
      Array("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 25 -j DROP\nCOMMIT\n".utf8),
      source: "legacy", backend: .legacy, family: .ipv4)
    observation.sample.firewall.snapshot.rulesets.append(other)
    func plan(_ backend: Backend?) -> BlockPlan {
      BlockPlan(
        BlockRequest(place: .beforeStateRule, backend: backend), audit: Audit(observation),
        observation: observation, policy: AuditPolicy())
    }
    #expect(plan(nil).obstacles.first?.contains("--backend nft or --backend legacy") == true)
    #expect(plan(.nft).obstacles == [])
    #expect(plan(.nft).rules.map(\.backend) == [.nft])
    #expect(plan(.legacy).obstacles.first?.contains("is of the nft backend") == true)
  }

  @Test(
    "A chain of another version is brought to today's shape in one transaction",
    arguments: ["v0", "v1"], ["", ", table made"])
  func migration(version: String, made: String) throws {
    var host = leaking(0)
    host.sets = """
      create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
      add sipleak4 203.0.113.60,udp:5060 timeout 100 packets 0 bytes 0 comment "sipleak: x"

      """
    host.rules += """
      *raw
      :PREROUTING ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      :SIPLEAK - [0:0]
      -A PREROUTING -m comment --comment "sipleak: ahead of conntrack" -j SIPLEAK
      -A SIPLEAK -m comment --comment "sipleak: chain \(version)\(made)"
      -A SIPLEAK -p udp -m set --match-set sipleak4 src,dst -m comment --comment "sipleak: old" -j DROP
      COMMIT

      """
    let plan = try host.plan()
    #expect(plan.isRenewal)
    let rules = try #require(plan.rules.first)
    #expect(plan.rules.count == 1)
    #expect(rules.text.contains(":SIPLEAK - [0:0]\n"))
    // Whose the table is goes on to be known.
    #expect(rules.text.contains("\"sipleak: chain v2\(made): blocked peer\""))
    // The jump stands: it is not made again.
    #expect(!rules.text.contains("-I PREROUTING"))
    #expect(rules.text.contains("-I OUTPUT 1 "))
    #expect(rules.undo.contains("sipleak: chain \(version)\(made)\""))
  }
}

@Suite("History notes") struct HistoryNotesTests {
  private func block(_ begun: Double, until: Double?, peer: String = "203.0.113.66") -> BlockRecord
  {
    BlockRecord(
      peer: address(peer), transport: .udp, port: 5060, place: .raw, reason: "established-bypass",
      begun: begun, until: until, outcome: "verified")
  }

  @Test("Blocks that ran out count, those lifted by hand, standing or long ago do not")
  func offences() {
    let peer = address("203.0.113.66")
    let now = 100.0 * 86400
    var lifted = block(now - 5000, until: now - 1000)
    lifted.ended = now - 2000
    lifted.endedBy = .unblocked
    var second = block(now - 9000, until: now - 8000)
    second.port = 5070
    let records = [
      block(now - 9000, until: now - 8000), second, block(now - 7000, until: now - 6000), lifted,
      block(0, until: 10),
    ]
    var notes = HistoryNotes(welcome: [], sightings: [], blocks: records, at: now)
    #expect(notes.offences == [peer: 2])
    #expect(notes.ranOut == [peer: now - 6000])
    notes = HistoryNotes(
      welcome: [], sightings: [], blocks: records + [block(now - 10, until: nil)], at: now)
    #expect(notes.ranOut == [:])
  }
}

@Suite("Lifting a block") struct LiftingTests {
  private static let set = """
    create sipleak4 hash:net,port family inet hashsize 1024 maxelem 1000000 timeout 0 counters comment
    add sipleak4 203.0.113.66,udp:5060 timeout 100 packets 0 bytes 0 comment "sipleak: x"

    """
  private static let rules = SavedHost.rules.replacing(
    "[900:90000]",
    with: """
      -A INPUT -m comment --comment "sipleak: before the state rule" -j SIPLEAK
      [900:90000]
      """
  ).replacing(
    "COMMIT",
    with: """
      -A SIPLEAK -m comment --comment "sipleak: chain v1"
      -A SIPLEAK -p udp -m set --match-set sipleak4 src,dst -m comment --comment "sipleak: blocked peer" -j DROP
      COMMIT
      """
  ).replacing(":OUTPUT ACCEPT [0:0]", with: ":OUTPUT ACCEPT [0:0]\n:SIPLEAK - [0:0]")

  @Test("A flow kept alive behind the block would be in again, and is named")
  func persisting() throws {
    var host = SavedHost()
    host.rules = Self.rules
    host.sets = Self.set
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply])]
    let observation = try host.observation()
    #expect(Audit(observation).findings.map(\.cause) == [])
    for named in [[address("203.0.113.66")], nil] {
      let standing = PersistingCause.all(of: named, in: observation, policy: AuditPolicy())
      #expect(standing.map(\.address) == [address("203.0.113.66")])
      #expect(standing.first?.why.contains("filter INPUT 3") == true)
    }
    let other = [address("203.0.113.67")]
    #expect(PersistingCause.all(of: other, in: observation, policy: AuditPolicy()).isEmpty)
    host.flows = []
    let quiet = try host.observation()
    #expect(PersistingCause.all(of: nil, in: quiet, policy: AuditPolicy()).isEmpty)
  }

  @Test("Who is back after a block has run out is said to be, without another level")
  func reopened() throws {
    var host = SavedHost()
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply])]
    let observation = try host.observation()
    let audit = Audit(observation)
    let peer = address("203.0.113.66")
    let noted = audit.noting(
      HistoryNotes(
        ranOut: [peer: 1_795_000_000],
        firstSeen: [HistoryNotes.Seen(peer: peer, cause: .establishedBypass): 1_794_000_000]))
    #expect(noted.exitStatus == audit.exitStatus)
    let line = AuditLines.text(noted, of: observation, isQuiet: true)
    #expect(
      line.hasSuffix(" first=2026-11-06T21:20:00Z reopened=2026-11-18T11:06:40Z\n"), "\(line)")
    #expect(!AuditLines.text(audit, of: observation, isQuiet: true).contains("reopened"))
    #expect(try AuditJSON(noted, of: observation).line().contains("\"reopened\":\"2026-11-18"))
  }
}
