import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Synchronization
import SystemPackage
import Testing

extension Kernel {
  @Suite struct Blocks {
    @Test(
      "A block silences the attacker, spares the carrier, deletes the flow and is verified",
      arguments: AddressFamily.allCases)
    func block(family: AddressFamily) async throws {
      try await LeakyLab.with(family) { leaky in
        let outcome = try await leaky.block()
        #expect(outcome.answer == .verified, "\(outcome.verification.lines)")
        #expect(outcome.deleted == 1)
        let before = leaky.server.count(from: leaky.attacker.local.address)
        for _ in 0..<3 {
          #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        }
        #expect(leaky.server.count(from: leaky.attacker.local.address) == before)
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
        let audit = Audit(try await leaky.observe())
        #expect(audit.findings.map(\.cause) == [])
        #expect(audit.exitStatus == 0)
        // The set entry counted what it stopped, and has a timeout of its own.
        let set = try #require(
          try await leaky.observe().sample.firewall.snapshot.ownSet(family))
        #expect(set.entries.count == 1)
        #expect((set.entries.first?.counters?.packets ?? 0) >= 3)
        #expect((set.entries.first?.timeout ?? 0) > 86000)
      }
    }

    @Test("A server that answers late and keeps sending does not open again what was closed")
    func noisyServer() async throws {
      let behavior = SIPServer.Behavior(
        answerDelay: .milliseconds(30), retransmitsAnswers: true, keepaliveInterval: .seconds(1))
      try await LeakyLab.with(behavior: behavior) { leaky in
        leaky.attacker.keepSending(every: .milliseconds(20), "INVITE", to: leaky.server.local)
        try await Task.sleep(for: .milliseconds(300))
        let outcome = try await leaky.block()
        #expect(outcome.answer == .verified, "\(outcome.verification.lines)")
        await leaky.server.settle()
        let before = leaky.server.count(from: leaky.attacker.local.address)
        try await Task.sleep(for: .seconds(3))
        leaky.attacker.stopSending()
        await leaky.server.settle()
        #expect(leaky.server.count(from: leaky.attacker.local.address) == before)
        // The server kept sending, unhindered, and opened nothing.
        #expect(leaky.server.sendFailures.isEmpty)
        let flows = try await leaky.observe().sample.flows.filter {
          [$0.original.source, $0.original.destination].contains(leaky.attacker.local.address)
        }
        #expect(flows.isEmpty)
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
      }
    }

    @Test("Before the state rule the attacker is silent too, and the flow stays")
    func beforeStateRule() async throws {
      try await LeakyLab.with { leaky in
        let outcome = try await leaky.block(BlockRequest(place: .beforeStateRule))
        #expect(outcome.answer == .verified, "\(outcome.verification.lines)")
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
        let rules = try await leaky.lab.pbx.run(["iptables", "-S", "INPUT"]).output
        let lines = rules.split(separator: "\n")
        #expect(lines[3].hasSuffix("-j SIPLEAK"))
        #expect(lines[4].contains("ESTABLISHED"))
      }
    }

    @Test(
      "Blocking twice is blocking once", arguments: [BlockRequest.Place.raw, .beforeStateRule])
    func idempotent(place: BlockRequest.Place) async throws {
      try await LeakyLab.with { leaky in
        _ = try await leaky.block(BlockRequest(place: place))
        let once = try await leaky.save()
        let named = BlockRequest(named: [leaky.attacker.local.address], place: .raw)
        if place == .raw {
          let (plan, _) = try await leaky.plan(named)
          #expect(plan.entries.count == 1)
          #expect(plan.rules.isEmpty)
          _ = try await leaky.block(named)
        } else {
          _ = try await leaky.block(BlockRequest(place: place))
        }
        #expect(try await leaky.save() == once)
      }
    }

    @Test(
      "Unblock and purge take it back, and the rules of others keep their counters",
      arguments: [BlockRequest.Place.raw, .beforeStateRule])
    func takeBack(place: BlockRequest.Place) async throws {
      try await LeakyLab.with { leaky in
        let before = try await leaky.save()
        let counted = try await leaky.observe().sample.firewall.snapshot
        let old = counted.rulesets.first { $0.family == .ipv4 }?.table("filter")?.chain("INPUT")?
          .rules[6].counters
        _ = try await leaky.block(BlockRequest(place: place))
        let plan = try await RemovalPlan.live(
          .addresses([leaky.attacker.local.address]), access: leaky.access)
        #expect(plan.elements == ["sipleak4 203.0.113.66,udp:5060"])
        try await Enforcement(access: leaky.access).apply(plan) { _ in }
        let set = try await leaky.observe().sample.firewall.snapshot.ownSet(.ipv4)
        #expect(set?.entries.isEmpty == true)
        let purge = try await RemovalPlan.live(.purge, access: leaky.access)
        try await Enforcement(access: leaky.access).apply(purge) { _ in }
        #expect(try await leaky.save() == before)
        #expect(try await leaky.lab.pbx.run(["ipset", "save"]).output.isEmpty)
        let now = try await leaky.observe().sample.firewall.snapshot
        let kept = now.rulesets.first { $0.family == .ipv4 }?.table("filter")?.chain("INPUT")?
          .rules[6].counters
        #expect(kept == old)
        #expect(try await RemovalPlan.live(.purge, access: leaky.access).isEmpty)
      }
    }

    @Test("A host-opened flow is blocked when named, and only then")
    func hostOpened() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx)
        let lured = try SIPClient.open(on: lab.other, port: 33333)
        try server.send(to: lured.local)
        let leaky = LeakyLab(
          lab: lab, family: .ipv4, server: server, carrier: lured, attacker: lured)
        let (unnamed, _) = try await leaky.plan()
        #expect(unnamed.isEmpty)
        #expect(unnamed.omissions.map(\.isOnRequest) == [true])
        let outcome = try await leaky.block(BlockRequest(named: [lab.other.address4]))
        #expect(outcome.answer == .verified, "\(outcome.verification.lines)")
        #expect(try await lured.request(to: server.local) == .silence)
      }
    }

    @Test("A rule that the kernel refuses leaves the firewall as it was")
    func failureIsTakenBack() async throws {
      try await LeakyLab.with { leaky in
        let before = try await leaky.save()
        var (plan, observation) = try await leaky.plan()
        // As if the kernel had no CT target: the dry run finds it before anything is written.
        plan.rules[0].text = plan.rules[0].text.replacing("-j CT --notrack", with: "-j NOSUCH")
        do throws(SIPLeakError) {
          _ = try await Enforcement(access: leaky.access, verifyAfter: 0).apply(
            plan, before: observation, policy: AuditPolicy()
          ) { _ in }
          Issue.record("a refused rule went through")
        } catch {
          #expect(error.code == .unchanged || error.code == .undone, "\(error)")
        }
        #expect(try await leaky.save() == before)
        #expect(try await leaky.lab.pbx.run(["ipset", "save"]).output.isEmpty)
      }
    }

    @Test("Blocking a second peer before another state rule keeps the first one blocked")
    func secondStateRule() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        // Two state rules, one an interface; the third host gets in by the second.
        try await pbx.run(["iptables", "-D", "INPUT", "3"])
        for (place, name) in [("3", "to-attacker"), ("4", "to-other")] {
          try await pbx.run([
            "iptables", "-I", "INPUT", place, "-i", name, "-m", "conntrack", "--ctstate",
            "ESTABLISHED", "-j", "ACCEPT",
          ])
        }
        let other = try SIPClient.open(on: leaky.lab.other)
        let rules = try await pbx.run(["iptables-save", "-t", "filter"]).output
        try await pbx.carelessReload(rules) {
          let answer = try await other.request(to: leaky.server.local)
          #expect(answer.isAnswered)
        }
        func before(_ client: SIPClient) -> BlockRequest {
          BlockRequest(named: [client.local.address], place: .beforeStateRule)
        }
        #expect(try await leaky.block(before(leaky.attacker)).answer == .verified)
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        #expect(try await leaky.block(before(other)).answer == .verified)
        #expect(try await other.request(to: leaky.server.local) == .silence)
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
      }
    }

    @Test("A firewall that changed since it was read is not written to")
    func changedMeanwhile() async throws {
      try await LeakyLab.with { leaky in
        let (plan, observation) = try await leaky.plan()
        try await leaky.lab.pbx.run(["iptables", "-A", "INPUT", "-p", "tcp", "-j", "ACCEPT"])
        do throws(SIPLeakError) {
          _ = try await Enforcement(access: leaky.access, verifyAfter: 0).apply(
            plan, before: observation, policy: AuditPolicy()
          ) { _ in }
          Issue.record("a stale plan was applied")
        } catch {
          #expect(error.code == .unchanged)
        }
        #expect(try await leaky.lab.pbx.run(["ipset", "save"]).output.isEmpty)
      }
    }

    @Test("A carrier blocked in the middle of a reload is let go again when its rule is loaded")
    func halfLoaded() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let full = try await pbx.run(["iptables-save", "-t", "filter"]).output
        let half = full.split(separator: "\n").filter { !$0.contains("accept sip") }
        try await pbx.restore(half.joined(separator: "\n") + "\n")
        let (plan, observation) = try await leaky.plan()
        #expect(plan.entries.contains { $0.address == leaky.carrier.local.address })
        // The reload goes on once the flows are deleted, and is done when the block is verified: it
        // must not have gone on before, or nothing would be written.
        let isDeleted = Mutex(false)
        let reload = Task {
          while !isDeleted.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(5)) }
          try await pbx.restore(full)
        }
        do throws(SIPLeakError) {
          _ = try await Enforcement(access: leaky.access, verifyAfter: 3).apply(
            plan, before: observation, policy: AuditPolicy()
          ) { step in
            if step.name == "deleted" { isDeleted.withLock { $0 = true } }
          }
          Issue.record("the carrier stayed blocked")
        } catch {
          #expect(error.code == .undone, "\(error)")
        }
        isDeleted.withLock { $0 = true }
        try await reload.value
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
      }
    }

    @Test("A block whose hook a reload took is told, and put back by the next apply")
    func lostHook() async throws {
      try await LeakyLab.with { leaky in
        _ = try await leaky.block()
        try await leaky.lab.pbx.run(["iptables", "-t", "raw", "-F"])
        try await leaky.lab.pbx.run(["iptables", "-t", "raw", "-X"])
        var audit = Audit(try await leaky.observe())
        #expect(audit.blocks.map(\.state) == [.missingHook])
        #expect(audit.exitStatus == 1)
        let (plan, _) = try await leaky.plan()
        #expect(plan.isRenewal)
        #expect(try await leaky.block().answer == .verified)
        audit = Audit(try await leaky.observe())
        #expect(audit.blocks.map(\.state) == [.inForce])
        #expect(audit.exitStatus == 0)
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
      }
    }

    @Test("A block against an address that the rules admit later is told")
    func admittedLater() async throws {
      try await LeakyLab.with { leaky in
        _ = try await leaky.block()
        try await leaky.lab.pbx.run([
          "iptables", "-I", "INPUT", "1", "-s", "203.0.113.66", "-p", "udp", "-j", "ACCEPT",
        ])
        let audit = Audit(try await leaky.observe())
        #expect(audit.blocks.map(\.state) == [.admitted])
        #expect(audit.exitStatus == 1)
      }
    }

    @Test("A failing second family leaves the blocks of the first as they were")
    func undoKeepsEarlierBlocks() async throws {
      try await LeakyLab.with { leaky in
        _ = try await leaky.block()
        let before = try await leaky.save()
        let observation = try await Observation.live(
          SIPLeak.SIPEndpoints(tcpPorts: [5060]), access: leaky.access)
        let policy = AuditPolicy()
        var plan = BlockPlan(
          BlockRequest(named: [leaky.lab.other.address4, leaky.lab.other.address6]),
          audit: Audit(observation), observation: observation, policy: policy)
        #expect(plan.rules.count == 2)
        // The dry run takes an absent match for what it is; a position does not matter there.
        let last = plan.rules.count - 1
        plan.rules[last].text = plan.rules[last].text.replacing(
          "-I PREROUTING 1", with: "-I PREROUTING 99")
        do throws(SIPLeakError) {
          _ = try await Enforcement(access: leaky.access, verifyAfter: 0).apply(
            plan, before: observation, policy: policy
          ) { _ in }
          Issue.record("a refused rule went through")
        } catch {
          #expect(error.code == .undone, "\(error)")
        }
        #expect(try await leaky.save() == before)
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        let set = try await leaky.observe().sample.firewall.snapshot.ownSet(.ipv4)
        #expect(set?.entries.map(\.element) == ["203.0.113.66,udp:5060"])
      }
    }
  }
}
