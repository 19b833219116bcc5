import Addressing
import Conntrack
import Firewall
import Glibc
import HostNetwork
import TestSupport
import Testing

@testable import SIPLeak

/// What must hold of every plan, whatever the firewall, the flows and the protected are.
@Suite("Plans for random firewalls") struct PlanPropertyTests {
  /// How many firewalls; `SIPLEAK_SAFETY_SEEDS` makes it more.
  private static var seeds: UInt64 {
    unsafe getenv("SIPLEAK_SAFETY_SEEDS").flatMap { unsafe UInt64(String(cString: $0)) } ?? 150
  }

  /// A random firewall with flows, as the text of a host.
  private struct Case {
    var model: PlanModel
    var scenario: FirewallScenario
    var flows: [Flow] = []
    var policy: AuditPolicy
    var protected: Set<IPAddress> = []
    var request: BlockRequest

    init?(seed: UInt64) throws {
      var random = SeededGenerator(seed: seed &* 0x9e37_79b9 &+ 5)
      func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
      scenario = RandomFirewall(seed: seed).scenario
      model = PlanModel(family: scenario.family)
      model.otherSets = scenario.setText
      for (backend, text) in scenario.saves.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
        try model.restore(text, backend)
        // Random rules seldom refuse; what leaks are made of is put around them.
        guard chance(85) else { continue }
        let place = PlanModel.Place(backend: backend, table: "filter")
        for at in model.tables[place]?.indices ?? 0..<0
        where ["INPUT", "FORWARD"].contains(model.tables[place]?[at].name) {
          if chance(60) { model.tables[place]?[at].rules.removeAll { !$0.contains("-s ") } }
          let state = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
          model.tables[place]?[at].rules.insert(state, at: 0)
          model.tables[place]?[at].rules.append("-j DROP")
        }
        if chance(50) {
          for table in ["raw", "mangle", "nat"] {
            model.tables[PlanModel.Place(backend: backend, table: table)] = nil
          }
        }
      }
      let sources = Array(Set(scenario.packets.map(\.packet.source))).sorted()
      let chosen = sources.filter { _ in chance(25) }
      protected = Set(chosen)
      policy = AuditPolicy(
        trusted: PrefixSet(chosen.prefix(1).map { IPPrefix($0) }),
        protected: PrefixSet(chosen.dropFirst().map { IPPrefix($0) }))
      request = BlockRequest(
        named: chance(40) ? sources.filter { _ in chance(50) } : [],
        place: chance(70) ? .raw : .beforeStateRule)
      for (number, sent) in scenario.packets.enumerated() {
        let packet = sent.packet
        guard packet.transport == .udp || packet.transport == .tcp,
          let from = packet.sourcePort
        else { continue }
        let original = FlowTuple(
          source: packet.source, destination: packet.destination, transport: packet.transport,
          sourcePort: from, destinationPort: chance(80) ? 5060 : 7000)
        let isOurs = chance(15)
        var flow = Flow(
          original: isOurs ? original.inverted : original,
          reply: isOurs ? original : original.inverted,
          status: chance(80) ? [.confirmed, .seenReply, .assured] : [.confirmed],
          id: UInt32(number + 1))
        flow.timeout = 100
        flows.append(flow)
      }
    }

    func observation(_ model: PlanModel, flows: [Flow]) throws -> Observation {
      var host = SavedHost()
      host.network = NetworkFacts(
        addresses: FirewallScenario.localAddresses.map {
          LocalAddress(
            address: $0, prefixLength: $0.family == .ipv4 ? 24 : 64,
            interface: $0.isLoopback ? "lo" : "ev0")
        },
        interfaces: ["lo", "ev0", "ev2"].enumerated().map {
          Interface(name: $1, index: UInt32($0 + 1), isUp: true, isLoopback: $1 == "lo")
        })
      host.flows = flows
      host.isInterfaceCertain = false
      var observation = try host.observation(
        endpoints: SIPEndpoints(udpPorts: [5060, 7000], tcpPorts: [5060]))
      observation.sample.firewall = try FirewallHost.reading(files: model.files)
      observation.sample.firewall.snapshot.localAddresses = FirewallScenario.localAddresses
      observation.sample.firewall.snapshot.interfaceAddresses =
        observation.network.addressesByInterface
      return observation
    }

    func plan(_ observation: Observation, _ request: BlockRequest? = nil) -> BlockPlan {
      BlockPlan(
        request ?? self.request, audit: Audit(observation, policy: policy),
        observation: observation, policy: policy)
    }
  }

  @Test(
    "Nobody else's fate changes, nobody admitted is blocked, twice is once, and undo restores",
    arguments: [OwnBlock.Holder.set, .rules])
  func properties(holder: OwnBlock.Holder) async throws {
    let isPlain = holder == .rules
    var plans = 0
    var inFilter = 0
    var walks = 0
    for seed in 0..<Self.seeds {
      // Others wait for packets, and want their turn.
      await Task.yield()
      guard var it = try Case(seed: seed) else { continue }
      it.request.isPlain = isPlain
      let before = try it.observation(it.model, flows: it.flows)
      let plan = it.plan(before)
      guard !plan.isEmpty else { continue }
      plans += 1
      if plan.request.place == .beforeStateRule { inFilter += 1 }
      let blocked = Set(plan.entries.map(\.address))
      #expect(blocked.isDisjoint(with: it.protected), "seed \(seed)")
      var was = RepeatedEvaluation(Evaluation(before.sample.firewall.snapshot))
      expectRefused(blocked, &was, "seed \(seed)")

      var applied = it.model
      try applied.restoreSets(plan.setText)
      for rules in plan.rules { try applied.restore(rules.text, rules.backend) }
      let after = try it.observation(applied, flows: [])
      var rules = RepeatedEvaluation(Evaluation(after.sample.firewall.snapshot))
      walks += expectSame(it, blocked, &was, &rules, "seed \(seed)")

      // Once more: nothing to write but the same members.
      if plan.request.place == .raw {
        let again = Placement(
          plan.request, snapshot: after.sample.firewall.snapshot, audit: Audit(after),
          entries: plan.entries,
          standing: StandingRules(
            after.sample.firewall.snapshot, at: after.sample.time, isPlain: isPlain))
        #expect(again.rules.isEmpty, "seed \(seed): \(again.rules)")
        #expect(again.obstacles == [], "seed \(seed)")
      }
      #expect(it.plan(after, BlockRequest(isPlain: isPlain)).rules.isEmpty, "seed \(seed)")
      var twice = applied
      try twice.restoreSets(plan.setText)
      #expect(twice == applied, "seed \(seed)")

      if isPlain {
        walks += try expectMoved(it, applied, after, plan, &rules, "seed \(seed)")
      } else {
        #expect(after.sample.firewall.snapshot.plainRules.isEmpty, "seed \(seed)")
      }

      // The undo of a failed apply, and a purge.
      var undone = applied
      for rules in plan.rules.reversed() { try undone.restore(rules.undo, rules.backend) }
      dropMarks(&undone, plan.rules.filter(\.makesTable).map { ($0.backend, $0.table) })
      for text in plan.setUndo(before: before.sample.firewall.snapshot) {
        try undone.restoreSets(text)
      }
      #expect(undone.essence == it.model.essence, "seed \(seed)")
      #expect(undone.members == it.model.members, "seed \(seed)")
      var purged = applied
      let purge = RemovalPlan(.purge, snapshot: after.sample.firewall.snapshot)
      for rules in purge.rules { try purged.restore(rules.text, rules.backend) }
      dropMarks(&purged, purge.tables.map { ($0.backend, $0.name) })
      try purged.restoreSets(purge.setText)
      #expect(purged.essence == it.model.essence, "seed \(seed)")
      #expect(purged.members == it.model.members, "seed \(seed)")
    }
    // Else nothing was tried.
    #expect(plans >= Self.seeds / 10 && inFilter > 0, "\(plans) plans, \(inFilter) in filter")
    #expect(walks > plans * 5)
    print("properties: \(Self.seeds) firewalls, \(plans) plans, \(walks) certain verdicts compared")
  }

  /// Once there are sets, what was blocked by rules moves into them, and nobody's fate changes.
  private func expectMoved(
    _ it: Case, _ applied: PlanModel, _ after: Observation, _ plan: BlockPlan,
    _ rules: inout RepeatedEvaluation, _ name: String
  ) throws -> Int {
    let move = it.plan(after, BlockRequest())
    #expect(
      move.moved.map(\.element).sorted() == plan.entries.map(\.element).sorted(), "\(name)")
    var moved = applied
    try moved.restoreSets(move.setText)
    for rules in move.rules { try moved.restore(rules.text, rules.backend) }
    let now = try it.observation(moved, flows: [])
    #expect(now.sample.firewall.snapshot.plainRules.isEmpty, "\(name)")
    #expect(it.plan(now, BlockRequest()).isEmpty, "\(name)")
    var then = RepeatedEvaluation(Evaluation(now.sample.firewall.snapshot))
    // Everybody: whoever was blocked still is.
    let count = expectSame(it, [], &rules, &then, "\(name), moved")
    var purged = moved
    let purge = RemovalPlan(.purge, snapshot: now.sample.firewall.snapshot)
    for rules in purge.rules { try purged.restore(rules.text, rules.backend) }
    dropMarks(&purged, purge.tables.map { ($0.backend, $0.name) })
    try purged.restoreSets(purge.setText)
    #expect(purged.essence == it.model.essence, "\(name), moved")
    #expect(purged.members == it.model.members, "\(name), moved")
    return count
  }

  /// The chain that marks a table as ours goes with the table.
  private func dropMarks(_ model: inout PlanModel, _ made: [(Backend, String)]) {
    for (backend, table) in made {
      let place = PlanModel.Place(backend: backend, table: table)
      model.tables[place]?.removeAll { chain in
        chain.name == "SIPLEAK" && chain.rules.allSatisfy { $0.contains("\"sipleak: ") }
      }
    }
  }

  /// Whoever is blocked was refused as NEW from every port tried, by every interface.
  private func expectRefused(
    _ blocked: Set<IPAddress>, _ rules: inout RepeatedEvaluation, _ name: String
  ) {
    for peer in blocked {
      for local in FirewallScenario.localAddresses
      where local.family == peer.family && !local.isLoopback {
        for port in [53, 1023, 5060, 24376, 40000] as [UInt16] {
          for way in ["ev0", "ev2"] {
            let packet = Packet(
              transport: .udp, source: peer, destination: local, sourcePort: port,
              destinationPort: 5060, inInterface: way, connection: .new)
            let walk = rules.walk(packet, to: .input)
            guard case .asAsked = walk.translation else { continue }
            #expect(
              walk.isCertain && walk.verdict.isRefused,
              "\(name): \(peer):\(port) by \(way) is blocked and was not refused")
          }
        }
      }
    }
  }

  /// Whatever is certain for anybody who is not blocked stays as it is.
  private func expectSame(
    _ it: Case, _ blocked: Set<IPAddress>, _ was: inout RepeatedEvaluation,
    _ rules: inout RepeatedEvaluation, _ name: String
  ) -> Int {
    var count = 0
    for sent in it.scenario.packets where !blocked.contains(sent.packet.source) {
      var new = sent.packet
      new.connection = .new
      var held = sent.packet
      held.connection = ConnectionFacts(state: .established, direction: .original)
      for question in [sent.packet, new, held] {
        let first = was.walk(question, to: sent.path)
        guard first.isCertain else { continue }
        let second = rules.walk(question, to: sent.path)
        #expect(
          second.isCertain && second.verdict == first.verdict,
          "\(name): \(question.source) was \(first.verdict) and is \(second.verdict)")
        count += 1
      }
    }
    return count
  }
}
