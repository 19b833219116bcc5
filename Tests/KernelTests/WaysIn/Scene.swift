import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

/// A backend and a family to try a way in on.
struct Ground: Sendable, CustomTestStringConvertible {
  var backend: Backend
  var family: AddressFamily

  static let all = [Backend.nft, .legacy].flatMap { backend in
    AddressFamily.allCases.map { Ground(backend: backend, family: $0) }
  }
  /// For what only IPv4 has.
  static let ipv4 = all.filter { $0.family == .ipv4 }

  var testDescription: String { "\(backend.rawValue) \(family == .ipv4 ? "IPv4" : "IPv6")" }

  /// The tool that changes single rules.
  var tool: String { "\(family == .ipv4 ? "iptables" : "ip6tables")-\(backend.rawValue)" }
}

/// The lab on one ground, with the reference ruleset loaded: a carrier that is allowed and an
/// attacker who is not.
struct Scene {
  let lab: Lab
  let ground: Ground

  var family: AddressFamily { ground.family }
  var pbx: Endpoint { Endpoint(lab.pbx.address(family), 5060) }
  /// The PBX's address in the attacker's network.
  var second: IPAddress {
    family == .ipv4
      ? IPAddress(ipv4: 0xcb00_7101)
      : IPAddress(family: .ipv6, bits: 0x2001_0db8_000a_0000_0000_0000_0000_0001)
  }
  /// An address as `-s` and `-d` take it, and as `--to-destination` takes it with a port.
  func bracketed(_ address: IPAddress) -> String {
    address.family == .ipv4 ? "\(address)" : "[\(address)]"
  }
  var attacker: IPAddress { lab.attacker.address(family) }
  var carrier: IPAddress { lab.carrier.address(family) }
  var wildcard: IPAddress { IPAddress(family: family, bits: 0) }
  var access: HostAccess { HostAccess(lab.pbx.namespace) }

  /// Where the allow rule of ``whileAllowed(_:body:)`` goes: behind the state rule.
  static let place = 4

  static func with<R>(
    _ ground: Ground, rules: String? = nil, _ body: (Scene) async throws -> R
  ) async throws -> R {
    try await Lab.with { lab in
      let scene = Scene(lab: lab, ground: ground)
      try await scene.load(rules ?? ReferenceRuleset.text(ground.family))
      return try await body(scene)
    }
  }

  /// Loads whole tables on this ground.
  func load(_ text: String) async throws {
    try await lab.pbx.run(["\(ground.tool)-restore"], input: text)
  }

  /// Every rule and every user's chain, counters aside; a table made empty stays in the legacy kernel.
  func saved() async throws -> [Substring] {
    try await lab.pbx.run(["\(ground.tool)-save"]).output.split(separator: "\n").filter {
      $0.hasPrefix("-A ") || $0.contains(" - [")
    }
  }

  /// Runs the tool of this ground with arguments that are parted by blanks.
  func rule(_ words: String) async throws {
    try await lab.pbx.run([ground.tool] + words.split(separator: " ").map(String.init))
  }

  /// Allows something for as long as a closure runs: an allowlist that is narrowed afterwards.
  func whileAllowed(
    _ match: String, chain: String = "INPUT", _ body: () async throws -> Void
  ) async throws {
    try await rule("-I \(chain) \(chain == "INPUT" ? Self.place : 1) \(match) -j ACCEPT")
    try await body()
    try await rule("-D \(chain) \(match) -j ACCEPT")
  }

  /// What lets the attacker in by UDP 5060 as INPUT sees it.
  var attackersRule: String { "-s \(attacker) -p udp --dport 5060" }

  func observe(_ endpoints: SIPLeak.SIPEndpoints = .init()) async throws -> Observation {
    try await Observation.live(endpoints, access: access)
  }

  func audit(
    trusted: [IPAddress] = [], _ endpoints: SIPLeak.SIPEndpoints = .init()
  ) async throws -> Audit {
    let policy = AuditPolicy(trusted: PrefixSet(trusted.map { IPPrefix($0) }))
    let audit = Audit(try await observe(endpoints), policy: policy)
    #expect(audit.isComplete, "\(audit.problems)")
    return audit
  }

  /// A server on the PBX; at its first address unless told otherwise.
  func serve(
    at address: IPAddress? = nil, port: UInt16 = 5060, behavior: SIPServer.Behavior = .init()
  ) throws -> SIPServer {
    try SIPServer.start(
      on: lab.pbx, address: address ?? pbx.address, port: port, behavior: behavior)
  }

  func client(_ host: LabHost, port: UInt16 = 24376) throws -> SIPClient {
    try SIPClient.open(on: host, address: host.address(family), port: port)
  }

  /// Plans every leak's block and applies it, as `sipleak block --apply` does.
  func block(
    _ request: BlockRequest = .init(), _ endpoints: SIPLeak.SIPEndpoints = .init()
  ) async throws -> (plan: BlockPlan, outcome: Enforcement.Outcome) {
    let before = try await observe(endpoints)
    let plan = BlockPlan(
      request, audit: Audit(before), observation: before, policy: AuditPolicy())
    #expect(plan.obstacles == [])
    let outcome = try await Enforcement(access: access, verifyAfter: 0.2).apply(
      plan, before: before, policy: AuditPolicy()
    ) { _ in }
    return (plan, outcome)
  }

  /// Proves with real packets that a peer is in: the server counts one more for each request.
  func expectIn(
    _ client: SIPClient, at end: Endpoint, _ server: SIPServer, requests: Int = 2,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let before = server.count(from: client.local.address)
    for _ in 0..<requests { _ = try await client.request(to: end, within: .milliseconds(300)) }
    let came = await server.received(before + requests, from: client.local.address)
    #expect(came, "the packets do not reach the server", sourceLocation: sourceLocation)
  }

  /// Proves with real packets that a peer is out: the server counts nothing.
  func expectOut(
    _ client: SIPClient, at end: Endpoint, _ server: SIPServer,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    // What others sent may still wait to be read.
    func count() -> Int { server.received.count { $0.source == client.local } }
    await server.settle()
    let before = count()
    let answer = try await client.request(to: end, within: .milliseconds(200))
    #expect(!answer.isAnswered, sourceLocation: sourceLocation)
    await server.settle()
    #expect(count() == before, sourceLocation: sourceLocation)
  }
}

extension Audit {
  /// The findings about one peer.
  func findings(of peer: IPAddress) -> [Finding] { findings.filter { $0.peer?.address == peer } }
}

extension Finding {
  /// Whether it is the plain leak: both verdicts certain, refused as NEW by the last rule of a
  /// chain, accepted as held by its state rule, with the evidence that belongs to it.
  func expectBypass(
    _ scene: Scene, from client: Endpoint, wire: Endpoint, delivered: Endpoint? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(cause == .establishedBypass, "\(why)", sourceLocation: sourceLocation)
    #expect(level == .leak, sourceLocation: sourceLocation)
    #expect(grade == .established || grade == .assured, sourceLocation: sourceLocation)
    #expect(origin == .peer, sourceLocation: sourceLocation)
    #expect(peer == client, sourceLocation: sourceLocation)
    #expect(self.wire == wire, sourceLocation: sourceLocation)
    #expect(self.delivered == delivered ?? wire, sourceLocation: sourceLocation)
    #expect(isTranslated == (delivered != nil && delivered != wire), sourceLocation: sourceLocation)
    #expect(asNew.isCertain && asNew.verdict.isRefused, sourceLocation: sourceLocation)
    #expect(asHeld.isCertain && asHeld.verdict == .accept, sourceLocation: sourceLocation)
    #expect(asHeld.rule?.text.contains("ESTABLISHED") == true, sourceLocation: sourceLocation)
    #expect(asHeld.rule?.backend == scene.ground.backend, sourceLocation: sourceLocation)
    #expect((asHeld.rule?.counters?.packets ?? 0) > 0, sourceLocation: sourceLocation)
    #expect(flow?.original.source == client.address, sourceLocation: sourceLocation)
  }
}
