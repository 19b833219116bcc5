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
        let carrier = Task {
          var lost = 0
          var calls = 0
          while !Task.isCancelled {
            let answer = try await leaky.carrier.request(
              "INVITE", to: leaky.server.local, within: .seconds(20))
            calls += 1
            if !answer.isAnswered, !Task.isCancelled { lost += 1 }
            try? await Task.sleep(for: .milliseconds(20))
          }
          return (calls: calls, lost: lost)
        }
        #expect(await leaky.server.received(1000, from: attacker, within: .seconds(60)))
        let rate =
          Double(leaky.server.count(from: attacker)) / (ContinuousClock.now - begin).seconds
        let steps = Steps()
        let (plan, observation) = try await leaky.plan()
        let outcome = try await Enforcement(access: leaky.access, verifyAfter: 1.5).apply(
          plan, before: observation, policy: AuditPolicy(), report: { steps.note($0) })
        #expect(outcome.answer == .verified, "\(outcome.verification.lines)")
        // Long enough for three of the server's own keepalives.
        try await Task.sleep(for: .seconds(3))
        leaky.attacker.stopSending()
        carrier.cancel()
        let calls = try await carrier.value
        #expect(calls.lost == 0 && calls.calls > 20, "\(calls)")

        let blocked = try #require(steps["blocked"])
        let verified = try #require(steps["verified"])
        let last = try #require(
          leaky.server.received.last { $0.source.address == attacker }?.time)
        let late = leaky.server.received.filter {
          $0.source.address == attacker && $0.time > verified
        }
        #expect(late.isEmpty, "\(late.count) packets after the proof")
        let set = try await leaky.observe().sample.firewall.snapshot.ownSet(family)
        let stopped = set?.entries.first?.counters?.packets ?? 0
        #expect(stopped > 500, "the attack went on")
        // Neither retransmissions nor keepalives have opened anything.
        let flows = try await leaky.observe().sample.flows.filter {
          [$0.original.source, $0.original.destination].contains(attacker)
        }
        #expect(flows.isEmpty, "\(flows)")
        #expect(leaky.server.sendFailures.isEmpty)
        // Measured and not asserted: the machine that runs the tests may be busy.
        print(
          "attack \(family.rawValue): \(Int(rate)) packets/s in, the last "
            + "\(Int((last - blocked).seconds * 1000)) ms after \"blocked\", \(stopped) stopped, "
            + "\(calls.calls) calls of the carrier, \(calls.lost) lost")
      }
    }
  }
}

extension Duration {
  fileprivate var seconds: Double {
    Double(components.seconds) + Double(components.attoseconds) / 1e18
  }
}
