import Addressing
import Firewall
import Testing

/// Only what cannot touch this host: empty namespaces of their own, and tools that are not there.
@Suite struct ToolTests {
  @Test("A prefix program that does not exist is said, not taken for an empty firewall")
  func missingPrefix() async throws {
    let context = ToolContext(commandPrefix: ["/nonexistent/nsenter"])
    let error = try await #require(throws: FirewallError.self) {
      try await FirewallHost.snapshot(context)
    }
    #expect(error.code == .toolNotFound)
    #expect(await FirewallHost.ipsetAvailable(context) == false)
  }

  @Test("Tools that fail are reported with what they said, not taken for an empty firewall")
  func failingPrefix() async throws {
    // Every tool is replaced by `false`.
    let context = ToolContext(commandPrefix: ["/bin/false"])
    let reading = try await FirewallHost.snapshot(context)
    #expect(reading.snapshot.rulesets.isEmpty)
    #expect(reading.snapshot.unseen.count >= 4)
    #expect(!reading.problems.isEmpty)
    let again = try FirewallHost.reading(files: reading.files)
    #expect(again.problems == reading.problems)
    #expect(again.snapshot.unseen == reading.snapshot.unseen)
  }

  @Test("A writer that reads none of its input neither kills us nor hangs")
  func unreadInput() async throws {
    let text = Array(repeating: UInt8(ascii: "#"), count: 4 << 20)
    let error = try await #require(throws: FirewallError.self) {
      try await FirewallHost.restore(
        text, backend: .nft, family: .ipv4, testOnly: false, waitSeconds: 1,
        ToolContext(commandPrefix: ["/bin/false"]))
    }
    #expect(error.exitStatus == 1)
  }

  @Test("A dry run tells a good plan from a bad one", arguments: Backend.allCases)
  func dryRun(_ backend: Backend) async throws {
    let sets = Array("create -exist sl hash:ip\nadd -exist sl 192.0.2.1\n".utf8)
    let rules = Array("*raw\n-A PREROUTING -m set --match-set sl src -j DROP\nCOMMIT\n".utf8)
    let context = ToolContext()
    let good = await FirewallHost.dryRun(
      rules: rules, sets: sets, backend: backend, family: .ipv4, context)
    if case .notPossible(let why) = good { try Test.cancel("\(why)") }
    #expect(good == .loaded)
    // No set, then a target that raw does not have: `--test` finds only the first.
    let bad = [rules, Array("*raw\n-A PREROUTING -j REJECT\nCOMMIT\n".utf8)]
    for text in bad {
      let outcome = await FirewallHost.dryRun(
        rules: text, sets: [], backend: backend, family: .ipv4, context)
      guard case .failed(let words) = outcome else {
        Issue.record("\(outcome)")
        continue
      }
      #expect(!words.isEmpty)
    }
  }
}
