import Addressing
import Lab
import SIPLeak
import SystemPackage
import Testing

extension Kernel {
  /// The command as an operator runs it.
  @Suite struct Commands {
    /// The executable beside this test bundle.
    static var program: String {
      guard let own = PrivateNamespaces.program else { return "sipleak" }
      return FilePath(own).removingLastComponent().appending("sipleak").string
    }

    private func sipleak(_ host: LabHost, _ words: String...) async throws -> ToolOutput {
      try await host.attempt([Self.program] + words)
    }

    @Test("Diagnose, block, apply, unblock and purge say what they do and exit as documented")
    func story() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let rules = try await leaky.save()
        var result = try await sipleak(pbx, "diagnose")
        #expect(result.status == 2, "\(result)")
        #expect(result.output.contains("LEAK  203.0.113.66:24376 -> 192.0.2.5:5060"))
        #expect(result.output.contains("established-bypass"))
        #expect(result.output.contains("filter INPUT 8"))
        #expect(result.output.contains("filter INPUT 3"))
        result = try await sipleak(pbx, "audit", "--quiet")
        #expect(result.status == 2)
        #expect(result.output.contains("leak cause=established-bypass grade="))

        result = try await sipleak(pbx, "block")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("add -exist sipleak4 203.0.113.66,udp:5060 timeout 86400"))
        #expect(try await leaky.save() == rules)
        result = try await sipleak(pbx, "block", "--apply", "--verify-after", "200ms")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("verified"))
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
        result = try await sipleak(pbx, "audit", "--quiet")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.isEmpty)
        // Named together, one is lifted and of the other it is said that it was not blocked.
        result = try await sipleak(pbx, "unblock", "203.0.113.66", "192.0.2.77")
        #expect(result.status == 1, "\(result)")
        #expect(result.output.contains("unblocked     sipleak4 203.0.113.66,udp:5060"), "\(result)")
        #expect(result.output.contains("not blocked   192.0.2.77: no block of ours"), "\(result)")
        #expect(
          result.errors
            == "sipleak: not all was lifted: 192.0.2.77 was not blocked. The rest was.\n")
        result = try await sipleak(pbx, "unblock", "203.0.113.66")
        #expect(result.status == 1)
        result = try await sipleak(pbx, "purge")
        #expect(result.status == 0, "\(result)")
        #expect(try await leaky.save() == rules)
      }
    }

    @Test("Without privileges it exits 3 with one sentence what to do, never clean")
    func unprivileged() async throws {
      try await LeakyLab.with { leaky in
        for verb in ["audit", "diagnose", "observe"] {
          let result = try await leaky.lab.pbx.attempt(
            ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", Self.program, verb])
          #expect(result.status == 3, "\(verb): \(result)")
          #expect(result.output.isEmpty)
          #expect(result.errors.contains("Run it as root"))
        }
        let result = try await leaky.lab.pbx.attempt(
          [
            "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", Self.program, "block",
            "--apply",
          ])
        #expect(result.status == 1, "\(result)")
      }
    }

    @Test("Without iptables nothing is changed or called clean, and the tool is named")
    func missingTool() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let rules = try await leaky.save()
        // These mounts are the test process's own.
        _ = try await pbx.run(["mount", "--bind", "/dev/null", "/usr/sbin/xtables-nft-multi"])
        let block = try await sipleak(pbx, "block", "--apply")
        let audit = try await sipleak(pbx, "audit")
        let purge = try await sipleak(pbx, "purge")
        _ = try await pbx.run(["umount", "/usr/sbin/xtables-nft-multi"])
        #expect(block.status == 1, "\(block)")
        #expect((block.output + block.errors).contains("iptables"))
        // Nothing can be called removed where not all could be read.
        #expect(purge.status == 1, "\(purge)")
        #expect(audit.status == 3, "\(audit)")
        #expect(try await leaky.save() == rules)
        #expect(try await pbx.run(["ipset", "save"]).output.isEmpty)
      }
    }

    @Test("Without ipset a block says that it stays, in every format, and a purge removes it")
    func withoutIPSet() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let rules = try await leaky.save()
        try await KernelTests.withoutIPSet(on: pbx) {
          // There is nothing yet; what a set holds that no rule asks for is not known.
          var result = try await sipleak(pbx, "purge")
          #expect(result.status == 0, "\(result)")
          #expect(result.output.contains("Nothing of ours to remove."), "\(result)")
          #expect(result.output.contains("a set of ours, if there is one: ipset"), "\(result)")
          for format in ["text", "json", "restore"] {
            result = try await sipleak(pbx, "block", "--format", format)
            #expect(result.status == 0, "\(result)")
            #expect(result.output.contains("stay until the next run of `sipleak block --apply`"))
            #expect(!result.output.contains("sipleak4"))
            #expect(try await leaky.save() == rules)
          }
          result = try await sipleak(pbx, "block", "--apply", "--verify-after", "200ms")
          #expect(result.status == 0, "\(result)")
          #expect(result.output.contains("ipset is not installed: plain blocks stay"), "\(result)")
          #expect(result.output.contains("verified"), "\(result)")
          #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
          result = try await sipleak(pbx, "audit", "--quiet")
          #expect(result.status == 0 && result.output.isEmpty, "\(result)")
          result = try await sipleak(pbx, "unblock", "203.0.113.66")
          #expect(result.status == 0, "\(result)")
          #expect(try await sipleak(pbx, "unblock", "203.0.113.66").status == 1)
          result = try await sipleak(pbx, "purge")
          #expect(result.status == 0, "\(result)")
          #expect(result.output.contains("ipset is not installed"), "\(result)")
          for words in [["purge"], ["unblock", "--all"]] {
            result = try await pbx.attempt([Self.program] + words)
            #expect(result.status == 0, "\(result)")
          }
          result = try await sipleak(pbx, "unblock", "203.0.113.66")
          #expect(result.status == 1, "\(result)")
          #expect(result.output.contains("203.0.113.66   is not blocked"), "\(result)")
        }
        #expect(try await leaky.save() == rules)
      }
    }

    @Test("Without nft an answer is whole only where the kernel has no nf_tables")
    func withoutNft() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let words = ["audit", "--trust", "203.0.113.66", "--trust", "198.51.100.0/24"]
        // These mounts are the test process's own.
        _ = try await pbx.run(["mount", "--bind", "/dev/null", "/usr/sbin/nft"])
        let uncertain = try await pbx.attempt([Self.program] + words)
        let symbols = "/run/sipleak-kallsyms"
        var answers: [ToolOutput] = []
        for text in ["0 T nf_hook_slow\n", "0 T nf_hook_slow\n0 T nft_do_chain [nf_tables]\n", ""] {
          _ = try await pbx.run(["sh", "-c", "cat > \(symbols)"], input: text)
          _ = try await pbx.run(["mount", "--bind", symbols, "/proc/kallsyms"])
          answers.append(try await pbx.attempt([Self.program] + words))
          _ = try await pbx.run(["umount", "/proc/kallsyms"])
        }
        _ = try await pbx.run(["umount", "/usr/sbin/nft"])
        #expect(uncertain.status == 3, "\(uncertain)")
        #expect(uncertain.errors.contains("nft is not installed"))
        #expect(answers.map(\.status) == [0, 3, 3], "\(answers)")
      }
    }

    @Test(
      "Bad input is a usage error and changes nothing",
      arguments: [
        ["audit", "--trust", "carrier"], ["audit", "--port", "70000"], ["audit", "--port", "0"],
        ["audit", "--sample", "soon"], ["block", "192.0.2.300"], ["block", "--where", "nowhere"],
        ["unblock"], ["block", "--for", "-1s"], ["frobnicate"],
        ["block", "--apply", "--from", "x"], ["audit", "--trust", "203.0.113.66/24"],
        ["audit", "--trust", "::ffff:203.0.113.66/120"], ["audit", "--protect", "::ffff:0:0/90"],
        ["audit", "--trust", "0.0.0.0/0"], ["block", "--protect", "64.0.0.0/7"],
        ["block", "--protect", "2001::/31"], ["block", "--trunk", "192.0.2.300"],
        ["block", "--trunk", "sip.example:0"], ["protect", "carrier"],
        ["audit", "--trust-command", "cat list | sort"], ["audit", "--inside", "a/b"],
        ["block", "--for", "99999d"], ["block", "--at-most", "-1"], ["block", "192.0.2.0/24"],
        ["block", "--prefix6", "31"], ["block", "--prefix6", "128"],
      ])
    func badInput(words: [String]) async throws {
      try await Lab.with { lab in
        let result = try await lab.pbx.attempt([Self.program] + words)
        #expect(result.status == 64, "\(result)")
        #expect(result.output.isEmpty)
        #expect(!result.errors.isEmpty)
      }
    }

    @Test("Trust in an IPv4-mapped address is trust in the address, and host bits are named")
    func mappedTrust() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        for prefix in ["::ffff:203.0.113.66", "::ffff:203.0.113.0/120", "203.0.113.0/24"] {
          let result = try await sipleak(
            pbx, "audit", "--trust", "198.51.100.10", "--trust", prefix)
          #expect(result.status == 0, "\(prefix): \(result)")
        }
        var result = try await sipleak(pbx, "audit", "--trust", "203.0.113.66/24")
        #expect(result.errors.contains("203.0.113.0/24"), "\(result)")
        result = try await sipleak(pbx, "audit", "--trust", "::ffff:0:0/90")
        #expect(result.errors.contains("IPv4"), "\(result)")
      }
    }

    @Test("An audit says on standard error what it cannot see, and is silent when asked and clean")
    func blindSpots() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        var result = try await sipleak(pbx, "audit")
        #expect(result.errors.contains("sipleak: not seen: rp_filter is 0"), "\(result)")
        #expect(!result.output.contains("not seen"))
        result = try await sipleak(pbx, "audit", "--quiet", "--format", "json")
        #expect(result.status == 2)
        #expect(result.output.contains("established-bypass"))
        result = try await sipleak(
          pbx, "audit", "--quiet", "--format", "json", "--trust", "198.51.100.0/24", "--trust",
          "203.0.113.66")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.isEmpty && result.errors.isEmpty, "\(result)")
      }
    }

    @Test("An answer that cannot be written is no success; a reader that went away is")
    func fullDevice() async throws {
      try await LeakyLab.with { leaky in
        func shell(_ command: String) async throws -> ToolOutput {
          try await leaky.lab.pbx.attempt(["sh", "-c", "'\(Self.program)' \(command)"])
        }
        let question = "explain udp 203.0.113.66:1 -\\> 192.0.2.5:5060 in eth0 state new"
        var result = try await shell("\(question) > /dev/full")
        #expect(result.status == 3, "\(result)")
        #expect(result.errors.contains("No space left on device"), "\(result)")
        result = try await shell("audit --yes-really --trust 0.0.0.0/0 > /dev/full")
        #expect(result.status == 3, "\(result)")
        // A leak stays a leak.
        result = try await shell("audit > /dev/full")
        #expect(result.status == 2, "\(result)")
        result = try await shell("\(question) >&-")
        #expect(result.status == 3, "\(result)")
        let gone = try await leaky.lab.pbx.attempt(
          ["sh", "-c", "{ sleep 0.1; '\(Self.program)' \(question); echo $? >&2; } | true"])
        #expect(gone.errors == "0\n", "\(gone)")
      }
    }

    @Test("A saved folder is judged without privileges, and a bad one is an error")
    func fromFiles() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        var result = try await sipleak(pbx, "observe", "--save", "/run/saved")
        #expect(result.status == 0, "\(result)")
        let live = try await sipleak(pbx, "audit", "--format", "json")
        result = try await leaky.lab.attacker.attempt(
          [
            "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", Self.program, "audit",
            "--format", "json", "--from", "/run/saved",
          ])
        #expect(result.status == 2, "\(result)")
        func findings(_ text: String) -> Substring? {
          // The timeout goes on falling between two looks.
          text.replacing(/"timeout":\d+/, with: "").split(separator: "\"findings\":").last?
            .split(separator: "\"verdict_held\"").first
        }
        #expect(findings(result.output) == findings(live.output))
        _ = try await pbx.run(["truncate", "-s", "30", "/run/saved/ipv4.nft.save"])
        result = try await sipleak(pbx, "audit", "--from", "/run/saved")
        #expect(result.status == 3)
        #expect(result.errors.contains("ipv4.nft.save:"))
        result = try await sipleak(pbx, "audit", "--from", "/run/nothing")
        #expect(result.status == 3)
        #expect(result.errors.contains("/run/nothing"))
      }
    }
  }
}
