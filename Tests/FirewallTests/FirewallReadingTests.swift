import Addressing
import Firewall
import Testing

@Suite struct FirewallReadingTests {
  static let save = """
    *filter
    :INPUT DROP [0:0]
    :FORWARD ACCEPT [0:0]
    :OUTPUT ACCEPT [0:0]
    [0:0] -A INPUT -p udp -m udp --dport 5060 -j ACCEPT
    COMMIT

    """

  static func nft(_ elements: [String]) -> [UInt8] {
    Array(
      ("{\"nftables\": [{\"metainfo\": {\"version\": \"1.0.6\"}}"
        + elements.map { ", " + $0 }.joined()
        + "]}\n").utf8)
  }

  static func chain(
    _ family: String, _ table: String, _ name: String, hook: String? = nil, type: String = "filter",
    priority: Int = 0, policy: String = "accept"
  ) -> String {
    var text =
      "{\"chain\": {\"family\": \"\(family)\", \"table\": \"\(table)\", \"name\": \"\(name)\", \"handle\": 1"
    if let hook {
      text +=
        ", \"type\": \"\(type)\", \"hook\": \"\(hook)\", \"prio\": \(priority), \"policy\": \"\(policy)\""
    }
    return text + "}}"
  }

  static func rule(_ family: String, _ table: String, _ chain: String, _ statements: String...)
    -> String
  {
    "{\"rule\": {\"family\": \"\(family)\", \"table\": \"\(table)\", \"chain\": \"\(chain)\","
      + " \"handle\": 2, \"expr\": [\(statements.joined(separator: ", "))]}}"
  }

  static let input = chain("ip", "filter", "INPUT", hook: "input", policy: "drop")
  static let port = """
    {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 5060}}
    """
  static let ports = """
    {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}},
     "right": {"set": [5060, 5061]}}}
    """
  static let named = """
    {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@bad"}}
    """
  static let range = """
    {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
     "right": {"range": ["10.0.0.1", "10.0.0.9"]}}}
    """
  static let counter = #"{"counter": {"packets": 0, "bytes": 0}}"#
  static let accept = #"{"accept": null}"#
  static let drop = #"{"drop": null}"#
  static let limitOver = #"{"limit": {"rate": 5, "burst": 5, "per": "second", "inv": true}}"#
  static func xt(_ type: String, _ name: String) -> String {
    "{\"xt\": {\"type\": \"\(type)\", \"name\": \"\(name)\"}}"
  }

  /// What is unseen beside the ruleset above, as `table/chain hooks`.
  static func unseen(_ elements: [String]) throws -> [String] {
    let reading = try FirewallHost.reading(files: [
      "ipv4.nft.save": Array(save.utf8), "ipv6.nft.save": [], "nft.json": nft(elements),
      "sets.save": [],
    ])
    #expect(reading.problems.isEmpty)
    #expect(reading.snapshot.rulesets.count == 1)
    return reading.snapshot.unseen.map {
      "\($0.family.map(\.rawValue) ?? "both") \($0.table)/\($0.chain ?? "-") \($0.hooks)"
        + ($0.isMisprint ? " misprint" : "")
    }
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var elements: [String]
    var unseen: [String]
    init(_ what: String, _ elements: [String], _ unseen: [String]) {
      testDescription = what
      self.elements = elements
      self.unseen = unseen
    }
  }

  static let cases: [Case] = [
    Case(
      "iptables' own rules",
      [
        input, rule("ip", "filter", "INPUT", port, xt("match", "conntrack"), counter, accept),
        rule("ip", "filter", "INPUT", counter, xt("target", "REJECT")),
      ], []),
    Case(
      "a set in iptables' chain, which the save drops",
      [input, rule("ip", "filter", "INPUT", ports, drop)],
      ["ipv4 filter/INPUT [\"input\"] misprint"]),
    Case(
      "a named set", [input, rule("ip", "filter", "INPUT", named, counter, accept)],
      ["ipv4 filter/INPUT [\"input\"] misprint"]),
    Case(
      "an address range", [input, rule("ip", "filter", "INPUT", range, accept)],
      ["ipv4 filter/INPUT [\"input\"] misprint"]),
    Case(
      "a limit over", [input, rule("ip", "filter", "INPUT", limitOver, drop)],
      ["ipv4 filter/INPUT [\"input\"] misprint"]),
    Case(
      "a set that only counts", [input, rule("ip", "filter", "INPUT", ports, counter)], []),
    Case(
      "a user's chain that INPUT jumps to",
      [
        input, chain("ip", "filter", "SIP"),
        rule("ip", "filter", "INPUT", counter, #"{"jump": {"target": "SIP"}}"#),
        rule("ip", "filter", "SIP", ports, drop),
      ], ["ipv4 filter/SIP [\"input\"] misprint"]),
    Case(
      "a user's chain that nothing leads to",
      [input, chain("ip", "filter", "SIP"), rule("ip", "filter", "SIP", ports, drop)], []),
    Case(
      "an empty foreign chain under policy accept",
      [chain("inet", "fw", "in", hook: "input", priority: -10)], []),
    Case(
      "a foreign chain under policy drop",
      [chain("inet", "fw", "in", hook: "input", priority: -10, policy: "drop")],
      ["both inet fw/in [\"input\"]"]),
    Case(
      "a foreign chain that accepts, counts, logs and limits only",
      [
        chain("inet", "fw", "in", hook: "input"),
        rule(
          "inet", "fw", "in", ports, counter, limitOver, #"{"log": {"prefix": "x"}}"#, accept),
      ], []),
    Case(
      "a foreign chain that drops two jumps away",
      [
        chain("inet", "fw", "in", hook: "input"), chain("inet", "fw", "a"),
        chain("inet", "fw", "b"), rule("inet", "fw", "in", #"{"jump": {"target": "a"}}"#),
        rule("inet", "fw", "a", #"{"goto": {"target": "b"}}"#), rule("inet", "fw", "b", drop),
      ], ["both inet fw/in [\"input\"]"]),
    Case(
      "chains that jump in a circle",
      [
        chain("inet", "fw", "in", hook: "input"),
        rule("inet", "fw", "in", #"{"jump": {"target": "in"}}"#),
      ], []),
    Case(
      "a verdict map that accepts only, one that drops, one with a name",
      [
        chain("inet", "fw", "a", hook: "input"), chain("inet", "fw", "b", hook: "input"),
        chain("inet", "fw", "c", hook: "input"),
        rule(
          "inet", "fw", "a",
          #"{"vmap": {"key": {"meta": {"key": "iif"}}, "data": {"set": [[1, {"accept": null}]]}}}"#),
        rule(
          "inet", "fw", "b",
          #"{"vmap": {"key": {"meta": {"key": "iif"}}, "data": {"set": [[1, {"drop": null}]]}}}"#),
        rule(
          "inet", "fw", "c", #"{"vmap": {"key": {"meta": {"key": "iif"}}, "data": "@m"}}"#),
      ], ["both inet fw/b [\"input\"]", "both inet fw/c [\"input\"]"]),
    Case(
      "ingress, bridge and another chain in iptables' own table",
      [
        chain("netdev", "n", "i", hook: "ingress"), rule("netdev", "n", "i", drop),
        chain("bridge", "b", "f", hook: "forward", policy: "drop"),
        chain("ip", "filter", "weird", hook: "input", priority: 5),
        rule("ip", "filter", "weird", drop),
      ],
      [
        "both netdev n/i [\"ingress\"]", "both bridge b/f [\"forward\"]",
        "ipv4 filter/weird [\"input\"]",
      ]),
    Case(
      "what sees only leaving packets, or ARP",
      [
        chain("inet", "fw", "out", hook: "output", policy: "drop"),
        chain("inet", "fw", "post", hook: "postrouting", type: "nat"),
        rule("inet", "fw", "post", #"{"masquerade": null}"#),
        chain("arp", "filter", "INPUT", hook: "input", policy: "drop"),
      ], []),
    Case(
      "a native redirect before routing",
      [
        chain("inet", "n", "pre", hook: "prerouting", type: "nat", priority: -100),
        rule("inet", "n", "pre", port, #"{"redirect": {"port": 5090}}"#),
      ], ["both inet n/pre [\"prerouting\"]"]),
    Case(
      "a table that the save does not print",
      [
        chain("ip6", "filter", "INPUT", hook: "input"),
        rule("ip6", "filter", "INPUT", port, drop),
      ], ["ipv6 filter/INPUT [\"input\"]"]),
    Case(
      "a flowtable in use",
      [
        #"{"flowtable": {"family": "inet", "name": "ft", "table": "x", "handle": 1, "hook": "ingress", "prio": 0, "dev": "lo"}}"#,
        chain("inet", "x", "f", hook: "forward"),
        rule("inet", "x", "f", #"{"flow": {"op": "add", "flowtable": "@ft"}}"#),
      ], ["both inet x/f [\"forward\"]", "both inet x/ft [\"forward\"]"]),
    Case(
      "a chain that accepts all before it drops",
      [
        chain("inet", "x", "f", hook: "input"), rule("inet", "x", "f", counter, accept),
        rule("inet", "x", "f", drop),
      ], []),
    Case(
      "a filter after routing, which forwarded packets meet",
      [
        chain("inet", "x", "f", hook: "postrouting", priority: 0),
        rule("inet", "x", "f", ports, drop),
      ], ["both inet x/f [\"postrouting\"]"]),
    Case(
      "a statement of the future",
      [
        chain("inet", "x", "f", hook: "input"),
        rule("inet", "x", "f", #"{"teleport": {"to": "mars"}}"#),
      ], ["both inet x/f [\"input\"]"]),
  ]

  @Test("Native nft filters are unseen exactly where they can touch a packet", arguments: cases)
  func native(_ one: Case) throws {
    #expect(try Self.unseen(one.elements) == one.unseen)
  }

  @Test(
    "Without the nft list a reading is whole where the kernel has no nf_tables",
    arguments: [
      ("nft absent", true), ("nft not-installed nft", false), ("nft failed no", false), ("", false),
    ])
  func noNft(status: String, isWhole: Bool) throws {
    let others = "ipv4.nft not-installed x\nipv6.nft not-installed x\nipv6.legacy absent\n"
    let reading = try FirewallHost.reading(files: [
      "firewall.status": Array((others + "sets absent\nipv4.legacy read\n" + status).utf8),
      "ipv4.legacy.save": Array(Self.save.utf8),
    ])
    #expect(reading.problems.isEmpty == isWhole, "\(reading.problems)")
    #expect(reading.snapshot.unseen.isEmpty == isWhole)
    #expect(reading.snapshot.rulesets.map(\.backend) == [.legacy])
  }

  @Test("Without the nft list, what the save says of itself is unseen")
  func notices() throws {
    let reading = try FirewallHost.reading(files: [
      "ipv4.nft.save": Array("# Table `filter' is incompatible, use 'nft' tool.\n".utf8),
      "ipv6.nft.save": Array(
        "# Table `nat' contains incompatible base-chains, use 'nft' tool to list them.\n".utf8),
    ])
    #expect(reading.snapshot.rulesets.isEmpty)
    #expect(reading.snapshot.unseen.map(\.table) == ["filter", "nat"])
    #expect(reading.snapshot.unseen[0].hooks.contains("input"))
    #expect(reading.problems.count == 2)
  }

  @Test("A family that was not saved is unseen, not empty")
  func missingFamily() throws {
    let reading = try FirewallHost.reading(files: ["ipv4.nft.save": Array(Self.save.utf8)])
    #expect(reading.snapshot.unseen.map(\.family) == [.ipv6])
    #expect(reading.problems.contains { $0.contains("ipv6.nft.save") })
  }

  @Test("Sets are unknown when rules ask them and they were not saved, else none")
  func sets() throws {
    let asks = Self.save.replacing("-p udp", with: "-m set --match-set bad src -p udp")
    let unknown = try FirewallHost.reading(files: ["ipv4.nft.save": Array(asks.utf8)])
    #expect(unknown.snapshot.sets == nil)
    let none = try FirewallHost.reading(files: ["ipv4.nft.save": Array(Self.save.utf8)])
    #expect(none.snapshot.sets == [])
  }

  @Test(
    "A malformed saved text is an error with its place",
    arguments: [
      ("ipv4.nft.save", "*filter\n:INPUT\n", 2), ("sets.save", "create\n", 1),
      ("nft.json", "{\"nftables\": [\n{]}", 2), ("nft.json", "", 1),
      ("ipv6.legacy.save", "*filter\n", 2),
    ])
  func malformed(_ file: String, _ text: String, _ line: Int) throws {
    let error = try #require(throws: FirewallError.self) {
      try FirewallHost.reading(files: [file: Array(text.utf8)])
    }
    #expect(error.file == file)
    #expect(error.line == line)
  }

  @Test("What a live reading could not understand does not stop the rest, live or saved")
  func unreadableLive() throws {
    let reading = try FirewallHost.reading(files: [
      "ipv4.nft.save": Array("*filter\n:INPUT\n".utf8), "ipv6.nft.save": Array(Self.save.utf8),
      "firewall.status": Array("ipv4.nft unreadable\nipv6.nft read\nipv4.legacy failed no\n".utf8),
    ])
    #expect(reading.snapshot.rulesets.map(\.family) == [.ipv6])
    #expect(reading.errors.first?.line == 2)
    #expect(reading.snapshot.unseen.map(\.backend) == [.nft, .legacy])
  }

  @Test("JSON nested without end is an error")
  func depth() throws {
    #expect(throws: FirewallError.self) {
      try FirewallHost.reading(files: [
        "nft.json": Array("{\"nftables\": [".utf8) + Array(repeating: 0x5B, count: 1 << 20)
      ])
    }
  }
}
