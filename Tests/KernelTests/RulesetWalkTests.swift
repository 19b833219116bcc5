import Firewall
import Glibc
import Lab
import TestSupport
import Testing

extension Kernel {
  /// Random firewalls: what the kernel counts, the walk has to have met.
  @Suite struct RulesetWalk {
    /// Rulesets, packets and verdicts compared so far.
    private struct Tally {
      var rulesets = 0
      var packets = 0
      var verdicts = 0
      var certain = 0
      var skipped = 0
      var accepted = 0
      var rules = 0

      mutating func add(_ scenario: FirewallScenario, _ comparison: Comparison) {
        accepted += comparison.accepted
        rules += comparison.rules
        rulesets += scenario.saves.count
        packets += scenario.packets.count
        verdicts += comparison.verdicts
        certain += comparison.certain
        skipped += comparison.skipped
      }
    }

    private static func number(_ name: String) throws -> UInt64? {
      guard let text = unsafe getenv(name) else { return nil }
      let string = unsafe String(cString: text)
      // Its type has to stand here: for an optional result nothing would be required.
      let number: UInt64 = try #require(UInt64(string), "\(name) is no number: \(string)")
      return number
    }

    @Test(
      "the rules a packet meets and its fate are those the walk says, in random firewalls of both backends and families"
    )
    func randomFirewalls() async throws {
      let seconds = try Self.number("SIPLEAK_KERNEL_FUZZ_SECONDS")
      let first = try Self.number("SIPLEAK_KERNEL_FUZZ_SEED") ?? 1
      let fixed: UInt64 = 40
      let begin = ContinuousClock.now
      var tally = Tally()
      try await Lab.with { lab in
        let kernel = try await KernelFirewall(lab)
        var seed = first
        while seconds.map({ begin.duration(to: .now) < .seconds($0) }) ?? (seed < first + fixed) {
          try await compare(seed: seed, kernel, &tally)
          seed += 1
        }
        let time = begin.duration(to: .now)
        print(
          """
          kernel fuzz: seeds \(first) to \(seed - 1), \(tally.rulesets) rulesets, \
          \(tally.packets) packets, \(tally.verdicts) verdicts compared \
          (\(tally.certain) certain; the kernel accepted \(tally.accepted) and counted \
          \(tally.rules) rules), \(tally.skipped) packets of which it is not known where \
          nat sends them, \(time.components.seconds) s
          """)
      }
      #expect(tally.verdicts > 0)
      // Otherwise nearly anything would agree.
      #expect(tally.certain * 2 > tally.verdicts)
    }

    private func compare(seed: UInt64, _ kernel: KernelFirewall, _ tally: inout Tally) async throws
    {
      let scenario = RandomFirewall(seed: seed).scenario
      do {
        let comparison = Comparison(scenario, try await kernel.run(scenario))
        tally.add(scenario, comparison)
        if comparison.disagreements.isEmpty { return }
      } catch let refusal as KernelFirewall.Refusal {
        Issue.record("seed \(seed): the tools refuse what was made: \(refusal.text)")
        return
      }
      // A packet counted late belongs to no batch: only what comes back one by one is a finding.
      func disagreements(_ scenario: FirewallScenario) async throws -> [Comparison.Disagreement] {
        do {
          return Comparison(scenario, try await kernel.run(scenario, isCareful: true))
            .disagreements
        } catch is KernelFirewall.Refusal {
          return []
        }
      }
      guard try await !disagreements(scenario).isEmpty else {
        print("kernel fuzz: seed \(seed) disagreed in a batch and not one by one")
        return
      }
      let shrinking = Shrinking { try await !disagreements($0).isEmpty }
      let smallest = try await shrinking.smallest(scenario)
      let finding = try await disagreements(smallest).first
      Issue.record("seed \(seed):\n\(finding?.report(smallest) ?? "gone when run once more")")
    }
  }
}
