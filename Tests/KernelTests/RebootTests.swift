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

    /// A host that blocks two, has forgotten all but its rules, and keeps its blocks in a folder.
    private func booting(
      _ body: (LeakyLab, (String...) async throws -> ToolOutput) async throws -> Void
    ) async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let folder = "/run/sipleak-boot"
        try await pbx.run(["rm", "-rf", folder])
        func sipleak(_ words: String...) async throws -> ToolOutput {
          try await pbx.attempt([Commands.program] + words + ["--state", folder])
        }
        let rules = try await pbx.run(["iptables-save"]).output
        let block = try await sipleak(
          "block", "203.0.113.66", "\(leaky.lab.other.address4)", "--apply", "--verify-after", "0")
        #expect(block.status == 0, "\(block)")
        try await forget(pbx, backend: "nft")
        try await pbx.run(["iptables-restore"], input: rules)
        try await body(leaky, sipleak)
        try await pbx.run(["rm", "-rf", folder])
      }
    }

    private func elements(_ leaky: LeakyLab) async throws -> Set<String> {
      let blocks = Audit(try await leaky.observe()).blocks
      #expect(blocks.allSatisfy { $0.state == .inForce })
      return Set(blocks.map(\.element))
    }

    @Test("A block of somebody whom the rules admit by now is left out, said, and kept for later")
    func admittedLater() async throws {
      try await booting { leaky, sipleak in
        let pbx = leaky.lab.pbx
        let other = "\(leaky.lab.other.address4),udp:5060"
        let allow = ["INPUT", "-s", "203.0.113.66", "-p", "udp", "--dport", "5060", "-j", "ACCEPT"]
        try await pbx.run(["iptables", "-I"] + allow)
        var result = try await sipleak("persist", "restore")
        #expect(result.status == 0, "\(result)")
        #expect(
          result.output.contains("203.0.113.66,udp:5060: accepted as NEW by filter INPUT 1"),
          "\(result)")
        #expect(result.errors.contains("1 block was left out"), "\(result)")
        #expect(try await elements(leaky) == [other])
        #expect(try await leaky.attacker.request(to: leaky.server.local).isAnswered)
        // Saving what stands, as every change and a shutdown do, loses nothing.
        #expect(try await sipleak("persist", "save").status == 0)
        try await pbx.run(["iptables", "-D"] + allow)
        result = try await sipleak("persist", "restore")
        #expect(result.status == 0 && !result.output.contains("left out"), "\(result)")
        #expect(try await elements(leaky) == [other, "203.0.113.66,udp:5060"])
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        // Named as trusted, as in the cron line of the audit.
        try await forget(pbx, backend: "nft")
        result = try await sipleak("persist", "restore", "--trust", "203.0.113.66")
        #expect(result.output.contains("203.0.113.66,udp:5060: "), "\(result)")
      }
    }

    @Test("Before the network is up nothing is put back, as nothing can be told; then all is")
    func withoutNetwork() async throws {
      try await booting { leaky, sipleak in
        let pbx = leaky.lab.pbx
        let shown = try await pbx.run(["ip", "-4", "-o", "addr", "show", "scope", "global"]).output
        let addresses = shown.split(separator: "\n").map { line in
          let words = line.split(separator: " ").map(String.init)
          return (interface: words[1], address: words[3])
        }
        #expect(!addresses.isEmpty)
        // Without a route it may come by any interface, the inside one too.
        let inside = ["INPUT", "-i", "to-other", "-j", "ACCEPT"]
        try await pbx.run(["iptables", "-I"] + inside)
        for route in ["203.0.113.66", "203.0.113.0/24"] {
          try await pbx.run(["ip", "route", "del", route, "dev", "to-attacker"])
        }
        let unrouted = try await sipleak("persist", "restore")
        #expect(
          unrouted.output.contains(
            "203.0.113.66,udp:5060: accepted as NEW by filter INPUT 1 (no route leads to it now"),
          "\(unrouted)")
        try await pbx.run(["iptables", "-D"] + inside)
        for (interface, _) in addresses {
          try await pbx.run(["ip", "-4", "addr", "flush", "dev", interface])
        }
        let standing = try await leaky.save()
        var result = try await sipleak("persist", "restore")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("this host has no IPv4 address"), "\(result)")
        #expect(result.errors.contains("2 blocks were left out"), "\(result)")
        #expect(try await leaky.save() == standing)
        for (interface, address) in addresses {
          try await pbx.run(["ip", "addr", "add", address, "dev", interface])
        }
        result = try await sipleak("persist", "restore")
        #expect(result.status == 0 && !result.output.contains("left out"), "\(result)")
        #expect(try await elements(leaky).count == 2)
        // What is put back no more is forgotten when it is unblocked.
        try await forget(pbx, backend: "nft")
        let open = try await pbx.attempt(["iptables", "-P", "INPUT", "ACCEPT"])
        #expect(open.status == 0)
        result = try await sipleak("persist", "restore")
        #expect(result.errors.contains("2 blocks were left out"), "\(result)")
        result = try await sipleak("unblock", "203.0.113.66")
        #expect(result.status == 1, "\(result)")
        #expect(result.output.contains("forgotten     203.0.113.66,udp:5060"), "\(result)")
        result = try await sipleak("purge")
        #expect(result.output.contains("forgotten     \(leaky.lab.other.address4)"), "\(result)")
        result = try await sipleak("persist", "restore")
        #expect(result.status == 0 && !result.output.contains("left out"), "\(result)")
      }
    }

    @Test("Blocks that could not be read stay in the file for the next boot")
    func unreadable() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let folder = "/run/sipleak-unread"
        try await pbx.run(["rm", "-rf", folder])
        let state = ["--state", folder]
        let block = try await pbx.attempt(
          [Commands.program, "block", "203.0.113.66", "--plain", "--apply", "--verify-after", "0"]
            + state)
        #expect(block.status == 0, "\(block)")
        let saved = try #require(try SavedBlocks.load(from: FilePath(folder)))
        #expect(saved.blocks.map(\.element) == ["203.0.113.66,udp:5060"])
        // This mount is the test process's own.
        let tool = "/usr/sbin/xtables-nft-multi"
        try await pbx.run(["mount", "--bind", "/bin/false", tool])
        let save = try await pbx.attempt([Commands.program, "persist", "save"] + state)
        try await pbx.run(["umount", tool])
        #expect(save.status == 1, "\(save)")
        #expect(save.errors.contains("cannot save the blocks"), "\(save)")
        #expect(try SavedBlocks.load(from: FilePath(folder)) == saved)
        try await pbx.run(["rm", "-rf", folder])
      }
    }

    @Test("Putting blocks back wakes no hook that would cut somebody whom the rules admit")
    func wokenMember() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        _ = try await leaky.block()
        let now = try await leaky.observe()
        let saved = SavedBlocks(now.sample.firewall.snapshot, at: now.sample.time)
        try await pbx.run(["iptables", "-t", "raw", "-F"])
        try await pbx.run([
          "iptables", "-I", "INPUT", "-s", "203.0.113.66", "-p", "udp", "-j", "ACCEPT",
        ])
        let standing = try await leaky.save()
        do throws(SIPLeakError) {
          try await Enforcement(access: leaky.access).restore(saved, at: now.sample.time) { _ in }
          Issue.record("nothing was thrown")
        } catch {
          #expect(error.code == .unchanged)
          #expect(error.message.contains("sipleak unblock 203.0.113.66"), "\(error)")
        }
        #expect(try await leaky.save() == standing)
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
