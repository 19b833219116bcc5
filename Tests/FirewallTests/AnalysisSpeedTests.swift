import Addressing
import Firewall
import TestSupport
import Testing

/// The corpus' rulesets that can be read, prepared for a walk.
let corpusEvaluations = Result {
  try Corpus.files("rulesets").compactMap {
    path -> (name: String, family: AddressFamily, evaluation: Evaluation)? in
    let bytes = try Corpus.bytes(path)
    let family: AddressFamily = path.contains("v6") || path.contains("ip6") ? .ipv6 : .ipv4
    guard
      let rules = try? RulesetReader.read(bytes, source: path, backend: .nft, family: family)
    else { return nil }
    var snapshot = FirewallSnapshot(rulesets: [rules])
    snapshot.localAddresses = [IPAddress("192.0.2.5"), IPAddress("2001:db8:2::5")].compactMap { $0 }
    return (path, family, Evaluation(snapshot))
  }
}

struct AnalysisSpeedTests {
  static func expectSame(_ left: Walk, _ right: Walk, _ comment: Comment) {
    #expect(left.outcomes == right.outcomes, comment)
    #expect(left.path == right.path, comment)
    #expect(left.unknowns == right.unknowns, comment)
    #expect(left.dependsOnMemory == right.dependsOnMemory, comment)
    #expect(left.translation == right.translation, comment)
  }

  @Test(
    "A specialised evaluation answers as the plain one, down to reasons and order",
    arguments: [AddressFamily.ipv4, .ipv6])
  func random(family: AddressFamily) throws {
    for seed in 0..<40 * effort {
      var rules = RandomRules(seed: seed, family: family)
      let evaluation = Evaluation(try rules.snapshot())
      let first = rules.packet()
      let special = SpecializedEvaluation(evaluation, toward: first, path: .input)
      var repeated = RepeatedEvaluation(evaluation)
      for _ in 0..<16 {
        var packet = rules.packet()
        packet.transport = first.transport
        packet.destinationPort = first.destinationPort
        packet.inInterface = first.inInterface
        let plain = evaluation.walk(packet, to: .input)
        Self.expectSame(special.walk(packet, to: .input), plain, "seed \(seed): \(packet)")
        Self.expectSame(repeated.walk(packet, to: .input), plain, "seed \(seed): \(packet)")
        let other = rules.packet()
        Self.expectSame(
          special.walk(other, to: .forward), evaluation.walk(other, to: .forward), "seed \(seed)")
      }
    }
  }

  @Test(
    "A specialised evaluation answers as the plain one on real rulesets",
    .enabled(if: Corpus.isPresent, "the corpus is not beside this clone"))
  func corpus() throws {
    var random = SeededGenerator(seed: 1)
    for (name, family, evaluation) in try corpusEvaluations.get() {
      for path in [PacketPath.input, .forward] {
        var rules = RandomRules(seed: random.next(), family: family)
        var first = rules.packet()
        if path == .forward { first.outInterface = "eth1" }
        let special = SpecializedEvaluation(evaluation, toward: first, path: path)
        for _ in 0..<2 {
          var packet = first
          let other = rules.packet()
          packet.source = other.source
          packet.sourcePort = other.sourcePort
          packet.connection = other.connection
          Self.expectSame(
            special.walk(packet, to: path), evaluation.walk(packet, to: path), "\(name): \(packet)")
        }
      }
    }
  }

  @Test(
    "A packet that the nat table sends elsewhere meets the rules for where it goes",
    arguments: ["REDIRECT --to-ports 5090", "DNAT --to-destination 192.0.2.9:5090"])
  func translated(target: String) throws {
    let text = """
      *nat
      :PREROUTING ACCEPT [0:0]
      -A PREROUTING -s 203.0.113.0/29 -p udp -m udp --dport 5060 -j \(target)
      COMMIT
      *filter
      :INPUT DROP [0:0]
      -A INPUT -d 192.0.2.9/32 -s 203.0.113.1/32 -j ACCEPT
      -A INPUT -p udp -m udp --dport 5060 -s 203.0.113.0/24 -j ACCEPT
      -A INPUT -p udp -m udp --dport 5090 -s 203.0.113.2/32 -j ACCEPT
      -A INPUT -p udp -m udp --dport 5090 -j REJECT
      COMMIT

      """
    let rules = try RulesetReader.read(
      Array(text.utf8), source: "nat", backend: .nft, family: .ipv4)
    let local = try #require(IPAddress("192.0.2.5"))
    for known in [[local], nil] {
      var snapshot = FirewallSnapshot(rulesets: [rules])
      snapshot.localAddresses = known
      let evaluation = Evaluation(snapshot)
      var packet = Packet(
        transport: .udp, source: local, destination: local, sourcePort: 5060,
        destinationPort: 5060, inInterface: "eth0", connection: .new)
      let special = SpecializedEvaluation(evaluation, toward: packet, path: .input)
      for host in 0..<12 {
        packet.source = IPAddress(ipv4: 0xcb00_7100 + UInt32(host))
        let plain = evaluation.walk(packet, to: .input)
        Self.expectSame(special.walk(packet, to: .input), plain, "host \(host)")
        #expect(plain.verdict == .reject || plain.verdict == .accept || known == nil)
      }
    }
  }

  @Test("Rules passed over count as steps, so that both walks give up at the same place")
  func steps() throws {
    // 21 times 21 calls of 5,000 idle rules: more than two million steps for the plain walk.
    let idle = String(repeating: "-A IDLE -p tcp -j LOG\n", count: 5000)
    let text = """
      *filter
      :INPUT DROP [0:0]
      :TWICE - [0:0]
      :IDLE - [0:0]
      \(String(repeating: "-A INPUT -j TWICE\n", count: 21))-A INPUT -j ACCEPT
      \(String(repeating: "-A TWICE -j IDLE\n", count: 21))\(idle)COMMIT

      """
    let rules = try RulesetReader.read(
      Array(text.utf8), source: "deep", backend: .legacy, family: .ipv4)
    var random = RandomRules(seed: 3, family: .ipv4)
    var packet = random.packet()
    packet.transport = .udp
    let special = SpecializedEvaluation(
      Evaluation(FirewallSnapshot(rulesets: [rules])), toward: packet, path: .input)
    let walk = special.walk(packet, to: .input)
    #expect(walk.verdict == .unknown)
    #expect(walk.unknowns.contains { $0.text.contains("too many steps") })
  }
}
