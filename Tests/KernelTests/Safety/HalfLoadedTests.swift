import Addressing
import Firewall
import Lab
import SIPLeak
import SystemPackage
import Testing

extension Kernel {
  /// Runs that nobody watches, on a firewall that is not all there.
  @Suite struct HalfLoaded {
    /// A trunk with a flow, on a firewall whose every state is read.
    private struct Trunk {
      let scene: Scene
      let server: SIPServer
      let client: SIPClient
      /// Who was welcome before, as the history has it.
      let welcome: Set<IPAddress>

      static func with(
        _ ground: Ground, rules: String? = nil, prepare: (Scene) async throws -> Void = { _ in },
        _ body: (Trunk) async throws -> Void
      ) async throws {
        try await Lab.with { lab in
          let scene = Scene(lab: lab, ground: ground)
          try await prepare(scene)
          try await scene.load(rules ?? ReferenceRuleset.text(ground.family))
          let server = try scene.serve()
          let client = try scene.client(lab.carrier, port: 5060)
          try await scene.expectIn(client, at: scene.pbx, server)
          // An audit from cron, while all was well.
          let folder = FilePath("/run/sipleak-half-loaded")
          try await lab.pbx.run(["rm", "-rf", folder.string])
          let audit = try await scene.audit()
          let now = try await scene.observe().sample.time
          let history = try History.open(in: folder)
          try history.record(audit.findings, admitted: audit.admitted, at: now - 3600)
          let welcome = try history.notes(at: now).welcome
          #expect(welcome == [scene.carrier])
          try await body(
            Trunk(scene: scene, server: server, client: client, welcome: welcome))
        }
      }

      /// Whether the trunk would be blocked unattended by two readings.
      func isBlocked(
        _ first: Observation, _ second: Observation, welcome: Set<IPAddress>
      ) -> Bool {
        var both = second
        both.earlier = first.sample
        let plan = BlockPlan(
          BlockRequest(limits: BlockLimits(perRun: 20, welcome: welcome)), audit: Audit(both),
          observation: both, policy: AuditPolicy())
        return plan.entries.contains { $0.address == scene.carrier }
      }

      /// Judges readings in every way two unattended ones can fall.
      ///
      /// - Returns: In how many of them both readings show the same state, and only who was welcome
      ///   before keeps the trunk.
      func judge(_ readings: [Observation]) -> Int {
        var saved = 0
        for (index, reading) in readings.enumerated() {
          // Both in one state: it stood half-loaded for more than a minute.
          if isBlocked(reading, reading, welcome: []) { saved += 1 }
          #expect(!isBlocked(reading, reading, welcome: welcome), "at \(index)")
          for other in readings.indices where other != index {
            let isSame =
              Set(readings[other].sample.firewall.snapshot.texts)
              == Set(reading.sample.firewall.snapshot.texts)
            if !isSame {
              #expect(!isBlocked(readings[other], reading, welcome: []), "\(other), then \(index)")
            }
            #expect(
              !isBlocked(readings[other], reading, welcome: welcome), "\(other), then \(index)")
          }
        }
        return saved
      }
    }

    @Test("At no two points of a reload line by line is a trunk blocked", arguments: Ground.all)
    func reload(ground: Ground) async throws {
      try await Trunk.with(ground) { trunk in
        let scene = trunk.scene
        let lines = ReferenceRuleset.filter(ground.family).split(separator: "\n")
          .filter { $0.hasPrefix("-A") }
        var readings = [try await scene.observe()]
        try await scene.rule("-F")
        readings.append(try await scene.observe())
        for rule in lines {
          try await scene.lab.pbx.run(
            ["\(ground.tool)-restore", "--noflush"], input: "*filter\n\(rule)\nCOMMIT\n")
          readings.append(try await scene.observe())
        }
        // The trunk's flow is there all the time, and its packets come in.
        try await scene.expectIn(trunk.client, at: scene.pbx, trunk.server)
        // A firewall that drops by its policy looks worst: the state rule stands, the others do not.
        try await scene.rule("-P INPUT DROP")
        try await scene.rule("-F")
        for rule in lines {
          try await scene.lab.pbx.run(
            ["\(ground.tool)-restore", "--noflush"], input: "*filter\n\(rule)\nCOMMIT\n")
          readings.append(try await scene.observe())
        }
        let saved = trunk.judge(readings)
        // Else the test could not fail.
        #expect(saved >= 2, "\(saved)")
      }
    }

    @Test("With no name server at load, the rules with names are missing, and no trunk is blocked")
    func namesMissing() async throws {
      try await Trunk.with(Ground(backend: .nft, family: .ipv4)) { trunk in
        let scene = trunk.scene
        let lines = ReferenceRuleset.filter(.ipv4).split(separator: "\n").map(String.init)
        let named = lines.map {
          $0.contains("from carrier")
            ? $0.replacing("198.51.100.0/24", with: "sip.carrier.invalid") : $0
        }
        var readings = [try await scene.observe()]
        try await scene.rule("-F")
        for rule in named where rule.hasPrefix("-A") {
          let result = try await scene.lab.pbx.attempt(
            ["iptables-restore", "--noflush"], input: "*filter\n\(rule)\nCOMMIT\n")
          #expect((result.status == 0) == !rule.contains("invalid"), "\(rule): \(result)")
        }
        for _ in 0..<2 { readings.append(try await scene.observe()) }
        #expect(trunk.judge(readings) == 2)
      }
    }

    @Test("An allow-set that is flushed for a moment gets no trunk blocked", arguments: Ground.ipv4)
    func flushedSet(ground: Ground) async throws {
      let rules = ReferenceRuleset.text(.ipv4).replacing(
        "-s 198.51.100.0/24", with: "-m set --match-set trunks src")
      func prepare(_ scene: Scene) async throws {
        try await scene.lab.pbx.run(["ipset", "create", "trunks", "hash:net"])
        try await scene.lab.pbx.run(["ipset", "add", "trunks", "198.51.100.0/24"])
      }
      try await Trunk.with(ground, rules: rules, prepare: prepare) { trunk in
        let scene = trunk.scene
        var readings = [try await scene.observe()]
        try await scene.lab.pbx.run(["ipset", "flush", "trunks"])
        for _ in 0..<2 { readings.append(try await scene.observe()) }
        try await scene.lab.pbx.run(["ipset", "add", "trunks", "198.51.100.0/24"])
        readings.append(try await scene.observe())
        #expect(trunk.judge(readings) == 2)
      }
    }
  }
}

extension FirewallSnapshot {
  /// Every policy, rule and set member, to tell two states apart.
  fileprivate var texts: [String] {
    rulesets.flatMap { ruleset in
      ruleset.tables.flatMap { table in
        table.chains.flatMap { chain in
          ["\(ruleset.family) \(chain.name) \(chain.policy ?? "-")"]
            + chain.rules.map { "\(ruleset.family) \($0.text)" }
        }
      }
    } + (sets ?? []).flatMap { set in set.entries.map { "\(set.name) \($0.element)" } }
  }
}
