import Addressing
import Firewall
import Glibc
import Lab
import SIPLeak
import Synchronization
import Testing

extension Kernel {
  /// Somebody else changes the same firewall while sipleak does.
  @Suite struct ConcurrentWriters {
    /// How many blocks are applied; `SIPLEAK_SAFETY_ROUNDS` makes it more.
    private static var rounds: Int {
      unsafe getenv("SIPLEAK_SAFETY_ROUNDS").flatMap { unsafe Int(String(cString: $0)) } ?? 8
    }

    /// A script that owns the filter table, but for what is ours, and knows what has to be in it.
    private actor Writer {
      let pbx: LabHost
      let tool: String
      private var input: [String]
      private var own: [String] = []
      private var number = 0
      private(set) var changes = 0
      private(set) var failures: [String] = []

      init(_ pbx: LabHost, _ backend: Backend) {
        self.pbx = pbx
        tool = "iptables-\(backend.rawValue)"
        input = ReferenceRuleset.filter(.ipv4).split(separator: "\n").map(String.init).filter {
          $0.hasPrefix("-A")
        }
      }

      /// What has to stand, in this order.
      var expected: [String] { input + own }

      private func run(_ words: [String], input: String? = nil) async throws {
        let result = try await pbx.attempt([tool + words[0]] + words.dropFirst(), input: input)
        changes += 1
        if result.status != 0 { failures.append("\(words): \(result.errors)") }
      }

      func start() async throws {
        try await run(["", "-w", "-N", "theirs"])
        try await reload()
      }

      private func reload() async throws {
        let text =
          ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
          + [":theirs - [0:0]"] + input + own + ["COMMIT"]
        try await run(
          ["-restore", "-w", "30"], input: text.map { $0 + "\n" }.joined())
      }

      func change(_ random: inout SystemRandomNumberGenerator) async throws {
        number += 1
        let source = "192.0.2.\(128 + number % 100)/32"
        let rule = "-s \(source) -p tcp -m tcp --dport \(1024 + number) -j DROP"
        switch Int.random(in: 0..<6, using: &random) {
        case 0, 1:
          input.append("-A INPUT \(rule)")
          try await run(["", "-w", "-A", "INPUT"] + rule.split(separator: " ").map(String.init))
        case 2:
          guard input.count > 8, let last = input.popLast() else { return }
          try await run(
            ["", "-w", "-D"] + last.dropFirst(3).split(separator: " ").map(String.init))
        case 3:
          own = []
          try await run(["", "-w", "-F", "theirs"])
        case 4:
          own.append("-A theirs \(rule)")
          try await run(["", "-w", "-A", "theirs"] + rule.split(separator: " ").map(String.init))
        default: try await reload()
        }
      }
    }

    @Test(
      "While another program adds, removes, flushes and reloads, it loses nothing, nor do our blocks",
      arguments: [Backend.nft, .legacy],
      [
        BlockRequest(place: .raw), BlockRequest(place: .beforeStateRule),
        BlockRequest(place: .beforeStateRule, isPlain: true),
      ])
    func writers(backend: Backend, request: BlockRequest) async throws {
      let place = request.place
      try await Scene.with(Ground(backend: backend, family: .ipv4)) { scene in
        let pbx = scene.lab.pbx
        let server = try scene.serve()
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        let writer = Writer(pbx, backend)
        try await writer.start()
        let attempts = Mutex(0)
        // Not by cancelling it: that would kill the tool it is running.
        let isOver = Mutex(false)
        defer { isOver.withLock { $0 = true } }
        let writing = Task {
          var random = SystemRandomNumberGenerator()
          while !isOver.withLock({ $0 }) {
            try await writer.change(&random)
            try? await Task.sleep(for: .milliseconds(5))
            guard Int.random(in: 0..<3, using: &random) == 0 else { continue }
            // Quiet for a while, however long an apply takes here: until the next one is over, and now
            // and then a whole one.
            let end = attempts.withLock { $0 } + Int.random(in: 1...2, using: &random)
            while attempts.withLock({ $0 }) < end, !isOver.withLock({ $0 }) {
              try? await Task.sleep(for: .milliseconds(5))
            }
          }
        }
        var applied = 0
        var repeated = 0
        var planless = 0
        var refused: [SIPLeakError.Code: Int] = [:]
        // More where the writer was always quicker: then nothing is proved yet.
        var round = -1
        while round + 1 < Self.rounds || applied == 0 && round < 20 * Self.rounds {
          round += 1
          defer { attempts.withLock { $0 += 1 } }
          // A flow of the host's lets him in again, or there would be no state rule to stand before.
          try server.send(to: attacker.local)
          _ = try await attacker.request(to: scene.pbx, within: .milliseconds(20))
          let named =
            place == .raw
            ? [IPAddress(ipv4: 0xcb00_7180 + UInt32(round % 100)), scene.attacker]
            : [scene.attacker]
          do {
            // As `sipleak block` does it: never on a stale plan, but on a fresh one.
            let isDone = try await Enforcement.whileStale { _ in
              repeated += 1
            } _: {
              let before = try await Observation.live(
                SIPLeak.SIPEndpoints(), access: scene.access)
              let plan = BlockPlan(
                BlockRequest(named: named, place: place, isPlain: request.isPlain),
                audit: Audit(before),
                observation: before, policy: AuditPolicy())
              guard plan.obstacles.isEmpty, !plan.isEmpty else { return false }
              let outcome = try await Enforcement(access: scene.access, verifyAfter: 0).apply(
                plan, before: before, policy: AuditPolicy()
              ) { _ in }
              #expect(outcome.answer != .failed, "\(outcome.verification.lines)")
              return true
            }
            if isDone { applied += 1 } else { planless += 1 }
          } catch let error as SIPLeakError {
            #expect(error.code == .unchanged || error.code == .undone, "\(error)")
            refused[error.code, default: 0] += 1
          }
          if round % 2 == 1 {
            let purge = try await RemovalPlan.live(.purge, access: scene.access)
            try await Enforcement(access: scene.access).apply(purge) { _ in }
            #expect(try await pbx.run(["ipset", "save"]).output.isEmpty)
          }
        }
        isOver.withLock { $0 = true }
        try await writing.value
        #expect(await writer.failures == [])
        let saved = try await pbx.run(["iptables-\(backend.rawValue)-save", "-t", "filter"]).output
        let theirs = saved.split(separator: "\n").filter {
          $0.hasPrefix("-A") && !$0.contains("\"sipleak:")
        }
        func sorted(_ chain: String, _ lines: [String]) -> [String] {
          lines.filter { $0.hasPrefix("-A \(chain) ") }
        }
        let expected = await writer.expected
        for chain in ["INPUT", "theirs"] {
          #expect(sorted(chain, theirs.map(String.init)) == sorted(chain, expected))
        }
        #expect(theirs.count == expected.count)
        // Ours stand whole or are told to be missing, and no jump stands twice.
        let audit = try await scene.audit()
        #expect(
          audit.blocks.allSatisfy { [.inForce, .missingHook].contains($0.state) },
          "\(audit.blocks)")
        let jumps = try await pbx.run(["iptables-\(backend.rawValue)-save"]).output
          .split(separator: "\n").filter { $0.hasSuffix("-j SIPLEAK") }
        #expect(jumps.count <= 1, "\(jumps)")
        let purge = try await RemovalPlan.live(.purge, access: scene.access)
        try await Enforcement(access: scene.access).apply(purge) { _ in }
        let left = try await pbx.run(["iptables-\(backend.rawValue)-save"]).output
        #expect(!left.contains("sipleak") && !left.contains("SIPLEAK"))
        #expect(applied > 0)
        print(
          "writers \(backend.rawValue) \(place.rawValue)\(request.isPlain ? " plain" : ""): \(await writer.changes) changes during "
            + "\(Self.rounds) applies: \(applied) applied, \(repeated) plans made afresh, "
            + "refused \(refused), nothing to plan \(planless)")
      }
    }
  }
}
