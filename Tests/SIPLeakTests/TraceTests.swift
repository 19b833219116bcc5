import Addressing
import Conntrack
import Firewall
import Testing

@testable import SIPLeak

@Suite struct TraceTests {
  private let leak = flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured])

  private func plan(
    _ words: String..., flows: [Flow]? = nil, rules: String = SavedHost.rules,
    everyRule: Bool = false
  ) throws -> TracePlan {
    var host = SavedHost()
    host.flows = flows ?? [leak]
    host.rules = rules
    return TracePlan(
      try TraceRequest.read(words), observation: try host.observation(), id: "1a",
      marksEveryRule: everyRule)
  }

  /// What markers would have counted; those not named nothing.
  private func answer(
    _ plan: TracePlan, subject: Int = 0, _ counts: (TracePlan.Marker) -> UInt64
  ) -> TraceResult.OfSubject {
    var packets: [TraceCounts.Key: UInt64] = [:]
    for marker in plan.markers where marker.subject == subject {
      packets[TraceCounts.Key(subject: subject, number: marker.number)] = counts(marker)
    }
    let none = TraceCounts(packets: [:])
    let end = TraceCounts(packets: packets)
    let readings = TraceReadings(start: (none, none), end: (end, end))
    return TraceAnalysis(plan: plan, readings: readings).answer(subject)
  }

  @Test("Markers stand before and after every rule that could decide, and at the ends")
  func places() throws {
    let plan = try plan("203.0.113.66")
    #expect(plan.obstacles == [])
    // The state rule 2, the SIP rule 3, the rule 5 that would refuse it as NEW, and both ends.
    #expect(plan.markers.map(\.before) == [1, 2, 3, 4, 5, 6])
    let lines = plan.transactions[0].insert.split(separator: "\n").map(String.init)
    let match = "-s 203.0.113.66/32 -d 192.0.2.5/32 -p udp -m udp --sport 24376 --dport 5060"
    #expect(lines.first == "*filter" && lines.last == "COMMIT")
    #expect(
      lines[1] == "-A INPUT \(match) -m comment --comment \"sipleak:trace 1a 1.6\"")
    #expect(
      lines[2] == "-I INPUT 5 \(match) -m comment --comment \"sipleak:trace 1a 1.5\"")
    #expect(lines[6].hasPrefix("-I INPUT 1 "))
    // Nothing that decides, and nothing that turns connection tracking on.
    #expect(plan.transactions.allSatisfy { !$0.insert.contains(" -j ") })
    #expect(plan.transactions.allSatisfy { !$0.insert.contains("state") })
    #expect(try self.plan("203.0.113.66", everyRule: true).markers.count == 6)
  }

  @Test("What is put in is what is taken out, and reads back as markers")
  func roundTrip() throws {
    let plan = try plan("203.0.113.66")
    let transaction = plan.transactions[0]
    let inserted = Set(
      transaction.insert.split(separator: "\n").filter { $0.contains("comment") }.map {
        $0.drop { $0 != "s" }.split(separator: "-s ").last
      })
    let removed = Set(
      transaction.remove.split(separator: "\n").filter { $0.contains("comment") }.map {
        $0.drop { $0 != "s" }.split(separator: "-s ").last
      })
    #expect(inserted == removed && inserted.count == 6)
    // Applied to the rules, every position is that of the rules without them.
    let save = SavedHost.rules.replacing(
      "COMMIT", with: transaction.insert.replacing("*filter\n", with: "").dropLast())
    let table = try #require(
      try RulesetReader.read(
        Array(save.utf8), source: "text", backend: .nft, family: .ipv4
      ).table("filter"))
    #expect(table.traceMarkers(of: "1a").count == 6)
    #expect(plan.stands(table, in: transaction))
    var other = table
    other.chains[0].rules.remove(at: 0)
    #expect(!plan.stands(other, in: transaction))
    // What changes in a chain without markers moves none of them.
    var elsewhere = table
    elsewhere.chains[1].rules.append(elsewhere.chains[0].rules[1])
    elsewhere.chains[1].policy = "DROP"
    #expect(plan.stands(elsewhere, in: transaction))
  }

  @Test(
    "A rule that only says it is a marker is none",
    arguments: [
      ("-A INPUT -p udp -m comment --comment \"sipleak:trace 1a 1.1\"", true),
      (
        "-A INPUT -p udp -m udp --dport 5 -m comment --comment \"sipleak:trace 1a kernel\" -j TRACE",
        true
      ),
      ("-A INPUT -p udp -m comment --comment \"sipleak:trace 1a 1.1\" -j DROP", false),
      ("-A INPUT -m recent --set --name x -m comment --comment \"sipleak:trace 1a 1.1\"", false),
      ("-A INPUT -p udp -m comment --comment \"sipleak:traces 1a\"", false),
      ("-A INPUT -p udp -m comment --comment \"sipleak: trace 1a\"", false),
      ("-A INPUT -p udp", false),
    ])
  func identity(line: String, isMarker: Bool) throws {
    let ruleset = try RulesetReader.read(
      Array("*filter\n:INPUT ACCEPT\n\(line)\nCOMMIT\n".utf8), source: "text", backend: .nft,
      family: .ipv4)
    let rule = try #require(ruleset.tables[0].chains[0].rules.first)
    #expect(TraceMarker.isMarker(rule) == isMarker)
  }

  @Test("Counts that agree with the walk prove it, rule by rule")
  func proven() throws {
    let plan = try plan("203.0.113.66")
    let answer = answer(plan) { $0.before <= 2 ? 1000 : 0 }
    #expect(answer.answer == .proven)
    #expect(answer.packets == 1000)
    #expect(answer.exits.map(\.rule.index) == [2])
    #expect(answer.exits.map(\.packets) == [1000])
  }

  @Test("Counts that contradict the walk are said loudly and give another exit status")
  func disagrees() throws {
    let plan = try plan("203.0.113.66")
    // All left at the tcp/22 rule, which no UDP packet can.
    let answer = answer(plan) { $0.before <= 4 ? 1000 : 0 }
    #expect(answer.answer == .disagrees)
    #expect(answer.exits.map(\.rule.index) == [4])
    let result = TraceResult(subjects: [answer], seconds: 10, isInterrupted: false, notes: [])
    #expect(result.exitStatus == 2)
    let text = TraceText.text(result, style: TextStyle())
    #expect(text.contains("DISAGREES"))
    #expect(text.contains("NOT what the walk says"))
    // Refused as if they began flows: that is not a wrong walk but another state.
    let ended = self.answer(plan) { $0.before <= 5 ? 10 : 0 }
    #expect(ended.answer == .otherState)
    #expect(ended.exits.map(\.verdict) == [.reject])
    #expect(self.answer(plan) { _ in 0 }.answer == .noPackets)
  }

  @Test("A mixture gives each rule its part, and the policy what is left")
  func mixture() throws {
    let rules = SavedHost.rules.replacing(
      "[7:700] -A INPUT -m comment --comment \"999 reject all other requests\" -j REJECT "
        + "--reject-with icmp-host-prohibited\n", with: "")
    let plan = try plan("198.51.100.10", flows: [], rules: rules)
    let counts: [Int: UInt64] = [1: 100, 2: 100, 3: 30, 4: 10, 5: 10]
    let answer = answer(plan) { counts[$0.before] ?? 0 }
    let exits = answer.exits.map { "\($0.rule.index) \($0.packets)" }
    #expect(exits == ["2 70", "3 20", "0 10"])
  }

  @Test("Packets that left among several rules without markers are not pinned on one of them")
  func stretch() throws {
    let more = (0..<5).map { "-A INPUT -s 10.0.0.\($0)/32 -j DROP\n" }.joined()
    let rules = SavedHost.rules.replacing(
      "[3:300] -A INPUT -i lo", with: more + "[3:300] -A INPUT -i lo")
    let plan = try plan("203.0.113.66", rules: rules)
    let answer = answer(plan) { $0.before == 1 ? 50 : 0 }
    #expect(answer.answer == .disagrees)
    #expect(answer.exits.map(\.rule.index) == [1])
    #expect(answer.exits.map(\.through) == [6])
    #expect(answer.exits.map(\.verdict) == [.unknown])
    // With a marker before every rule it is.
    let exact = try self.plan("203.0.113.66", rules: rules, everyRule: true)
    let pinned = self.answer(exact) { $0.before <= 3 ? 50 : 0 }
    #expect(pinned.exits.map(\.rule.index) == [3])
    #expect(pinned.exits.map(\.verdict) == [.drop])
  }

  @Test("Reading takes time, and no packet leaves because of it")
  func readingTakesTime() throws {
    let plan = try plan("203.0.113.66", flows: [])
    var first: [TraceCounts.Key: UInt64] = [:]
    var second: [TraceCounts.Key: UInt64] = [:]
    // Every packet goes to the end; each marker is read a few packets later than the one before.
    for marker in plan.markers {
      let key = TraceCounts.Key(subject: 0, number: marker.number)
      first[key] = 1000 + UInt64(marker.number)
      second[key] = 1020 + UInt64(marker.number)
    }
    let none = TraceCounts(packets: [:])
    let readings = TraceReadings(
      start: (none, none), end: (TraceCounts(packets: first), TraceCounts(packets: second)))
    let answer = TraceAnalysis(plan: plan, readings: readings).answer(0)
    #expect(answer.exits.map(\.rule.index) == [0])
    #expect(answer.gaps == [])
  }

  @Test("What vanishes between two hooks is at least what it says")
  func gap() throws {
    let rules =
      "*mangle\n:PREROUTING ACCEPT\n-A PREROUTING -p tcp -j MARK --set-mark 1\nCOMMIT\n"
      + SavedHost.rules
    let plan = try plan("203.0.113.66", rules: rules)
    #expect(Set(plan.markers.map(\.table)) == ["mangle", "filter"])
    let answer = answer(plan) { $0.table == "mangle" ? 100 : $0.before <= 2 ? 60 : 0 }
    #expect(answer.gaps.map(\.packets) == [40])
    #expect(answer.answer == .disagrees)
    let none = self.answer(plan) { $0.table == "mangle" ? 100 : $0.before <= 2 ? 101 : 0 }
    #expect(none.gaps == [])
    #expect(none.answer == .proven)
  }

  @Test("A translated flow is matched as on the wire before the nat table and as delivered after")
  func translated() throws {
    let rules =
      "*raw\n:PREROUTING ACCEPT\n-A PREROUTING -p tcp -j DROP\nCOMMIT\n" + SavedHost.rules
    let held = flow(
      "203.0.113.66:24376", "192.0.2.5:5070", [.seenReply, .destinationNAT],
      reply: ("192.0.2.5:5060", "203.0.113.66:24376"))
    let plan = try plan("203.0.113.66", flows: [held], rules: rules)
    for marker in plan.markers {
      let port = marker.table == "raw" ? "5070" : "5060"
      #expect(marker.specification.contains("--dport \(port) "), "\(marker)")
    }
    #expect(plan.transactions.map(\.table) == ["raw", "filter"])
  }

  @Test("Our own chains are not entered, for they are known by their first rule")
  func ownChains() throws {
    var host = SavedHost()
    host.flows = [leak]
    host.rules = SavedHost.rules.replacing(
      ":OUTPUT ACCEPT [0:0]\n",
      with:
        ":OUTPUT ACCEPT [0:0]\n:SIPLEAK - [0:0]\n-A INPUT -m comment --comment \"sipleak: before "
        + "the state rule\" -j SIPLEAK\n-A SIPLEAK -m comment --comment \"sipleak: chain v1\"\n"
        + "-A SIPLEAK -p udp -m comment --comment \"sipleak: blocked peer\" -j DROP\n")
    let plan = TracePlan(
      try TraceRequest.read(["203.0.113.66"]), observation: try host.observation(), id: "1a")
    #expect(plan.markers.allSatisfy { $0.chain == "INPUT" })
    let answer = answer(plan) { $0.before == 1 ? 5 : 0 }
    #expect(answer.answer == .proven, "\(answer.exits)")
  }

  @Test("Several flows of a peer are counted apart, the busiest four of them")
  func severalFlows() throws {
    let flows = (1...6).map { number -> Flow in
      var each = flow(
        "203.0.113.66:\(40000 + number)", "192.0.2.5:5060", [.seenReply], id: UInt32(number))
      each.originalCounters = Flow.Counters(packets: UInt64(number), bytes: 1)
      return each
    }
    let plan = try plan("203.0.113.66", flows: flows)
    #expect(plan.subjects.map(\.packet.sourcePort) == [40006, 40005, 40004, 40003])
    #expect(plan.notes.contains { $0.contains("has 6 flows to SIP; the 4 busiest") })
    let one = try self.plan("203.0.113.66:40001", flows: flows)
    #expect(one.subjects.map(\.packet.sourcePort) == [40001])
  }

  @Test("A hostile comment reaches no terminal, and no restore text")
  func hostile() throws {
    let rules = SavedHost.rules.replacing(
      "002 accept related established", with: "\u{1b}[2J\\\" -j DROP\n-A INPUT -j ACCEPT")
    let plan = try plan("203.0.113.66", rules: rules)
    #expect(plan.transactions.allSatisfy { !$0.insert.contains("\u{1b}") })
    let result = TraceResult(
      subjects: [answer(plan) { $0.before <= 2 ? 9 : 0 }], seconds: 1, isInterrupted: false,
      notes: [])
    let text = TraceText.text(result, style: TextStyle())
    #expect(!text.contains("\u{1b}") && text.contains("\\u{1b}"))
    #expect(try TraceJSON(result).line().split(separator: "\n").count == 1)
    // No key is ever left out.
    for line in [try TraceJSON(result).line(), try TraceJSON(plan).line()] {
      for key in [
        "schema", "version", "applied", "subjects", "notes", "obstacles", "leftovers", "seconds",
        "interrupted", "iptables_restore", "kernel_trace", "packets", "answer", "exits", "gaps",
        "chains",
      ] {
        #expect(line.contains("\"\(key)\":"), "\(key) in \(line)")
      }
    }
  }

  @Test(
    "A peer that is none is refused with what was expected",
    arguments: [
      ["nobody"], ["203.0.113.66:0x1"], ["udp", "203.0.113.66"], ["udp 1.2.3.4 5.6.7.8"],
    ])
  func badRequest(words: [String]) {
    do throws(SIPLeakError) {
      _ = try TraceRequest.read(words)
      Issue.record("it was taken")
    } catch {
      #expect(!error.advice.isEmpty)
    }
  }

  @Test("The kernel's lines become packets, each with the rule it left at")
  func kernelLines() throws {
    let output = """
      PACKET: 2 4d960a5e IN=lo SRC=203.0.113.66 DST=192.0.2.5 SPORT=24376 DPORT=5060
       TRACE: 2 4d960a5e raw:PREROUTING:rule:0x2:CONTINUE  -4 -t raw -A PREROUTING -p udp -m comment --comment "sipleak:trace 1a kernel" -j TRACE
       TRACE: 2 4d960a5e raw:PREROUTING:policy:ACCEPT \n \
       TRACE: 2 4d960a5e filter:INPUT:rule:0x3:ACCEPT  -4 -t filter -A INPUT -m state --state RELATED,ESTABLISHED -m comment --comment "002 accept related established" -j ACCEPT
       TRACE: 2 20b127b4 filter:a:rule:b:rule:0x9:DROP  -4 -t filter -A a:rule:b -j DROP
       TRACE: 2 20b127b4 filter:INPUT
      TRACE: nonsense

      """
    let events = KernelTraceEvent.read(Array(output.utf8))
    #expect(events.map(\.chain) == ["PREROUTING", "PREROUTING", "INPUT", "a:rule:b"])
    let plan = try plan("203.0.113.66")
    let trace = KernelTrace(
      events, of: plan.subjects[0], in: plan.snapshot, seconds: 1, notes: [])
    #expect(trace.packets.map(\.rule?.index) == [2, -1])
    #expect(trace.packets.map(\.isPredicted) == [true, false])
    #expect(trace.exitStatus == 2)
    #expect(TraceText.text(trace, style: TextStyle()).contains("DISAGREES"))
  }

  @Test("A packet that has the number of an earlier one is another packet")
  func kernelNumberAgain() throws {
    let one = """
       TRACE: 2 4d960a5e raw:PREROUTING:rule:0x2:CONTINUE  -4 -t raw -A PREROUTING -p udp -m comment --comment "sipleak:trace 1a kernel" -j TRACE
       TRACE: 2 4d960a5e filter:INPUT:rule:0x3:ACCEPT  -4 -t filter -A INPUT -m state --state RELATED,ESTABLISHED -m comment --comment "002 accept related established" -j ACCEPT

      """
    let plan = try plan("203.0.113.66")
    let trace = KernelTrace(
      KernelTraceEvent.read(Array((one + one).utf8)), of: plan.subjects[0], in: plan.snapshot,
      seconds: 1, notes: [])
    #expect(trace.packets.map { $0.path.map(\.index) } == [[2], [2]])
  }

  @Test("What the kernel is asked to trace is one peer, bounded, and says that it made the table")
  func kernelRule() throws {
    let transaction = try KernelTraceRun(seconds: 1, packets: 7).transaction(
      plan("203.0.113.66")
    ).get()
    #expect(transaction.insert.contains("-s 203.0.113.66/32"))
    #expect(transaction.insert.contains("--limit 1/hour --limit-burst 7 "))
    #expect(transaction.insert.contains("sipleak:trace 1a kernel, table made\" -j TRACE"))
  }
}
