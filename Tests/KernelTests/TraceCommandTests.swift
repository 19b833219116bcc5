import Addressing
import Firewall
import Lab
import SIPLeak
import SystemPackage
import Testing

extension Kernel {
  /// `sipleak trace` as an operator runs it, and ends it.
  @Suite struct TraceCommands {
    private static var program: String {
      guard let own = PrivateNamespaces.program else { return "sipleak" }
      return FilePath(own).removingLastComponent().appending("sipleak").string
    }

    private func sipleak(_ host: LabHost, _ words: String...) async throws -> ToolOutput {
      try await host.attempt([Self.program] + words)
    }

    /// Starts a long trace, sends it a signal when it counts and a closure has run, and waits for its
    /// end.
    private func traceEnded(
      by signal: String, _ traced: TracedLab, _ body: () async throws -> Void = {}
    ) async throws -> ToolOutput {
      let pbx = traced.lab.pbx
      try await pbx.run(["rm", "-f", "/run/trace.steps"])
      async let running = pbx.attempt([
        "sh", "-c",
        "echo $$ > /run/tracer; exec '\(Self.program)' trace \(traced.attacker.local.address) "
          + "--apply --for 600s 2> /run/trace.steps",
      ])
      #expect(
        try await eventually {
          try await pbx.attempt(["grep", "-q", "counting", "/run/trace.steps"]).status == 0
        })
      try await body()
      try await pbx.run(["sh", "-c", "kill -\(signal) $(cat /run/tracer)"])
      return try await running
    }

    @Test(
      "Ctrl-C, TERM and a hang-up end it with an answer and without a trace of it",
      arguments: ["INT", "TERM", "HUP"])
    func interrupted(signal: String) async throws {
      try await TracedLab.with { traced in
        let rules = try await traced.save()
        traced.attacker.keepSending(every: .milliseconds(5), to: traced.server.local)
        let result = try await traceEnded(by: signal, traced) {
          let before = traced.attacker.receivedCount
          #expect(await eventually { traced.attacker.receivedCount > before + 20 })
        }
        traced.attacker.stopSending()
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("PROVEN"), "\(result)")
        #expect(result.output.contains("Interrupted after"), "\(result)")
        #expect(try await traced.save() == rules)
      }
    }

    @Test("In another namespace it plans, proves and cleans there, and says how to go on")
    func otherNamespace() async throws {
      try await TracedLab.with { traced in
        let other = traced.lab.other
        let rules = try await traced.save()
        let peer = "\(traced.attacker.local)"
        traced.attacker.keepSending(every: .milliseconds(5), to: traced.server.local)
        let plan = try await sipleak(other, "trace", peer, "--netns", "pbx")
        #expect(plan.status == 0, "\(plan)")
        #expect(plan.output.contains("sipleak trace \(peer) --netns pbx --apply"), "\(plan)")
        let proof = try await sipleak(
          other, "trace", peer, "--netns", "pbx", "--apply", "--for", "1s")
        #expect(proof.status == 0, "\(proof)")
        #expect(proof.output.contains("PROVEN ACCEPT at filter INPUT 3"), "\(proof)")
        traced.attacker.stopSending()
        #expect(try await traced.save() == rules)
        // Its leftovers are found there, and not here.
        try await traced.lab.pbx.run([
          "iptables", "-I", "INPUT", "1", "-p", "udp", "-m", "comment", "--comment",
          "sipleak:trace 1a 1.1",
        ])
        let here = try await sipleak(other, "trace", "--clean")
        #expect(here.output == "No rule of a trace stands.\n", "\(here)")
        let there = try await sipleak(other, "trace", "--clean", "--netns", "pbx")
        #expect(there.output == "Removed 1 rules of an interrupted trace.\n", "\(there)")
        #expect(try await traced.save() == rules)
      }
    }

    @Test(
      "Killed, it leaves rules without a target, which no answer heeds and the next trace removes",
      arguments: [
        (Backend.nft, AddressFamily.ipv4), (.legacy, .ipv4), (.nft, .ipv6), (.legacy, .ipv6),
      ])
    func killed(backend: Backend, family: AddressFamily) async throws {
      try await TracedLab.with(backend, family) { traced in
        let pbx = traced.lab.pbx
        let rules = try await traced.save()
        let before = Audit(
          try await Observation.live(SIPLeak.SIPEndpoints(), access: traced.access))
        traced.attacker.keepSending(every: .milliseconds(5), to: traced.server.local)
        let killed = try await traceEnded(by: "KILL", traced)
        #expect(killed.status == 137, "\(killed)")
        // What is left decides nothing.
        let table = try #require(
          try await FirewallHost.table(
            "filter", backend: backend, family: family, traced.access.tools))
        let left = table.chains.flatMap(\.rules).filter { $0.text.contains("sipleak") }
        #expect(!left.isEmpty)
        #expect(left.allSatisfy { $0.target == nil && TraceMarker.isMarker($0) })
        #expect(try await traced.attacker.request(to: traced.server.local).isAnswered)

        // Findings and positions are those without them, and they are named.
        let audit = Audit(try await Observation.live(SIPLeak.SIPEndpoints(), access: traced.access))
        #expect(audit.findings.map(\.asHeld.rule?.index) == [3])
        #expect(audit.findings.map(\.asNew.rule?.index) == [8])
        #expect(audit.findings.map(\.cause) == before.findings.map(\.cause))
        #expect(audit.blindSpots.contains { $0.kind == "trace-markers" })
        let walked = try await sipleak(
          pbx, "explain", "udp", "\(traced.attacker.local)", "->", "\(traced.server.local)")
        #expect(walked.output.contains("filter INPUT 8"), "\(walked)")

        // The plan says what it would take out first; applied, it does.
        let plan = try await sipleak(pbx, "trace", "\(traced.attacker.local)")
        #expect(plan.output.contains("\(left.count) markers of an interrupted trace"), "\(plan)")
        #expect(plan.status == 0)
        let next = try await sipleak(
          pbx, "trace", "\(traced.attacker.local)", "--apply", "--for", "1s")
        traced.attacker.stopSending()
        #expect(next.status == 0, "\(next)")
        #expect(next.errors.contains("\(left.count) markers of an interrupted trace"), "\(next)")
        #expect(try await traced.save() == rules)
      }
    }

    @Test("--clean and purge take out what a kill has left, and nothing else")
    func cleaned() async throws {
      try await TracedLab.with { traced in
        let pbx = traced.lab.pbx
        // Rules of others that look like ours: one decides, one remembers.
        try await traced.iptables(
          "-A", "FORWARD", "-p", "udp", "-m", "comment", "--comment", "sipleak:trace x 1.1", "-j",
          "DROP")
        try await traced.iptables(
          "-A", "FORWARD", "-m", "recent", "--set", "-m", "comment", "--comment",
          "sipleak:trace x 1.2")
        let rules = try await traced.save()
        for words in [["trace", "--clean"], ["purge"]] {
          _ = try await traceEnded(by: "KILL", traced)
          #expect(try await traced.save() != rules)
          let result = try await pbx.attempt([Self.program] + words)
          #expect(result.status == 0, "\(result)")
          #expect(try await traced.save() == rules)
        }
        let nothing = try await sipleak(pbx, "trace", "--clean")
        #expect(nothing.output.contains("No rule of a trace stands"))
      }
    }

    @Test("A block stands right before the state rule also where markers stand")
    func blockAmongMarkers() async throws {
      try await TracedLab.with { traced in
        _ = try await traceEnded(by: "KILL", traced)
        let result = try await sipleak(
          traced.lab.pbx, "block", "--where", "before-state-rule", "--apply", "--verify-after",
          "200ms")
        #expect(result.status == 0, "\(result)")
        _ = try await sipleak(traced.lab.pbx, "trace", "--clean")
        let lines = try await traced.iptables("-S", "INPUT").split(separator: "\n")
        #expect(lines[3].hasSuffix("-j SIPLEAK"), "\(lines)")
        #expect(lines[4].contains("ESTABLISHED"))
        // Blocked, its packets leave inside our chain, which is marked from outside.
        let after = try await traced.trace("203.0.113.66") {
          for _ in 0..<3 { try traced.attacker.send(to: traced.server.local) }
          #expect(
            try await eventually {
              try await traced.lab.pbx.run(["ipset", "save", "sipleak4"]).output
                .contains("packets 3 ")
            })
        }
        #expect(after.subjects.first?.answer == .proven, "\(after.subjects.map(\.exits))")
        #expect(after.subjects.first?.exits.map(\.rule.index) == [3])
        #expect(try await traced.save().contains("sipleak:trace") == false)
      }
    }

    @Test("While a trace runs nobody else changes the firewall, and both say so")
    func locked() async throws {
      try await TracedLab.with { traced in
        _ = try await traced.trace("203.0.113.66") {
          let block = try await sipleak(traced.lab.pbx, "block", "--apply")
          #expect(block.status == 1)
          #expect(block.errors.contains("another sipleak"), "\(block)")
          let second = try await sipleak(traced.lab.pbx, "trace", "203.0.113.66", "--apply")
          #expect(second.status == 1)
          #expect(second.errors.contains("another sipleak"), "\(second)")
        }
        #expect(try await traced.save().contains("sipleak") == false)
      }
    }

    @Test("A held xtables lock is waited for a while and no longer, and nothing is changed")
    func xtablesLock() async throws {
      try await TracedLab.with(.legacy) { traced in
        let rules = try await traced.save()
        let result = try await traced.lab.pbx.attempt([
          "flock", "/run/xtables.lock", Self.program, "trace", "203.0.113.66", "--apply", "--for",
          "1s",
        ])
        #expect(result.status == 1, "\(result)")
        #expect(result.errors.contains("Nothing was changed"), "\(result)")
        #expect(result.errors.contains("lock"), "\(result)")
        #expect(try await traced.save() == rules)
      }
    }

    @Test("Without --apply it prints the input of iptables-restore, which does what it says")
    func plan() async throws {
      try await TracedLab.with { traced in
        let pbx = traced.lab.pbx
        let rules = try await traced.save()
        let result = try await sipleak(pbx, "trace", "203.0.113.66", "--format", "json")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("\"schema\":\"sipleak.trace\""))
        let text = try await sipleak(pbx, "trace", "203.0.113.66")
        #expect(try await traced.save() == rules)
        // The text as printed goes in and comes out again.
        let inputs = text.output.split(separator: "iptables-nft-restore --noflush\n").dropFirst()
          .map { part in
            part.split(separator: "\n").filter { $0.hasPrefix("  ") }.map { $0.dropFirst(2) + "\n" }
              .joined()
          }
        #expect(inputs.count == 2)
        for input in inputs {
          try await pbx.run(["iptables-nft-restore", "--noflush"], input: input)
        }
        #expect(try await traced.save() == rules)
      }
    }

    @Test("Bad input, missing privileges and a host without rules each get a sentence")
    func badInput() async throws {
      try await Lab.with { lab in
        for words in [
          ["trace"], ["trace", "nobody"], ["trace", "203.0.113.300"], ["trace", "--clean", "x"],
          ["trace", "203.0.113.66", "--for", "0"], ["trace", "203.0.113.66", "--packets", "0"],
          ["trace", "udp", "203.0.113.66", "192.0.2.5"], ["trace", "203.0.113.66", "--frob"],
        ] {
          let result = try await lab.pbx.attempt([Self.program] + words)
          #expect(result.status == 64, "\(words) \(result)")
          #expect(result.output.isEmpty)
          #expect(!result.errors.isEmpty)
        }
        let open = try await sipleak(lab.pbx, "trace", "203.0.113.66", "--apply")
        #expect(open.status == 1)
        #expect(open.errors.contains("no rule of iptables stands on its way"), "\(open)")
        try await lab.pbx.loadReferenceRuleset()
        let bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", Self.program]
        for words in [["trace", "203.0.113.66"], ["trace", "203.0.113.66", "--apply"]] {
          let result = try await lab.pbx.attempt(bare + words)
          #expect(result.status == 1, "\(result)")
          #expect(result.errors.contains("Run it as root"), "\(result)")
        }
      }
    }
  }
}
