import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import SystemPackage
import Testing

/// What the kernel tests of audit and block share: a lab with the leak in it.
struct LeakyLab {
  let lab: Lab
  let family: AddressFamily
  let server: SIPServer
  let carrier: SIPClient
  let attacker: SIPClient

  var access: HostAccess { HostAccess(lab.pbx.namespace) }

  /// A lab whose firewall was reloaded carelessly while the attacker sent.
  static func with<R>(
    _ family: AddressFamily = .ipv4, behavior: SIPServer.Behavior = .init(),
    _ body: (LeakyLab) async throws -> R
  ) async throws -> R {
    try await Lab.with { lab in
      try await lab.pbx.loadReferenceRuleset()
      let server = try SIPServer.start(
        on: lab.pbx, address: lab.pbx.address(family), behavior: behavior)
      let carrier = try SIPClient.open(
        on: lab.carrier, address: lab.carrier.address(family), port: 5060)
      let attacker = try SIPClient.open(on: lab.attacker, address: lab.attacker.address(family))
      let it = LeakyLab(
        lab: lab, family: family, server: server, carrier: carrier, attacker: attacker)
      #expect(try await carrier.request(to: server.local).isAnswered)
      #expect(try await attacker.request(to: server.local).isAnswered == false)
      try await lab.pbx.carelessReload(family: family) {
        let answer = try await attacker.request(to: server.local)
        #expect(answer.isAnswered)
      }
      #expect(try await attacker.request(to: server.local).isAnswered)
      return try await body(it)
    }
  }

  func observe(sample interval: Double? = nil) async throws -> Observation {
    try await Observation.live(SIPLeak.SIPEndpoints(), interval: interval, access: access)
  }

  func plan(_ request: BlockRequest = BlockRequest()) async throws -> (BlockPlan, Observation) {
    let observation = try await observe()
    let plan = BlockPlan(
      request, audit: Audit(observation), observation: observation, policy: AuditPolicy())
    return (plan, observation)
  }

  /// Applies what is planned and returns what came of it.
  func block(_ request: BlockRequest = BlockRequest()) async throws -> Enforcement.Outcome {
    let (plan, observation) = try await plan(request)
    #expect(plan.obstacles == [])
    return try await Enforcement(access: access, verifyAfter: 0.2).apply(
      plan, before: observation, policy: AuditPolicy()
    ) { _ in }
  }

  func save(_ tool: String = "iptables-save") async throws -> String {
    try await lab.pbx.run([tool]).output.split(separator: "\n")
      .filter { !$0.hasPrefix("#") }
      .map { line in
        // A policy's counters move with every packet.
        line.hasPrefix(":") ? line.split(separator: "[")[0] : line
      }.joined(separator: "\n")
  }
}

extension Kernel {
  @Suite struct Audits {
    @Test(
      "A leak is found with both verdicts, their rules and counters",
      arguments: AddressFamily.allCases)
    func leak(family: AddressFamily) async throws {
      try await LeakyLab.with(family) { leaky in
        // Anew, and answered once only: a third packet could make it ASSURED (facts B2).
        try await leaky.lab.pbx.run([
          "conntrack", "-D", "-f", family == .ipv4 ? "ipv4" : "ipv6", "-p", "udp",
          "--orig-port-src", "\(leaky.attacker.local.port)",
        ])
        try await leaky.lab.pbx.carelessReload(family: family) {
          let answer = try await leaky.attacker.request(to: leaky.server.local)
          #expect(answer.isAnswered)
        }
        let audit = Audit(try await leaky.observe())
        let finding = try #require(audit.findings.first)
        #expect(audit.findings.count == 1)
        #expect(audit.isComplete, "\(audit.problems)")
        #expect(finding.cause == .establishedBypass)
        // Not ASSURED yet, and in all the same (facts B3).
        #expect(finding.grade == .established)
        #expect(finding.family == family)
        #expect(finding.peer == leaky.attacker.local)
        #expect(finding.wire == leaky.server.local)
        #expect(finding.asNew.verdict == .reject)
        #expect(finding.asNew.rule?.chain == "INPUT")
        #expect(finding.asNew.rule?.index == 8)
        #expect(finding.asHeld.verdict == .accept)
        #expect(finding.asHeld.rule?.index == 3)
        #expect(finding.isBlockable, "\(finding.notBlockableBecause ?? "")")
        #expect(audit.exitStatus == 2)
        // Any packet more than two seconds after the first.
        var later: Finding?
        #expect(
          try await eventually {
            let answer = try await leaky.attacker.request(to: leaky.server.local)
            later = Audit(try await leaky.observe()).findings.first
            return answer.isAnswered && later?.grade == .assured
          })
        // The reload set its counters to nothing; these packets it let in.
        #expect((later?.asHeld.rule?.counters?.packets ?? 0) > 0)
      }
    }

    @Test(
      "Two readings show the bypass: packets in the flow, at the state rule, none at the SIP rules")
    func sample() async throws {
      try await LeakyLab.with { leaky in
        leaky.attacker.keepSending(every: .milliseconds(10), to: leaky.server.local)
        let observation = try await leaky.observe(sample: 1)
        leaky.attacker.stopSending()
        let increments = try #require(Audit(observation).findings.first?.increments)
        let inFlow = try #require(increments.flowPackets)
        let atStateRule = try #require(increments.stateRule?.packets)
        // A hundred where nothing else is to be done.
        #expect(inFlow > 0)
        #expect(atStateRule > 0)
        #expect(increments.sipRules.map(\.packets) == [0, 0])
        #expect(increments.refusingRule?.packets == 0)
        #expect(increments.isAlive == true)
      }
    }

    @Test("A flow the PBX opened is host-opened, and a search by destination port misses it")
    func hostOpened() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx)
        let lured = Endpoint(lab.other.address4, 33333)
        try server.send(to: lured)
        let access = HostAccess(lab.pbx.namespace)
        let observation = try await Observation.live(SIPLeak.SIPEndpoints(), access: access)
        let finding = try #require(Audit(observation).findings.first)
        #expect(finding.cause == .hostOpened)
        #expect(finding.level == .look)
        #expect(finding.grade == .latent)
        #expect(finding.peer == lured)
        let search = try await lab.pbx.run(
          ["conntrack", "-L", "-p", "udp", "--orig-port-dst", "5060"])
        #expect(search.output.isEmpty)
        #expect(Audit(observation).exitStatus == 1)
        // Latent means that the very first packet of the peer passes.
        let other = try SIPClient.open(on: lab.other, port: 33333)
        #expect(try await other.request(to: server.local).isAnswered)
      }
    }

    @Test("Phones, media, the carrier and whoever is refused are no findings")
    func noFindings() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx)
        let media = try SIPServer.start(on: lab.pbx, port: 16384)
        let carrier = try SIPClient.open(on: lab.carrier, port: 5060)
        let phone = try SIPClient.open(on: lab.other, port: 5060)
        let attacker = try SIPClient.open(on: lab.attacker)
        #expect(try await carrier.request(to: server.local).isAnswered)
        #expect(try await phone.request(to: media.local).isAnswered)
        #expect(try await attacker.request(to: server.local).isAnswered == false)
        let observation = try await Observation.live(
          SIPLeak.SIPEndpoints(), access: HostAccess(lab.pbx.namespace))
        #expect(observation.sample.flows.count >= 2)
        let audit = Audit(observation)
        #expect(audit.findings.map(\.why) == [])
        #expect(audit.exitStatus == 0)
        #expect(audit.sipFlowCount == 1)
      }
    }

    @Test("An empty table, rules without a state rule and an open host get three answers")
    func threeAnswers() async throws {
      try await Lab.with { lab in
        let access = HostAccess(lab.pbx.namespace)
        func audit() async throws -> Audit {
          Audit(try await Observation.live(SIPLeak.SIPEndpoints(), access: access))
        }
        try await lab.pbx.loadReferenceRuleset()
        var answer = try await audit()
        #expect(answer.findings.isEmpty)
        #expect(answer.sipFlowCount == 0)
        #expect(answer.exitStatus == 0)

        // Each packet is judged by itself: a flow that stands helps nobody.
        let server = try SIPServer.start(on: lab.pbx)
        let attacker = try SIPClient.open(on: lab.attacker)
        let stateless =
          ReferenceRuleset.filter(.ipv4).split(separator: "\n")
          .filter { !$0.contains("ESTABLISHED") }.joined(separator: "\n") + "\n"
        try await lab.pbx.carelessReload(stateless) {
          let answer = try await attacker.request(to: server.local)
          #expect(answer.isAnswered)
        }
        #expect(try await attacker.request(to: server.local).isAnswered == false)
        answer = try await audit()
        #expect(answer.findings.isEmpty)
        #expect(answer.sipFlowCount == 1)

        for tool in ["iptables", "ip6tables"] {
          try await lab.pbx.run([tool, "-F"])
          try await lab.pbx.run([tool, "-t", "nat", "-F"])
        }
        #expect(try await attacker.request(to: server.local).isAnswered)
        answer = try await audit()
        #expect(answer.findings.map(\.cause) == [.unfiltered])
        #expect(answer.exitStatus == 1)
      }
    }

    @Test("Saved files give the findings they gave live")
    func saved() async throws {
      try await LeakyLab.with { leaky in
        let live = try await leaky.observe(sample: 0.2)
        let folder = FilePath("/run/sipleak-observation")
        try ObservationFiles.save(live, to: folder)
        let loaded = try ObservationFiles.load(folder)
        #expect(Audit(loaded).findings == Audit(live).findings)
        #expect(Audit(loaded).blindSpots == Audit(live).blindSpots)
      }
    }
  }
}
