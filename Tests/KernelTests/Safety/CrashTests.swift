import Addressing
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// What is there after sipleak was killed, at every call of a tool.
  @Suite struct Crashes {
    private static let blocking = [
      "block", "203.0.113.66", "2001:db8:a::66", "--apply", "--verify-after", "0", "--for", "1h",
      "--no-history",
    ]

    /// What holds the blocks that are made.
    enum Holder: CaseIterable {
      case set, rules

      var blocking: [String] { Crashes.blocking + (self == .rules ? ["--plain"] : []) }
      /// How many calls change something: a rule file a family, and one for the sets.
      var changes: Int { self == .set ? 3 : 2 }
    }

    /// A host with somebody's rules, of both families and in our tables too.
    struct Host {
      let backend: Backend
      let pbx: LabHost
      let knife: Knife
      /// All rules and sets before sipleak.
      let untouched: [String]

      static func with(
        _ backend: Backend, _ body: (Host) async throws -> Void
      ) async throws {
        try await Lab.with { lab in
          for (tool, family) in [("iptables", AddressFamily.ipv4), ("ip6tables", .ipv6)] {
            try await lab.pbx.run(
              ["\(tool)-\(backend.rawValue)-restore"], input: ReferenceRuleset.text(family))
          }
          // One family has a raw table of somebody's, the other gets one from us.
          try await lab.pbx.run(
            ["iptables-\(backend.rawValue)-restore"],
            input: """
              *raw
              :PREROUTING ACCEPT [0:0]
              :OUTPUT ACCEPT [0:0]
              :theirs - [0:0]
              -A PREROUTING -p tcp -m tcp --dport 8 -m comment --comment "not \\"sipleak\\"" -j theirs
              -A theirs -s 192.0.2.200/32 -j DROP
              COMMIT

              """)
          let knife = try await Knife.make(on: lab.pbx)
          let host = Host(
            backend: backend, pbx: lab.pbx, knife: knife,
            untouched: try await saved(lab.pbx, backend))
          try await body(host)
        }
      }

      private static func saved(_ pbx: LabHost, _ backend: Backend) async throws -> [String] {
        var lines: [String] = []
        for tool in ["iptables", "ip6tables"] {
          let text = try await pbx.run(["\(tool)-\(backend.rawValue)-save"]).output
          for line in text.split(separator: "\n").map(String.init) where !line.hasPrefix("#") {
            // A legacy table that was once there stays, empty.
            guard backend == .nft || line.hasPrefix("-") || line.contains(" - ") else { continue }
            if line.hasPrefix(":") {
              lines.append(String(line.split(separator: "[")[0]))
            } else {
              // The second apply finds the legacy table that the first one made.
              // A plain block says when it is over.
              lines.append(
                line.replacing(", table made", with: "").replacing(/until [^ ,]+,/, with: "until"))
            }
          }
        }
        var sets: [String] = []
        for line in try await pbx.run(["ipset", "save"]).output.split(separator: "\n") {
          // Times run down and the table's seed is drawn.
          let words = line.split(separator: " ").prefix(line.hasPrefix("add") ? 3 : 5)
          sets.append(words.joined(separator: " "))
        }
        return lines + sets.sorted()
      }

      func saved() async throws -> [String] { try await Self.saved(pbx, backend) }

      func sipleak(_ words: [String]) async throws -> ToolOutput {
        try await pbx.attempt([Commands.program] + words)
      }

      /// Checks that no rule of somebody else's is gone, new, or elsewhere.
      func expectOthersUntouched(_ cut: String) async throws {
        func others(_ lines: [String]) -> [String] {
          lines.filter { $0.hasPrefix("-A") && !$0.contains("\"sipleak:") }
        }
        #expect(others(try await saved()) == others(untouched), "\(cut)")
      }

      /// Checks that `purge` leaves nothing of ours.
      func expectPurged(_ cut: String) async throws {
        let result = try await sipleak(["purge", "--no-history"])
        #expect(result.status == 0, "\(cut): \(result)")
        #expect(try await saved() == untouched, "\(cut)")
      }
    }

    @Test(
      "Killed at any step of an apply, it has touched nobody's rule, and the next run completes it",
      arguments: [Backend.nft, .legacy], Holder.allCases)
    func apply(backend: Backend, holder: Holder) async throws {
      try await Host.with(backend) { host in
        let calls = try await host.knife.calls(holder.blocking)
        #expect(calls.filter(\.isChange).count == holder.changes, "\(calls)")
        let complete = try await host.saved()
        try await host.expectPurged("whole")
        for cut in calls.cuts {
          let name = "\(cut) \(calls[cut.call - 1].tool)"
          try await host.knife.kill(holder.blocking, at: cut.call, of: calls, cut.moment)
          try await host.expectOthersUntouched(name)
          if calls[cut.call - 1].isChange {
            let again = try await host.sipleak(holder.blocking)
            #expect(again.status == 0, "\(name): \(again)")
            #expect(try await host.saved() == complete, "\(name)")
            try await host.expectPurged(name)
            try await host.knife.kill(holder.blocking, at: cut.call, of: calls, cut.moment)
          }
          try await host.expectPurged(name)
        }
      }
    }

    @Test("Killed between the transactions that many plain blocks take, the next run completes it")
    func many() async throws {
      try await Host.with(.nft) { host in
        let many = (1...120).map { "198.18.0.\($0)" }
        let words = Holder.rules.blocking + many
        let calls = try await host.knife.calls(words)
        let changes = calls.indices.filter { calls[$0].isChange }
        #expect(changes.count == 3, "\(calls)")
        let complete = try await host.saved()
        try await host.expectPurged("whole")
        let lifting = ["unblock", "--all", "--no-history"]
        for call in changes {
          for moment in [Knife.Moment.before, .after] {
            let name = "\(moment) \(call) \(calls[call].tool)"
            try await host.knife.kill(words, at: call + 1, of: calls, moment)
            try await host.expectOthersUntouched(name)
            #expect(try await host.sipleak(words).status == 0, "\(name)")
            #expect(try await host.saved() == complete, "\(name)")
            // What is left of a lift that died is lifted by the next one.
            let lifts = try await host.knife.calls(lifting)
            let last = try #require(lifts.lastIndex { $0.isChange })
            #expect(try await host.sipleak(words).status == 0, "\(name)")
            try await host.knife.kill(lifting, at: last + 1, of: lifts, moment)
            try await host.expectOthersUntouched(name)
            #expect(try await host.sipleak(lifting).status == 0, "\(name)")
            #expect(try await host.saved().contains { $0.contains("until") } == false, "\(name)")
            try await host.expectPurged(name)
          }
        }
      }
    }

    @Test(
      "Killed at any step of an unblock or a purge, it has touched nobody's rule, and the next ends it",
      arguments: [Backend.nft, .legacy], Holder.allCases)
    func undo(backend: Backend, holder: Holder) async throws {
      try await Host.with(backend) { host in
        for words in [["unblock", "--all", "--no-history"], ["purge", "--no-history"]] {
          #expect(try await host.sipleak(holder.blocking).status == 0)
          let calls = try await host.knife.calls(words)
          try await host.expectPurged("whole")
          for cut in calls.cuts {
            let name = "\(words[0]) \(cut) \(calls[cut.call - 1].tool)"
            #expect(try await host.sipleak(holder.blocking).status == 0, "\(name)")
            try await host.knife.kill(words, at: cut.call, of: calls, cut.moment)
            try await host.expectOthersUntouched(name)
            try await host.expectPurged(name)
          }
        }
      }
    }

    @Test(
      "Killed while it moves plain blocks into our sets, it has let nobody go, and the next run ends it",
      arguments: [Backend.nft, .legacy])
    func move(backend: Backend) async throws {
      try await Host.with(backend) { host in
        let moving = ["block", "--apply", "--verify-after", "0", "--no-history"]
        func start() async throws {
          let result = try await host.sipleak(Holder.rules.blocking)
          #expect(result.status == 0, "\(result)")
        }
        try await start()
        let calls = try await host.knife.calls(moving)
        #expect(calls.filter(\.isChange).count == 3, "\(calls)")
        let complete = try await host.saved()
        #expect(!complete.contains { $0.contains("sipleak: until") })
        try await host.expectPurged("whole")
        for cut in calls.cuts {
          let name = "\(cut) \(calls[cut.call - 1].tool)"
          try await start()
          try await host.knife.kill(moving, at: cut.call, of: calls, cut.moment)
          try await host.expectOthersUntouched(name)
          let observation = try await Observation.live(
            SIPLeak.SIPEndpoints(), access: HostAccess(host.pbx.namespace))
          let blocks = observation.sample.firewall.snapshot.ownBlocks(at: observation.sample.time)
          let held = Set(blocks.filter { $0.isHooked && !$0.isOver }.map(\.element))
          #expect(held == ["203.0.113.66,udp:5060", "2001:db8:a::66,udp:5060"], "\(name)")
          if calls[cut.call - 1].isChange {
            let again = try await host.sipleak(moving)
            #expect(again.status == 0, "\(name): \(again)")
            #expect(try await host.saved() == complete, "\(name)")
            try await host.expectPurged(name)
            try await start()
            try await host.knife.kill(moving, at: cut.call, of: calls, cut.moment)
          }
          try await host.expectPurged(name)
        }
      }
    }

    @Test(
      "Killed while it takes a failed apply back, it has touched nobody's rule, and a purge ends it",
      arguments: [Backend.nft, .legacy])
    func takingBack(backend: Backend) async throws {
      try await Host.with(backend) { host in
        let failing = "iptables-\(backend.rawValue)-restore"
        // The second family's rules are refused after the first one's stand.
        let order = try await host.knife.calls(Self.blocking).filter(\.isChange).map(\.tool)
        try await host.expectPurged("whole")
        let last = try #require(order.last)
        #expect(last != order[1] && order.contains(failing))
        try await host.knife.fail(last)
        let calls = try await host.knife.calls(Self.blocking, status: 4)
        #expect(try await host.saved() == host.untouched)
        let first = try #require(calls.lastIndex { $0.tool == last && $0.isChange })
        for cut in calls.cuts where cut.call > first + 1 {
          let name = "\(cut) \(calls[cut.call - 1].tool)"
          try await host.knife.kill(Self.blocking, at: cut.call, of: calls, cut.moment)
          try await host.expectOthersUntouched(name)
          try await host.expectPurged(name)
        }
        try await host.knife.fail(last, false)
      }
    }

    @Test("Killed while it takes back what nobody confirmed, the next run takes it back")
    func revert() async throws {
      try await Host.with(.nft) { host in
        func block() async throws -> PendingBlock {
          let words = Self.blocking + ["--confirm-within", "1h"]
          let result = try await host.sipleak(words)
          #expect(result.status == 0, "\(result)")
          let pending = try #require(PendingBlock.all().first)
          // Its time is over, and its timer sleeps.
          try await host.pbx.run([
            "sed", "-i", "s/\"deadline\":[0-9.e+]*/\"deadline\":1/",
            "/run/sipleak-pending-\(pending.token)",
          ])
          #expect(PendingBlock.all().map(\.isOverdue) == [true])
          return pending
        }
        let pending = try await block()
        let calls = try await host.knife.calls(["revert", pending.token])
        #expect(try await host.saved() == host.untouched)
        for cut in calls.cuts {
          let name = "\(cut) \(calls[cut.call - 1].tool)"
          let pending = try await block()
          try await host.knife.kill(["revert", pending.token], at: cut.call, of: calls, cut.moment)
          try await host.expectOthersUntouched(name)
          #expect(PendingBlock.all().map(\.token) == [pending.token], "\(name)")
          let next = try await host.sipleak(["block", "--apply", "--no-history"])
          #expect(next.status == 0, "\(name): \(next)")
          #expect(next.errors.contains("nobody confirmed"), "\(name): \(next)")
          #expect(PendingBlock.all().isEmpty, "\(name)")
          try await host.expectPurged(name)
        }
      }
    }
  }
}
