import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Synchronization
import SystemPackage
import Testing

/// A lab with the leak in it, in either backend.
struct TracedLab {
  let lab: Lab
  let backend: Backend
  let family: AddressFamily
  let server: SIPServer
  let attacker: SIPClient

  var access: HostAccess { HostAccess(lab.pbx.namespace) }
  private var tool: String { (family == .ipv4 ? "iptables" : "ip6tables") + "-\(backend.rawValue)" }

  /// Runs a body with the reference ruleset loaded and the attacker in.
  static func with<R>(
    _ backend: Backend = .nft, _ family: AddressFamily = .ipv4,
    _ body: (TracedLab) async throws -> R
  ) async throws -> R {
    try await Lab.with { lab in
      let server = try SIPServer.start(on: lab.pbx, address: lab.pbx.address(family))
      let attacker = try SIPClient.open(on: lab.attacker, address: lab.attacker.address(family))
      let it = TracedLab(
        lab: lab, backend: backend, family: family, server: server, attacker: attacker)
      try await it.load(ReferenceRuleset.text(family))
      #expect(try await attacker.request(to: server.local).isAnswered == false)
      try await it.iptables("-F")
      #expect(try await attacker.request(to: server.local).isAnswered)
      try await it.load(ReferenceRuleset.filter(family))
      #expect(try await attacker.request(to: server.local).isAnswered)
      return try await body(it)
    }
  }

  func load(_ text: String) async throws { try await lab.pbx.run(["\(tool)-restore"], input: text) }

  @discardableResult
  func iptables(_ words: String...) async throws -> String {
    try await lab.pbx.run([tool] + words).output
  }

  /// Rules and policies without what they count.
  func save() async throws -> String {
    try await lab.pbx.run(["\(tool)-save"]).output.split(separator: "\n")
      .filter { !$0.hasPrefix("#") }
      .map { $0.hasPrefix(":") ? $0.split(separator: "[")[0] : $0 }.joined(separator: "\n")
  }

  /// What each rule of INPUT has counted.
  func counters() async throws -> [UInt64] {
    try await FirewallHost.table("filter", backend: backend, family: family, access.tools)?
      .chain("INPUT")?.rules.map { $0.counters?.packets ?? 0 } ?? []
  }

  /// Whether a rule has counted so many packets.
  func counted(_ packets: Int, _ rule: String, by tool: String? = nil) async throws -> Bool {
    try await lab.pbx.run([tool ?? "\(self.tool)-save", "-c"]).output.split(separator: "\n")
      .contains { $0.hasPrefix("[\(packets):") && $0.hasSuffix("] \(rule)") }
  }

  func flow() async throws -> Flow? {
    try await Observation.live(SIPLeak.SIPEndpoints(), access: access).sample.flows.first {
      $0.original.source == attacker.local.address
    }
  }

  /// A trace under way: how often it has begun to count.
  final class Tracing: Sendable {
    private let beginnings = Mutex(0)
    private let isOver = Mutex(false)

    func note(_ step: Enforcement.Step) {
      if step.name == "counting" { beginnings.withLock { $0 += 1 } }
    }

    func end() { isOver.withLock { $0 = true } }

    /// Waits until it has begun to count so many times, or has ended.
    func counts(_ times: Int = 1) async throws {
      while beginnings.withLock({ $0 }) < times, !isOver.withLock({ $0 }) {
        try await Task.sleep(for: .milliseconds(5))
      }
    }
  }

  /// Traces while a body sends; ends as soon as that has.
  func trace(
    _ words: String..., everyRule: Bool = false, _ body: () async throws -> Void
  ) async throws -> TraceResult {
    try await trace(words, everyRule: everyRule) { _ in try await body() }
  }

  /// Traces while a body sends that knows how far the trace is.
  func trace(
    _ words: [String], everyRule: Bool = false, _ body: (Tracing) async throws -> Void
  ) async throws -> TraceResult {
    let request = try TraceRequest.read(words)
    let stop = TraceStop()
    let progress = Tracing()
    let run = TraceRun(access: access, seconds: 3600, marksEveryRule: everyRule)
    let tracing = Task {
      defer { progress.end() }
      return try await run.run(request, endpoints: SIPLeak.SIPEndpoints(), stop: stop) {
        progress.note($0)
      }
    }
    do {
      // What comes before proves no gap.
      try await progress.counts()
      try await body(progress)
    } catch {
      stop.stop()
      _ = await tracing.result
      throw error
    }
    stop.stop()
    return try await tracing.value
  }
}

extension Kernel {
  @Suite struct Traces {
    private static let places: [(Backend, AddressFamily)] = [
      (.nft, .ipv4), (.nft, .ipv6), (.legacy, .ipv4), (.legacy, .ipv6),
    ]

    @Test(
      "On a busy leak every packet leaves at the state rule, and the kernel's other counts agree",
      arguments: places)
    func leak(backend: Backend, family: AddressFamily) async throws {
      try await TracedLab.with(backend, family) { traced in
        let stranger = try SIPClient.open(
          on: traced.lab.attacker, address: traced.attacker.local.address, port: 24377)
        #expect(try await stranger.request(to: traced.server.local).isAnswered == false)
        let rules = try await traced.save()
        let counters = try await traced.counters()
        let flow = try #require(try await traced.flow())
        let refused = traced.attacker.refusedCount
        // Packets also come while markers are put in and taken out.
        traced.attacker.keepSending(every: .milliseconds(1), to: traced.server.local)
        let result = try await traced.trace("\(traced.attacker.local)") {
          let received = traced.attacker.receivedCount
          #expect(
            await eventually(within: .seconds(600)) {
              traced.attacker.receivedCount >= received + 1000
            })
        }
        traced.attacker.stopSending()
        await traced.server.settle()
        let answer = try #require(result.subjects.first)
        #expect(answer.answer == .proven, "\(answer.exits) \(answer.gaps)")
        #expect(answer.packets >= 1000)
        let exit = try #require(answer.exits.first)
        #expect(answer.exits.count == 1)
        #expect(exit.verdict == .accept)
        #expect((exit.rule.table, exit.rule.chain, exit.rule.index) == ("filter", "INPUT", 3))
        #expect(exit.rule.backend == backend)
        // All that came before the state rule left there; nothing came to any rule after it.
        let state = try #require(
          answer.passages.first { $0.chain == "INPUT" }?.steps.first { $0.rule.index == 3 })
        #expect(state.came == answer.packets)
        #expect(exit.packets == state.came)
        let input = try #require(answer.passages.first { $0.chain == "INPUT" })
        #expect(
          input.steps.filter { $0.rule.index > 3 || $0.rule.index == 0 }.allSatisfy { $0.came == 0 }
        )
        #expect(input.steps.contains { $0.rule.index == 8 })
        #expect(result.exitStatus == 0)

        // Not one packet's fate has changed: each that conntrack counted was accepted at 3 and none
        // was refused. Other rules have gone on counting where they were.
        #expect(traced.attacker.refusedCount == refused)
        var after: [UInt64] = []
        var inFlow: UInt64 = 0
        // The last packet may be between its count in the flow and the one at the rule.
        #expect(
          try await eventually {
            after = try await traced.counters()
            let now = try #require(try await traced.flow())
            inFlow = (now.originalCounters?.packets ?? 0) - (flow.originalCounters?.packets ?? 0)
            return after[2] - counters[2] == inFlow
          }, "\(after) \(inFlow)")
        #expect(exit.packets <= inFlow)
        #expect(after.indices.allSatisfy { $0 == 2 || after[$0] == counters[$0] })
        #expect(counters[7] > 0)
        #expect(try await traced.save() == rules)
      }
    }

    @Test(
      "Of a carrier's new flows the first packets leave at the allow rule, the others before it")
    func carrier() async throws {
      try await TracedLab.with { traced in
        let result = try await traced.trace("udp", "198.51.100.10", "->", "192.0.2.5:5060") {
          for port in UInt16(40001)...40012 {
            let phone = try SIPClient.open(on: traced.lab.carrier, port: port)
            #expect(try await phone.request(to: traced.server.local).isAnswered)
            #expect(try await phone.request(to: traced.server.local).isAnswered)
            phone.close()
          }
        }
        let answer = try #require(result.subjects.first)
        #expect(answer.answer == .proven, "\(answer.exits)")
        #expect(answer.packets == 24)
        let left = Dictionary(
          uniqueKeysWithValues: answer.exits.map { ($0.rule.index, $0.packets) })
        #expect(left == [3: 12, 5: 12])
        let steps = try #require(answer.passages.first).steps
        #expect(steps.first { $0.rule.index == 5 }?.came == 12)
        #expect(steps.first { $0.rule.index == 6 }?.came == 0)
      }
    }

    @Test("A stranger's packets leave at the last rule, one by one", arguments: places)
    func stranger(backend: Backend, family: AddressFamily) async throws {
      try await TracedLab.with(backend, family) { traced in
        let other = try SIPClient.open(
          on: traced.lab.other, address: traced.lab.other.address(family), port: 33333)
        let result = try await traced.trace("\(other.local.address)") {
          for _ in 0..<5 {
            let reply = try await other.request(to: traced.server.local)
            #expect(!reply.isAnswered)
          }
        }
        let answer = try #require(result.subjects.first)
        #expect(answer.answer == .proven, "\(answer.exits)")
        #expect(answer.packets == 5)
        #expect(answer.exits.map(\.rule.index) == [8])
        #expect(answer.exits.map(\.verdict) == [.reject])
        #expect(answer.exits.map(\.packets) == [5])
        #expect(result.notes.contains { $0.contains("has no flow to SIP") }, "\(result.notes)")
      }
    }

    @Test("Told a wrong state, it says that the packets are in another one")
    func otherState() async throws {
      try await TracedLab.with { traced in
        let result = try await traced.trace(
          "udp", "\(traced.attacker.local)", "->", "192.0.2.5:5060", "state", "new"
        ) {
          let reply = try await traced.attacker.request(to: traced.server.local)
          #expect(reply.isAnswered)
        }
        let answer = try #require(result.subjects.first)
        #expect(answer.answer == .otherState, "\(answer.exits)")
        #expect(answer.exits.map(\.rule.index) == [3])
      }
    }

    @Test("A silent peer proves nothing")
    func silence() async throws {
      try await TracedLab.with { traced in
        let result = try await traced.trace("203.0.113.66") {}
        #expect(result.subjects.map(\.answer) == [.noPackets])
        #expect(result.exitStatus == 3)
        #expect(result.isInterrupted)
      }
    }

    @Test(
      "Marks, user chains, a goto and a translation are followed from the wire to the end",
      arguments: [Backend.nft, .legacy])
    func long(backend: Backend) async throws {
      try await TracedLab.with(backend) { traced in
        try await traced.load(
          """
          *raw
          :PREROUTING ACCEPT
          -A PREROUTING -p udp -m udp --dport 5070 -m comment --comment "counts"
          COMMIT
          *mangle
          :PREROUTING ACCEPT
          :INPUT ACCEPT
          -A PREROUTING -p udp -m udp --dport 5070 -j MARK --set-mark 7
          -A INPUT -m mark --mark 9 -j DROP
          COMMIT
          *nat
          :PREROUTING ACCEPT
          -A PREROUTING -p udp -m udp --dport 5070 -j DNAT --to-destination 192.0.2.5:5060
          COMMIT
          *filter
          :INPUT DROP
          :SIP -
          :OTHERS -
          -A INPUT -i lo -j ACCEPT
          -A INPUT -p udp -m udp --dport 5060 -j SIP
          -A INPUT -p udp -j ACCEPT
          -A SIP -s 198.51.100.0/24 -j RETURN
          -A SIP -m mark --mark 7 -g OTHERS
          -A SIP -j ACCEPT
          -A OTHERS -m length --length 0:20 -j DROP
          -A OTHERS -m state --state ESTABLISHED -j ACCEPT
          COMMIT

          """)
        let other = try SIPClient.open(on: traced.lab.other, port: 33333)
        // Without an answer the flow stays NEW.
        traced.server.close()
        let wire = Endpoint(traced.lab.pbx.address4, 5070)
        let result = try await traced.trace("udp", "203.0.113.70", "->", "192.0.2.5:5070") {
          for _ in 0..<6 {
            // Nobody listens any more: a refusal that has come back is told at the next packet, which
            // then is not sent.
            let isSent = await eventually { (try? other.send(to: wire)) != nil }
            #expect(isSent)
          }
          let isCounted = try await eventually {
            try await traced.counted(6, "-A INPUT -p udp -j ACCEPT")
          }
          #expect(isCounted)
        }
        let answer = try #require(result.subjects.first)
        #expect(answer.packets == 6, "\(answer)")
        // NEW ones come back from OTHERS by the goto and meet the accept after the jump.
        let passed = answer.passages.map { "\($0.table) \($0.chain) \($0.came)" }
        #expect(passed.contains("raw PREROUTING 6"), "\(passed)")
        #expect(passed.contains("filter SIP 6"), "\(passed)")
        #expect(passed.contains("filter OTHERS 6"), "\(passed)")
        #expect(answer.answer == .proven || answer.answer == .measured, "\(answer.exits)")
        #expect(answer.gaps == [])
        #expect(
          answer.exits.map { "\($0.rule.place) \($0.verdict) \($0.packets)" } == [
            "filter INPUT 3 accept 6"
          ])
      }
    }

    @Test("Packets that a native nft chain takes vanish between two hooks, and that is said")
    func gap() async throws {
      try await TracedLab.with { traced in
        try await traced.load(
          """
          *mangle
          :PREROUTING ACCEPT
          -A PREROUTING -p tcp -j MARK --set-mark 1
          COMMIT

          """)
        try await traced.lab.pbx.run(["nft", "add table inet f2b"])
        try await traced.lab.pbx.run([
          "nft", "add chain inet f2b c { type filter hook input priority -1 ; }",
        ])
        try await traced.lab.pbx.run([
          "nft", "add rule inet f2b c ip saddr 203.0.113.66 udp dport 5060 counter drop",
        ])
        let result = try await traced.trace("203.0.113.66") {
          for _ in 0..<4 { try traced.attacker.send(to: traced.server.local) }
          #expect(
            try await eventually {
              try await traced.lab.pbx.run(["nft", "list", "table", "inet", "f2b"]).output
                .contains("packets 4 ")
            })
        }
        let answer = try #require(result.subjects.first)
        #expect(answer.packets == 4)
        #expect(answer.gaps.map(\.packets) == [4], "\(answer.gaps)")
        #expect(answer.gaps.first?.after == "mangle PREROUTING")
        #expect(answer.gaps.first?.before == "filter INPUT")
        #expect(answer.exits.isEmpty)
      }
    }

    @Test("Both backends at once: a packet is followed through both and counted once")
    func bothBackends() async throws {
      try await TracedLab.with(.nft) { traced in
        try await traced.lab.pbx.run(
          ["iptables-legacy-restore"],
          input: """
            *filter
            :INPUT ACCEPT
            -A INPUT -p tcp -m tcp --dport 23 -j DROP
            -A INPUT -s 203.0.113.66/32 -p udp -m udp --dport 5060 -j DROP
            COMMIT

            """)
        let result = try await traced.trace("203.0.113.66") {
          for _ in 0..<7 { try traced.attacker.send(to: traced.server.local) }
          #expect(
            try await eventually {
              try await traced.counted(
                7, "-A INPUT -s 203.0.113.66/32 -p udp -m udp --dport 5060 -j DROP",
                by: "iptables-legacy-save")
            })
        }
        let answer = try #require(result.subjects.first)
        #expect(answer.packets == 7)
        let exits = answer.exits.map {
          "\($0.rule.backend.rawValue) \($0.rule.index) \($0.packets)"
        }
        #expect(exits == ["legacy 2 7"])
        #expect(answer.answer == .proven, "\(answer)")
        for tool in ["iptables-nft-save", "iptables-legacy-save"] {
          #expect(!(try await traced.lab.pbx.run([tool]).output.contains("sipleak")))
        }
      }
    }

    @Test(
      "Rules that change under it are read again, and every marker goes, whoever moved it",
      arguments: [Backend.nft, .legacy])
    func changing(backend: Backend) async throws {
      try await TracedLab.with(backend) { traced in
        let result = try await traced.trace(["203.0.113.66"]) { trace in
          try await traced.iptables("-I", "INPUT", "1", "-p", "tcp", "--dport", "99", "-j", "DROP")
          // Until it has noticed and begun anew.
          try await trace.counts(2)
          #expect(try await traced.attacker.request(to: traced.server.local).isAnswered)
        }
        #expect(result.notes.contains { $0.contains("began anew") }, "\(result.notes)")
        #expect(result.subjects.first?.answer == .proven)
        #expect(result.subjects.first?.exits.map(\.rule.index) == [4])
        #expect(!(try await traced.save().contains("sipleak")))
        // A reload takes the markers away itself, and a rename takes them along.
        let again = try await traced.trace(["203.0.113.66"]) { trace in
          try await traced.load(ReferenceRuleset.filter(.ipv4))
          try await trace.counts(2)
          #expect(try await traced.attacker.request(to: traced.server.local).isAnswered)
        }
        #expect(again.notes.contains { $0.contains("began anew") })
        #expect(again.subjects.first?.exits.map(\.rule.index) == [3])
        #expect(!(try await traced.save().contains("sipleak")))
      }
    }

    @Test("The kernel's own trace says the same, and leaves no rule and no table")
    func kernelTrace() async throws {
      try await TracedLab.with { traced in
        let tables = try await traced.lab.pbx.run(["nft", "list", "tables"]).output
        traced.attacker.keepSending(every: .milliseconds(20), to: traced.server.local)
        let trace = try await KernelTraceRun(access: traced.access, seconds: 6, packets: 4).run(
          try TraceRequest.read(["203.0.113.66"]), endpoints: SIPLeak.SIPEndpoints())
        traced.attacker.stopSending()
        #expect(trace.packets.count == 4)
        #expect(trace.packets.allSatisfy { $0.rule?.index == 3 && $0.verdict == .accept })
        #expect(trace.exitStatus == 0)
        #expect(try await traced.lab.pbx.run(["nft", "list", "tables"]).output == tables)
      }
      try await TracedLab.with(.legacy) { traced in
        do throws(SIPLeakError) {
          _ = try await KernelTraceRun(access: traced.access, seconds: 1).run(
            try TraceRequest.read(["203.0.113.66"]), endpoints: SIPLeak.SIPEndpoints())
          Issue.record("the kernel traced legacy rules")
        } catch {
          #expect(error.code == .unchanged)
          #expect(error.message.contains("nf_tables"), "\(error)")
        }
      }
    }
  }
}

extension Kernel {
  /// What two readings say together, on a kernel.
  @Suite struct Correlations {
    /// Two readings, and between them a hundred requests and what else is to happen.
    ///
    /// Nothing moves while one is made: flows and rules are then counted at the same moment.
    private func sampled(
      _ traced: TracedLab, _ between: () async throws -> Void = {}
    ) async throws -> Correlation {
      func read() async throws -> Observation {
        try await Observation.live(SIPLeak.SIPEndpoints(), access: traced.access)
      }
      let before = try await read()
      // A refreshed timeout shows after a second: it is given in whole ones.
      let begin = ContinuousClock.now
      try await between()
      for _ in 0..<100 {
        let answer = try await traced.attacker.request(to: traced.server.local)
        #expect(answer.isAnswered)
      }
      try await Task.sleep(until: begin + .seconds(2))
      let last = try await traced.attacker.request(to: traced.server.local)
      #expect(last.isAnswered)
      var after = try await read()
      after.earlier = before.sample
      return try #require(Audit(after).correlation)
    }

    @Test("On a leak the flow's packets explain what the state rule let in")
    func share() async throws {
      try await TracedLab.with { traced in
        let correlation = try await sampled(traced)
        let rule = try #require(correlation.stateRules.first)
        #expect(rule.growth.rule.index == 3)
        #expect(try #require(rule.growth.packets) > 50)
        #expect(rule.share == 1, "\(correlation.statements)")
        #expect(correlation.sipRules.map(\.growth.packets) == [0, 0])
        #expect(correlation.aliveFlows == 1)
        #expect(!correlation.rulesChanged && correlation.resetChains.isEmpty)
      }
    }

    @Test("Without accounting a flow still shows that it lives")
    func withoutAccounting() async throws {
      try await Lab.with { lab in
        try lab.pbx.set("net.netfilter.nf_conntrack_acct", "0")
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx)
        let attacker = try SIPClient.open(on: lab.attacker)
        try await lab.pbx.carelessReload {
          let answer = try await attacker.request(to: server.local)
          #expect(answer.isAnswered)
        }
        let traced = TracedLab(
          lab: lab, backend: .nft, family: .ipv4, server: server, attacker: attacker)
        let correlation = try await sampled(traced)
        let rule = try #require(correlation.stateRules.first)
        #expect(rule.findingPackets == nil && rule.share == nil)
        #expect(rule.aliveFindings == 1, "\(correlation.statements)")
        #expect(try #require(rule.growth.packets) > 50)
      }
    }

    @Test(
      "Counters set to nothing, and rules loaded anew, are told and not guessed from",
      arguments: [["-Z"], ["-I", "INPUT", "1", "-p", "tcp", "-j", "ACCEPT"]])
    func disturbed(words: [String]) async throws {
      try await TracedLab.with { traced in
        traced.attacker.keepSending(every: .milliseconds(2), to: traced.server.local)
        // So many that the growth after a reset cannot make up for it.
        #expect(await eventually { traced.attacker.receivedCount > 400 })
        traced.attacker.stopSending()
        await traced.server.settle()
        let pbx = traced.lab.pbx
        let correlation = try await sampled(traced) {
          try await pbx.run(["iptables"] + words)
        }
        let growth = try #require(correlation.stateRules.first?.growth)
        if words == ["-Z"] {
          #expect(correlation.resetChains.contains("filter INPUT"), "\(correlation.statements)")
          #expect(growth.packets == nil && growth.unknown == .reset)
        } else {
          #expect(correlation.rulesChanged)
          #expect(growth.rule.index == 4)
          #expect(try #require(growth.packets) > 50)
        }
      }
    }
  }
}
