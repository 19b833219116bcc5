import Addressing
import Firewall
import TestSupport
import Testing

/// Sources of one kind are walked alike: what spares nearly every flow of a host its walks.
struct AnalysisKindTests {
  /// A packet with its source, and the ends of its flow that are the source, exchanged.
  private func packet(_ packet: Packet, from source: Endpoint) -> Packet {
    var other = packet
    other.source = source.address
    other.sourcePort = source.port
    guard packet.connection.originalSource != nil else { return other }
    if packet.connection.direction == .reply {
      other.connection.replySource = source
      other.connection.originalDestination = source
    } else {
      other.connection.originalSource = source
      other.connection.replyDestination = source
    }
    return other
  }

  /// Walks packets of one kind from different sources and expects one answer.
  ///
  /// - Returns: How many pairs were compared.
  private func compare(
    _ snapshot: FirewallSnapshot, _ packets: [Packet], _ sources: [Endpoint], _ comment: Comment
  ) -> Int {
    let evaluation = Evaluation(snapshot)
    var pairs = 0
    for packet in packets {
      guard let kinds = SourceKinds(evaluation, family: packet.family) else { continue }
      for path in [PacketPath.input, .forward] {
        var first: [SourceKinds.Kind: (Endpoint, Walk)] = [:]
        for source in sources where source.address.family == packet.family {
          let kind = kinds.kind(of: source.address, port: source.port)
          let walk = evaluation.walk(self.packet(packet, from: source), to: path)
          guard let (other, known) = first[kind] else {
            first[kind] = (source, walk)
            continue
          }
          pairs += 1
          let comment: Comment = "\(comment): \(source) as \(other), \(packet)"
          AnalysisSpeedTests.expectSame(walk, known, comment)
          #expect(walk.zone == known.zone, comment)
        }
      }
    }
    return pairs
  }

  @Test(
    "Packets whose sources are of one kind are walked alike, down to reasons and order",
    arguments: [AddressFamily.ipv4, .ipv6])
  func random(family: AddressFamily) throws {
    var pairs = 0
    for seed in 0..<15 * effort {
      var rules = RandomRules(seed: seed &+ 30_000, family: family)
      let snapshot = try rules.snapshot()
      let sources = (0..<40).map { _ in
        Endpoint(rules.source(), rules.random.pick([5060, 5060, 24376, 80, 1023, 1024, 5061]))
      }
      pairs += compare(snapshot, (0..<6).map { _ in rules.packet() }, sources, "seed \(seed)")
    }
    #expect(pairs > 1000, "\(pairs)")
  }

  @Test("The same of random firewalls with all tables, and of flows with their tuples")
  func firewalls() throws {
    var pairs = 0
    for seed in 0..<25 * effort {
      let scenario = RandomFirewall(seed: seed &+ 500).scenario
      var random = SeededGenerator(seed: seed)
      let sources = scenario.packets.flatMap { sent -> [Endpoint] in
        let bits = sent.packet.source.bits
        return [bits, bits + 1, bits - 1, bits ^ 0x40].map {
          Endpoint(
            IPAddress(family: scenario.family, bits: $0),
            random.pick([5060, 40000, 1023, 24376, 5100, 5101, 1024]))
        }
      }
      let packets = scenario.packets.prefix(4).map { sent in
        var packet = sent.packet
        // A payload has a place in the packet's image, and the image has the source.
        packet.payload = nil
        if packet.connection.state == .established, let port = packet.destinationPort {
          let wire = Endpoint(packet.destination, port)
          packet.connection.originalSource = wire
          packet.connection.originalDestination = wire
          packet.connection.replySource = wire
          packet.connection.replyDestination = wire
        }
        return packet
      }
      pairs += compare(try snapshot(scenario), packets, sources, "seed \(seed)")
    }
    #expect(pairs > 1000, "\(pairs)")
  }

  private func snapshot(_ scenario: FirewallScenario) throws -> FirewallSnapshot {
    var snapshot = FirewallSnapshot(
      rulesets: try scenario.backends.map { backend in
        try RulesetReader.read(
          Array((scenario.saves[backend] ?? "").utf8), source: "random", backend: backend,
          family: scenario.family)
      })
    snapshot.sets = scenario.sets
    snapshot.localAddresses = FirewallScenario.localAddresses
    snapshot.time = 1_760_000_000
    return snapshot
  }

  private func snapshot(_ rules: String, family: AddressFamily = .ipv4) throws -> FirewallSnapshot {
    FirewallSnapshot(rulesets: [
      try RulesetReader.read(Array(rules.utf8), source: "test", backend: .nft, family: family)
    ])
  }

  private func ends(_ texts: [String]) -> [Endpoint] {
    texts.compactMap { IPAddress($0) }.map { Endpoint($0, 5060) }
  }

  private func packet(_ interface: String? = "eth0") throws -> Packet {
    let local = try #require(IPAddress("192.0.2.5"))
    return Packet(
      transport: .udp, source: local, destination: local, sourcePort: 5060,
      destinationPort: 5060, inInterface: interface, connection: .new)
  }

  @Test("A recent list cuts by its addresses, under a mask by what the mask leaves")
  func recent() throws {
    for mask in ["", " --mask 255.255.255.0"] {
      var snapshot = try snapshot(
        """
        *filter
        :INPUT DROP [0:0]
        -A INPUT -m recent --rcheck --name seen\(mask) --rsource -j ACCEPT
        COMMIT

        """)
      let entries = ["203.0.113.0", "198.51.100.0"].compactMap { IPAddress($0) }.map {
        RecentList.Entry(address: $0, ttl: 0, lastSeen: 1, stamps: [1])
      }
      snapshot.recentLists = [RecentList(name: "seen", entries: entries)]
      let sources = ends([
        "203.0.113.0", "203.0.113.7", "203.0.112.255", "203.0.114.0", "198.51.100.0", "10.0.0.1",
      ])
      let pairs = compare(snapshot, [try packet()], sources, "mask \(mask)")
      #expect(pairs > 0)
      let kinds = try #require(SourceKinds(Evaluation(snapshot), family: .ipv4))
      #expect(
        (kinds.kind(of: sources[0].address) == kinds.kind(of: sources[1].address)) != mask.isEmpty)
    }
  }

  @Test("A filter that is not shown cuts by the sources and source ports it names")
  func unseen() throws {
    var snapshot = try snapshot("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n")
    var scope = PacketScope()
    scope.sources = [try #require(IPPrefix("203.0.113.0/24"))]
    scope.sourcePorts = [5000...5060]
    snapshot.unseen = [
      UnseenFilter(
        family: nil, backend: .nft, table: "mine", why: "it is native",
        steps: [FilterStep(.touches, scope)])
    ]
    let sources = ["203.0.113.7", "203.0.113.9", "203.0.114.1", "10.0.0.1"].compactMap {
      IPAddress($0)
    }.flatMap { address in [4999, 5000, 5060, 5061].map { Endpoint(address, $0) } }
    #expect(compare(snapshot, [try packet()], sources, "unseen") > 0)
    let kinds = try #require(SourceKinds(Evaluation(snapshot), family: .ipv4))
    #expect(Set(sources.map { kinds.kind(of: $0.address, port: $0.port) }).count > 4)
  }

  @Test("REDIRECT, which asks whether the source is link-local, and types of sources")
  func targets() throws {
    var snapshot = try snapshot(
      """
      *nat
      :PREROUTING ACCEPT [0:0]
      -A PREROUTING -p udp -m udp --dport 5060 -j REDIRECT --to-ports 5070
      COMMIT
      *filter
      :INPUT DROP [0:0]
      -A INPUT -m addrtype --src-type UNICAST -p udp -m udp --dport 5070 -j ACCEPT
      -A INPUT -d 192.0.2.5/32 -j REJECT
      COMMIT

      """)
    let local = try #require(IPAddress("192.0.2.5"))
    snapshot.localAddresses = [local]
    snapshot.interfaceAddresses = ["eth0": [local]]
    let sources = ends([
      "169.254.1.1", "169.254.1.2", "169.253.255.254", "203.0.113.0", "203.0.113.1", "203.0.113.2",
      "203.0.113.3", "203.0.113.5", "224.0.0.1", "127.0.0.1", "192.0.2.5", "0.0.0.1",
      "255.255.255.255",
    ])
    #expect(compare(snapshot, [try packet()], sources, "targets") > 2)
  }

  @Test("There are no kinds where a rule asks when the flow expires or has a mask full of holes")
  func none() throws {
    for match in ["-m conntrack --ctexpire 1:50", "-s 0.0.0.1/0.255.255.1"] {
      let snapshot = try snapshot(
        "*filter\n:INPUT DROP [0:0]\n-A INPUT \(match) -j ACCEPT\nCOMMIT\n")
      let hasKinds = SourceKinds(Evaluation(snapshot), family: .ipv4) != nil
      #expect(!hasKinds, "\(match)")
      #expect(SourceKinds(Evaluation(snapshot), family: .ipv6) != nil)
    }
  }
}
