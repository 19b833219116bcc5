import Addressing
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// Hosts where something stands in the way: each a clear outcome with the documented exit code.
  @Suite struct AwkwardHosts {
    private static let applying = ["block", "--apply", "--verify-after", "100ms"]

    private func sipleak(
      _ leaky: LeakyLab, _ words: [String] = applying + ["--no-history"]
    ) async throws -> ToolOutput {
      try await leaky.lab.pbx.attempt([Commands.program] + words)
    }

    private func expectBlocked(_ leaky: LeakyLab) async throws {
      #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
      #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
    }

    @Test("With both backends in use a drop in raw is final, and a state rule's place is asked for")
    func bothBackends() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let legacy = "-A INPUT -p tcp -m tcp --dport 25 -j DROP"
        try await pbx.run(
          ["iptables-legacy-restore"], input: "*filter\n:INPUT ACCEPT [0:0]\n\(legacy)\nCOMMIT\n")
        let before = try await leaky.save()
        let place = ["--where", "before-state-rule"]
        var result = try await sipleak(leaky, Self.applying + ["--no-history"] + place)
        #expect(result.status == 1, "\(result)")
        #expect((result.output + result.errors).contains("--backend nft or --backend legacy"))
        #expect(try await leaky.save() == before)
        result = try await sipleak(
          leaky, Self.applying + ["--no-history", "--backend", "nft"] + place)
        #expect(result.status == 0, "\(result)")
        try await expectBlocked(leaky)
        #expect(try await sipleak(leaky, ["purge", "--no-history"]).status == 0)
        #expect(try await leaky.save() == before)
        // The flow went with the first block.
        let named = [Self.applying[0], "203.0.113.66"] + Self.applying.dropFirst()
        result = try await sipleak(leaky, named + ["--no-history"])
        #expect(result.status == 0, "\(result)")
        try await expectBlocked(leaky)
        let theirs = try await pbx.run(["iptables-legacy-save"]).output
        #expect(theirs.contains(legacy))
        #expect(!theirs.contains("sipleak"))
      }
    }

    @Test("While another program holds the legacy lock, a block is taken back and says why")
    func legacyLock() async throws {
      try await Scene.with(Ground(backend: .legacy, family: .ipv4)) { scene in
        let pbx = scene.lab.pbx
        let server = try scene.serve()
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        let before = try await scene.saved()
        let held = "/run/sipleak-lock-held"
        let holder = Task {
          try await pbx.attempt([
            "flock", "/run/xtables.lock", "sh", "-c",
            "touch \(held); while [ -e \(held) ]; do sleep 0.05; done",
          ])
        }
        while try await pbx.attempt(["test", "-e", held]).status != 0 {}
        let words = [Commands.program] + Self.applying + ["--no-history"]
        var result = try await pbx.attempt(words)
        #expect(result.status == 4, "\(result)")
        #expect(result.errors.contains("xtables lock"), "\(result)")
        #expect(try await scene.saved() == before)
        #expect(try await pbx.run(["ipset", "save"]).output.isEmpty)
        let purge = try await pbx.attempt([Commands.program, "purge", "--no-history"])
        #expect(purge.status == 0, "\(purge)")
        try await pbx.run(["rm", held])
        _ = try await holder.value
        result = try await pbx.attempt(words)
        #expect(result.status == 0, "\(result)")
        try await scene.expectOut(attacker, at: scene.pbx, server)

        // What stands cannot be removed under the lock either, and nothing is half removed.
        let standing = try await scene.saved()
        let again = Task {
          try await pbx.attempt([
            "flock", "/run/xtables.lock", "sh", "-c",
            "touch \(held); while [ -e \(held) ]; do sleep 0.05; done",
          ])
        }
        while try await pbx.attempt(["test", "-e", held]).status != 0 {}
        result = try await pbx.attempt([Commands.program, "purge", "--no-history"])
        #expect(result.status == 1, "\(result)")
        #expect(try await scene.saved() == standing)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        try await pbx.run(["rm", held])
        _ = try await again.value
        #expect(try await pbx.attempt([Commands.program, "purge", "--no-history"]).status == 0)
        #expect(try await scene.saved() == before)
      }
    }

    @Test("A script reads of every failure what became of it, with the plan that failed")
    func failuresAsJSON() async throws {
      try await Scene.with(Ground(backend: .legacy, family: .ipv4)) { scene in
        let pbx = scene.lab.pbx
        let server = try scene.serve()
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        let before = try await scene.saved()
        let held = "/run/sipleak-json-held"
        let words = [Commands.program] + Self.applying + ["--no-history", "--format", "json"]
        func locked(_ body: () async throws -> Void) async throws -> ToolOutput {
          let holder = Task {
            try await pbx.attempt([
              "flock", "/run/xtables.lock", "sh", "-c",
              "touch \(held); while [ -e \(held) ]; do sleep 0.05; done",
            ])
          }
          while try await pbx.attempt(["test", "-e", held]).status != 0 {}
          async let running = pbx.attempt(words)
          try await body()
          let result = try await running
          try await pbx.run(["rm", held])
          _ = try await holder.value
          return result
        }
        func expect(_ result: ToolOutput, _ status: Int32, _ word: String) {
          #expect(result.status == status, "\(result)")
          let lines = result.output.split(separator: "\n")
          #expect(lines.count == 1, "\(result)")
          #expect(result.output.contains(#""result":"\#(word)""#), "\(result)")
          #expect(result.output.contains(#""address":"203.0.113.66""#), "\(result)")
          #expect(result.output.contains(#""applied":false"#), "\(result)")
          #expect(result.output.contains(#""error":{"advice":"#), "\(result)")
          #expect(result.errors.contains("sipleak: "), "\(result)")
        }
        var result = try await locked {}
        expect(result, 4, "undone")
        #expect(result.output.contains("xtables lock"), "\(result)")
        #expect(try await scene.saved() == before)
        // Somebody's rule asks the new set before it is taken back.
        let theirs = ["INPUT", "-m", "set", "--match-set", "sipleak4", "src", "-j", "LOG"]
        result = try await locked {
          while try await pbx.attempt(["ipset", "list", "-n", "sipleak4"]).status != 0 {}
          try await pbx.run(["iptables-nft", "-A"] + theirs)
        }
        expect(result, 5, "left")
        #expect(result.output.contains("entries of our sets"), "\(result)")
        try await pbx.run(["iptables-nft", "-D"] + theirs)
        #expect(try await pbx.attempt([Commands.program, "purge", "--no-history"]).status == 0)
        #expect(try await pbx.run(["ipset", "save"]).output.isEmpty)
        // And of what comes to no plan.
        result = try await pbx.attempt(
          ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"] + words)
        #expect(result.status == 1, "\(result)")
        #expect(result.output.contains(#""result":"unchanged""#), "\(result)")
        #expect(result.output.contains(#""blocked":null"#), "\(result)")
      }
    }

    @Test(
      "A set or chain of our name that is not ours stops a block, and no purge takes it",
      arguments: ["set", "chain"])
    func foreign(kind: String) async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        if kind == "set" {
          try await pbx.run(["ipset", "create", "sipleak4", "hash:ip"])
          try await pbx.run(["ipset", "add", "sipleak4", "192.0.2.200"])
        } else {
          try await pbx.run(["iptables", "-t", "raw", "-N", "SIPLEAK"])
          try await pbx.run(["iptables", "-t", "raw", "-A", "SIPLEAK", "-s", "192.0.2.200"])
          try await pbx.run(["iptables", "-t", "raw", "-A", "PREROUTING", "-j", "SIPLEAK"])
        }
        let rules = try await leaky.save()
        let sets = try await pbx.run(["ipset", "save"]).output
        let result = try await sipleak(leaky)
        #expect(result.status == 1, "\(result)")
        #expect(
          (result.output + result.errors).contains(
            kind == "set" ? "a set named sipleak4 exists" : "a chain SIPLEAK exists"), "\(result)")
        let purge = try await sipleak(leaky, ["purge", "--no-history"])
        #expect(purge.output.contains("sipleak did not make it"), "\(purge)")
        #expect(try await leaky.save() == rules)
        #expect(try await pbx.run(["ipset", "save"]).output == sets)
        #expect(try await leaky.attacker.request(to: leaky.server.local).isAnswered)
      }
    }

    @Test(
      "A state folder that is full or read-only is said, and the block is made all the same",
      arguments: ["full", "read-only"])
    func state(kind: String) async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let folder = "/run/sipleak-state"
        try await pbx.run(["mkdir", "-p", folder])
        // These mounts are the test process's own.
        try await pbx.run([
          "mount", "-t", "tmpfs", "-o", kind == "full" ? "size=64k" : "ro", "none", folder,
        ])
        if kind == "full" {
          _ = try await pbx.attempt(["dd", "if=/dev/zero", "of=\(folder)/full", "bs=4096"])
        }
        let words = ["--state", folder]
        let audit = try await sipleak(leaky, ["audit"] + words)
        let block = try await sipleak(leaky, Self.applying + words)
        let silence = try await leaky.attacker.request(to: leaky.server.local)
        let unblock = try await sipleak(leaky, ["unblock", "203.0.113.66"] + words)
        let purge = try await sipleak(leaky, ["purge"] + words)
        try await pbx.run(["umount", folder])
        #expect(audit.status == 2, "\(audit)")
        #expect(block.status == 0, "\(block)")
        #expect(block.errors.contains("cannot use the history \(folder)"), "\(block)")
        #expect(silence == .silence)
        #expect(unblock.status == 0, "\(unblock)")
        #expect(purge.status == 0, "\(purge)")
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
      }
    }

    @Test(
      "Where no namespace can be made the dry run is said to be left out, and the block is made")
    func noNamespaces() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        // The limit is one of the test's own user namespace.
        let limit = "/proc/sys/user/max_net_namespaces"
        let old = try await pbx.run(["cat", limit]).output
        try await pbx.run(["sh", "-c", "echo 0 > \(limit)"])
        let plan = try await sipleak(leaky)
        try await pbx.run(["sh", "-c", "cat > \(limit)"], input: old)
        #expect(plan.status == 0, "\(plan)")
        #expect(plan.output.contains("not possible: no network namespace can be made"), "\(plan)")
        try await expectBlocked(leaky)
      }
    }
  }
}
