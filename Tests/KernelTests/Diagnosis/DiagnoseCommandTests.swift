import Addressing
import Lab
import SystemPackage
import Testing

extension Kernel {
  /// `sipleak diagnose` as an operator runs it.
  @Suite struct DiagnoseCommands {
    /// The executable beside this test bundle.
    private static var program: String {
      guard let own = PrivateNamespaces.program else { return "sipleak" }
      return FilePath(own).removingLastComponent().appending("sipleak").string
    }

    private func diagnose(_ host: LabHost, _ words: String...) async throws -> ToolOutput {
      try await host.attempt([Self.program, "diagnose"] + words)
    }

    @Test("One screen first, then every explanation; no colour where no terminal is")
    func screen() async throws {
      try await LeakyLab.with { leaky in
        let result = try await diagnose(leaky.lab.pbx)
        #expect(result.status == 2, "\(result)")
        let text = result.output
        let leak = try #require(text.firstRange(of: "LEAK  203.0.113.66:24376"))
        let todo = try #require(text.firstRange(of: "Do    sipleak block 203.0.113.66"))
        let rest = try #require(text.firstRange(of: "Explanations considered (19)"))
        #expect(leak.lowerBound < todo.lowerBound)
        #expect(todo.lowerBound < rest.lowerBound)
        #expect(text.contains("supported    established flow outlives its rule"))
        #expect(text.contains("ruled out    SIP helper"))
        #expect(!text.contains("\u{1b}"))
      }
    }

    @Test("A peer is judged with and without a flow, and the exit status is about it")
    func peer() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let leak = try await diagnose(pbx, "203.0.113.66")
        #expect(leak.status == 2, "\(leak)")
        let carrier = try await diagnose(pbx, "198.51.100.10")
        #expect(carrier.status == 0, "\(carrier)")
        #expect(carrier.output.contains("supported    accept rule wider than meant"))
        #expect(!carrier.output.contains("LEAK"))
        let nobody = try await diagnose(pbx, "203.0.113.9")
        #expect(nobody.status == 0, "\(nobody)")
        #expect(nobody.output.contains("It has no flow to SIP in the table."))
        #expect(nobody.output.contains("REJECT   filter INPUT 8"))
        for words in [["somebody"], ["192.0.2.300"], ["203.0.113.66", "203.0.113.67"]] {
          let bad = try await pbx.attempt([Self.program, "diagnose"] + words)
          #expect(bad.status == 64, "\(bad)")
        }
      }
    }

    @Test("A saved folder gives the same explanations, without privileges")
    func saved() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        _ = try await pbx.run([Self.program, "observe", "--save", "/run/diagnosed"])
        func explanations(_ result: ToolOutput) -> [Substring] {
          // Counters move with every packet; verdicts and summaries do not.
          result.output.split(separator: "\"summary\":").dropFirst().map {
            $0.prefix { $0 != "," }
          } + result.output.split(separator: "\"verdict\":").map { $0.prefix { $0 != "," } }
        }
        let live = try await diagnose(pbx, "--format", "json", "203.0.113.66")
        let later = try await leaky.lab.attacker.attempt([
          "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", Self.program, "diagnose",
          "--from", "/run/diagnosed", "--format", "json", "203.0.113.66",
        ])
        #expect(live.status == 2, "\(live)")
        #expect(later.status == 2, "\(later)")
        #expect(explanations(live).count > 20)
        #expect(explanations(live) == explanations(later))
      }
    }
  }
}
