import Addressing
import Conntrack
import Firewall
import Testing

@testable import SIPLeak

/// The first screen says who, how and what to do, however many there are.
@Suite struct FirstScreenTests {
  private func text(_ observation: Observation) -> String {
    DiagnosisText(Audit(observation), of: observation, style: TextStyle()).text()
  }

  private func host(_ count: Int) -> SavedHost {
    var host = SavedHost()
    host.flows = (1...count).map { number in
      flow(
        "203.0.113.\(number):24376", "192.0.2.5:5060", [.seenReply, .assured], id: UInt32(number))
    }
    return host
  }

  @Test("Of many alike the first are told in full, some in a line each, and the rest are counted")
  func many() throws {
    let text = text(try host(40).observation())
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.count { $0.hasPrefix("LEAK  ") } == 10, "\(text)")
    #expect(lines.count { $0.contains("as held") } == 2)
    #expect(text.contains("The same is so of these and of 30 more: sipleak audit\n"))
    // What to do stands on the screen.
    let place = lines.firstIndex { $0.hasPrefix("Do    ") }
    #expect(place.map { $0 <= 30 } == true, "\(text)")
  }

  @Test("A few are told in full", arguments: [1, 2, 3])
  func few(count: Int) throws {
    let text = text(try host(count).observation())
    #expect(text.ranges(of: "as held").count == count, "\(text)")
    #expect(!text.contains("The same is so"))
  }

  @Test("Where both backends hold rules a place says whose it is")
  func backends() throws {
    var observation = try host(1).observation()
    #expect(text(observation).contains("  filter INPUT 5  "))
    observation.sample.firewall.snapshot.rulesets.append(
      try RulesetReader.read(
        Array("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j DROP\nCOMMIT\n".utf8),
        source: "legacy", backend: .legacy, family: .ipv4))
    #expect(text(observation).contains("REJECT  nft filter INPUT 5  "), "\(text(observation))")
  }
}
