import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Synchronization
import Testing

extension Kernel {
  /// A block under fire.
  @Suite struct Attacks {
    /// The times of what an apply reports.
    private final class Steps: Sendable {
      let times = Mutex<[String: ContinuousClock.Instant]>([:])
      func note(_ step: Enforcement.Step) {
        times.withLock { times in if times[step.name] == nil { times[step.name] = .now } }
      }
      subscript(name: String) -> ContinuousClock.Instant? { times.withLock { $0[name] } }
    }

    /// The carrier's calls, one after another.
    private final class Calls: Sendable {
      private let counts = Mutex((made: 0, lost: 0))
      var made: Int { counts.withLock { $0.made } }
      var lost: Int { counts.withLock { $0.lost } }

      func keepCalling(_ client: SIPClient, _ server: Endpoint) async throws {
        while !Task.isCancelled {
          // As telephones do, it asks again: under such a load a socket may overflow.
          var isAnswered = false
          for _ in 0..<40 where !isAnswered && !Task.isCancelled {
            isAnswered = try await client.request("INVITE", to: server).isAnswered
          }
          guard !Task.isCancelled else { return }
          counts.withLock { counts in
            counts.made += 1
            if !isAnswered { counts.lost += 1 }
          }
          try? await Task.sleep(for: .milliseconds(20))
        }
      }
    }

    /// Counts the carrier's packets where they arrive and behind all tables.
    private func watchCarrier(_ leaky: LeakyLab) async throws {
      let words = leaky.family == .ipv4 ? "ip saddr" : "ip6 saddr"
      let rule = "\(words) \(leaky.carrier.local.address) udp dport 5060 counter"
      try await leaky.lab.pbx.run(
        ["nft", "-f", "-"],
        input: """
          table inet carrier {
            chain before {
              type filter hook prerouting priority -350;
              \(rule)
            }
            chain behind {
              type filter hook input priority 300;
              \(rule)
            }
          }

          """)
    }

    /// What the two have counted.
    private func carrierCounts(_ leaky: LeakyLab) async throws -> [Int] {
      let text = try await leaky.lab.pbx.run(["nft", "list", "table", "inet", "carrier"]).output
      return text.matches(of: /counter packets (\d+)/).compactMap { Int($0.1) }
    }

    @Test(
      "A thousand packets a second through a leak end with the block, and no call of the carrier's is lost",
      arguments: AddressFamily.allCases)
    func flood(family: AddressFamily) async throws {
      let noisy = SIPServer.Behavior(
        answerDelay: .milliseconds(30), retransmitsAnswers: true, keepaliveInterval: .seconds(1))
      try await LeakyLab.with(family, behavior: noisy) { leaky in
        let attacker = leaky.attacker.local.address
        let begin = ContinuousClock.now
        leaky.attacker.keepSending(every: .milliseconds(1), "INVITE", to: leaky.server.local)
        try await watchCarrier(leaky)
        let calls = Calls()
        let carrier = Task { try await calls.keepCalling(leaky.carrier, leaky.server.local) }
        #expect(await leaky.server.received(1000, from: attacker, within: .seconds(600)))
        let rate =
          Double(leaky.server.count(from: attacker)) / (ContinuousClock.now - begin).seconds
        let steps = Steps()
        let (plan, observation) = try await leaky.plan()
        let outcome = try await Enforcement(access: leaky.access, verifyAfter: 1.5).apply(
          plan, before: observation, policy: AuditPolicy(), report: { steps.note($0) })
        #expect(outcome.answer == .verified, "\(outcome.verification.lines)")
        await leaky.server.settle()
        let proved = leaky.server.count(from: attacker)
        // From here on the set entry counts what is stopped.
        func stopped() async throws -> UInt64 {
          let set = try await leaky.observe().sample.firewall.snapshot.ownSet(family)
          return set?.entries.first?.counters?.packets ?? 0
        }
        // Long enough for three of the server's own keepalives.
        try await Task.sleep(for: .seconds(3))
        #expect(try await eventually { try await stopped() > 500 }, "the attack went on")
        #expect(await eventually { calls.made > 20 })
        leaky.attacker.stopSending()
        carrier.cancel()
        try await carrier.value
        #expect(calls.lost == 0)
        // Nor was one of its packets kept back, which it would have sent again.
        var counts: [Int] = []
        #expect(
          try await eventually {
            counts = try await carrierCounts(leaky)
            return counts.count == 2 && counts[0] == counts[1] && counts[0] > 20
          }, "\(counts)")
        await leaky.server.settle()
        #expect(leaky.server.count(from: attacker) == proved, "packets after the proof")
        let blocked = try #require(steps["blocked"])
        let last = try #require(
          leaky.server.received.last { $0.source.address == attacker }?.time)
        // Neither retransmissions nor keepalives have opened anything.
        let flows = try await leaky.observe().sample.flows.filter {
          [$0.original.source, $0.original.destination].contains(attacker)
        }
        #expect(flows.isEmpty, "\(flows)")
        #expect(leaky.server.sendFailures.isEmpty)
        // Measured and not asserted: the machine that runs the tests may be busy.
        print(
          "attack \(family.rawValue): \(Int(rate)) packets/s in, the last "
            + "\(Int((last - blocked).seconds * 1000)) ms after \"blocked\", "
            + "\(try await stopped()) stopped, \(calls.made) calls of the carrier, "
            + "\(calls.lost) lost")
      }
    }
  }
}

extension Duration {
  fileprivate var seconds: Double {
    Double(components.seconds) + Double(components.attoseconds) / 1e18
  }
}
