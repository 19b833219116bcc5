import Addressing
import Firewall
import Foundation
import Testing

/// Which packets native nft filters can touch.
@Suite struct UnseenFilterTests {
  static let rules = """
    *filter
    :INPUT ACCEPT [0:0]
    :FORWARD ACCEPT [0:0]
    :OUTPUT ACCEPT [0:0]
    [0:0] -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
    [0:0] -A INPUT -s 198.51.100.10/32 -p udp -m udp --dport 5060 -j ACCEPT
    [0:0] -A INPUT -j REJECT --reject-with icmp-host-prohibited
    COMMIT

    """

  static func snapshot(_ nft: [UInt8], rules: String = rules) throws -> FirewallSnapshot {
    try FirewallHost.reading(files: [
      "ipv4.nft.save": Array(rules.utf8), "ipv6.nft.save": [], "nft.json": nft,
      "sets.save": [],
    ]).snapshot
  }

  static let probes: [(String, IPProtocol, UInt16)] = [
    ("udp/5060", .udp, 5060), ("tcp/5060", .tcp, 5060), ("tcp/22", .tcp, 22),
    ("tcp/85", .tcp, 85), ("udp/53", .udp, 53),
  ]

  static func touched(_ filters: [UnseenFilter]) -> [String] {
    probes.filter { probe in
      filters.contains { $0.mayTouch(probe.1, destinationPort: probe.2) }
    }.map(\.0)
  }

  // MARK: whole programs

  @Test(
    "Filters of common programs touch what their rules can touch",
    arguments: [
      ("fail2ban", NativeTexts.fail2ban, ["tcp/22"]),
      (
        "fail2ban with a jail for Asterisk", NativeTexts.fail2banSIP,
        ["udp/5060", "tcp/5060", "tcp/22"]
      ),
      ("docker", NativeTexts.docker, probes.map(\.0)),
      ("crowdsec", NativeTexts.crowdsec, probes.map(\.0)),
      ("firewalld", NativeTexts.firewalld, probes.map(\.0)),
      ("Debian's file", NativeTexts.debian, []),
    ])
  func programs(_ name: String, _ text: String, _ expected: [String]) throws {
    let snapshot = try Self.snapshot(Array(text.utf8))
    #expect(Self.touched(snapshot.unseen) == expected)
    #expect(snapshot.unseen.allSatisfy { $0.steps != nil && !$0.isMisprint })
  }

  /// What becomes of the attacker's packet, to the host.
  static func walks(_ text: String, _ change: (inout Packet) throws -> Void = { _ in }) throws
    -> (new: Walk, held: Walk)
  {
    let evaluation = Evaluation(try snapshot(Array(text.utf8)))
    var packet = try Given.packet()
    try change(&packet)
    let new = evaluation.walk(packet, to: .input)
    packet.connection = Given.held()
    return (new, evaluation.walk(packet, to: .input))
  }

  @Test(
    "The leak stays certain beside filters that cannot touch a held SIP packet",
    arguments: [
      ("fail2ban", NativeTexts.fail2ban), ("docker", NativeTexts.docker),
      ("firewalld, which accepts held packets first", NativeTexts.firewalld),
      ("Debian's file", NativeTexts.debian),
      ("a host filter that accepts held packets first", NativeTexts.wiki),
    ])
  func certain(_ name: String, _ text: String) throws {
    let (new, held) = try Self.walks(text)
    #expect(new.verdict == .reject)
    #expect(held.verdict == .accept)
    #expect(held.unknowns.isEmpty)
  }

  @Test(
    "A filter that may refuse a held SIP packet makes its acceptance uncertain and says which it is",
    arguments: [
      ("fail2ban's jail for Asterisk", NativeTexts.fail2banSIP, "f2b-chain"),
      ("crowdsec", NativeTexts.crowdsec, "crowdsec-chain"),
    ])
  func uncertain(_ name: String, _ text: String, _ chain: String) throws {
    let (new, held) = try Self.walks(text)
    // Refused by iptables is refused, whoever else is asked.
    #expect(new.verdict == .reject)
    #expect(held.verdict == .unknown)
    #expect(held.unknowns.contains { $0.kind == .outside && $0.text.contains(chain) })
  }

  @Test("firewalld lets first packets in where its zone certainly does")
  func firewalldNew() throws {
    let open = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    let evaluation = Evaluation(
      try Self.snapshot(Array(NativeTexts.firewalld.utf8), rules: open))
    // The zone has an accept for udp/5060, by whatever interface; media is refused there.
    #expect(evaluation.walk(try Given.packet(), to: .input).verdict == .accept)
    let media = try Given.packet(to: "192.0.2.5:16384")
    #expect(evaluation.walk(media, to: .input).verdict == .unknown)
    var loopback = media
    loopback.inInterface = "lo"
    #expect(evaluation.walk(loopback, to: .input).verdict == .accept)
  }

  @Test("Docker's rule for one inner address touches packets to that address only")
  func dockerAddress() throws {
    let snapshot = try Self.snapshot(
      Array(NativeTexts.docker.utf8), rules: "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
    let evaluation = Evaluation(snapshot)
    #expect(evaluation.walk(try Given.packet(), to: .input).verdict == .accept)
    let inner = try Given.packet(to: "172.17.0.2:5060")
    #expect(evaluation.walk(inner, to: .input).verdict == .unknown)
    // The published port is redirected.
    let published = try Given.packet(.tcp, to: "192.0.2.5:8080")
    #expect(evaluation.walk(published, to: .input).verdict == .unknown)
    #expect(evaluation.walk(try Given.packet(), to: .forward).verdict == .unknown)
  }

  @Test("A state means nothing before connection tracking")
  func earlyState() throws {
    func held(priority: Int) throws -> Verdict {
      let text = FirewallReadingTests.nft([
        FirewallReadingTests.chain("inet", "x", "p", hook: "prerouting", priority: priority),
        FirewallReadingTests.rule("inet", "x", "p", Self.states, FirewallReadingTests.accept),
        FirewallReadingTests.rule("inet", "x", "p", FirewallReadingTests.drop),
      ])
      var packet = try Given.packet()
      packet.connection = Given.held()
      return Evaluation(try Self.snapshot(text)).walk(packet, to: .input).verdict
    }
    #expect(try held(priority: -150) == .accept)
    #expect(try held(priority: -300) == .unknown)
  }

  @Test("A packet that a raw rule keeps from tracking has another state than its flow")
  func untracked() throws {
    let rules = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j CT --notrack\nCOMMIT\n"
    let text = FirewallReadingTests.nft([
      FirewallReadingTests.chain("inet", "x", "i", hook: "input"),
      FirewallReadingTests.rule("inet", "x", "i", Self.states, FirewallReadingTests.accept),
      FirewallReadingTests.rule("inet", "x", "i", FirewallReadingTests.drop),
    ])
    var packet = try Given.packet()
    packet.connection = Given.held()
    let walk = Evaluation(try Self.snapshot(text, rules: rules)).walk(packet, to: .input)
    #expect(walk.verdict == .unknown)
  }

  @Test("A delivered port and the port on the wire are both looked at")
  func translated() throws {
    let text = FirewallReadingTests.nft([
      FirewallReadingTests.chain("inet", "x", "i", hook: "input"),
      FirewallReadingTests.rule("inet", "x", "i", Self.port("udp", "5060"), #"{"drop": null}"#),
    ])
    let open = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    let evaluation = Evaluation(try Self.snapshot(text, rules: open))
    var packet = try Given.packet(to: "192.0.2.5:25060")
    packet.connection = Given.held()
    #expect(evaluation.walk(packet, to: .input).verdict == .accept)
    packet.delivered = try Given.endpoint("192.0.2.5:5060")
    #expect(evaluation.walk(packet, to: .input).verdict == .unknown)
  }

  @Test("Rules that iptables prints wrongly make neither acceptance nor refusal certain")
  func misprint() throws {
    let text = FirewallReadingTests.nft([
      FirewallReadingTests.chain("ip", "filter", "INPUT", hook: "input"),
      FirewallReadingTests.rule(
        "ip", "filter", "INPUT", Self.port("tcp", #"{"set": [22, 23]}"#), #"{"accept": null}"#),
    ])
    let filters = try Self.snapshot(text).unseen
    #expect(filters.map(\.isMisprint) == [true])
    #expect(filters.map(\.chain) == ["INPUT"])
    // What is printed of a rule for tcp/22 may be a rule for everything.
    #expect(Self.touched(filters) == Self.probes.map(\.0))
    let evaluation = Evaluation(try Self.snapshot(text))
    var packet = try Given.packet()
    let new = evaluation.walk(packet, to: .input)
    #expect(new.verdict == .unknown)
    #expect(new.outcomes.contains { $0.verdict.isRefused })
    packet.connection = Given.held()
    let held = evaluation.walk(packet, to: .input)
    #expect(held.verdict == .unknown)
    #expect(held.outcomes.contains { $0.verdict == .accept })
    // It concerns the hook it hangs in.
    #expect(evaluation.walk(try Given.packet(), to: .forward).verdict == .accept)
  }

  // MARK: one rule

  static func port(_ header: String, _ right: String, _ operation: String = "==") -> String {
    """
    {"match": {"op": "\(operation)", "left": {"payload": {"protocol": "\(header)", "field": "dport"}},
     "right": \(right)}}
    """
  }

  static func meta(_ key: String, _ right: String, _ operation: String = "==") -> String {
    """
    {"match": {"op": "\(operation)", "left": {"meta": {"key": "\(key)"}}, "right": \(right)}}
    """
  }

  static let states = """
    {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
    """
  static let all = ["udp/5060", "tcp/5060", "tcp/22", "tcp/85", "udp/53"]

  /// Each as nft 1.0.6 printed it, and what a rule that drops on it touches.
  static let conditions: [(String, [String])] = [
    (port("tcp", "22"), ["tcp/22"]),
    (port("tcp", #"{"range": [80, 90]}"#), ["tcp/85"]),
    (port("tcp", #"{"set": [22, {"range": [80, 90]}]}"#), ["tcp/22", "tcp/85"]),
    (port("tcp", #"{"set": [22, {"range": [80, 90]}]}"#, "!="), ["tcp/5060"]),
    (port("tcp", #"{"set": [{"elem": {"val": 22, "comment": "ssh"}}]}"#), ["tcp/22"]),
    (port("tcp", "1024", ">"), ["tcp/5060"]), (port("tcp", "85", ">="), ["tcp/5060", "tcp/85"]),
    (port("tcp", "85", "<"), ["tcp/22"]), (port("tcp", "85", "<="), ["tcp/22", "tcp/85"]),
    (port("tcp", "0", "<"), []), (port("tcp", "65535", ">"), []),
    (port("th", "53"), ["udp/53"]), (port("th", "5060"), ["udp/5060", "tcp/5060"]),
    (port("sctp", "5060"), []),
    (port("tcp", "70000"), ["tcp/5060", "tcp/22", "tcp/85"]),
    (port("tcp", #""@unknown""#), ["tcp/5060", "tcp/22", "tcp/85"]),
    (port("tcp", "22", "~"), ["tcp/5060", "tcp/22", "tcp/85"]),
    (meta("l4proto", #""tcp""#), ["tcp/5060", "tcp/22", "tcp/85"]),
    (meta("l4proto", #""tcp""#, "!="), ["udp/5060", "udp/53"]),
    (meta("l4proto", "17"), ["udp/5060", "udp/53"]),
    (meta("l4proto", #"{"set": ["tcp", "udp"]}"#), all),
    (meta("l4proto", #""vrrp""#), []), (meta("l4proto", #""warp""#), all),
    (meta("l4proto", #"{"set": ["tcp", "warp"]}"#), all),
    (meta("mark", "1"), all), (meta("iifname", #""docker*""#), all),
    (
      #"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "protocol"}}, "right": "icmp"}}"#,
      []
    ),
    (
      #"{"match": {"op": "==", "left": {"payload": {"protocol": "ip6", "field": "nexthdr"}}, "right": "udp"}}"#,
      ["udp/5060", "udp/53"]
    ),
    (
      #"{"match": {"op": "!=", "left": {"payload": {"protocol": "ip6", "field": "nexthdr"}}, "right": "udp"}}"#,
      all
    ),
    (
      #"{"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["syn", "ack"]]}, "right": "syn"}}"#,
      ["tcp/5060", "tcp/22", "tcp/85"]
    ),
    (
      #"{"match": {"op": "==", "left": {"payload": {"protocol": "icmp", "field": "type"}}, "right": "echo-request"}}"#,
      []
    ),
    (
      #"{"match": {"op": "==", "left": {"payload": {"base": "th", "offset": 64, "len": 8}}, "right": 1}}"#,
      all
    ),
    (
      #"{"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}}"#,
      all
    ),
    (
      #"{"match": {"op": "==", "left": {"concat": [{"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}, "right": {"set": [{"concat": ["tcp", 22]}, {"concat": ["udp", 53]}]}}}"#,
      ["tcp/22", "udp/53"]
    ),
    (
      #"{"match": {"op": "==", "left": {"concat": [{"meta": {"key": "l4proto"}}]}, "right": {"set": [{"concat": []}]}}}"#,
      all
    ),
    (
      #"{"match": {"op": "==", "left": {"payload": {"tunnel": "vxlan", "protocol": "tcp", "field": "dport"}}, "right": 22}}"#,
      all
    ),
    (#"{"match": {"op": "=="}}"#, all), (#"{"limit": {"rate": 5, "per": "second"}}"#, all),
    (#"{"xt": {"type": "match", "name": "string"}}"#, all),
  ]

  @Test("A rule that drops touches what its condition can hold for", arguments: conditions)
  func condition(_ condition: String, _ expected: [String]) throws {
    let text = FirewallReadingTests.nft([
      FirewallReadingTests.chain("inet", "x", "i", hook: "input"),
      FirewallReadingTests.rule("inet", "x", "i", condition, #"{"drop": null}"#),
    ])
    #expect(Self.touched(try Self.snapshot(text).unseen) == expected)
  }

  @Test(
    "A rule that accepts first shields what its condition surely holds for",
    arguments: [
      (port("tcp", "22"), ["udp/5060", "tcp/5060", "tcp/85", "udp/53"]),
      (meta("l4proto", #""udp""#), ["tcp/5060", "tcp/22", "tcp/85"]),
      (meta("iifname", #""lo""#), all), (states, all), (port("tcp", #""@unknown""#), all),
      (#"{"limit": {"rate": 5, "per": "second"}}"#, all),
      (#"{"xt": {"type": "match", "name": "tcp"}}"#, all),
      (#"{"counter": {"packets": 0, "bytes": 0}}"#, []),
    ], ["accept", "drop"])
  func shield(_ condition: (String, [String]), policy: String) throws {
    let text = FirewallReadingTests.nft([
      FirewallReadingTests.chain("inet", "x", "i", hook: "input", policy: policy),
      FirewallReadingTests.rule("inet", "x", "i", condition.0, #"{"accept": null}"#),
      FirewallReadingTests.rule("inet", "x", "i", #"{"drop": null}"#),
    ])
    #expect(Self.touched(try Self.snapshot(text).unseen) == condition.1)
  }

  @Test(
    "Named sets count where their elements are printed and nobody but their owner changes them",
    arguments: [
      (#""elem": [22, {"range": [80, 90]}]"#, "", ["tcp/22", "tcp/85"]),
      (#""elem": []"#, "", []),
      (#""flags": ["interval"], "elem": [22]"#, "", ["tcp/22"]),
      (#""handle": 7"#, "", ["tcp/5060", "tcp/22", "tcp/85"]),
      (#""flags": ["timeout"], "elem": [22]"#, "", ["tcp/5060", "tcp/22", "tcp/85"]),
      (#""flags": "dynamic", "elem": [22]"#, "", ["tcp/5060", "tcp/22", "tcp/85"]),
      (#""timeout": 60, "elem": [22]"#, "", ["tcp/5060", "tcp/22", "tcp/85"]),
      (
        #""elem": [22]"#,
        #"{"set": {"op": "add", "elem": {"payload": {"protocol": "tcp", "field": "sport"}}, "set": "@p"}}"#,
        ["tcp/5060", "tcp/22", "tcp/85"]
      ),
    ])
  func namedSet(_ properties: String, _ change: String, _ expected: [String]) throws {
    var elements = [
      #"{"set": {"family": "inet", "name": "p", "table": "x", "type": "inet_service", \#(properties)}}"#,
      FirewallReadingTests.chain("inet", "x", "i", hook: "input"),
      FirewallReadingTests.rule("inet", "x", "i", Self.port("tcp", #""@p""#), #"{"drop": null}"#),
    ]
    if !change.isEmpty { elements.append(FirewallReadingTests.rule("inet", "x", "i", change)) }
    let unseen = try Self.snapshot(FirewallReadingTests.nft(elements)).unseen
    #expect(Self.touched(unseen) == expected)
  }

  // MARK: chains

  /// A chain `in` that does `first` and then drops udp, and a chain `a` that does `second`.
  static func jumps(_ first: [String], _ second: [String], policy: String = "accept") throws
    -> [String]
  {
    let text = FirewallReadingTests.nft(
      [
        FirewallReadingTests.chain("inet", "x", "in", hook: "input", policy: policy),
        FirewallReadingTests.chain("inet", "x", "a"),
      ] + first.map { FirewallReadingTests.rule("inet", "x", "in", $0) }
        + second.map { FirewallReadingTests.rule("inet", "x", "a", $0) })
    return touched(try snapshot(text).unseen)
  }

  static let udp = meta("l4proto", #""udp""#)
  static let tcp = meta("l4proto", #""tcp""#)

  @Test("Conditions of a jump and of the chain it leads to hold together")
  func jumpScope() throws {
    let drop = #"{"drop": null}"#
    let jump = #"{"jump": {"target": "a"}}"#
    #expect(
      try Self.jumps(["\(Self.tcp), \(jump)"], ["\(Self.port("th", "5060")), \(drop)"])
        == ["tcp/5060"])
    #expect(try Self.jumps(["\(Self.tcp), \(jump)"], ["\(Self.udp), \(drop)"]) == [])
    #expect(
      try Self.jumps(["\(Self.port("tcp", "22")), \(jump)"], [drop]) == ["tcp/22"])
  }

  @Test("An accept in a chain shields what comes to it, unless something may have left before")
  func jumpAccept() throws {
    let drop = #"{"drop": null}"#
    let accept = #"{"accept": null}"#
    let jump = #"{"jump": {"target": "a"}}"#
    let udpAccept = "\(Self.udp), \(accept)"
    let onlyTCP = ["tcp/5060", "tcp/22", "tcp/85"]
    #expect(try Self.jumps([jump, drop], [udpAccept]) == onlyTCP)
    #expect(try Self.jumps(["\(Self.tcp), \(jump)", drop], [udpAccept]) == Self.all)
    #expect(
      try Self.jumps([jump, drop], ["\(Self.port("udp", "5060")), {\"return\": null}", udpAccept])
        == Self.all)
    #expect(
      try Self.jumps(["{\"limit\": {\"rate\": 1, \"per\": \"second\"}}, \(jump)", drop], [accept])
        == Self.all)
    #expect(try Self.jumps([#"{"goto": {"target": "a"}}"#, drop], [accept]) == [])
    #expect(
      try Self.jumps([#"{"goto": {"target": "a"}}"#, accept], [udpAccept], policy: "drop")
        == onlyTCP)
  }

  @Test("A return in the base chain ends in its policy")
  func baseReturn() throws {
    let back = "\(Self.udp), {\"return\": null}"
    #expect(
      try Self.jumps([back, #"{"drop": null}"#], []) == ["tcp/5060", "tcp/22", "tcp/85"])
    #expect(
      try Self.jumps([back, #"{"accept": null}"#], [], policy: "drop") == ["udp/5060", "udp/53"])
  }

  @Test("A verdict map decides value by value")
  func verdictMap() throws {
    let map = #"""
      {"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [
       [22, {"accept": null}], [{"range": [80, 90]}, {"drop": null}], [5060, {"goto": {"target": "a"}}]]}}}
      """#
    #expect(try Self.jumps([map], []) == ["tcp/85"])
    #expect(try Self.jumps([map], [#"{"drop": null}"#]) == ["tcp/5060", "tcp/85"])
    #expect(
      try Self.jumps([map, #"{"drop": null}"#], []) == ["udp/5060", "tcp/5060", "tcp/85", "udp/53"])
  }

  @Test("More rules than are worth telling apart may touch anything")
  func tooMany() throws {
    let drops = (0..<1_100).map { "\(Self.port("tcp", "\($0 * 2)")), {\"drop\": null}" }
    #expect(try Self.jumps(drops, []) == Self.all)
    // Twenty chains of which each jumps twice to the next are a million rules.
    var elements = [FirewallReadingTests.chain("inet", "x", "c0", hook: "input")]
    for level in 1..<20 {
      elements.append(FirewallReadingTests.chain("inet", "x", "c\(level)"))
      let jump = #"{"jump": {"target": "c\#(level)"}}"#
      for port in ["22", "85"] {
        elements.append(
          FirewallReadingTests.rule(
            "inet", "x", "c\(level - 1)", Self.port("tcp", port, "!="), jump))
      }
    }
    elements.append(FirewallReadingTests.rule("inet", "x", "c19", Self.tcp, #"{"drop": null}"#))
    #expect(Self.touched(try Self.snapshot(FirewallReadingTests.nft(elements)).unseen) == Self.all)
  }

  // MARK: the value

  @Test("A filter is coded with its steps, and one from before it had any touches everything")
  func coding() throws {
    let filters = try Self.snapshot(Array(NativeTexts.firewalld.utf8)).unseen
    let data = try JSONEncoder().encode(filters)
    #expect(try JSONDecoder().decode([UnseenFilter].self, from: data) == filters)
    let old = #"{"backend": "nft", "table": "t", "hooks": [], "why": "", "isMisprint": false}"#
    let filter = try JSONDecoder().decode(UnseenFilter.self, from: Data(old.utf8))
    #expect(filter.steps == nil)
    #expect(Self.touched([filter]) == Self.all)
  }
}
