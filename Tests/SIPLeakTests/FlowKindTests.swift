import Addressing
import Conntrack
import Firewall
import HostNetwork
import TestSupport
import Testing

@testable import SIPLeak

/// Flows of one kind are judged by one walk; nobody may notice by the answer.
@Suite("Flows judged by their kind") struct FlowKindTests {
  private struct Dice {
    var random: SeededGenerator

    mutating func chance(_ percent: Int) -> Bool {
      Int.random(in: 0..<100, using: &random) < percent
    }

    mutating func one<T>(_ list: [T]) -> T {
      list[Int.random(in: 0..<list.count, using: &random)]
    }

    mutating func some(_ count: Int, of list: [IPAddress]) -> Set<IPAddress> {
      Set((0..<count).map { _ in one(list) })
    }
  }

  /// A random firewall that refuses, remembers and admits, and many flows like each other.
  private struct Case {
    let family: AddressFamily
    var observation: Observation
    var policy = AuditPolicy()

    /// Rules about what changes by itself, about the flow, and about rates.
    private static let extras = [
      "-m recent --rcheck --name seen -j ACCEPT",
      "-m recent --rcheck --name seen --seconds 60 --hitcount 2 -j DROP",
      "-m recent --update --name seen --rsource -j ACCEPT",
      "-m set --match-set timed src -j ACCEPT", "-m set --match-set timed src,src -j ACCEPT",
      "-m set ! --match-set timed src -j DROP", "-m conntrack --ctexpire 50:150 -j ACCEPT",
      "-m connmark --mark 0x2 -j ACCEPT", "-m helper --helper sip -j ACCEPT",
      "-m conntrack --ctstatus ASSURED -j ACCEPT", "-m conntrack --ctstate DNAT -j ACCEPT",
      "-m conntrack --ctorigdstport 5060 -j ACCEPT", "-m conntrack --ctreplsrcport 5060 -j DROP",
      "-m limit --limit 5/sec -j ACCEPT", "-m statistic --mode random --probability 0.5 -j DROP",
      "-m time --timestart 06:00 --timestop 18:00 -j ACCEPT", "-m geoip --src-cc DE -j ACCEPT",
      "-m ttl --ttl-lt 64 -j DROP", "-m conntrack --ctdir REPLY -j ACCEPT",
      "-m addrtype --src-type UNICAST -j ACCEPT", "-p udp -m udp --sport 5060 -j ACCEPT",
      "-p udp -m multiport --sports 1024:40000 -j ACCEPT", "-i ev0 -j ACCEPT", "-i ev2 -j DROP",
      "-m string --string INVITE --algo bm -j ACCEPT",
    ]

    init(seed: UInt64) throws {
      var dice = Dice(random: SeededGenerator(seed: seed &* 0x9e37_79b9 &+ 11))
      let scenario = RandomFirewall(seed: seed &+ 9000).scenario
      family = scenario.family
      let isV4 = family == .ipv4
      var snapshot = FirewallSnapshot(rulesets: [])
      for backend in scenario.backends {
        var lines = (scenario.saves[backend] ?? "").split(separator: "\n").map(String.init)
        // Random rules seldom let only what changes by itself decide.
        let isPlain = seed % 3 == 0
        if isPlain { lines = ["*filter", ":INPUT ACCEPT [0:0]", "COMMIT"] }
        if let filter = lines.lastIndex(of: "*filter") {
          let first = lines[filter...].firstIndex { !$0.hasPrefix(":") && !$0.hasPrefix("*") }
          var more: [String] = []
          for _ in 0..<dice.one([0, 1, 2, 3, 4]) {
            let rule = dice.one(Self.extras)
            if !isV4, rule.contains("ttl") { continue }
            more.append("-A INPUT \(rule)")
          }
          if isPlain { more = ["-A INPUT \(dice.one(Array(Self.extras.prefix(6))))"] }
          if isPlain || dice.chance(70) {
            more.append("-A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT")
          }
          more.shuffle(using: &dice.random)
          lines.insert(contentsOf: more, at: first ?? filter + 1)
          let end = lines[filter...].firstIndex(of: "COMMIT")
          if let end, isPlain || dice.chance(60) { lines.insert("-A INPUT -j DROP", at: end) }
        }
        let text = lines.joined(separator: "\n") + "\n"
        snapshot.rulesets.append(
          try RulesetReader.read(
            Array(text.utf8), source: "random", backend: backend, family: family))
      }
      let hosts = scenario.packets.map(\.packet.source)
      var timed = AddressSet(
        name: "timed", type: dice.chance(50) ? "hash:ip" : "hash:ip,port", family: family,
        createOptions: ["timeout 60"])
      for host in dice.some(4, of: hosts) {
        timed.entries.append(
          AddressSet.Entry(element: "\(host)\(timed.type == "hash:ip" ? "" : ",udp:5060")"))
      }
      snapshot.sets = scenario.sets + [timed]
      snapshot.recentLists = [
        RecentList(
          name: "seen",
          entries: dice.some(3, of: hosts).map {
            RecentList.Entry(address: $0, ttl: 64, lastSeen: 1, stamps: [1, 2])
          })
      ]
      snapshot.localAddresses = FirewallScenario.localAddresses
      snapshot.time = 1_760_000_000
      if dice.chance(20) {
        var scope = PacketScope()
        scope.sources = dice.some(2, of: hosts).map { IPPrefix($0) }
        if dice.chance(50) { scope.sourcePorts = [5000...5070] }
        snapshot.unseen = [
          UnseenFilter(
            family: nil, backend: .nft, table: "native", hooks: ["input"], why: "it is native",
            steps: [FilterStep(.touches, scope)])
        ]
      }

      var host = SavedHost()
      host.network = NetworkFacts(
        addresses: FirewallScenario.localAddresses.map {
          LocalAddress(
            address: $0, prefixLength: $0.family == .ipv4 ? 24 : 64,
            interface: $0.isLoopback ? "lo" : "ev0")
        },
        interfaces: ["lo", "ev0", "ev2"].enumerated().map {
          Interface(name: $1, index: UInt32($0 + 1), isUp: true, isLoopback: $1 == "lo")
        },
        routedPrefixes: dice.chance(50)
          ? nil
          : [
            RoutedPrefix(
              prefix: try #require(IPPrefix(isV4 ? "0.0.0.0/0" : "::/0")), interfaces: ["ev0"])
          ])
      observation = try host.observation(
        endpoints: SIPEndpoints(udpPorts: [5060, 7000], tcpPorts: [5060]))
      snapshot.interfaceAddresses = observation.network.addressesByInterface
      observation.sample.firewall.snapshot = snapshot
      if dice.chance(40) {
        policy = AuditPolicy(
          trusted: PrefixSet(dice.some(1, of: hosts).map { IPPrefix($0) }),
          protected: PrefixSet(dice.some(1, of: hosts).map { IPPrefix($0) }))
      }
      for id in 1...UInt32(220) {
        observation.sample.flows.append(Self.flow(id, hosts, family, &dice))
      }
      addRoutes(&dice)
    }

    private static func flow(
      _ id: UInt32, _ hosts: [IPAddress], _ family: AddressFamily, _ dice: inout Dice
    ) -> Flow {
      var bits = dice.one(hosts).bits
      if dice.chance(60) { bits = bits ^ UInt128(Int.random(in: 0..<256, using: &dice.random)) }
      let peer = Endpoint(
        IPAddress(family: family, bits: bits),
        dice.one([5060, 5060, 40000, 1023, 1024, 24376, 5061]))
      let isV4 = family == .ipv4
      let inner = IPAddress(isV4 ? "10.77.3.33" : "fd77::33") ?? peer.address
      let local = IPAddress(isV4 ? "192.0.2.5" : "2001:db8::5") ?? peer.address
      let other = IPAddress(isV4 ? "192.0.2.6" : "2001:db8::6") ?? peer.address
      let delivered = Endpoint(dice.chance(15) ? inner : local, dice.one([5060, 5060, 5060, 7000]))
      let wire =
        dice.chance(75) ? delivered : Endpoint(dice.one([local, other]), dice.one([5070, 5060]))
      let transport: IPProtocol = dice.chance(85) ? .udp : .tcp
      func tuple(_ from: Endpoint, _ to: Endpoint) -> FlowTuple {
        FlowTuple(
          source: from.address, destination: to.address, transport: transport,
          sourcePort: from.port, destinationPort: to.port)
      }
      // Now and then the other direction knows the peer by another name.
      let known = dice.chance(90) ? peer : Endpoint(dice.one([other, inner]), peer.port)
      let isPeers = dice.chance(70)
      let original = isPeers ? tuple(peer, wire) : tuple(delivered, known)
      let reply = isPeers ? tuple(delivered, known) : tuple(peer, wire)
      var status: FlowStatus = [.confirmed]
      if dice.chance(85) { status.insert(.seenReply) }
      if dice.chance(50) { status.insert(.assured) }
      if dice.chance(4) { status.insert(.expected) }
      if dice.chance(3) { status.insert(.offload) }
      if wire != delivered { status.insert(isPeers ? .destinationNAT : .sourceNAT) }
      var flow = Flow(original: original, reply: reply, status: status, id: id)
      flow.timeout = UInt32.random(in: 1..<200, using: &dice.random)
      flow.mark = dice.one([0, 0, 0, 2, nil])
      if dice.chance(10) { flow.helper = "sip" }
      if dice.chance(6) { flow.zone = 3 }
      if dice.chance(3) { flow.originalZone = 3 }
      if dice.chance(3) { flow.replyZone = 2 }
      if dice.chance(4) {
        flow.master = tuple(Endpoint(dice.one(hosts), 5060), Endpoint(local, 5060))
      }
      if transport == .tcp { flow.tcpState = dice.one([3, 3, 3, 7]) }
      return flow
    }

    /// Routes to a part of the peers, each by one interface or the other.
    private mutating func addRoutes(_ dice: inout Dice) {
      for flow in observation.sample.flows where dice.chance(60) {
        guard
          let sides = FlowSides(
            flow, endpoints: observation.endpoints,
            isLocal: FirewallScenario.localAddresses.contains)
        else { continue }
        observation.network.peerRoutes.append(
          NetworkFacts.PeerRoute(
            peer: sides.peer.address, local: sides.wire.address,
            route: Route(
              interface: dice.one(["ev0", "ev0", "ev2"]), gateway: nil, source: nil, kind: .unicast),
            isInterfaceCertain: dice.chance(80)))
      }
    }
  }

  @Test("The audit is the same, finding by finding, as with every flow walked for itself")
  func sameAudit() throws {
    var causes: [Cause: Int] = [:]
    var silent = 0
    for seed in UInt64(0)..<40 {
      let it = try Case(seed: seed)
      let fast = Audit(it.observation, policy: it.policy)
      let slow = Audit(it.observation, policy: it.policy, sortsSources: false)
      #expect(fast.findings == slow.findings, "seed \(seed)")
      #expect(fast.admitted == slow.admitted, "seed \(seed)")
      #expect(fast.stateRules == slow.stateRules, "seed \(seed)")
      #expect(fast.sipFlowCount == slow.sipFlowCount)
      #expect(
        try AuditJSON(fast, of: it.observation).line()
          == AuditJSON(slow, of: it.observation).line(), "seed \(seed)")
      for finding in fast.findings { causes[finding.cause, default: 0] += 1 }
      silent += fast.sipFlowCount - fast.findings.count
    }
    // All of them have to be met, or the comparison says little.
    for cause in Cause.allCases { #expect(causes[cause, default: 0] > 0, "\(causes)") }
    #expect(silent > 500, "\(silent) flows nobody need hear of")
  }

  @Test("A block is proved the same, rule by rule, as with every packet walked for itself")
  func sameProof() throws {
    var refused = 0
    var letIn = 0
    for seed in UInt64(0)..<40 {
      let it = try Case(seed: seed)
      var plan = BlockPlan(
        BlockRequest(), audit: Audit(it.observation, policy: it.policy),
        observation: it.observation, policy: it.policy)
      let judge = FlowJudge(it.observation, policy: it.policy)
      var seen: Set<String> = []
      plan.entries = it.observation.sample.flows.compactMap { flow in
        judge.sides(of: flow).map { sides in
          BlockPlan.Entry(
            address: sides.peer.address, transport: flow.original.transport,
            port: sides.wire.port, reason: "named", grade: nil, seconds: 0)
        }
      }.filter { seen.insert($0.element).inserted }
      // One that was named and has no flow.
      plan.entries.append(
        BlockPlan.Entry(
          address: try #require(IPAddress(it.family == .ipv4 ? "203.0.113.254" : "2001:db8:f::fe")),
          transport: .udp, port: 5060, reason: "named", grade: nil, seconds: 0))
      let packets = BlockedPackets(plan, in: it.observation)
      let rules = RepeatedEvaluation(Evaluation(it.observation.sample.firewall.snapshot))
      var fast = RefusalWalks(packets, rules: rules)
      var slow = RefusalWalks(packets, rules: rules, sortsSources: false)
      for number in plan.entries.indices {
        let answer = fast.answer(of: number)
        #expect(answer == slow.answer(of: number), "seed \(seed): \(plan.entries[number].element)")
        if case .letIn = answer { letIn += 1 } else { refused += 1 }
      }
    }
    #expect(refused > 500 && letIn > 500, "\(refused) refused, \(letIn) let in")
  }

  @Test("Most flows are not walked: a thousand of a carrier and of strangers are of a few kinds")
  func fewKinds() throws {
    var host = SavedHost()
    host.flows = (0..<1000).map { index in
      let peer = index % 2 == 0 ? SavedHost.carrier : "203.0.113.\(1 + index % 200)"
      return flow("\(peer):\(1024 + index)", "192.0.2.5:5060", [.seenReply], id: UInt32(index))
    }
    let observation = try host.observation()
    var judge = FlowJudge(observation, policy: AuditPolicy())
    var findings = 0
    for flow in observation.sample.flows {
      guard let sides = judge.sides(of: flow) else { continue }
      if judge.finding(for: flow, sides: sides) != nil { findings += 1 }
    }
    #expect(findings == 500)
    #expect(judge.verdicts.walks <= SortedSources.patience + 1 + 4, "\(judge.verdicts.walks)")
    #expect(judge.verdicts.count <= 4)
  }

  @Test("More kinds than are remembered are forgotten, and judged again as before")
  func forgetting() throws {
    var host = SavedHost()
    // Every mark makes a kind of its own.
    host.flows = (0..<UInt32(FlowVerdicts.limit + 200)).map { index in
      var one = flow("203.0.113.7:5060", "192.0.2.5:5060", [.seenReply], id: index)
      one.mark = index / 2
      return one
    }
    let observation = try host.observation()
    var judge = FlowJudge(observation, policy: AuditPolicy())
    for flow in observation.sample.flows {
      let sides = try #require(judge.sides(of: flow))
      #expect(judge.finding(for: flow, sides: sides)?.cause == .establishedBypass)
    }
    #expect(judge.verdicts.count <= FlowVerdicts.limit)
  }
}
