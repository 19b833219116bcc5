import Addressing
import Conntrack
import Firewall
import FoundationEssentials
import Lab
import SIPLeak
import Synchronization
import SystemPackage
import Testing

/// Hides ipset from every program that the closure runs; these mounts are the test process's own.
func withoutIPSet<R>(on host: LabHost, _ body: () async throws -> R) async throws -> R {
  _ = try await host.run(["mount", "--bind", "/dev/null", "/usr/sbin/ipset"])
  let result: R
  do { result = try await body() } catch {
    _ = try await host.run(["umount", "/usr/sbin/ipset"])
    throw error
  }
  _ = try await host.run(["umount", "/usr/sbin/ipset"])
  return result
}

extension Kernel {
  /// Blocks on a host without ipset: a rule for each source.
  @Suite struct PlainBlocks {
    private static let hour: UInt32 = 3600

    /// A leak whose server keeps sending, so that what is closed by half opens again.
    private func leak(
      _ ground: Ground, _ body: (Scene, SIPServer, SIPClient) async throws -> Void
    ) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve(
          behavior: SIPServer.Behavior(
            answerDelay: .milliseconds(20), retransmitsAnswers: true,
            keepaliveInterval: .milliseconds(100)))
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        try await scene.expectIn(attacker, at: scene.pbx, server)
        try await body(scene, server, attacker)
      }
    }

    private func sipleak(_ host: LabHost, _ words: String...) async throws -> ToolOutput {
      try await host.attempt([Commands.program] + words + ["--no-history"])
    }

    private func remove(_ request: RemovalPlan.Request, _ access: HostAccess) async throws {
      let plan = try await RemovalPlan.live(request, access: access)
      try await Enforcement(access: access).apply(plan) { _ in }
    }

    private func rules(_ scene: Scene) async throws -> [Substring] {
      try await scene.saved().filter { $0.contains("sipleak: until ") }
    }

    /// Blocks every leak by plain rules whose time counts from some seconds ago.
    private func block(
      _ scene: Scene, _ request: BlockRequest = BlockRequest(isPlain: true), ago: Double = 0
    ) async throws {
      var before = try await scene.observe()
      before.sample.time -= ago
      let plan = BlockPlan(
        request, audit: Audit(before), observation: before, policy: AuditPolicy())
      #expect(plan.obstacles == [])
      #expect(!plan.entries.isEmpty && plan.isPlain)
      let outcome = try await Enforcement(access: scene.access, verifyAfter: 0).apply(
        plan, before: before, policy: AuditPolicy()
      ) { _ in }
      #expect(outcome.answer == .verified, "\(outcome.verification.lines)")
    }

    @Test(
      "Without ipset a block is rules of its own: verified, once however often, and gone to the byte",
      arguments: Ground.all, [BlockRequest.Place.raw, .beforeStateRule])
    func block(ground: Ground, place: BlockRequest.Place) async throws {
      try await leak(ground) { scene, server, attacker in
        let untouched = try await scene.saved()
        try await withoutIPSet(on: scene.lab.pbx) {
          let (plan, outcome) = try await scene.block(BlockRequest(place: place))
          #expect(plan.isPlain && plan.setText.isEmpty)
          #expect(outcome.answer == .verified, "\(outcome.verification.lines)")
          try await scene.expectOut(attacker, at: scene.pbx, server)
          let carrier = try scene.client(scene.lab.carrier, port: 5060)
          try await scene.expectIn(carrier, at: scene.pbx, server)
          // The server's keepalives have opened nothing meanwhile.
          try await Task.sleep(for: .milliseconds(300))
          try await scene.expectOut(attacker, at: scene.pbx, server)
          #expect(server.sendFailures.isEmpty)

          let block = try #require(try await scene.audit().blocks.first)
          #expect(block.state == .inForce)
          #expect(block.holder == .rules)
          #expect(block.element == "\(scene.attacker),udp:5060")
          #expect((block.packets ?? 0) > 0)
          #expect((86000...86401).contains(block.timeout ?? 0))
          let once = try await rules(scene)
          #expect(once.count == (place == .raw ? 2 : 1), "\(once)")

          // Once more: the same rules, with a new end.
          let named = BlockRequest(named: [scene.attacker], place: place, seconds: 2 * Self.hour)
          if place == .raw {
            _ = try await scene.block(named)
          } else {
            // Nothing is let in before the state rule any more that it could stand before.
            let idle = try await sipleak(scene.lab.pbx, "block", "--apply")
            #expect(idle.status == 0, "\(idle)")
          }
          #expect(try await rules(scene).count == once.count)
          let again = try #require(try await scene.audit().blocks.first)
          let left: ClosedRange<UInt32> = place == .raw ? 7000...7201 : 86000...86401
          #expect(left.contains(again.timeout ?? 0))
          if place == .beforeStateRule {
            #expect((again.packets ?? 0) >= (block.packets ?? 0))
          }

          try await remove(.addresses([scene.attacker]), scene.access)
          #expect(try await rules(scene).isEmpty)
          #expect(try await scene.audit().blocks.isEmpty)
          if place == .beforeStateRule {
            try await scene.expectIn(attacker, at: scene.pbx, server)
          }
          try await remove(.purge, scene.access)
          #expect(try await scene.saved() == untouched)
        }
        #expect(try await scene.lab.pbx.run(["ipset", "save"]).output.isEmpty)
      }
    }

    @Test(
      "A block past its time is told, shown by a plan, and lifted by the next apply with nothing new",
      arguments: Ground.all)
    func expired(ground: Ground) async throws {
      try await leak(ground) { scene, server, attacker in
        let pbx = scene.lab.pbx
        try await withoutIPSet(on: pbx) {
          try await block(scene, BlockRequest(seconds: Self.hour), ago: 7200)
          try await scene.expectOut(attacker, at: scene.pbx, server)
          let audit = try await scene.audit()
          #expect(audit.blocks.map(\.state) == [.expired])
          #expect(audit.exitStatus == 1)
          let standing = try await scene.saved()
          let plan = try await sipleak(pbx, "block")
          #expect(plan.status == 0, "\(plan)")
          #expect(plan.output.contains("lifted: its time is over"), "\(plan)")
          #expect(try await scene.saved() == standing)
          let apply = try await sipleak(pbx, "block", "--apply", "--verify-after", "0")
          #expect(apply.status == 0, "\(apply)")
          #expect(
            apply.output.contains("\(scene.attacker),udp:5060: its time was over"), "\(apply)")
          #expect(try await rules(scene).isEmpty)
          #expect(try await scene.audit().blocks.isEmpty)
          let idle = try await sipleak(pbx, "block", "--apply")
          #expect(idle.status == 0 && !idle.output.contains("lifted"), "\(idle)")
        }
      }
    }

    @Test(
      "Once ipset is there the next apply moves blocks into the set, and nobody gets in meanwhile",
      arguments: Ground.all, [BlockRequest.Place.raw, .beforeStateRule])
    func migration(ground: Ground, place: BlockRequest.Place) async throws {
      try await leak(ground) { scene, server, attacker in
        let pbx = scene.lab.pbx
        let untouched = try await scene.saved()
        try await block(
          scene, BlockRequest(place: place, seconds: 2 * Self.hour, isPlain: true), ago: 3600)
        // One that is over is not moved.
        try await block(
          scene,
          BlockRequest(
            named: [scene.lab.other.address(scene.family)], seconds: 60, isPlain: true), ago: 3600)
        attacker.keepSending(every: .milliseconds(2), to: scene.pbx)
        let before = server.count(from: scene.attacker)
        let result = try await sipleak(pbx, "block", "--apply", "--verify-after", "200ms")
        attacker.stopSending()
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("moved"), "\(result)")
        #expect(server.count(from: scene.attacker) == before)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        #expect(try await rules(scene).isEmpty)
        let set = try #require(
          try await scene.observe().sample.firewall.snapshot.ownSet(scene.family))
        #expect(set.entries.map(\.element) == ["\(scene.attacker),udp:5060"])
        #expect((1...3600).contains(set.entries.first?.timeout ?? 0), "\(set.entries)")
        #expect(set.entries.first?.comment == "sipleak: established-bypass")
        #expect(try await scene.audit().blocks.map(\.state) == [.inForce])

        // Plain rules beside members are refused.
        let standing = try await scene.saved()
        let plain = try await sipleak(pbx, "block", "192.0.2.77", "--plain", "--apply")
        #expect(plain.status == 1, "\(plain)")
        #expect((plain.output + plain.errors).contains("leave out --plain"), "\(plain)")
        #expect(try await scene.saved() == standing)
        try await remove(.purge, scene.access)
        #expect(try await scene.saved() == untouched)
        #expect(try await pbx.run(["ipset", "save"]).output.isEmpty)
      }
    }

    @Test(
      "A jump that a reload took is told and put back, with what the rules have counted",
      arguments: Ground.all)
    func lostHook(ground: Ground) async throws {
      try await leak(ground) { scene, server, attacker in
        try await block(scene)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        let counted = try #require(try await scene.audit().blocks.first?.packets)
        #expect(counted > 0)
        let standing = try await rules(scene)
        try await scene.rule("-t raw -F PREROUTING")
        var audit = try await scene.audit()
        #expect(audit.blocks.map(\.state) == [.missingHook])
        let result = try await sipleak(
          scene.lab.pbx, "block", "--plain", "--apply", "--verify-after", "0")
        #expect(result.status == 0, "\(result)")
        audit = try await scene.audit()
        #expect(audit.blocks.map(\.state) == [.inForce])
        #expect((audit.blocks.first?.packets ?? 0) >= counted)
        #expect(try await rules(scene) == standing)
      }
    }

    @Test(
      "A block keeps what it has counted while others come, are renewed and go",
      arguments: Ground.all)
    func counted(ground: Ground) async throws {
      try await leak(ground) { scene, server, attacker in
        let other = scene.lab.other.address(scene.family)
        func packets() async throws -> UInt64? {
          try await scene.audit().blocks.first { $0.element == "\(scene.attacker),udp:5060" }?
            .packets
        }
        try await block(scene)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        var counted = try #require(try await packets())
        #expect(counted > 0)
        let once = try await rules(scene)
        func expectKept() async throws {
          let now = try #require(try await packets())
          #expect(now >= counted)
          counted = now
          #expect(try await rules(scene).filter(once.contains) == once)
        }
        try await block(scene, BlockRequest(named: [other], seconds: 60, isPlain: true), ago: 30)
        try await expectKept()
        try await block(scene, BlockRequest(named: [other], seconds: 90, isPlain: true), ago: 3600)
        try await expectKept()
        #expect(try await rules(scene).count == 2 * once.count)
        try await block(
          scene, BlockRequest(named: [scene.attacker], seconds: 2 * 86400, isPlain: true))
        // What was over went; what is renewed counts anew, as a member of a set does.
        #expect(try await rules(scene).count == once.count)
      }
    }

    @Test(
      "Where somebody takes our chains away just before they are written to, a fresh plan is asked for",
      arguments: Ground.all)
    func takenAway(ground: Ground) async throws {
      try await leak(ground) { scene, server, attacker in
        let other = scene.lab.other.address(scene.family)
        try await block(scene, BlockRequest(named: [other], isPlain: true))
        let before = try await scene.observe()
        var plan = BlockPlan(
          BlockRequest(isPlain: true), audit: Audit(before), observation: before,
          policy: AuditPolicy())
        #expect(plan.rules.count == 1)
        // As a flush in that moment would: what comes next fails, and what stood is gone.
        var flush = plan.rules[0]
        flush.text = "*raw\n-F PREROUTING\n-F OUTPUT\n-F SIPLEAK\n-X SIPLEAK\nCOMMIT\n"
        flush.undo = "*raw\nCOMMIT\n"
        plan.rules.insert(flush, at: 0)
        do throws(SIPLeakError) {
          _ = try await Enforcement(access: scene.access, verifyAfter: 0).apply(
            plan, before: before, policy: AuditPolicy()
          ) { _ in }
          Issue.record("nothing was thrown")
        } catch {
          #expect(error.code == .undone && error.isStale, "\(error)")
        }
        // The fresh plan makes all of it again: of the other, half was left.
        try await block(scene)
        let blocks = try await scene.audit().blocks
        #expect(blocks.map(\.state) == [.inForce, .inForce], "\(blocks)")
        try await scene.expectOut(attacker, at: scene.pbx, server)
      }
    }

    @Test(
      "Two hundred sources are blocked, renewed and lifted, also where the kernel takes fewer at once",
      arguments: Ground.all)
    func most(ground: Ground) async throws {
      try await leak(ground) { scene, server, attacker in
        let pbx = scene.lab.pbx
        let base: UInt128 =
          scene.family == .ipv4 ? 0xc612_0000 : 0x2001_0db8_000f_0000 << 64
        let peers = (1..<PlainBlock.most).map {
          IPAddress(family: scene.family, bits: base + UInt128($0))
        }
        let made = try pbx.load(
          peers.lazy.map { peer in
            Flow(from: Endpoint(peer, 5060), to: scene.pbx, isAnswered: true, seconds: 3600)
          })
        #expect(made.created == peers.count)
        // By the third host: whoever is a gateway is never blocked.
        try await pbx.run([
          "ip", scene.family == .ipv4 ? "-4" : "-6", "route", "add", "default", "via",
          "\(scene.lab.other.address(scene.family))",
        ])
        let untouched = try await scene.saved()
        let before = try await scene.observe()
        var plan = BlockPlan(
          BlockRequest(isPlain: true), audit: Audit(before), observation: before,
          policy: AuditPolicy())
        #expect(plan.entries.count == PlainBlock.most && plan.obstacles == [])
        #expect(plan.rules.count == (ground.backend == .nft ? 3 : 1))
        let enforcement = Enforcement(access: scene.access, verifyAfter: 0)

        // The last transaction fails: nothing of the others is left.
        var failing = plan
        failing.rules[plan.rules.count - 1].text.replace(
          "COMMIT", with: "-D PREROUTING -p udp -m udp --dport 9\nCOMMIT")
        do throws(SIPLeakError) {
          _ = try await enforcement.apply(failing, before: before, policy: AuditPolicy()) { _ in }
          Issue.record("nothing was thrown")
        } catch {
          #expect(error.code == .undone, "\(error)")
        }
        #expect(try await scene.saved() == untouched)

        let outcome = try await enforcement.apply(
          plan, before: try await scene.observe(), policy: AuditPolicy()
        ) { _ in }
        #expect(outcome.answer == .verified)
        #expect(outcome.deleted == PlainBlock.most)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        let carrier = try scene.client(scene.lab.carrier, port: 5060)
        try await scene.expectIn(carrier, at: scene.pbx, server)
        var blocks = try await scene.audit().blocks
        #expect(blocks.count == PlainBlock.most && blocks.allSatisfy { $0.state == .inForce })
        let standing = try await scene.saved()

        // Everybody's end changes; nobody gets in meanwhile.
        attacker.keepSending(every: .milliseconds(1), to: scene.pbx)
        let arrived = server.count(from: scene.attacker)
        plan = try await scene.block(
          BlockRequest(named: peers + [scene.attacker], seconds: 3 * 86400, isPlain: true)
        ).plan
        attacker.stopSending()
        #expect(server.count(from: scene.attacker) == arrived)
        #expect(plan.rules.count == (ground.backend == .nft ? 4 : 1))
        blocks = try await scene.audit().blocks
        #expect(blocks.count == PlainBlock.most)
        #expect(blocks.allSatisfy { $0.state == .inForce && ($0.timeout ?? 0) > 2 * 86400 })
        #expect(try await scene.saved().count == standing.count)

        try await remove(.addresses(Array(peers.prefix(150))), scene.access)
        #expect(try await scene.audit().blocks.count == PlainBlock.most - 150)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        try await remove(.all, scene.access)
        #expect(try await rules(scene).isEmpty)
        try await remove(.purge, scene.access)
        #expect(try await scene.saved() == untouched)
      }
    }

    @Test(
      "What is over is lifted though too many new ones keep everybody else from being blocked")
    func liftedBesideObstacle() async throws {
      try await leak(Ground(backend: .nft, family: .ipv4)) { scene, server, attacker in
        let pbx = scene.lab.pbx
        let other = scene.lab.other.address(scene.family)
        try await block(
          scene, BlockRequest(named: [other], seconds: 60, isPlain: true), ago: 3600)
        let plan = try await sipleak(pbx, "block", "--plain", "--at-most", "0")
        #expect(plan.status == 1, "\(plan)")
        #expect(plan.output.contains("lifted: its time is over"), "\(plan)")
        let apply = try await sipleak(
          pbx, "block", "--plain", "--at-most", "0", "--apply", "--verify-after", "0")
        #expect(apply.status == 1, "\(apply)")
        #expect(apply.output.contains("(--at-most): none is blocked"), "\(apply)")
        #expect(apply.output.contains("\(other),udp:5060: its time was over"), "\(apply)")
        #expect(try await rules(scene).isEmpty)
        try await scene.expectIn(attacker, at: scene.pbx, server)
        let idle = try await sipleak(pbx, "block", "--plain", "--at-most", "0", "--apply")
        #expect(idle.status == 1 && !idle.output.contains("lifted"), "\(idle)")
      }
    }

    @Test(
      "Without the jump of raw OUTPUT the server's own packets hold a flow, and the audit says so",
      arguments: Ground.all, [true, false])
    func trackedAnswers(ground: Ground, isPlain: Bool) async throws {
      try await leak(ground) { scene, server, attacker in
        if isPlain { try await block(scene) } else { _ = try await scene.block() }
        try await scene.expectOut(attacker, at: scene.pbx, server)
        let whole = try await scene.saved()
        #expect(try await scene.audit().blocks.map(\.state) == [.inForce])
        func flows() async throws -> Int {
          try await scene.observe().sample.flows.count {
            [$0.original.source, $0.original.destination].contains(scene.attacker)
          }
        }
        #expect(try await flows() == 0)
        try await scene.rule("-t raw -F OUTPUT")
        // The keepalives of the server.
        for _ in 0..<200 where try await flows() == 0 {
          try await Task.sleep(for: .milliseconds(50))
        }
        #expect(try await flows() > 0)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        let result = try await sipleak(scene.lab.pbx, "audit")
        #expect(result.status == 1, "\(result)")
        #expect(result.output.contains("state=missing-part missing=raw/OUTPUT"), "\(result)")
        #expect(result.errors.contains("drops what the peer sends, but raw OUTPUT"), "\(result)")
        let words = ["block", "--apply", "--verify-after", "0"] + (isPlain ? ["--plain"] : [])
        let apply = try await scene.lab.pbx.attempt([Commands.program] + words + ["--no-history"])
        #expect(apply.status == 0, "\(apply)")
        #expect(try await scene.saved() == whole)
        #expect(try await scene.audit().blocks.map(\.state) == [.inForce])
      }
    }

    @Test("A rule of somebody else's in our chain makes it nobody's, and nothing of it is touched")
    func foreignRule() async throws {
      try await leak(Ground(backend: .nft, family: .ipv4)) { scene, server, attacker in
        let pbx = scene.lab.pbx
        try await withoutIPSet(on: pbx) {
          try await block(scene, BlockRequest())
          try await scene.rule("-t raw -A SIPLEAK -s 192.0.2.200")
          let standing = try await scene.saved()
          let block = try await sipleak(pbx, "block", "192.0.2.77", "--apply")
          #expect(block.status == 1, "\(block)")
          #expect((block.output + block.errors).contains("that is not ours"), "\(block)")
          let unblock = try await sipleak(pbx, "unblock", "203.0.113.66")
          #expect(unblock.status == 1, "\(unblock)")
          #expect(
            unblock.output.contains(
              "203.0.113.66,udp:5060 is blocked in raw, and rule 3 of raw SIP"),
            "\(unblock)")
          #expect(!unblock.output.contains("is not blocked"), "\(unblock)")
          #expect(unblock.output.hasPrefix("Nothing can be lifted.\n  Stays: 203."), "\(unblock)")
          #expect(unblock.output.ranges(of: "203.0.113.66").count == 1, "\(unblock)")
          #expect(try await scene.saved() == standing)
          try await scene.expectOut(attacker, at: scene.pbx, server)
          let audit = try await sipleak(pbx, "audit")
          #expect(audit.status == 1, "\(audit)")
          #expect(
            audit.output.contains(
              "look block=203.0.113.66,udp:5060 state=foreign-rule chain=raw/SIPLEAK"), "\(audit)")
          #expect(audit.errors.contains("neither lift nor renew it: rule 3 of raw"), "\(audit)")
          // Our jump is ours, the chain is not.
          let purge = try await sipleak(pbx, "purge")
          #expect(purge.output.contains("sipleak did not make it"), "\(purge)")
          #expect(
            try await scene.saved()
              == standing.filter { !$0.contains("SIPLEAK-OUT") && !$0.contains("PREROUTING") })
        }
      }
    }

    @Test(
      "A plain block that nobody confirms is taken back, and a renewed one gets its old end",
      arguments: Ground.all)
    func unconfirmed(ground: Ground) async throws {
      try await leak(ground) { scene, server, attacker in
        let pbx = scene.lab.pbx
        let untouched = try await scene.saved()
        func pend(_ words: String...) async throws {
          let result = try await pbx.attempt(
            [Commands.program, "block"] + words + [
              "--apply", "--verify-after", "0", "--confirm-within", "1s", "--no-history",
            ])
          #expect(result.status == 0, "\(result)")
          for _ in 0..<600 where !PendingBlock.all().isEmpty {
            try await Task.sleep(for: .milliseconds(100))
          }
          #expect(PendingBlock.all().isEmpty)
        }
        try await withoutIPSet(on: pbx) {
          try await pend()
          #expect(try await scene.saved() == untouched)
          try await block(
            scene, BlockRequest(named: [scene.attacker], seconds: Self.hour))
          let standing = try await scene.saved()
          try await pend("\(scene.attacker)", "--for", "9h")
          #expect(try await scene.saved() == standing)
          try await pend("\(scene.lab.other.address(scene.family))")
          #expect(try await scene.saved() == standing)
        }
      }
    }

    @Test("Taking back what nobody confirmed puts no jump back that somebody has taken")
    func unconfirmedUnhooked() async throws {
      try await leak(Ground(backend: .nft, family: .ipv4)) { scene, server, attacker in
        let pbx = scene.lab.pbx
        try await withoutIPSet(on: pbx) {
          let other = scene.lab.other.address(scene.family)
          try await block(scene, BlockRequest(named: [other], isPlain: true))
          let standing = try await rules(scene)
          let result = try await sipleak(
            pbx, "block", "--apply", "--verify-after", "0", "--confirm-within", "1h")
          #expect(result.status == 0, "\(result)")
          let pending = try #require(PendingBlock.all().first)
          // An operator who lets the other in again, whatever we hold against him.
          try await scene.rule("-t raw -F PREROUTING")
          try await pending.revert(access: scene.access)
          #expect(PendingBlock.all().isEmpty)
          #expect(try await rules(scene) == standing)
          #expect(try await scene.saved().contains { $0.contains("-A PREROUTING") } == false)
        }
      }
    }

    @Test("What nobody confirmed stays on the list while a foreign rule keeps it in force")
    func unconfirmedForeign() async throws {
      try await leak(Ground(backend: .nft, family: .ipv4)) { scene, server, attacker in
        let pbx = scene.lab.pbx
        try await withoutIPSet(on: pbx) {
          let other = scene.lab.other.address(scene.family)
          try await block(scene, BlockRequest(named: [other], isPlain: true))
          let result = try await sipleak(
            pbx, "block", "--apply", "--verify-after", "0", "--confirm-within", "1h")
          #expect(result.status == 0, "\(result)")
          let pending = try #require(PendingBlock.all().first)
          try await scene.rule("-t raw -A SIPLEAK -s 192.0.2.200")
          await #expect(throws: SIPLeakError.self) {
            try await pending.revert(access: scene.access)
          }
          #expect(PendingBlock.all().count == 1)
          try await scene.rule("-t raw -D SIPLEAK -s 192.0.2.200")
          try await pending.revert(access: scene.access)
          #expect(PendingBlock.all().isEmpty)
          #expect(try await scene.audit().blocks.map(\.element) == ["\(other),udp:5060"])
        }
      }
    }

    @Test(
      "A plain block that a set member replaced goes on with its old end if nobody confirms that")
    func unconfirmedMigration() async throws {
      try await leak(Ground(backend: .nft, family: .ipv4)) { scene, server, attacker in
        try await block(scene, BlockRequest(seconds: Self.hour, isPlain: true))
        let result = try await sipleak(
          scene.lab.pbx, "block", "\(scene.attacker)", "--for", "9h", "--apply",
          "--verify-after", "0", "--confirm-within", "1h")
        #expect(result.status == 0, "\(result)")
        let pending = try #require(PendingBlock.all().first)
        try await pending.revert(access: scene.access)
        #expect(PendingBlock.all().isEmpty)
        let blocks = try await scene.audit().blocks
        #expect(blocks.map(\.state) == [.inForce])
        #expect((1...Self.hour).contains(blocks.first?.timeout ?? 0), "\(blocks)")
        try await scene.expectOut(attacker, at: scene.pbx, server)
      }
    }

    @Test("Blocks that a foreign rule keeps from coming back at boot are not said to be there")
    func bootForeign() async throws {
      try await leak(Ground(backend: .nft, family: .ipv4)) { scene, server, attacker in
        try await block(scene)
        let now = try await scene.observe()
        let saved = SavedBlocks(now.sample.firewall.snapshot, at: now.sample.time)
        try await remove(.purge, scene.access)
        try await withoutIPSet(on: scene.lab.pbx) {
          for words in ["-N SIPLEAK", "-A SIPLEAK -s 192.0.2.200"] {
            try await scene.rule("-t raw \(words)")
          }
          let standing = try await scene.saved()
          let said = Mutex<[String]>([])
          do throws(SIPLeakError) {
            try await Enforcement(access: scene.access).restore(saved, at: now.sample.time) {
              step in
              said.withLock { $0.append(step.name) }
            }
            Issue.record("nothing was thrown")
          } catch {
            #expect(error.code == .unchanged, "\(error)")
            #expect(error.message.contains("a chain SIPLEAK exists in raw"), "\(error)")
          }
          #expect(said.withLock { $0 } == [])
          #expect(try await scene.saved() == standing)
        }
      }
    }

    @Test("A purge after a flush of raw leaves nothing of ours, also without sets")
    func flushed() async throws {
      try await leak(Ground(backend: .nft, family: .ipv4)) { scene, server, attacker in
        let pbx = scene.lab.pbx
        func tables() async throws -> String {
          try await pbx.run(["nft", "list", "tables", "ip"]).output
        }
        let untouched = try await tables()
        #expect(!untouched.contains("table ip raw"))
        try await withoutIPSet(on: pbx) {
          for words in ["-F", "-F SIPLEAK"] {
            try await block(scene, BlockRequest(named: [scene.attacker]))
            try await scene.rule("-t raw \(words)")
            let purge = try await sipleak(pbx, "purge")
            #expect(purge.status == 0, "\(purge)")
            #expect(try await scene.saved().contains { $0.contains("SIPLEAK") } == false)
            #expect(try await tables() == untouched, "\(words)")
          }
        }
      }
    }

    @Test(
      "A raw table that somebody has used before us stays after a flush and a purge, though empty",
      arguments: [
        ["-A PREROUTING -p tcp --dport 8", "-D PREROUTING -p tcp --dport 8"], ["-N theirs"],
        ["-P PREROUTING ACCEPT"],
      ])
    func flushedOthers(words: [String]) async throws {
      try await leak(Ground(backend: .nft, family: .ipv4)) { scene, server, attacker in
        let pbx = scene.lab.pbx
        for words in words { try await scene.rule("-t raw \(words)") }
        func tables() async throws -> String {
          try await pbx.run(["nft", "list", "tables", "ip"]).output
        }
        #expect(try await tables().contains("table ip raw"))
        try await withoutIPSet(on: pbx) {
          try await block(scene, BlockRequest(named: [scene.attacker]))
          try await scene.rule("-t raw -F")
          let purge = try await sipleak(pbx, "purge")
          #expect(purge.status == 0, "\(purge)")
          #expect(try await scene.saved().contains { $0.contains("SIPLEAK") } == false)
          #expect(try await tables().contains("table ip raw"))
        }
      }
    }

    @Test("A block of one family that nobody confirms leaves the other family's, and no error")
    func unconfirmedFamily() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        #expect(try await sipleak(pbx, "block", "--apply", "--verify-after", "0").status == 0)
        let result = try await sipleak(
          pbx, "block", "\(leaky.lab.other.address6)", "--apply", "--verify-after", "0",
          "--confirm-within", "1h")
        #expect(result.status == 0, "\(result)")
        let pending = try #require(PendingBlock.all().first)
        try await pending.revert(access: leaky.access)
        #expect(PendingBlock.all().isEmpty)
        let snapshot = try await leaky.observe().sample.firewall.snapshot
        #expect(snapshot.ownSet(.ipv6)?.entries.isEmpty ?? true)
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
      }
    }

    @Test(
      "Blocks saved from a set come back as rules where ipset is missing at boot, and then go home",
      arguments: Ground.all)
    func boot(ground: Ground) async throws {
      try await leak(ground) { scene, server, attacker in
        let pbx = scene.lab.pbx
        _ = try await scene.block(BlockRequest(seconds: 2 * Self.hour))
        let now = try await scene.observe()
        let saved = SavedBlocks(now.sample.firewall.snapshot, at: now.sample.time)
        #expect(saved.blocks.count == 1)
        let enforcement = Enforcement(access: scene.access)
        try await remove(.purge, scene.access)
        try await withoutIPSet(on: pbx) {
          try await enforcement.restore(saved, at: now.sample.time + 600) { _ in }
          try await scene.expectOut(attacker, at: scene.pbx, server)
          let standing = try await scene.saved()
          let again = SavedBlocks(
            try await scene.observe().sample.firewall.snapshot, at: now.sample.time + 600)
          #expect(again.blocks.map(\.element) == saved.blocks.map(\.element))
          #expect(again.blocks.map(\.comment) == saved.blocks.map(\.comment))
          #expect((6000...6600).contains(again.blocks.first?.timeout ?? 0))
          // Once more changes nothing.
          try await enforcement.restore(saved, at: now.sample.time + 600) { _ in }
          #expect(try await scene.saved() == standing)
        }
        try await enforcement.restore(saved, at: now.sample.time + 600) { _ in }
        #expect(try await rules(scene).isEmpty)
        let set = try await scene.observe().sample.firewall.snapshot.ownSet(scene.family)
        #expect(set?.entries.map(\.element) == saved.blocks.map(\.element))
        try await scene.expectOut(attacker, at: scene.pbx, server)
      }
    }

    @Test("Whose flow is alive behind a plain block is named before it is lifted")
    func persisting() async throws {
      try await leak(Ground(backend: .nft, family: .ipv4)) { scene, server, attacker in
        let pbx = scene.lab.pbx
        try await block(scene, BlockRequest(place: .beforeStateRule, isPlain: true))
        var result = try await sipleak(pbx, "unblock", "203.0.113.66")
        #expect(result.status == 1, "\(result)")
        #expect(result.errors.contains("would be in again"), "\(result)")
        try await scene.expectOut(attacker, at: scene.pbx, server)
        result = try await sipleak(pbx, "unblock", "--all", "--force")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("SIPLEAK 203.0.113.66,udp:5060"), "\(result)")
        try await scene.expectIn(attacker, at: scene.pbx, server)
      }
    }
  }
}
