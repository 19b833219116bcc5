import Addressing
import FoundationEssentials
import HostNetwork
import SystemPackage
import Testing

@testable import SIPLeak

@Suite("Names of trunks") struct TrunkResolutionTests {
  /// A zone: records by name and kind; any other question has no records.
  private func resolve(
    _ name: String, _ zone: [DNSQuestion: [DNSAnswer.Record]], failing: Set<DNSQuestion> = [],
    code: UInt8 = 2, silent: Bool = false, hosts: [String: [IPAddress]] = [:]
  ) -> TrunkResolution.Answer? {
    guard let trunk = TrunkName(name) else { return nil }
    return TrunkResolution([trunk], hosts: hosts) { questions in
      if silent { return [:] }
      return Dictionary(
        uniqueKeysWithValues: questions.map {
          (
            $0,
            DNSAnswer(
              records: zone[$0] ?? [], isTruncated: false, code: failing.contains($0) ? code : 0)
          )
        })
    }.answers[trunk]
  }

  private let zone: [DNSQuestion: [DNSAnswer.Record]] = [
    DNSQuestion("carrier.example", .naptr): [
      .rule(flags: "s", service: "SIP+D2U", replacement: "_sip._udp.pool.example"),
      .rule(flags: "s", service: "E2U+mail", replacement: "_smtp._tcp.carrier.example"),
    ],
    DNSQuestion("_sip._udp.pool.example", .srv): [
      .service(host: "a.pool.example", port: 5060), .service(host: "b.pool.example", port: 5070),
    ],
    DNSQuestion("_sips._tcp.carrier.example", .srv): [.service(host: "tls.example", port: 5061)],
    DNSQuestion("a.pool.example", .a): [.address(address("198.51.100.10"))],
    DNSQuestion("b.pool.example", .aaaa): [.address(address("2001:db8::10"))],
    DNSQuestion("tls.example", .a): [.address(address("198.51.100.11"))],
    DNSQuestion("carrier.example", .a): [.address(address("198.51.100.12"))],
  ]

  @Test("All addresses that NAPTR, SRV, A and AAAA lead to are the trunk's")
  func chain() {
    let answer = resolve("carrier.example", zone)
    #expect(
      answer?.addresses.map(\.description) == [
        "198.51.100.10", "198.51.100.11", "198.51.100.12", "2001:db8::10",
      ])
    #expect(answer?.gap == nil)
    // A port names the server: no service is looked for (RFC 3263, 4.2).
    #expect(
      resolve("carrier.example:5080", zone)?.addresses.map(\.description) == ["198.51.100.12"])
    #expect(resolve("[2001:db8::1]:5060", [:])?.addresses == [address("2001:db8::1")])
  }

  @Test("Silence, failure and a name without addresses are gaps; kinds a server refuses are not")
  func gaps() {
    #expect(resolve("carrier.example", zone, silent: true)?.gap == "no name server answered")
    let target: Set = [DNSQuestion("a.pool.example", .a)]
    #expect(resolve("carrier.example", zone, failing: target)?.gap != nil)
    let rules: Set = [DNSQuestion("carrier.example", .naptr)]
    #expect(resolve("carrier.example", zone, failing: rules, code: 4)?.gap == nil)
    #expect(resolve("carrier.example", zone, failing: rules, code: 2)?.gap != nil)
    #expect(resolve("nowhere.example", zone)?.gap != nil)
    let many = (0...100).map { DNSAnswer.Record.service(host: "h\($0).example", port: 5060) }
    #expect(
      resolve("x.example", [DNSQuestion("_sip._udp.x.example", .srv): many])?.gap?
        .contains("more than") == true)
  }

  @Test("/etc/hosts is an answer of its own, without any name server")
  func hosts() {
    let hosts = HostsFile.addresses("192.0.2.9 PBX2 pbx2.example # partner\nbroken x\n::1 x")
    let answer = resolve("pbx2.example", [:], silent: true, hosts: hosts)
    #expect(answer?.addresses == [address("192.0.2.9")] && answer?.gap == nil)
  }

  @Test(
    "What is neither a name nor an address is refused",
    arguments: [
      "", "a..b", "-a.example", "192.0.2.300", "1.2.3", "a b", "a:0", "a:65536", "a:b:c",
      "é.example",
      "$(x)", "a\nb", "[::1", "[::1]:99999", String(repeating: "a", count: 64),
    ])
  func badNames(text: String) { #expect(TrunkName(text) == nil) }

  @Test("The last answer is remembered, used with its age when nobody answers, and never invented")
  func remembered() async throws {
    let folder = FileManager.default.temporaryDirectory.path + "/sipleak-names-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let state = FilePath(folder)
    var sources = TrustSources()
    sources.trunks = [try #require(TrunkName("carrier.invalid"))]
    // Nobody listens on the discard port of the loopback.
    let nobody = DNSClient(endpoints: [])
    var policy = try await sources.policy(state: state, client: nobody)
    #expect(policy.gaps.map(\.subject) == ["--trunk carrier.invalid"] && policy.trusted.isEmpty)
    var names = RememberedNames()
    names.names["carrier.invalid"] = RememberedNames.Entry(
      time: Date().timeIntervalSince1970 - 7200, addresses: [address("198.51.100.10")])
    try names.save(in: state)
    policy = try await sources.policy(state: state, client: nobody)
    #expect(policy.gaps.isEmpty && policy.trusted.contains(address("198.51.100.10")))
    #expect(policy.notes.contains { $0.contains("its last answer is used") })
    // A file that is not ours to understand is left as it is.
    let file = folder + "/names.json"
    try #require(FileManager.default.createFile(atPath: file, contents: Data("{".utf8)))
    policy = try await sources.policy(state: state, client: nobody)
    #expect(!policy.gaps.isEmpty && !policy.notes.isEmpty)
    #expect(FileManager.default.contents(atPath: file) == Data("{".utf8))
  }
}
