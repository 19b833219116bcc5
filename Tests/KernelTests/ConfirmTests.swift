import Addressing
import Firewall
import Lab
import SIPLeak
import SystemPackage
import Testing

extension Kernel {
  /// Blocks that take themselves back, and what is remembered of blocks.
  @Suite struct Confirmations {
    private static var program: String {
      guard let own = PrivateNamespaces.program else { return "sipleak" }
      return FilePath(own).removingLastComponent().appending("sipleak").string
    }

    private func sipleak(_ host: LabHost, _ words: String...) async throws -> ToolOutput {
      try await host.attempt([Self.program] + words)
    }

    /// Waits until the block is gone, for as long as a loaded machine may need.
    private func isLifted(_ leaky: LeakyLab) async throws -> Bool {
      await eventually(within: .seconds(600)) { PendingBlock.all().isEmpty }
    }

    @Test(
      "A block that nobody confirms is taken back whole, without the process that made it",
      arguments: AddressFamily.allCases)
    func unconfirmed(family: AddressFamily) async throws {
      try await LeakyLab.with(family) { leaky in
        let pbx = leaky.lab.pbx
        let tool = family == .ipv4 ? "iptables-save" : "ip6tables-save"
        let rules = try await leaky.save(tool)
        let result = try await sipleak(
          pbx, "block", "--apply", "--verify-after", "100ms", "--confirm-within", "1s")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("sipleak confirm"))
        #expect(try await isLifted(leaky))
        #expect(try await leaky.save(tool) == rules)
        #expect(try await pbx.run(["ipset", "save"]).output.isEmpty)
        #expect(try await sipleak(pbx, "confirm").status == 1)
      }
    }

    @Test("A confirmed block stays, and only its own are taken back from among others")
    func confirmed() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        var result = try await sipleak(
          pbx, "block", "--apply", "--verify-after", "100ms", "--confirm-within", "1h")
        #expect(result.status == 0, "\(result)")
        let pending = PendingBlock.all()
        #expect(pending.map(\.sources) == [["203.0.113.66"]])
        result = try await sipleak(pbx, "confirm")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("203.0.113.66"))
        #expect(PendingBlock.all().isEmpty)
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)

        result = try await sipleak(
          pbx, "block", "203.0.113.70", "--apply", "--verify-after", "100ms", "--confirm-within",
          "1s")
        #expect(result.status == 0, "\(result)")
        #expect(try await isLifted(leaky))
        let set = try await leaky.observe().sample.firewall.snapshot.ownSet(.ipv4)
        #expect(set?.entries.map(\.element) == ["203.0.113.66,udp:5060"])
      }
    }

    @Test("A block is confirmed or taken back, never both, and the time counts from its check on")
    func oneOrTheOther() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let (plan, before) = try await leaky.plan()
        let block = PendingBlock(plan, before: before, seconds: 5)
        try block.save()
        #expect(try block.rearm(seconds: 1000))
        let rearmed = try #require(PendingBlock.load(block.token))
        #expect(rearmed.deadline > block.deadline + 500)
        // Somebody is just taking one back.
        let held = "/run/sipleak-lock-held"
        let holder = Task {
          try await pbx.attempt([
            "flock", "/run/sipleak-confirm.lock", "sh", "-c",
            "touch \(held); while [ -e \(held) ]; do sleep 0.05; done",
          ])
        }
        while try await pbx.attempt(["test", "-e", held]).status != 0 {}
        #expect(throws: SIPLeakError.self) { try block.confirm() }
        await #expect(throws: SIPLeakError.self) { try await block.revert(access: leaky.access) }
        #expect(PendingBlock.load(block.token) != nil)
        try await pbx.run(["rm", held])
        _ = try await holder.value
        #expect(try block.confirm())
        #expect(try !block.confirm())
        #expect(try !block.rearm(seconds: 1000))
        #expect(PendingBlock.all().isEmpty)
      }
    }

    @Test("The timer of a block takes the time that is set again after the check")
    func setAgain() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let (plan, before) = try await leaky.plan()
        let block = PendingBlock(plan, before: before, seconds: 100_000)
        _ = try await leaky.block()
        try block.save()
        let timer = Task { try await pbx.attempt([Self.program, "revert", block.token]) }
        #expect(try block.rearm(seconds: 0.1))
        #expect(try await isLifted(leaky))
        #expect(try await timer.value.status == 0)
        #expect(try await pbx.run(["ipset", "save"]).output.isEmpty)
      }
    }

    @Test("A block whose timer struck before it was written is taken back once it stands")
    func struckEarly() async throws {
      try await LeakyLab.with { leaky in
        let rules = try await leaky.save("iptables-save")
        let (plan, before) = try await leaky.plan()
        let block = PendingBlock(plan, before: before, seconds: 0)
        try block.save()
        try await block.revert(access: leaky.access)
        #expect(try !block.rearm(seconds: 1000))
        _ = try await leaky.block()
        try await block.revertLate(access: leaky.access)
        #expect(try await leaky.save("iptables-save") == rules)
        #expect(try await leaky.lab.pbx.run(["ipset", "save"]).output.isEmpty)
      }
    }

    @Test("A block in the table of others is kept by what is written down about it")
    func history() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let folder = "/run/sipleak-state"
        func run(_ words: String...) async throws -> ToolOutput {
          try await pbx.attempt([Self.program] + words + ["--state", folder])
        }
        #expect(try await run("history").status == 1)
        #expect(try await run("audit").status == 2)
        #expect(try await run("audit").status == 2)
        var result = try await run("history")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("finding src=203.0.113.66 proto=udp dport=5060"))
        #expect(result.output.contains(" times=2"))
        result = try await run("block", "--apply", "--verify-after", "100ms", "--for", "1h")
        #expect(result.status == 0, "\(result)")
        result = try await run("history", "203.0.113.66")
        #expect(result.output.contains("block src=203.0.113.66 proto=udp dport=5060 place=raw"))
        #expect(result.output.contains(" outcome=verified ended=no"), "\(result)")
        #expect(try await run("unblock", "203.0.113.66").status == 0)
        result = try await run("history", "--format", "json")
        #expect(result.output.contains("\"ended_by\":\"unblocked\""), "\(result)")
        result = try await run(
          "block", "203.0.113.70", "--apply", "--verify-after", "100ms", "--confirm-within", "1s")
        #expect(result.status == 0, "\(result)")
        #expect(try await isLifted(leaky))
        result = try await run("history", "203.0.113.70")
        #expect(result.output.contains(" by=taken-back"), "\(result)")
        // Nor does it come again with the next boot.
        #expect(try SavedBlocks.load(from: FilePath(folder))?.blocks == [])

        // A history that cannot be used stops nothing.
        _ = try await pbx.run(
          ["sh", "-c", "head -c 9000 /dev/zero | tr '\\0' x > \(folder)/history.sqlite"])
        result = try await run("block", "203.0.113.66", "--apply", "--verify-after", "100ms")
        #expect(result.status == 0, "\(result)")
        #expect(result.errors.contains("corrupt"), "\(result)")
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        #expect(try await run("history").status == 1)
        let kept = try await pbx.run(["head", "-c", "4", "\(folder)/history.sqlite"]).output
        #expect(kept == "xxxx")
        _ = try await pbx.run(["rm", "-r", folder])
      }
    }
  }
}
