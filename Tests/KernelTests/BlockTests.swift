import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
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
        let before = leaky.server.count(from: leaky.attacker.local.address)
        try await Task.sleep(for: .seconds(3))
        leaky.attacker.stopSending()
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
  }
}
