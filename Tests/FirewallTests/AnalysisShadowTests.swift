import Addressing
import Firewall
import Testing

struct AnalysisShadowTests {
  static func snapshot(_ rules: String, table: String = "filter") throws -> FirewallSnapshot {
    let base = table == "filter" ? "INPUT" : "PREROUTING"
    let text = "*\(table)\n:\(base) ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n\(rules)\nCOMMIT\n"
    let read = try RulesetReader.read(
      Array(text.utf8), source: "test", backend: .nft, family: .ipv4)
    let set = AddressSet(name: "bad", type: "hash:ip", family: .ipv4)
    return FirewallSnapshot(rulesets: [read], sets: [set])
  }

  /// `CHAIN INDEX` of each shadowed rule and of what takes its packets.
  static func found(_ shadows: ShadowedRules) -> [String] {
    shadows.entries.map { entry in
      ([entry.rule] + entry.takenBy).map { "\($0.chain) \($0.index)" }.joined(separator: " < ")
    }
  }

  @Test(
    "A rule is shadowed by an earlier one that takes all it matches",
    arguments: [
      ("-A INPUT -j DROP\n-A INPUT -s 203.0.113.7 -j ACCEPT", ["INPUT 2 < INPUT 1"]),
      (
        "-A INPUT -p udp -m udp --dport 5060 -j DROP\n"
          + "-A INPUT -s 203.0.113.7/32 -p udp -m udp --dport 5060 -j ACCEPT",
        ["INPUT 2 < INPUT 1"]
      ),
      (
        "-A INPUT -p udp -m multiport --dports 5060,5061 -j DROP\n-A INPUT -p udp --dport 5061 -j ACCEPT",
        ["INPUT 2 < INPUT 1"]
      ),
      (
        "-A INPUT -m iprange --src-range 10.0.0.0-10.0.0.255 -j DROP\n-A INPUT -s 10.0.0.128/25 -j LOG",
        ["INPUT 2 < INPUT 1"]
      ),
      (
        "-A INPUT -m state --state NEW,ESTABLISHED -j ACCEPT\n"
          + "-A INPUT -m conntrack --ctstate NEW -p udp -j DROP", ["INPUT 2 < INPUT 1"]
      ),
      (
        "-A INPUT -m conntrack ! --ctstate INVALID -j ACCEPT\n-A INPUT -m state --state NEW -j DROP",
        ["INPUT 2 < INPUT 1"]
      ),
      ("-A INPUT -i eth+ -j DROP\n-A INPUT -i eth0 -j ACCEPT", ["INPUT 2 < INPUT 1"]),
      ("-A INPUT ! -i eth0 -j DROP\n-A INPUT -i tun0 -j ACCEPT", ["INPUT 2 < INPUT 1"]),
      ("-A INPUT -j RETURN\n-A INPUT -j DROP", ["INPUT 2 < INPUT 1"]),
      ("-A INPUT -g A\n-A INPUT -j DROP", ["INPUT 2 < INPUT 1"]),
      (
        "-A INPUT -m set --match-set bad src -j DROP\n"
          + "-A INPUT -p udp -m set --match-set bad src -j ACCEPT", ["INPUT 2 < INPUT 1"]
      ),
      (
        "-A INPUT -p udp --dport 5060 -j A\n-A INPUT -s 203.0.113.7 -p udp --dport 5060 -j ACCEPT\n"
          + "-A A -s 198.51.100.0/24 -j ACCEPT\n-A A -j B\n-A B -p udp -j DROP",
        ["INPUT 2 < INPUT 1 < A 2 < B 1"]
      ),
    ])
  func shadowed(rules: String, expected: [String]) throws {
    #expect(Self.found(ShadowedRules(in: try Self.snapshot(rules))) == expected)
  }

  @Test(
    "A rule that may see a packet is not called shadowed",
    arguments: [
      "-A INPUT -s 203.0.113.7 -j DROP\n-A INPUT -j ACCEPT",
      "-A INPUT -p udp --dport 5060 -j DROP\n-A INPUT -p udp -j ACCEPT",
      "-A INPUT -p udp --dport 1:65535 -j DROP\n-A INPUT -p udp -j ACCEPT",
      "-A INPUT -m limit --limit 5/s -j DROP\n-A INPUT -m limit --limit 5/s -j ACCEPT",
      "-A INPUT -m mark --mark 1 -j DROP\n-A INPUT -j MARK --set-mark 1\n-A INPUT -m mark --mark 1 -j ACCEPT",
      "-A INPUT -m set --match-set bad src -j DROP\n-A INPUT -j SET --add-set bad src\n"
        + "-A INPUT -m set --match-set bad src -j ACCEPT",
      "-A INPUT -m set --match-set gone src -j DROP\n-A INPUT -m set --match-set gone src -j ACCEPT",
      "-A INPUT -m state --state NEW -j DROP\n-A INPUT -j ACCEPT",
      "-A INPUT -i eth0 -j DROP\n-A INPUT -i eth+ -j ACCEPT",
      "-A INPUT -j LOG\n-A INPUT -j ACCEPT",
      "-A INPUT -p udp ! --dport 5060 -j DROP\n-A INPUT -p udp ! --sport 5060 ! --dport 5060 -j LOG",
      "-A INPUT -j NFQUEUE --queue-num 1\n-A INPUT -j ACCEPT",
      "-A INPUT -j WEIRD\n-A INPUT -j ACCEPT",
      "-A INPUT -j A\n-A INPUT -j ACCEPT\n-A A -s 203.0.113.7 -j RETURN\n-A A -j DROP",
      "-A INPUT -j A\n-A INPUT -j ACCEPT\n-A A -p udp -g B\n-A A -j DROP",
      "-A INPUT -j A\n-A INPUT -j ACCEPT\n-A A -j B\n-A B -j A",
      "-A INPUT -s 0.0.0.0/1 -j DROP\n-A INPUT -s 128.0.0.0/1 -j DROP\n-A INPUT -s 10.0.0.0/7 -d 192.0.2.5 -m geoip --src-cc DE -j A",
      "-A INPUT -s 10.0.0.1/255.0.0.255 -j DROP\n-A INPUT -s 10.0.0.0/8 -j ACCEPT",
    ])
  func reached(rules: String) throws {
    let found = Self.found(ShadowedRules(in: try Self.snapshot(rules)))
    // Only the last table row shadows: its third rule lies in the first's half.
    #expect(found == (rules.contains("geoip") ? ["INPUT 3 < INPUT 1"] : []))
  }

  @Test("In the raw table a state can change from rule to rule")
  func rawTable() throws {
    let rules =
      "-A PREROUTING -m state --state UNTRACKED -j DROP\n-A PREROUTING -j NOTRACK\n"
      + "-A PREROUTING -m state --state UNTRACKED -j ACCEPT"
    #expect(Self.found(ShadowedRules(in: try Self.snapshot(rules, table: "raw"))) == [])
  }

  @Test("A table that is printed wrongly proves nothing")
  func misprint() throws {
    var snapshot = try Self.snapshot("-A INPUT -j DROP\n-A INPUT -j ACCEPT")
    snapshot.unseen = [
      UnseenFilter(
        family: .ipv4, backend: .nft, table: "filter", why: "hidden rules", isMisprint: true)
    ]
    let shadows = ShadowedRules(in: snapshot)
    #expect(shadows.entries.isEmpty && !shadows.isComplete)
  }

  @Test(
    "No walk of a random packet meets a shadowed rule", arguments: [AddressFamily.ipv4, .ipv6])
  func random(family: AddressFamily) throws {
    var shadowed = 0
    for seed in 0..<80 * effort {
      var rules = RandomRules(seed: seed &+ 30_000, family: family)
      let snapshot = try rules.snapshot()
      let shadows = ShadowedRules(in: snapshot)
      #expect(shadows.isComplete)
      shadowed += shadows.entries.count
      let places = Set(shadows.entries.map { "\($0.rule.table) \($0.rule.chain) \($0.rule.index)" })
      guard !places.isEmpty else { continue }
      let evaluation = Evaluation(snapshot)
      for _ in 0..<15 {
        let packet = rules.packet()
        let walk = evaluation.walk(packet, to: .input)
        for hit in walk.path where hit.isCertain {
          let place = "\(hit.rule.table) \(hit.rule.chain) \(hit.rule.index)"
          #expect(!places.contains(place), "seed \(seed): \(place) \(packet)")
        }
      }
    }
    #expect(shadowed > 50)
  }

  @Test(
    "The rules the kernel counted on real rulesets are none of those called shadowed",
    .enabled(if: Corpus.isPresent, "the corpus is not beside this clone"))
  func oracle() throws {
    for oracle in try OracleCase.all() {
      let name = oracle.ruleset.replacing("rulesets/", with: "").replacing("/", with: "~")
      guard let bytes = try? Corpus.bytes("oracle/canonical/\(name).save") else { continue }
      let read = try RulesetReader.read(bytes, source: name, backend: .legacy, family: .ipv4)
      let shadows = ShadowedRules(in: FirewallSnapshot(rulesets: [read]))
      let places = shadows.entries.map {
        OracleCase.Hit($0.rule.table, $0.rule.chain, $0.rule.index)
      }
      #expect(Set(oracle.hits).isDisjoint(with: places), "\(name)")
    }
  }

  @Test("Many rules are compared in bearable time")
  func many() throws {
    var lines: [String] = []
    for number in 0..<3000 {
      lines.append(
        "-A INPUT -s 10.\(number / 250).\(number % 250).1/32 -p udp --dport 5060 -j ACCEPT")
    }
    lines.append("-A INPUT -s 10.3.3.1/32 -p udp --dport 5060 -j DROP")
    let shadows = ShadowedRules(in: try Self.snapshot(lines.joined(separator: "\n")))
    #expect(Self.found(shadows) == ["INPUT 3001 < INPUT 754"])
    #expect(shadows.isComplete)
  }
}

struct AnalysisPortRangeTests {
  static func entries(_ rules: String) throws -> [PortRangeRules.Entry] {
    let evaluation = Evaluation(try AnalysisShadowTests.snapshot(rules))
    let answer = AcceptedSources(
      .init(family: .ipv4, transport: .udp, destinationPort: 5060, inInterface: "eth0"),
      in: evaluation)
    return PortRangeRules(answer, in: evaluation).entries
  }

  typealias Coverage = PortRangeRules.Entry.Coverage

  @Test(
    "Accept rules that cover the SIP port without naming it",
    arguments: [
      ("-A INPUT -p udp --dport 1024:65535 -j ACCEPT", [Coverage.range(1024...65535)]),
      ("-A INPUT -p udp -m udp -j ACCEPT", [.everyPort]),
      ("-A INPUT -s 10.0.0.0/8 -j ACCEPT", [.everything]),
      ("-A INPUT -p udp ! --dport 22 -j ACCEPT", [.range(23...65535)]),
      ("-A INPUT -p udp -m multiport --dports 22,5000:5070 -j ACCEPT", [.range(5000...5070)]),
      (
        "-A INPUT -p udp --dport 1024:65535 -j A\n-A A -p udp --dport 0:9999 -j ACCEPT",
        [.range(1024...9999)]
      ),
      ("-A INPUT -p udp --dport 10000:20000 -j ACCEPT", []),
      ("-A INPUT -p udp --dport 5060 -j ACCEPT", []),
      ("-A INPUT -p udp -m multiport --dports 5060,10000:20000 -j ACCEPT", []),
      ("-A INPUT -p udp --dport 5060 -j A\n-A A -s 203.0.113.7 -j ACCEPT", []),
      ("-A INPUT -i lo -j ACCEPT", []),
      ("-A INPUT -p tcp -j ACCEPT", []),
      ("-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT", []),
      ("-A INPUT -m conntrack ! --ctstate NEW,INVALID -j ACCEPT", []),
    ])
  func covers(rules: String, expected: [Coverage]) throws {
    #expect(try Self.entries(rules).map(\.coverage) == expected)
  }

  @Test("It says whom the rule lets in, and that an earlier rule leaves it nobody")
  func sources() throws {
    let open = try Self.entries(
      "-A INPUT -s 203.0.113.0/24 -p udp --dport 5060 -j ACCEPT\n"
        + "-A INPUT -s 203.0.112.0/23 -p udp --dport 1024:65535 -j ACCEPT")
    #expect(open.map { $0.sources.prefixes.map(\.description) } == [["203.0.112.0/24"]])
    let closed = try Self.entries(
      "-A INPUT -p udp --dport 5060 -j DROP\n-A INPUT -p udp --dport 1024:65535 -j ACCEPT")
    #expect(closed.count == 1 && closed[0].sources.isEmpty)
  }

  @Test("A chain's rule names the jumps that lead to it")
  func through() throws {
    let entries = try Self.entries("-A INPUT -p udp -j A\n-A A -g B\n-A B -j ACCEPT")
    #expect(entries.map { $0.through.map(\.chain) } == [["INPUT", "A"]])
    #expect(entries.map(\.coverage) == [.everyPort])
  }
}
