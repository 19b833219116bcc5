import Addressing
import Firewall
import Testing

@Suite struct RulesetErrorTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var text: String
    var line: Int
    var column: Int
    var expected: String
    var testDescription: String { text }
    init(_ text: String, _ line: Int, _ column: Int, _ expected: String) {
      self.text = text
      self.line = line
      self.column = column
      self.expected = expected
    }
  }

  static let rules: [Case] = [
    Case("-A INPUT -s 300.1.1.1 -j DROP", 1, 13, "an IPv4 address or network"),
    Case("-A INPUT -s 10.0.0.0/33", 1, 13, "an IPv4 address or network"),
    Case("-A INPUT -s 2001:db8::1", 1, 13, "an IPv4 address or network"),
    Case(
      "-A INPUT --source=10.0.0.1,10.0.0.2", 1, 10, "a list of addresses as a word of its own"),
    Case("-A INPUT -s", 1, 12, "an address"),
    Case("-A INPUT ! -s 10.0.0.1,10.0.0.2", 1, 15, "one address after \"!\""),
    Case("-A INPUT ! -s ! 10.0.0.1", 1, 15, "one \"!\""),
    Case("-A INPUT -j", 1, 12, "a target or chain"),
    Case("-A INPUT -j DROP -j ACCEPT", 1, 18, "each option once"),
    Case("-A INPUT -g SIP -j ACCEPT", 1, 17, "each option once"),
    Case("-A INPUT -j DROP stray", 1, 18, "an option"),
    Case("-A INPUT ! ! -i lo", 1, 12, "an option after \"!\""),
    Case("-A INPUT -i lo !", 1, 17, "an option after \"!\""),
    Case("-A INPUT ! -j DROP", 1, 12, "an option that can be negated after \"!\""),
    Case("-A INPUT --dport 53 -p udp", 1, 10, "an option of iptables or of a match before it"),
    Case("-A INPUT -q", 1, 10, "an option of iptables"),
    Case("-A INPUT -t nat -j DROP", 1, 10, "an option of a rule"),
    Case("-A INPUT -p tcp --dport 70000", 1, 25, "a port or a range of ports, 0 to 65535"),
    Case("-A INPUT -p tcp --dport 1 --dport 2", 1, 27, "--dport once"),
    Case(
      "-A INPUT -m multiport --ports 1,,2", 1, 31, "ports and ranges of ports, 0 to 65535"),
    Case(
      "-A INPUT -m state --state NEWER", 1, 27,
      "states of INVALID, NEW, ESTABLISHED, RELATED, UNTRACKED"),
    Case("-A INPUT -p tcp --tcp-flags SYN", 1, 32, "2 values of --tcp-flags"),
    Case("-A INPUT -j LOG --log-prefix", 1, 29, "a value of --log-prefix"),
    Case("-A INPUT -p 256", 1, 13, "a protocol number from 0 to 255"),
    Case("-A INPUT -i thisinterfaceistoolong0", 1, 13, "an interface name of 1 to 15 bytes"),
    Case("-A INPUT -c 1 x", 1, 13, "two numbers: packets and bytes"),
    Case("-A NOWHERE -j DROP", 1, 4, "a chain declared before"),
    Case("-A", 1, 3, "a chain"),
    Case("-NABCDEFGHIJKLMNOPQRSTUVWXYZ012", 1, 1, "a chain name of 1 to 28 bytes"),
    Case("--new-chain=", 1, 1, "a chain name of 1 to 28 bytes"),
    Case("-A \"\"", 1, 4, "a chain name of 1 to 28 bytes"),
    Case("-N \"a ACCEPT\"", 1, 4, "a chain name without blanks"),
    Case("-N \"a\nb\"", 1, 4, "a chain name without blanks"),
    Case("-N -a", 1, 4, "a chain name that does not begin with - or !"),
    Case("--new-chain=!a", 1, 1, "a chain name that does not begin with - or !"),
    Case("-D INPUT -j DROP", 1, 1, "-A, -I, -N, -P or -F with a chain"),
    Case("-I INPUT 3 -j DROP", 1, 10, "a position from 1 to 1"),
    Case("[1:] -A INPUT", 1, 1, "counters: [packets:bytes]"),
    Case("[1:18446744073709551616] -A INPUT", 1, 1, "counters: [packets:bytes]"),
    Case("[1:2] -A INPUT -c 1 2", 1, 16, "counters once"),
    Case("-A INPUT -m comment --comment \"a\"b", 1, 34, "a blank after the closing quote"),
    Case("-A INPUT -m comment --comment \"a\n-j DROP", 1, 31, "a closing quote"),
    Case("-A INPUT -j DROP\r\r", 1, 17, "a word that does not end in a carriage return"),
    Case("-A INPUT -i a\r -j DROP", 1, 14, "a word that does not end in a carriage return"),
    Case(":INPUT MAYBE [0:0]", 1, 8, "a policy: ACCEPT, DROP or -"),
    Case(":X - [0:0] more", 1, 12, "the end of the line"),
    Case(":X", 1, 3, "a policy: ACCEPT, DROP or -"),
    Case("*nat", 1, 1, "COMMIT before the next table"),
    Case("hello", 1, 1, "*table, :chain, a rule, COMMIT or a comment"),
    Case("-A INPUT -j DROP\n\n-A INPUT -m comment --comment \"\n\n\" -i", 5, 5, "an interface"),
  ]

  @Test("A malformed line names its place and what was expected", arguments: rules)
  func places(_ one: Case) throws {
    let text = "*filter\n:INPUT ACCEPT\n:SIP -\n\(one.text)\nCOMMIT\n"
    let error = try #require(throws: FirewallError.self) {
      try RulesetReader.read(Array(text.utf8), source: "f.save", backend: .nft, family: .ipv4)
    }
    #expect(error.code == .malformed)
    #expect(error.file == "f.save")
    #expect(error.line == one.line + 3)
    #expect(error.column == one.column)
    #expect(error.expected == one.expected)
    #expect(error.description.hasPrefix("f.save:\(one.line + 3):\(one.column): "))
  }

  static let files: [Case] = [
    Case("*filter\n:INPUT ACCEPT\n", 3, 1, "COMMIT"),
    Case("*filter\nCOMMIT\n*filter\nCOMMIT\n", 3, 1, "each table once"),
    Case("*nat\n:\u{E9} -\n:e\u{301} -\nCOMMIT\n", 3, 2, "chain names that differ as text"),
    Case("COMMIT\n", 1, 1, "*table before COMMIT"),
    Case(":INPUT ACCEPT\n", 1, 1, "*table before a chain"),
    Case("*filter\nCOMMIT\n-A INPUT\n", 3, 1, "*table before a rule"),
    Case("*filter\nCOMMIT now\n", 2, 1, "COMMIT and nothing else on the line"),
    Case("*\n", 1, 1, "*table and nothing else on the line"),
    Case("*fil ter\n", 1, 1, "*table and nothing else on the line"),
    Case("*filter\n# a\0b\n", 2, 4, "text"),
    Case("-P FORWARD DROP\n*nat\n", 2, 1, "a line of iptables -S"),
    Case("Chain INPUT (policy ACCEPT)\n", 1, 1, "*table, :chain, a rule, COMMIT or a comment"),
  ]

  @Test("A malformed file names its place and what was expected", arguments: files)
  func wholeFiles(_ one: Case) throws {
    let error = try #require(throws: FirewallError.self) {
      try RulesetReader.read(Array(one.text.utf8), source: "f", backend: .nft, family: .ipv4)
    }
    #expect(error.line == one.line)
    #expect(error.column == one.column)
    #expect(error.expected == one.expected)
  }

  @Test(
    "A line of ten megabytes is refused, as a rule, a comment or a quoted text",
    arguments: [
      "-A INPUT -m comment --comment ", "# ", "-A INPUT -m comment --comment \"", ":", "",
      "-A INPUT -m comment --comment \"a\\",
    ])
  func longLines(_ start: String) throws {
    let text = Array("*filter\n\(start)".utf8) + Array(repeating: 0x61, count: 10 << 20)
    let error = try #require(throws: FirewallError.self) {
      try RulesetReader.read(text, source: "f", backend: .nft, family: .ipv4)
    }
    #expect(error.line == 2)
  }

  @Test("A file over 256 MiB is refused unread")
  func hugeFile() throws {
    let bytes = [UInt8](repeating: 0x0A, count: RulesetReader.largestFile + 1)
    let error = try #require(throws: FirewallError.self) {
      try RulesetReader.read(bytes, source: "f", backend: .nft, family: .ipv4)
    }
    #expect(error.code == .tooLarge)
  }

  @Test("An error's text shows control characters harmlessly")
  func escaping() throws {
    let error = try #require(throws: FirewallError.self) {
      try RulesetReader.read(
        Array("*filter\n:INPUT ACCEPT\n-A INPUT \u{1B}[2J\u{202E}x\n".utf8), source: "a\u{7}b",
        backend: .nft, family: .ipv4)
    }
    #expect(!error.description.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x202E })
    #expect(error.description.contains("\\u{1b}[2J"))
  }
}
