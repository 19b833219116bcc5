import Addressing
import Firewall
import Testing

struct AnalysisSourcesTests {
  /// Whether the plain walk of one source agrees with both closures.
  static func check(
    _ answer: AcceptedSources, _ source: IPAddress, _ evaluation: Evaluation, _ comment: Comment
  ) {
    let walk = evaluation.walk(
      answer.question.packet(from: source), to: answer.question.path)
    let isElsewhere = if case .elsewhere = walk.translation { true } else { false }
    if answer.certainly.contains(source) {
      #expect(walk.isCertain && walk.verdict == .accept && !isElsewhere, comment)
      #expect(answer.possibly.contains(source), comment)
    }
    if !answer.possibly.contains(source) { #expect(!walk.mayAccept || isElsewhere, comment) }
  }

  static func samples(_ answer: AcceptedSources, _ rules: inout RandomRules) -> [IPAddress] {
    var result = (0..<20).map { _ in rules.source() }
    for range in (answer.certainly.ranges + answer.possibly.ranges).prefix(20) {
      result += [range.lowerBound, range.upperBound]
      if range.upperBound.bits < .max {
        result.append(
          IPAddress(family: range.upperBound.family, bits: range.upperBound.bits + 1))
      }
    }
    return result.filter { $0.family == answer.question.family }
  }

  @Test(
    "Both closures agree with the walk of every sampled source",
    arguments: [AddressFamily.ipv4, .ipv6])
  func random(family: AddressFamily) throws {
    var certain = 0
    var exact = 0
    for seed in 0..<25 * effort {
      var rules = RandomRules(seed: seed &+ 10_000, family: family)
      let evaluation = Evaluation(try rules.snapshot())
      let question = AcceptedSources.Question(
        family: family, transport: .udp, destination: rules.local, destinationPort: 5060,
        sourcePort: rules.random.pick([nil, 5060]),
        inInterface: rules.random.pick(["eth0", nil]))
      let answer = AcceptedSources(question, in: evaluation)
      #expect(answer.certainly.subtracting(answer.possibly).isEmpty)
      if !answer.certainly.isEmpty { certain += 1 }
      if answer.certainly == answer.possibly { exact += 1 }
      if answer.certainly != answer.possibly { #expect(!answer.reasons.isEmpty) }
      for source in Self.samples(answer, &rules) {
        Self.check(answer, source, evaluation, "seed \(seed), \(source)")
      }
    }
    #expect(certain > 5 && exact > 5, "\(certain) with certain sources, \(exact) exact")
  }

  @Test(
    "Without a local address the closures hold for every local address",
    arguments: [AddressFamily.ipv4, .ipv6])
  func anyDestination(family: AddressFamily) throws {
    for seed in 0..<12 * effort {
      var rules = RandomRules(seed: seed &+ 20_000, family: family)
      let evaluation = Evaluation(try rules.snapshot())
      let answer = AcceptedSources(
        .init(family: family, transport: .udp, destinationPort: 5060, inInterface: "eth0"),
        in: evaluation)
      for local in [rules.local, rules.source()] where !local.isMulticastOrBroadcast {
        for source in Self.samples(answer, &rules) {
          var packet = answer.question.packet(from: source)
          packet.destination = local
          let walk = evaluation.walk(packet, to: .input)
          if answer.certainly.contains(source) {
            #expect(walk.isCertain && walk.verdict == .accept, "seed \(seed), \(source)")
          }
          if !answer.possibly.contains(source) {
            #expect(!walk.mayAccept, "seed \(seed), \(source) to \(local)")
          }
        }
      }
    }
  }

  @Test(
    "Both closures agree with the walk on real rulesets",
    .enabled(if: Corpus.isPresent, "the corpus is not beside this clone"))
  func corpus() throws {
    for (name, family, evaluation) in try corpusEvaluations.get() {
      var rules = RandomRules(seed: 5, family: family)
      let answer = AcceptedSources(
        .init(
          family: family, transport: .udp, destination: rules.local, destinationPort: 5060,
          inInterface: "eth0"), in: evaluation)
      for source in Self.samples(answer, &rules).suffix(12) {
        Self.check(answer, source, evaluation, "\(name): \(source)")
      }
    }
  }

  static func answer(
    _ rules: String, _ sets: [AddressSet] = [], destination: IPAddress? = nil,
    interface: String? = nil
  ) throws -> AcceptedSources {
    let text = "*filter\n:INPUT DROP [0:0]\n:SIP - [0:0]\n\(rules)\nCOMMIT\n"
    let read = try RulesetReader.read(
      Array(text.utf8), source: "test", backend: .nft, family: .ipv4)
    return AcceptedSources(
      .init(
        family: .ipv4, transport: .udp, destination: destination, destinationPort: 5060,
        inInterface: interface), in: Evaluation(FirewallSnapshot(rulesets: [read], sets: sets)))
  }

  @Test(
    "The answer is in prefixes",
    arguments: [
      ("-A INPUT -s 203.0.113.0/24 -j ACCEPT", ["203.0.113.0/24"], ["203.0.113.0/24"]),
      (
        "-A INPUT -s 203.0.113.0/25 -j DROP\n-A INPUT -s 203.0.113.0/24 -p udp -j ACCEPT",
        ["203.0.113.128/25"], ["203.0.113.128/25"]
      ),
      ("-A INPUT -p tcp -j ACCEPT", [], []),
      ("-A INPUT -m state --state ESTABLISHED -j ACCEPT", [], []),
      (
        "-A INPUT -p udp -m udp --dport 5060 -g SIP\n-A SIP -s 198.51.100.7 -j ACCEPT",
        ["198.51.100.7"], ["198.51.100.7"]
      ),
      ("-A INPUT -m set --match-set trunks src -j ACCEPT", ["203.0.113.7"], ["203.0.113.7"]),
      ("-A INPUT -i eth0 -s 10.0.0.0/8 -j ACCEPT", [], ["10.0.0.0/8"]),
      ("-A INPUT -s 10.0.0.0/8 -m string --string x --algo bm -j ACCEPT", [], ["10.0.0.0/8"]),
      ("-A INPUT -s 10.0.0.1/255.0.0.255 -p udp --dport 22 -j ACCEPT", [], []),
      ("-A INPUT -s 0.0.0.1/0.0.0.1 -j ACCEPT", [], ["0.0.0.0/0"]),
    ])
  func table(rules: String, certainly: [String], possibly: [String]) throws {
    let sets = [
      AddressSet(
        name: "trunks", type: "hash:ip", family: .ipv4,
        entries: [.init(element: "203.0.113.7")])
    ]
    let answer = try Self.answer(rules, sets)
    #expect(answer.certainly.prefixes.map(\.description) == certainly)
    #expect(answer.possibly.prefixes.map(\.description) == possibly)
  }

  @Test(
    "Elements of a set are told apart by all that the packet is compared with",
    arguments: [
      ("hash:net,port", "src,dst", ["203.0.113.7,udp:5060", "203.0.113.8,tcp:5060"]),
      ("hash:net,port", "src,dst", ["203.0.113.7,udp:5060", "203.0.113.9,udp:22"]),
      ("hash:net,net", "src,dst", ["203.0.113.7,192.0.2.0/24", "203.0.113.8,198.51.100.0/24"]),
      ("hash:net,net", "dst,src", ["192.0.2.0/24,203.0.113.7", "198.51.100.0/24,203.0.113.8"]),
      ("hash:net,iface", "src,src", ["203.0.113.7,eth0", "203.0.113.8,tun0"]),
      ("hash:net", "src", ["203.0.113.7", "203.0.113.8 nomatch"]),
      ("hash:net,net", "src,src", ["203.0.113.0/29,203.0.113.7", "203.0.113.8,203.0.113.7"]),
    ])
  func elements(type: String, sides: String, elements: [String]) throws {
    let set = AddressSet(
      name: "list", type: type, family: .ipv4,
      entries: elements.map {
        .init(element: String($0.prefix { $0 != " " }), isException: $0.hasSuffix("nomatch"))
      })
    for members in [set.entries, set.entries.reversed()] {
      var set = set
      set.entries = members
      let answer = try Self.answer(
        "-A INPUT -m set --match-set list \(sides) -j ACCEPT", [set],
        destination: IPAddress("192.0.2.5"), interface: "eth0")
      #expect(answer.certainly.prefixes.map(\.description) == ["203.0.113.7"])
      #expect(answer.possibly == answer.certainly)
    }
  }

  @Test("Each source stands under the rule that lets it in")
  func admissions() throws {
    let answer = try Self.answer(
      "-A INPUT -s 203.0.113.7 -j ACCEPT\n-A INPUT -m limit --limit 1/s -s 203.0.113.0/24 -j ACCEPT"
    )
    #expect(answer.admissions.map { $0.rule?.index } == [2, 1])
    #expect(answer.admissions.last?.certainly.prefixes.map(\.description) == ["203.0.113.7"])
    #expect(answer.admissions.first?.certainly.isEmpty == true)
    #expect(answer.reasons.map(\.kind) == [.rate])
  }
}
