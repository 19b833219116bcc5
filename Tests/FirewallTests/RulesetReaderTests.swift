import Addressing
import Firewall
import Testing

/// Reads rules of a filter table and gives chain INPUT.
func input(_ rules: String, family: AddressFamily = .ipv4) throws -> [Rule] {
  let text = "*filter\n:INPUT ACCEPT [0:0]\n:SIP - [0:0]\n\(rules)\nCOMMIT\n"
  let bytes = Array(text.utf8)
  let ruleset = try RulesetReader.read(bytes, source: "test", backend: .nft, family: family)
  #expect(ruleset.write() == bytes)
  return try #require(ruleset.table("filter")?.chain("INPUT")).rules
}

func option(_ name: String, _ arguments: String..., not: Bool = false) -> RuleOption {
  RuleOption(name: name, isInverted: not, arguments: arguments)
}

@Suite struct RulesetReaderTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var rule: String
    var matches: [MatchClause]
    var target: TargetClause?
    var testDescription: String { rule }
    init(_ rule: String, _ matches: [MatchClause], _ target: TargetClause? = nil) {
      self.rule = rule
      self.matches = matches
      self.target = target
    }
  }

  static let cases: [Case] = [
    Case("-A INPUT", []),
    Case(
      "-A INPUT -s 192.0.2.0/24 ! -d 198.51.100.7/32 -i eth0 ! -o lo -p udp -j ACCEPT",
      [
        MatchClause(
          name: "ip",
          options: [
            option("-s", "192.0.2.0/24"), option("-d", "198.51.100.7/32", not: true),
            option("-i", "eth0"), option("-o", "lo", not: true), option("-p", "udp"),
          ])
      ], TargetClause(name: "ACCEPT")),
    Case(
      "-A INPUT --source 10/8 --destination 192.0.2.1 --in-interface=eth+ --protocol=tcp --jump SIP",
      [
        MatchClause(
          name: "ip",
          options: [
            option("-s", "10/8"), option("-d", "192.0.2.1"), option("-i", "eth+"),
            option("-p", "tcp"),
          ])
      ], TargetClause(name: "SIP")),
    Case(
      "-A INPUT -s10.0.0.1 -ptcp -jSIP",
      [MatchClause(name: "ip", options: [option("-s", "10.0.0.1"), option("-p", "tcp")])],
      TargetClause(name: "SIP")),
    // The protocol brings its match along, under either spelling of it.
    Case(
      "-A INPUT -p udp --dport 53",
      [
        MatchClause(name: "ip", options: [option("-p", "udp")]),
        MatchClause(name: "udp", options: [option("--dport", "53")]),
      ]),
    Case(
      "-A INPUT -p 17 --destination-port=5060:5061",
      [
        MatchClause(name: "ip", options: [option("-p", "17")]),
        MatchClause(name: "udp", options: [option("--dport", "5060:5061")]),
      ]),
    // `!` after the option, as older versions wrote it.
    Case(
      "-A INPUT -s ! 10.0.0.0/255.0.255.0 -p tcp --dport ! 53 --syn",
      [
        MatchClause(
          name: "ip",
          options: [option("-s", "10.0.0.0/255.0.255.0", not: true), option("-p", "tcp")]
        ),
        MatchClause(
          name: "tcp",
          options: [
            option("--dport", "53", not: true), option("--tcp-flags", "FIN,SYN,RST,ACK", "SYN"),
          ]),
      ]),
    // Options of a target stand after a match of another: getopt knows whose they are.
    Case(
      "-A INPUT -j DNAT -p udp -m udp --dport 80 --to 192.0.2.9:5060 -m comment --comment x",
      [
        MatchClause(name: "ip", options: [option("-p", "udp")]),
        MatchClause(name: "udp", options: [option("--dport", "80")]),
        MatchClause(name: "comment", options: [option("--comment", "x")]),
      ],
      TargetClause(name: "DNAT", options: [option("--to-destination", "192.0.2.9:5060")])),
    // An abbreviation of --dports, not the option of a match that -p would bring.
    Case(
      "-A INPUT -p udp -m multiport --dport 5000:5070,6000",
      [
        MatchClause(name: "ip", options: [option("-p", "udp")]),
        MatchClause(name: "multiport", options: [option("--dports", "5000:5070,6000")]),
      ]),
    Case(
      "-A INPUT -m conntrack ! --ctstate INVALID,NEW -m state --state new,est -g SIP",
      [
        MatchClause(name: "conntrack", options: [option("--ctstate", "INVALID,NEW", not: true)]),
        MatchClause(name: "state", options: [option("--state", "NEW,ESTABLISHED")]),
      ], TargetClause(name: "SIP", isGoto: true)),
    Case(
      "-A INPUT -m set ! --match-set bad src,dst --return-nomatch ! --update-counters -j SET"
        + " --add-set seen src --exist --timeout 60",
      [
        MatchClause(
          name: "set",
          options: [
            option("--match-set", "bad", "src,dst", not: true), option("--return-nomatch"),
            option("--update-counters", not: true),
          ])
      ],
      TargetClause(
        name: "SET",
        options: [option("--add-set", "seen", "src"), option("--exist"), option("--timeout", "60")])
    ),
    // A value may look like an option: saves print such a comment unquoted.
    Case(
      "-A INPUT -m comment --comment -j -j DROP",
      [MatchClause(name: "comment", options: [option("--comment", "-j")])],
      TargetClause(name: "DROP")),
    Case(
      "-A INPUT -m comment --comment \"!\" -j DROP",
      [MatchClause(name: "comment", options: [option("--comment", "!")])],
      TargetClause(name: "DROP")),
    Case(
      "-A INPUT -m comment --comment=\"two words\"",
      [MatchClause(name: "comment", options: [option("--comment", "two words")])]),
    Case(
      #"-A INPUT -m comment --comment "a \"quoted\" and \\ back, \'single\'" -j DROP"#,
      [
        MatchClause(
          name: "comment", options: [option("--comment", #"a "quoted" and \ back, 'single'"#)])
      ], TargetClause(name: "DROP")),
    // Saves print interface names unquoted, whatever they hold (facts H4).
    Case(
      "-A INPUT -i et\"h0 -j DROP",
      [MatchClause(name: "ip", options: [option("-i", "et\"h0")])], TargetClause(name: "DROP")),
    Case(
      "-A INPUT -f -j DROP", [MatchClause(name: "ip", options: [option("-f")])],
      TargetClause(name: "DROP")),
    Case(
      "-A INPUT ! -f -j DROP", [MatchClause(name: "ip", options: [option("-f", not: true)])],
      TargetClause(name: "DROP")),
    // What is not known is kept, up to the next option of iptables itself.
    Case(
      "-A INPUT -m geoip --src-cc DE,FR -m pknock ! --knockports 1,2 3 --strict -p udp -j TARPIT"
        + " --honeypot",
      [
        MatchClause(name: "ip", options: [option("-p", "udp")]),
        MatchClause(name: "geoip", options: [option("--src-cc", "DE,FR")]),
        MatchClause(
          name: "pknock",
          options: [option("--knockports", "1,2", "3", not: true), option("--strict")]
        ),
      ], TargetClause(name: "TARPIT", options: [option("--honeypot")])),
    Case(
      "-A INPUT -m conntrack --ctstate NEW --ctfuture yes -j ACCEPT",
      [
        MatchClause(
          name: "conntrack", options: [option("--ctstate", "NEW"), option("--ctfuture", "yes")])
      ], TargetClause(name: "ACCEPT")),
    // An option of a match goes before an abbreviation of iptables' own --protocol.
    Case(
      "-A INPUT -m policy --dir in --pol ipsec --proto esp --proto ah",
      [
        MatchClause(
          name: "policy",
          options: [
            option("--dir", "in"), option("--pol", "ipsec"), option("--proto", "esp"),
            option("--proto", "ah"),
          ])
      ]),
    Case("-A INPUT --proto esp", [MatchClause(name: "ip", options: [option("-p", "esp")])]),
    Case(
      "-A INPUT -m recent --rcheck --seconds 60 --name SIP --rsource -m recent --set --name B",
      [
        MatchClause(
          name: "recent",
          options: [
            option("--rcheck"), option("--seconds", "60"), option("--name", "SIP"),
            option("--rsource"),
          ]),
        MatchClause(name: "recent", options: [option("--set"), option("--name", "B")]),
      ]),
  ]

  @Test("Every word of a rule comes to the option it belongs to", arguments: cases)
  func words(_ one: Case) throws {
    let rules = try input(one.rule)
    let rule = try #require(rules.first)
    #expect(rules.count == 1)
    #expect(rule.matches == one.matches)
    #expect(rule.target?.name == one.target?.name)
    #expect(rule.target?.isGoto == one.target?.isGoto)
    #expect(rule.target?.options == one.target?.options)
    #expect(rule.text == one.rule)
    #expect(rule.counters == nil)
  }

  @Test("A comment that holds a newline and a rule does not become a rule")
  func forgedRule() throws {
    let rules = try input(
      "[1:2] -A INPUT -m comment --comment \"x\n-A INPUT -j ACCEPT\nCOMMIT\n\" -j DROP\n"
        + "[3:4] -A INPUT -j SIP")
    #expect(rules.map(\.target?.name) == ["DROP", "SIP"])
    #expect(rules[0].comment == "x\n-A INPUT -j ACCEPT\nCOMMIT\n")
    #expect(rules[0].counters == RuleCounters(packets: 1, bytes: 2))
    // The lines of the comment are counted.
    #expect(rules.map(\.line) == [4, 8])
  }

  @Test(
    "A comment is text, whatever it looks like",
    arguments: [
      "-j ACCEPT", "fake\\\" -j ACCEPT #", "\\u{1b}[2J", "a\rb", "# no", "*filter", "[0:0]",
    ])
  func textComments(_ comment: String) throws {
    let rules = try input("-A INPUT -m comment --comment \"\(comment)\" -j DROP")
    #expect(rules.map(\.target?.name) == ["DROP"])
    #expect(rules[0].matches.count == 1)
  }

  @Test("Invalid UTF-8 in a comment is read and written back")
  func invalidText() throws {
    let bytes: [UInt8] =
      Array("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m comment --comment \"".utf8)
      + [0xFF, 0xC3, 0x28, 0x1B] + Array("\" -j DROP\nCOMMIT\n".utf8)
    let rules = try RulesetReader.read(bytes, source: "x", backend: .legacy, family: .ipv4)
    #expect(rules.write() == bytes)
    #expect(rules.tables[0].chains[0].rules[0].target?.name == "DROP")
  }

  @Test("A file with CR LF line ends reads the same and keeps them")
  func carriageReturns() throws {
    let text =
      "# saved\r\n*filter\r\n:INPUT DROP [0:0]\r\n:SIP - [0:0]\r\n"
      + "[1:2] -A INPUT -p udp -j SIP\r\n\r\n-A SIP -j ACCEPT\r\nCOMMIT\r\n# end\r\n"
    let rules = try RulesetReader.read(
      Array(text.utf8), source: "x", backend: .nft, family: .ipv4)
    #expect(rules.write() == Array(text.utf8))
    #expect(rules.table("filter")?.chain("INPUT")?.policy == "DROP")
    #expect(rules.table("filter")?.chain("INPUT")?.rules[0].text == "-A INPUT -p udp -j SIP")
    #expect(rules.table("filter")?.chain("SIP")?.rules[0].target?.name == "ACCEPT")
  }

  @Test(
    "Odd spacing, blank lines and a missing last newline are kept",
    arguments: [
      "*filter\n :INPUT   DROP\t[0:0]  \n\n  # why\n[01:2]   -A INPUT   -j  DROP \n COMMIT\n\n",
      "*filter\n:INPUT DROP\n-A INPUT -j DROP\nCOMMIT", "*filter\nCOMMIT\r", "", "\n", "# only",
      "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [1:2]\nCOMMIT\n",
      "-P INPUT DROP\n-N SIP\n-A SIP -j ACCEPT\n-A INPUT -c 1 2 -j SIP",
      "*filter\n-A INPUT -c 3,4 -j DROP\n-A INPUT --append -j DROP\nCOMMIT\n",
    ])
  func spacing(_ text: String) throws {
    // The last of them gives a value that looks like a command: refused, not misread.
    guard !text.contains("--append") else {
      #expect(throws: FirewallError.self) {
        try RulesetReader.read(Array(text.utf8), source: "x", backend: .nft, family: .ipv4)
      }
      return
    }
    let rules = try RulesetReader.read(Array(text.utf8), source: "x", backend: .nft, family: .ipv4)
    #expect(String(decoding: rules.write(), as: UTF8.self) == text)
  }

  @Test("Several addresses in one rule are several rules, in the kernel's order")
  func addressLists() throws {
    let appended = try input("-A INPUT -s 192.0.2.1,192.0.2.2 -d 198.51.100.1,198.51.100.2 -j DROP")
    #expect(
      appended.map(\.text) == [
        "-A INPUT -s 192.0.2.1 -d 198.51.100.1 -j DROP",
        "-A INPUT -s 192.0.2.1 -d 198.51.100.2 -j DROP",
        "-A INPUT -s 192.0.2.2 -d 198.51.100.1 -j DROP",
        "-A INPUT -s 192.0.2.2 -d 198.51.100.2 -j DROP",
      ])
    #expect(appended[1].matches[0].options[1] == option("-d", "198.51.100.2"))
    let inserted = try input("-A INPUT -j DROP\n-I INPUT 1 -s 192.0.2.1,192.0.2.2")
    #expect(
      inserted.map(\.text) == [
        "-A INPUT -s 192.0.2.2", "-A INPUT -s 192.0.2.1", "-A INPUT -j DROP",
      ]
    )
  }

  @Test("Inserted rules stand where the kernel puts them")
  func inserts() throws {
    let rules = try input(
      "-A INPUT -j SIP\n-I INPUT -j ACCEPT\n-I INPUT 3 -j DROP\n--insert INPUT 1 -i lo")
    #expect(rules.map(\.target?.name) == [nil, "ACCEPT", "SIP", "DROP"])
    #expect(rules[2].text == "-A INPUT -j SIP")
    #expect(rules[3].text == "-A INPUT -j DROP")
  }

  @Test("Insertions at the head and below it mix, and a flush forgets both")
  func mixedInserts() throws {
    let rules = try input(
      "-A INPUT -i z\n-F INPUT\n-A INPUT -i c\n-I INPUT -i b\n-I INPUT -i a\n-I INPUT 4 -i f\n"
        + "-I INPUT 4 -i d\n-A INPUT -i g\n-I INPUT -i 0")
    #expect(
      rules.map(\.text) == ["0", "a", "b", "c", "d", "f", "g"].map { "-A INPUT -i \($0)" })
    #expect(try input("-I INPUT -i a\n-F\n-I INPUT -i b").map(\.text) == ["-A INPUT -i b"])
    #expect(try input("-A INPUT -i a\n-F\n-A INPUT -i b\n-F").isEmpty)
  }

  @Test(
    "A chain's line comes back with whatever blanks it had",
    arguments: [":A\t- [0:0]", ":A -\t[0:0]", ":A\t-", ":A  - [0:0] "])
  func blanksOfChains(_ line: String) throws {
    let bytes = Array("*filter\n\(line)\nCOMMIT\n".utf8)
    let rules = try RulesetReader.read(bytes, source: "x", backend: .nft, family: .ipv4)
    #expect(rules.write() == bytes)
  }

  @Test(
    "An inserted rule's text says the same as a rule appended",
    arguments: [
      ("-I INPUT -c 1 2", "-A INPUT"), ("-I INPUT 1 -c 1,2", "-A INPUT"),
      ("-IINPUT -i lo -c 1 2", "-A INPUT -i lo"), ("-I INPUT -c 1 2 -i lo", "-A INPUT -i lo"),
      ("--insert=INPUT ! -i a=b", "-A INPUT ! -i a=b"), ("-I\"a", "-A\"a"), ("-Ia=b", "-A a=b"),
      ("--insert=a=b", "-A a=b"),
    ])
  func insertedText(_ line: String, _ text: String) throws {
    let bytes = Array("*filter\n:\"a -\n:a=b -\n\(line)\nCOMMIT\n".utf8)
    let rules = try RulesetReader.read(bytes, source: "x", backend: .nft, family: .ipv4)
    #expect(rules.tables[0].chains.flatMap(\.rules).map(\.text) == [text])
  }

  @Test("A built-in chain is a chain and takes no options, declared or not")
  func builtInTarget() throws {
    for declared in [":FORWARD -\n", ""] {
      let text = "*filter\n\(declared)-A INPUT -m new -j FORWARD --option\nCOMMIT\n"
      let rules = try RulesetReader.read(
        Array(text.utf8), source: "x", backend: .nft, family: .ipv4)
      let rule = try #require(rules.table("filter")?.chain("INPUT")?.rules.first)
      #expect(rule.matches == [MatchClause(name: "new", options: [option("--option")])])
      #expect(rule.target == TargetClause(name: "FORWARD"))
    }
  }

  @Test(
    "A policy given again below its chain's line is the one that holds, and the text stays",
    arguments: ["", " -c 7 8"])
  func policyAgain(_ counters: String) throws {
    let bytes = Array("*filter\n:INPUT ACCEPT [1:2]\n-P INPUT DROP\(counters)\nCOMMIT\n".utf8)
    let rules = try RulesetReader.read(bytes, source: "x", backend: .nft, family: .ipv4)
    #expect(rules.write() == bytes)
    let chain = try #require(rules.table("filter")?.chain("INPUT"))
    #expect(chain.policy == "DROP")
    #expect(chain.counters?.packets == (counters.isEmpty ? 1 : 7))
  }

  @Test("A rule for the other family only is passed over and kept in the text")
  func otherFamily() throws {
    #expect(try input("-A INPUT -4 -j DROP\n-A INPUT -6 -j SIP").map(\.target?.name) == ["DROP"])
    #expect(
      try input("-A INPUT -4 -j DROP\n-A INPUT -6 -j SIP", family: .ipv6).map(\.target?.name)
        == ["SIP"])
  }

  @Test("Counters may stand before the rule, inside it or nowhere")
  func counters() throws {
    let rules = try input(
      "[18446744073709551615:9] -A INPUT -j DROP\n-A INPUT -c 5 6 -j DROP\n-A INPUT -j DROP -c 7 8")
    #expect(rules.map(\.counters?.packets) == [.max, 5, 7])
    #expect(rules.map(\.text) == Array(repeating: "-A INPUT -j DROP", count: 3))
  }

  @Test("A changed ruleset is written plainly and reads back the same")
  func changes() throws {
    let text = "*filter\n:INPUT DROP [5:6]\n  [1:2] -A INPUT -j ACCEPT\n-I INPUT -i lo\nCOMMIT\n"
    var rules = try RulesetReader.read(
      Array(text.utf8), source: "x", backend: .nft, family: .ipv4)
    rules.tables[0].chains[0].rules[0].counters = RuleCounters(packets: 9, bytes: 9)
    rules.tables[0].chains.append(
      Chain(
        name: "SIP",
        rules: [Rule(matches: [], target: nil, bytes: Array("-A SIP -j DROP".utf8), line: 0)]))
    let expected =
      "*filter\n:INPUT DROP [5:6]\n:SIP -\n[9:9] -A INPUT -i lo\n[1:2] -A INPUT -j ACCEPT\n"
      + "-A SIP -j DROP\nCOMMIT\n"
    #expect(String(decoding: rules.write(), as: UTF8.self) == expected)
    let again = try RulesetReader.read(
      Array(expected.utf8), source: "x", backend: .nft, family: .ipv4)
    #expect(again.write() == Array(expected.utf8))
  }

  @Test("Changed counters alone keep the rest of the text")
  func changedCounters() throws {
    let text = "# top\n*filter\n:INPUT DROP [5:6]\n[1:2] -A INPUT -j ACCEPT\n# mid\nCOMMIT\n"
    var rules = try RulesetReader.read(
      Array(text.utf8), source: "x", backend: .nft, family: .ipv4)
    rules.tables[0].chains[0].rules[0].counters?.packets = 77
    #expect(
      String(decoding: rules.write(), as: UTF8.self)
        == text.replacing("[1:2]", with: "[77:2]"))
  }
}
