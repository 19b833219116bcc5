import Addressing
import Conntrack
import HostNetwork
import Testing

@testable import SIPLeak

@Suite("Who is never blocked") struct ProtectedSetTests {
  private func host() throws -> Observation {
    var host = SavedHost()
    host.network.addresses += [
      LocalAddress(address: address("172.17.0.1"), prefixLength: 16, interface: "docker0"),
      LocalAddress(address: address("10.9.0.1"), prefixLength: 24, interface: "eth1"),
    ]
    host.network.interfaces.append(Interface(name: "docker0", index: 3, isUp: true, kind: "bridge"))
    host.network.resolvers = [address("192.0.2.53")]
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.assured, .seenReply])]
    return try host.observation()
  }

  private func source(_ text: String, _ reason: ProtectedSource.Reason) -> ProtectedSource {
    ProtectedSource(IPPrefix(text) ?? IPPrefix(address("0.0.0.0")), reason, origin: "test")
  }

  @Test(
    "Each is there with its reason",
    arguments: [
      ("127.9.9.9", ProtectedSource.Reason.loopback), ("192.0.2.5", .own),
      ("172.17.0.1", .bridge), ("192.0.2.1", .gateway), ("192.0.2.53", .resolver),
      ("10.9.0.77", .inside), ("198.51.100.10", .trunk), ("203.0.113.20", .contact),
      ("203.0.113.30", .protected), ("::ffff:203.0.113.30", .protected), ("224.0.0.1", .notAHost),
    ])
  func reasons(text: String, reason: ProtectedSource.Reason) throws {
    let policy = AuditPolicy(
      sources: [
        source("198.51.100.10", .trunk), source("203.0.113.20", .contact),
        source("203.0.113.30", .protected),
      ], inside: ["eth1"])
    let set = ProtectedSet(try host(), policy: policy)
    #expect(set.reason(for: address(text))?.reason == reason)
    #expect(set.reason(for: address("203.0.113.66")) == nil)
    #expect(set.gaps.isEmpty)
  }

  @Test("Contacts and trunks are trusted, the protected are not")
  func trust() {
    let policy = AuditPolicy(sources: [
      source("198.51.100.10", .trunk), source("203.0.113.20", .contact),
      source("203.0.113.30", .protected),
    ])
    #expect(policy.trusted.contains(address("198.51.100.10")))
    #expect(policy.trusted.contains(address("203.0.113.20")))
    #expect(!policy.trusted.contains(address("203.0.113.30")))
    #expect(policy.protected.contains(address("203.0.113.30")))
  }

  @Test("What is not known stops blocks: all of them, or those that nobody named")
  func gaps() throws {
    let observation = try host()
    for stopsEverything in [false, true] {
      let policy = AuditPolicy(
        sources: [], gaps: [TrustGap("--trunk x", "silence", stopsEverything: stopsEverything)])
      let audit = Audit(observation, policy: policy)
      #expect(!audit.isComplete && audit.problems == ["--trunk x: silence"])
      let all = BlockPlan(BlockRequest(), audit: audit, observation: observation, policy: policy)
      #expect(all.isEmpty && all.obstacles.contains { $0.contains("--trunk x: silence") })
      let named = BlockPlan(
        BlockRequest(named: [address("203.0.113.66")]), audit: audit, observation: observation,
        policy: policy)
      #expect(named.entries.isEmpty == stopsEverything)
    }
    let nowhere = AuditPolicy(sources: [], inside: ["eth9"])
    #expect(ProtectedSet(observation, policy: nowhere).gaps.map(\.subject) == ["--inside eth9"])
  }

  @Test("An address is said to be blockable, or why not, with what keeps a cron job from it")
  func report() throws {
    let observation = try host()
    let policy = AuditPolicy(
      sources: [source("203.0.113.30", .protected)],
      gaps: [TrustGap("--trunk x\u{1b}[2J", "silence", stopsEverything: false)])
    func report(_ text: String) -> ProtectReport {
      ProtectReport(observation, policy: policy, address: address(text))
    }
    #expect(report("203.0.113.66").answer?.why == nil)
    #expect(report("203.0.113.66").exitStatus == 3)
    #expect(report("203.0.113.66").text().contains("but not unattended: --trunk x"))
    #expect(report("198.51.100.10").answer?.why?.contains("accepted as NEW") == true)
    #expect(report("203.0.113.30").exitStatus == 1)
    #expect(!report("203.0.113.66").text().contains("\u{1b}"))
    let json = try ProtectReport(observation, policy: policy).line()
    #expect(json.contains(#""schema":"sipleak.protect""#) && !json.contains("\u{1b}"))
    #expect(json.contains(#"{"origin":"test","prefix":"203.0.113.30","reason":"protected"}"#))
  }
}
