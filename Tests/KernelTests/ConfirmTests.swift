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

    @Test("A block is not taken back while it is being made: its time begins when it stands")
    func made() async throws {
      try await LeakyLab.with { leaky in
        let (plan, observation) = try await leaky.plan()
        let pending = PendingBlock(plan, before: observation, seconds: 0.5)
        var making: PendingBlock.Making? = try pending.save()
        async let timer = sipleak(leaky.lab.pbx, "revert", pending.token)
        while PendingBlock.now < pending.deadline + 2 {
          try await Task.sleep(for: .milliseconds(50))
        }
        #expect(PendingBlock.isBeingMade(pending.token))
        #expect(PendingBlock.load(pending.token) == pending)
        making?.end(pending, seconds: 3600)
        making = nil
        #expect(!PendingBlock.isBeingMade(pending.token))
        let made = try #require(PendingBlock.load(pending.token))
        #expect(made.deadline > pending.deadline + 3000)
        #expect(made.confirm())
        #expect(try await timer.status == 0)
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
