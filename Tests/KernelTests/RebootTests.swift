import Addressing
import Firewall
import Lab
import SIPLeak
import SystemPackage
import Testing

extension Kernel {
  /// What a boot does, in its order, on a host whose rules were saved with our blocks in them.
  @Suite struct Reboots {
    /// Everything a reboot takes: rules and sets.
    private func forget(_ pbx: LabHost, backend: String) async throws {
      for tool in ["iptables", "ip6tables"] {
        for table in ["raw", "mangle", "nat", "filter"] {
          try await pbx.run(["\(tool)-\(backend)", "-t", table, "-F"])
          try await pbx.run(["\(tool)-\(backend)", "-t", table, "-X"])
        }
      }
      try await pbx.run(["conntrack", "-F"])
      try await pbx.run(["ipset", "destroy"])
    }

    @Test("With the empty sets made first, the saved rules load and the blocks are back")
    func boot() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let folder = FilePath("/run/sipleak-reboot")
        try await pbx.run(["mkdir", "-p", folder.string])
        _ = try await leaky.block()
        let rules = try await pbx.run(["iptables-save"]).output
        #expect(rules.contains("--match-set sipleak4"))
        let now = try await leaky.observe()
        try SavedBlocks(now.sample.firewall.snapshot, at: now.sample.time).save(in: folder)
        let before = try await leaky.save()
        try await forget(pbx, backend: "nft")

        // Without the first unit nothing is filtered after the boot (facts E9).
        #expect(try await pbx.attempt(["iptables-restore"], input: rules).status != 0)
        #expect(try await leaky.attacker.request(to: leaky.server.local).isAnswered)

        let enforcement = Enforcement(access: leaky.access)
        try await enforcement.makeSets()
        #expect(try await pbx.attempt(["iptables-restore"], input: rules).status == 0)
        let saved = try #require(try SavedBlocks.load(from: folder))
        try await enforcement.restore(saved, at: now.sample.time + 600) { _ in }
        #expect(try await leaky.save() == before)
        let set = try await leaky.observe().sample.firewall.snapshot.ownSet(.ipv4)
        #expect(set?.entries.map(\.element) == ["203.0.113.66,udp:5060"])
        let left = try #require(set?.entries.first?.timeout)
        #expect(left <= 86400 - 600)
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
        // Once more changes nothing.
        try await enforcement.restore(saved, at: now.sample.time + 600) { _ in }
        #expect(try await leaky.save() == before)
      }
    }

    @Test("Where the rules were saved without our blocks, hook and members are put back")
    func withoutHook() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let rules = try await pbx.run(["iptables-save"]).output
        _ = try await leaky.block()
        let now = try await leaky.observe()
        let saved = SavedBlocks(now.sample.firewall.snapshot, at: now.sample.time)
        try await forget(pbx, backend: "nft")
        let enforcement = Enforcement(access: leaky.access)
        try await enforcement.makeSets()
        try await pbx.run(["iptables-restore"], input: rules)
        try await enforcement.restore(saved, at: now.sample.time) { _ in }
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
        #expect(Audit(try await leaky.observe()).blocks.map(\.state) == [.inForce])
      }
    }

    @Test("A set of our name that somebody else made is not touched")
    func foreignSet() async throws {
      try await LeakyLab.with { leaky in
        _ = try await leaky.block()
        let now = try await leaky.observe()
        let saved = SavedBlocks(now.sample.firewall.snapshot, at: now.sample.time)
        try await forget(leaky.lab.pbx, backend: "nft")
        try await leaky.lab.pbx.run(["ipset", "create", "sipleak4", "hash:ip"])
        await #expect(throws: SIPLeakError.self) {
          try await Enforcement(access: leaky.access).restore(saved, at: now.sample.time) { _ in }
        }
        let sets = try await leaky.lab.pbx.run(["ipset", "save"]).output
        #expect(sets.split(separator: "\n").count == 1)
      }
    }
  }
}
