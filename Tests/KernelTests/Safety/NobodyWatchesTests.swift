import Addressing
import Firewall
import Lab
import SIPLeak
import SystemPackage
import Testing

extension Kernel {
  /// What runs from cron, and what an operator who is in a hurry types.
  @Suite struct NobodyWatches {
    private static let folder = FilePath("/run/sipleak-nobody-watches")

    private func sipleak(_ leaky: LeakyLab, _ words: String...) async throws -> ToolOutput {
      try await leaky.lab.pbx.attempt([Commands.program] + words)
    }

    private func with(_ body: (LeakyLab) async throws -> Void) async throws {
      try await LeakyLab.with { leaky in
        let folder = Self.folder.string
        try await leaky.lab.pbx.run(["rm", "-rf", folder, "\(folder)-saved"])
        try await body(leaky)
        try await leaky.lab.pbx.run(["rm", "-rf", folder, "\(folder)-saved"])
      }
    }

    @Test("A run of block alone writes down who is admitted, so that the next one knows")
    func blockNotes() async throws {
      try await with { leaky in
        let result = try await sipleak(leaky, "block", "--state", Self.folder.string)
        #expect(result.status == 0, "\(result)")
        let history = try #require(try History.openForReading(in: Self.folder))
        let now = try await leaky.observe().sample.time
        #expect(try history.notes(at: now).welcome == [leaky.lab.carrier.address(.ipv4)])
        let seen = try history.sightings(since: 0)
        #expect(seen.map(\.peer) == [leaky.lab.attacker.address(.ipv4)])
      }
    }

    @Test("A block that has moved into a set is written down as the set's by the run that moved it")
    func movedNotes() async throws {
      try await with { leaky in
        let words = ["block", "--apply", "--verify-after", "100ms", "--state", Self.folder.string]
        for option in [["--plain"], []] {
          let result = try await leaky.lab.pbx.attempt([Commands.program] + words + option)
          #expect(result.status == 0, "\(result)")
          let history = try #require(try History.openForReading(in: Self.folder))
          #expect(
            try history.blocks(since: 0).map(\.holder) == [option.isEmpty ? .set : .rules])
        }
      }
    }

    @Test("Without a history an unattended run says so at once")
    func withoutHistory() async throws {
      try await with { leaky in
        let rules = try await leaky.save()
        for option in [["--no-history"], []] {
          let words = [Commands.program, "block", "--unattended", "--apply"] + option
          // Where this machine has a history, the second would wait a minute.
          if option.isEmpty, (try? History.usualFolder.stat()) != nil { continue }
          let result = try await leaky.lab.pbx.attempt(words)
          #expect(result.status == (option.isEmpty ? 1 : 64), "\(result)")
          #expect(result.errors.contains(option.isEmpty ? "--state DIR" : "--no-history"))
        }
        #expect(try await leaky.save() == rules)
        #expect(try await leaky.attacker.request(to: leaky.server.local).isAnswered)
      }
    }

    @Test("A history that cannot be read keeps unattended blocks back, and says so")
    func corruptHistory() async throws {
      try await with { leaky in
        let pbx = leaky.lab.pbx
        let folder = Self.folder.string
        let saved = "\(folder)-saved"
        try await pbx.run(["mkdir", folder])
        try await pbx.run(["sh", "-c", "yes x | head -c 9000 > \(folder)/history.sqlite"])
        let observed = try await sipleak(leaky, "observe", "--save", saved)
        #expect(observed.status == 0, "\(observed)")
        let words = ["block", "--from", saved, "--state", folder]
        var result = try await pbx.attempt([Commands.program] + words + ["--unattended"])
        #expect(result.status == 1, "\(result)")
        #expect(result.output.contains("the history cannot be read"), "\(result)")
        #expect(!result.output.contains("add -exist"), "\(result)")
        // A person is not kept back by it.
        result = try await pbx.attempt([Commands.program] + words)
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("add -exist sipleak4 203.0.113.66,udp:5060"), "\(result)")
      }
    }

    @Test("Who flushed raw to get somebody back does not find him blocked again by the next run")
    func wokenMember() async throws {
      try await with { leaky in
        let pbx = leaky.lab.pbx
        _ = try await leaky.block()
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        try await pbx.run(["iptables", "-t", "raw", "-F"])
        try await pbx.run([
          "iptables", "-I", "INPUT", "5", "-s", "203.0.113.66", "-p", "udp", "--dport", "5060",
          "-j", "ACCEPT",
        ])
        let rules = try await leaky.save()
        var result = try await sipleak(leaky, "block", "--apply", "--no-history")
        #expect(result.status == 1, "\(result)")
        #expect(result.output.contains("sipleak unblock 203.0.113.66"), "\(result)")
        #expect(try await leaky.save() == rules)
        #expect(try await leaky.attacker.request(to: leaky.server.local).isAnswered)
        result = try await sipleak(leaky, "unblock", "203.0.113.66", "--no-history")
        #expect(result.status == 0, "\(result)")
        result = try await sipleak(leaky, "block", "--apply", "--no-history")
        #expect(result.status == 0, "\(result)")
        #expect(try await leaky.attacker.request(to: leaky.server.local).isAnswered)
      }
    }

    @Test("The command that a plan ends with keeps its net, and its words whole")
    func shownCommand() async throws {
      try await with { leaky in
        let result = try await sipleak(
          leaky, "block", "--confirm-within", "1m", "--state", "\(Self.folder) it's mine",
          "--sample", "500ms")
        try await leaky.lab.pbx.run(["rm", "-r", "\(Self.folder) it's mine"])
        #expect(result.status == 0, "\(result)")
        let line = try #require(result.output.split(separator: "\n").last)
        #expect(
          line == """
            Apply: sipleak block --confirm-within 60s \
            --state '\(Self.folder) it'\\''s mine' --sample 0.5s --apply
            """)
      }
    }

    @Test("A purge of nothing still forgets saved blocks and names saved rules that mention us")
    func purgeOfNothing() async throws {
      try await with { leaky in
        let pbx = leaky.lab.pbx
        let folder = Self.folder
        try await pbx.run(["mkdir", folder.string])
        _ = try await leaky.block()
        let now = try await leaky.observe()
        try SavedBlocks(now.sample.firewall.snapshot, at: now.sample.time).save(in: folder)
        // A boot whose loader stopped at *raw: nothing of ours stands.
        try await pbx.run(["iptables", "-t", "raw", "-F"])
        try await pbx.run(["iptables", "-t", "raw", "-X"])
        try await pbx.run(["nft", "delete", "table", "ip", "raw"])
        try await pbx.run(["ipset", "destroy"])
        let saved = "\(folder)/rules"
        try await pbx.run(["sh", "-c", "echo '-A SIPLEAK -j DROP' > \(saved)"])
        // The mount is the test process's own.
        try await pbx.run(["mount", "--bind", saved, "/etc/nftables.conf"])
        let dry = try await sipleak(leaky, "purge", "--dry-run", "--state", folder.string)
        let kept = try SavedBlocks.load(from: folder)?.blocks.count
        let result = try await sipleak(leaky, "purge", "--state", folder.string)
        try await pbx.run(["umount", "/etc/nftables.conf"])
        #expect(dry.status == 0, "\(dry)")
        #expect(dry.errors.contains("/etc/nftables.conf:1 names"), "\(dry)")
        #expect(kept == 1)
        #expect(result.status == 0, "\(result)")
        #expect(result.errors.contains("/etc/nftables.conf:1 names"), "\(result)")
        #expect(try SavedBlocks.load(from: folder)?.blocks.count == 0)
      }
    }

    @Test("A purge that removed one set of two says that something was changed")
    func halfPurge() async throws {
      try await with { leaky in
        let pbx = leaky.lab.pbx
        for family in ["inet", "inet6"] {
          try await pbx.run([
            "ipset", "create", family == "inet" ? "sipleak4" : "sipleak6", "hash:net,port",
            "family", family, "timeout", "0", "maxelem", "1000000", "counters", "comment",
          ])
        }
        let foreign = ["INPUT", "-m", "set", "--match-set", "sipleak6", "src,dst", "-j", "DROP"]
        try await pbx.run(["ip6tables", "-A"] + foreign)
        var result = try await sipleak(leaky, "purge", "--no-history")
        #expect(result.status == 5, "\(result)")
        #expect(result.errors.contains("Does another rule use them?"), "\(result)")
        try await pbx.run(["ip6tables", "-D"] + foreign)
        result = try await sipleak(leaky, "purge", "--no-history")
        #expect(result.status == 0, "\(result)")
        #expect(try await pbx.run(["ipset", "save"]).output.isEmpty)
      }
    }
  }
}
