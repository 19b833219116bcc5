import Addressing
import Firewall
import Testing

/// What one table does to the next.
struct WalkTableTests {
  static let stateRules = Given.filter(
    ["-m state --state RELATED,ESTABLISHED -j ACCEPT", "-p udp -m udp --dport 22 -j ACCEPT"],
    policy: "DROP")

  static func table(_ name: String, _ chain: String, _ rules: [String]) -> String {
    "*\(name)\n:\(chain) ACCEPT [0:0]\n" + rules.map { "-A \(chain) \($0)\n" }.joined()
      + "COMMIT\n"
  }

  @Test("A packet kept away from tracking is UNTRACKED, whatever its flow was")
  func notrack() throws {
    for rule in ["-p udp -j NOTRACK", "-p udp -m udp --dport 5060 -j CT --notrack"] {
      let walk = try WalkTests.walk(
        Self.table("raw", "PREROUTING", [rule]) + Self.stateRules
      ) { $0.connection = Given.held() }
      #expect(WalkTests.answer(walk) == "drop INPUT 0")
    }
  }

  @Test("A translated flow's packet that is kept away from tracking arrives as on the wire")
  func notrackTranslated() throws {
    let text =
      Self.table("raw", "PREROUTING", ["-p udp -j NOTRACK"])
      + Given.filter(["-p udp -m udp --dport 5070 -j DROP", "-j ACCEPT"])
    let walk = try WalkTests.walk(text) {
      $0.destinationPort = 5070
      $0.delivered = Endpoint($0.destination, 5060)
      $0.connection = Given.held(status: 0x1aa)
    }
    #expect(WalkTests.answer(walk) == "drop INPUT 1")
    #expect(walk.redirectedTo?.port == 5070)
  }

  @Test("The first CT rule wins, and does nothing outside the raw table's time")
  func firstTemplate() throws {
    let walk = try WalkTests.walk(
      Self.table("raw", "PREROUTING", ["-j CT --helper sip", "-j CT --notrack"])
        + Self.stateRules
    ) { $0.connection = Given.held() }
    #expect(WalkTests.answer(walk) == "accept INPUT 1")
  }

  @Test("In the raw table no flow is attached yet")
  func rawStates() throws {
    let rules = ["-m state --state ESTABLISHED -j DROP", "-m state --state INVALID -j ACCEPT"]
    let walk = try WalkTests.walk(Self.table("raw", "PREROUTING", rules)) {
      $0.connection = Given.held()
    }
    #expect(WalkTests.answer(walk) == "accept PREROUTING 2")
  }

  @Test("A held packet looked up in another zone than its flow's is not decided by its state")
  func zones() throws {
    let text = Self.table("raw", "PREROUTING", ["-j CT --zone 5"]) + Self.stateRules
    let other = try WalkTests.walk(text) { $0.connection = Given.held() }
    #expect(!other.isCertain)
    #expect(other.unknowns.contains { $0.text.contains("zone 5") })
    let same = try WalkTests.walk(text) {
      $0.connection = Given.held()
      $0.connection.zone = 5
    }
    #expect(WalkTests.answer(same) == "accept INPUT 1")
  }

  @Test("nat sends a NEW packet elsewhere, and the rules after it see it there")
  func translation() throws {
    let cases: [(String, Translation, String)] = [
      ("-j ACCEPT", .asAsked, "drop INPUT 0"),
      (
        "-p udp -j DNAT --to-destination :22", .elsewhere(try Given.endpoint("192.0.2.5:22")),
        "accept INPUT 2"
      ),
      ("-p udp -j DNAT --to-destination 192.0.2.5:5060", .asAsked, "drop INPUT 0"),
      (
        "-p udp -j DNAT --to-destination 10.0.0.1-10.0.0.9", .elsewhere(nil),
        "drop INPUT 0"
      ),
      // One local address that is no loopback: REDIRECT can only mean that (facts F2).
      (
        "-p udp -j REDIRECT --to-ports 22", .elsewhere(try Given.endpoint("192.0.2.5:22")),
        "accept INPUT 2"
      ),
      ("-p udp -m geoip --src-cc DE -j DNAT --to-destination :22", .uncertain, ""),
      ("-p tcp -j DNAT --to-destination :22", .asAsked, "drop INPUT 0"),
      (
        "-d 192.0.2.0/24 -j NETMAP --to 10.1.1.0/24",
        .elsewhere(try Given.endpoint("10.1.1.5:5060")), "drop INPUT 0"
      ),
    ]
    for (rule, translation, answer) in cases {
      let walk = try WalkTests.walk(Self.table("nat", "PREROUTING", [rule]) + Self.stateRules)
      if case .elsewhere(nil) = translation {
        // An address out of several is not known: that it is not the one asked about is neither.
        #expect(walk.translation == .uncertain, "\(rule)")
      } else {
        #expect(walk.translation == translation, "\(rule)")
      }
      if !answer.isEmpty { #expect(WalkTests.answer(walk) == answer, "\(rule)") }
    }
  }

  @Test("The nat table's DNAT state is seen by a NEW packet's later rules")
  func stateOfTranslation() throws {
    let walk = try WalkTests.walk(
      Self.table("nat", "PREROUTING", ["-p udp -j DNAT --to-destination :22"])
        + Given.filter(["-m conntrack --ctstate DNAT -j DROP"]))
    #expect(WalkTests.answer(walk) == "drop INPUT 1")
  }

  @Test("A held packet goes where its flow says, and never meets the nat table")
  func held() throws {
    let text =
      Self.table("nat", "PREROUTING", ["-j MARK --set-mark 7"])
      + Self.table("mangle", "PREROUTING", ["-p udp -m udp --dport 5060 -j DROP"])
      + Given.filter(["-m mark --mark 7 -j DROP", "-p udp -m udp --dport 5060 -j ACCEPT"])
    let walk = try WalkTests.walk(text) {
      $0.destinationPort = 5070
      $0.delivered = Endpoint($0.destination, 5060)
      $0.connection = Given.held(status: 0x1aa)
    }
    #expect(WalkTests.answer(walk) == "accept INPUT 2")
    #expect(!walk.path.contains { $0.rule.table == "nat" })
    // The same wire endpoint as NEW, with no rule that translates it, goes elsewhere.
    let new = try WalkTests.walk(text) {
      $0.destinationPort = 5070
      $0.delivered = Endpoint($0.destination, 5060)
    }
    #expect(new.redirectedTo?.port == 5070)
  }

  @Test("DROP anywhere is final, and the deciding rule of an accepted packet stands in filter")
  func tables() throws {
    let text =
      Self.table("raw", "PREROUTING", ["-p udp -j ACCEPT"])
      + Self.table("mangle", "INPUT", ["-p udp -j ACCEPT"])
      + Given.filter(["-p udp -j ACCEPT"]) + Self.table("security", "INPUT", ["-j ACCEPT"])
    let walk = try WalkTests.walk(text)
    #expect(WalkTests.answer(walk) == "accept INPUT 1")
    #expect(walk.decidingRule?.table == "filter")
    let dropped = try WalkTests.walk(
      Given.filter(["-p udp -j ACCEPT"]) + Self.table("security", "INPUT", ["-j DROP"]))
    #expect(dropped.decidingRule?.table == "security")
    let early = try WalkTests.walk(
      Self.table("raw", "PREROUTING", ["-p udp -j DROP"]) + Given.filter(["-p udp -j ACCEPT"]))
    #expect(early.decidingRule?.table == "raw")
    #expect(early.path.count == 1)
  }

  static func both(_ nft: String, _ legacy: String) throws -> Walk {
    let snapshot = FirewallSnapshot(rulesets: [
      try Given.ruleset(nft, backend: .nft), try Given.ruleset(legacy, backend: .legacy),
    ])
    return Evaluation(snapshot).walk(try Given.packet(), to: .input)
  }

  @Test("Two backends are a conjunction (facts D8)")
  func backends() throws {
    let open = Given.filter([])
    let accept = Given.filter(["-p udp -j ACCEPT"])
    let drop = Given.filter(["-p udp -j DROP"])
    #expect(try Self.both(accept, drop).decidingRule?.backend == .legacy)
    #expect(try Self.both(accept, drop).verdict == .drop)
    #expect(try Self.both(drop, accept).decidingRule?.backend == .nft)
    // Of two that accept, the rule says more than the policy.
    #expect(try Self.both(accept, open).decidingRule?.index == 1)
    #expect(try Self.both(open, accept).decidingRule?.index == 1)
  }

  @Test("CT --notrack alone does not turn tracking on, so the nat table counts nothing")
  func notrackTracksNothing() throws {
    let nat = Self.table("nat", "PREROUTING", ["-p tcp"])
    for (target, counts) in [("CT --notrack", false), ("NOTRACK", false), ("CT --zone 0", true)] {
      let raw = Self.table("raw", "PREROUTING", ["-s 192.0.2.5 -j \(target)"])
      let walk = try WalkTests.walk(raw + nat)
      let hit = walk.path.first { $0.rule.table == "nat" && $0.rule.chain == "PREROUTING" }
      #expect((hit?.isCertain ?? false) == counts, "\(target)")
    }
  }

  @Test("A held packet sent to another zone may be translated there")
  func otherZoneTranslates() throws {
    let raw = Self.table("raw", "PREROUTING", ["-p udp -j CT --zone 3"])
    let nat = Self.table("nat", "PREROUTING", ["-p udp -j DNAT --to-destination 192.0.2.9"])
    var held = try Given.packet()
    held.connection = ConnectionFacts(state: .established, direction: .original, status: 0xe)
    held.connection.zone = 0
    let evaluation = Evaluation(try Given.snapshot(raw + nat))
    #expect(evaluation.walk(held, to: .forward).translation == .uncertain)
    #expect(Evaluation(try Given.snapshot(nat)).walk(held, to: .forward).translation == .asAsked)
  }

  @Test(
    "Which backend's chain comes first is not shown, so no rule of one that both refuse is certain")
  func backendOrder() throws {
    let closed = Given.filter([], policy: "DROP")
    let walk = try Self.both(closed, closed)
    #expect(walk.verdict == .drop)
    #expect(Set(walk.outcomes.compactMap(\.rule?.backend)) == [.nft, .legacy])
    #expect(walk.path.map(\.isCertain) == [false, false])
    // One that lets everything through may be met before the other refuses, or never.
    let open = try Self.both(Given.filter([]), closed)
    #expect(open.path.map(\.rule.backend) == [.nft, .legacy])
    #expect(open.path.map(\.isCertain) == [false, true])
  }

  @Test("A mark one backend sets and the other asks for decides only if their order is known")
  func backendOrderOfMarks() throws {
    let sets = Self.table("mangle", "INPUT", ["-j MARK --set-xmark 0x1"])
    let asks = Self.table("mangle", "INPUT", ["-m mark --mark 0x1 -j DROP"])
    for walk in [try Self.both(sets, asks), try Self.both(asks, sets)] {
      #expect(!walk.isCertain)
      #expect(walk.mayAccept)
      #expect(walk.unknowns.map(\.kind) == [.fact])
    }
    // The hooks have an order of their own: raw comes before mangle whoever owns it.
    let early = Self.table("raw", "PREROUTING", ["-j MARK --set-xmark 0x1"])
    #expect(try Self.both(asks, early).verdict == .drop)
  }

  @Test("Filters that were not seen keep a packet from being certainly accepted, not refused")
  func unseen() throws {
    let cases: [(UnseenFilter, Bool)] = [
      (
        UnseenFilter(family: nil, backend: .nft, table: "inet a", hooks: ["input"], why: "x"), false
      ),
      (UnseenFilter(family: .ipv4, backend: .nft, table: "ip a", why: "x"), false),
      (UnseenFilter(family: .ipv6, backend: .nft, table: "ip6 a", why: "x"), true),
      (
        UnseenFilter(family: nil, backend: .nft, table: "inet a", hooks: ["output"], why: "x"), true
      ),
      (
        UnseenFilter(family: nil, backend: .nft, table: "inet a", hooks: ["forward"], why: "x"),
        true
      ),
    ]
    for (filter, isCertain) in cases {
      var accepting = try Given.snapshot(Given.filter([]))
      accepting.unseen = [filter]
      let accepted = Evaluation(accepting).walk(try Given.packet(), to: .input)
      #expect(accepted.isCertain == isCertain, "\(filter)")
      #expect(accepted.unknowns.map(\.kind) == (isCertain ? [] : [.outside]))
      var refusing = try Given.snapshot(Given.filter([], policy: "DROP"))
      refusing.unseen = [filter]
      #expect(Evaluation(refusing).walk(try Given.packet(), to: .input).isCertain)
    }
  }

  @Test("A chain that is not as printed proves nothing, what refuses before it does")
  func misprint() throws {
    let filter = UnseenFilter(
      family: .ipv4, backend: .legacy, table: "filter", chain: "INPUT", hooks: ["input"],
      why: "it holds native rules", isMisprint: true)
    var snapshot = try Given.snapshot(Given.filter([], policy: "DROP"))
    snapshot.unseen = [filter]
    let walk = Evaluation(snapshot).walk(try Given.packet(), to: .input)
    #expect(walk.verdict == .unknown)
    #expect(walk.unknowns.contains { $0.text.contains("filter") })
    snapshot = try Given.snapshot(
      Self.table("raw", "PREROUTING", ["-j DROP"]) + Given.filter([], policy: "DROP"))
    snapshot.unseen = [filter]
    #expect(Evaluation(snapshot).walk(try Given.packet(), to: .input).isCertain)
  }

  @Test("A family without rules is open, and no rule says so")
  func ruleless() throws {
    let packet = try Given.packet(from: "[2001:db8::66]:1", to: "[2001:db8::5]:5060")
    let walk = Evaluation(try Given.snapshot(Given.filter([], policy: "DROP")))
      .walk(packet, to: .input)
    #expect(walk.verdict == .accept)
    #expect(walk.decidingRule == nil)
  }

  @Test("A base chain that the text does not show has the kernel's policy")
  func implicit() throws {
    let walk = try WalkTests.walk("*filter\n:INPUT DROP [0:0]\nCOMMIT\n", path: .forward)
    #expect(WalkTests.answer(walk) == "accept FORWARD 0")
    #expect(walk.decidingRule?.text == "policy ACCEPT")
  }

  @Test("Two inverted ports of the nft backend mean what only its version knows")
  func invertedPorts() throws {
    let rule = "-p udp -m udp ! --sport 24376 ! --dport 22 -j DROP"
    let drop = Given.filter([rule])
    let legacy = Evaluation(try Given.snapshot(drop)).walk(try Given.packet(), to: .input)
    #expect(legacy.verdict == .accept)
    let nft = Evaluation(try Given.snapshot(drop, backend: .nft))
      .walk(try Given.packet(), to: .input)
    #expect(nft.verdict == .unknown)
    let neither = Evaluation(try Given.snapshot(drop, backend: .nft))
      .walk(try Given.packet(from: "203.0.113.66:5060"), to: .input)
    #expect(neither.verdict == .drop)
  }

  @Test("In a set of networks and interfaces the longest network decides, as seen on the kernel")
  func networksAndInterfaces() throws {
    let sets =
      "create s hash:net,iface family inet\nadd s 203.0.113.0/24,eth0\n"
      + "add s 203.0.113.64/26,eth1\n"
    let packet = try Given.packet()
    #expect(Expected(try Given.answer("-m set --match-set s src,src", packet, sets: sets)) == .no)
    let other = try Given.packet(from: "203.0.113.1:1")
    #expect(Expected(try Given.answer("-m set --match-set s src,src", other, sets: sets)) == .yes)
  }

  @Test("An evaluation finds the rule a reference names, and says whether it matches")
  func references() throws {
    let evaluation = Evaluation(try Given.snapshot(Self.stateRules))
    let walk = evaluation.walk(
      try {
        var packet = try Given.packet()
        packet.connection = Given.held()
        return packet
      }(), to: .input)
    let reference = try #require(walk.decidingRule)
    #expect(evaluation.rule(reference)?.target?.name == "ACCEPT")
    #expect(evaluation.conditionsDependOnState(reference))
    #expect(Expected(evaluation.matches(reference, try Given.packet())) == .no)
    var absent = reference
    absent.index = 99
    #expect(evaluation.rule(absent) == nil)
    #expect(Expected(evaluation.matches(absent, try Given.packet())) == .unknown)
  }
}
