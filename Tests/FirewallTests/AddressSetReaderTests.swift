import Addressing
import Firewall
import Testing

@Suite struct AddressSetReaderTests {
  static let saved = """
    create a hash:ip family inet hashsize 1024 maxelem 65536 timeout 0 counters comment bucketsize 12 initval 0xb9759de9
    add a 1.2.3.4 timeout 59 packets 3 bytes 4 comment "x
    add a 9.9.9.9"
    add a 1.2.3.6 timeout 0 packets 0 bytes 0 comment "back\\slash"
    add a 1.2.3.5 timeout 0 packets 0 bytes 0
    create b hash:net,port family inet6 hashsize 1024 maxelem 1000000 timeout 0
    add b 2001:db8::/64,udp:5060 timeout 0
    create c hash:net family inet hashsize 1024 maxelem 65536
    add c 10.1.0.0/16 nomatch
    add c 10.0.0.0/8
    create f hash:net,iface family inet hashsize 1024 maxelem 65536
    add f 10.0.0.0/24,physdev:eth1
    create g bitmap:port range 1-100
    add g 50
    create h bitmap:ip,mac range 10.0.0.0-10.0.0.255
    add h 10.0.0.1,00:11:22:33:44:55
    create i list:set size 8
    add i a
    create j hash:ip,mark family inet skbinfo
    add j 1.2.3.4,0x00000005 skbmark 0x1 skbprio 1:2 skbqueue 3
    create k"q hash:mac hashsize 1024

    """

  @Test("Every type that ipset saves is read with its entries' options")
  func types() throws {
    let sets = try AddressSetReader.read(Array(Self.saved.utf8), source: "sets")
    #expect(sets.map(\.name) == ["a", "b", "c", "f", "g", "h", "i", "j", "k\"q"])
    #expect(
      sets.map(\.family) == [.ipv4, .ipv6, .ipv4, .ipv4, nil, .ipv4, nil, .ipv4, nil])
    #expect(sets[0].type == "hash:ip")
    #expect(sets[0].createOptions.prefix(4) == ["hashsize", "1024", "maxelem", "65536"])
    #expect(
      sets[0].entries[0]
        == AddressSet.Entry(
          element: "1.2.3.4", timeout: 59, counters: RuleCounters(packets: 3, bytes: 4),
          comment: "x\nadd a 9.9.9.9"))
    #expect(sets[0].entries.map(\.element) == ["1.2.3.4", "1.2.3.6", "1.2.3.5"])
    #expect(sets[0].entries[1].comment == "back\\slash")
    #expect(sets[0].entries[2].comment == nil)
    #expect(sets[2].entries.map(\.isException) == [true, false])
    #expect(sets[3].entries[0].element == "10.0.0.0/24,physdev:eth1")
    #expect(sets[6].entries[0] == AddressSet.Entry(element: "a"))
    #expect(sets[7].entries[0].element == "1.2.3.4,0x00000005")
  }

  @Test(
    "Nothing at all is no sets; comments, COMMIT and CR LF are taken",
    arguments: [
      "", "\n", "# only\n", "create a hash:ip\r\nadd a 1.2.3.4\r\nCOMMIT\r\n",
      "create -exist a hash:ip\n",
    ])
  func loose(_ text: String) throws {
    guard !text.contains("create -exist") else {
      #expect(throws: FirewallError.self) {
        try AddressSetReader.read(Array(text.utf8), source: "sets")
      }
      return
    }
    let sets = try AddressSetReader.read(Array(text.utf8), source: "sets")
    #expect(sets.flatMap(\.entries).map(\.element) == (text.contains("add") ? ["1.2.3.4"] : []))
  }

  struct Case: Sendable {
    var text: String
    var line: Int
    var column: Int
    var expected: String
  }

  @Test(
    "A malformed line names its place and what was expected",
    arguments: [
      Case(text: "flush a\n", line: 1, column: 1, expected: "create or add"),
      Case(text: "create a\n", line: 1, column: 9, expected: "a set's type"),
      Case(text: "create a b hash:ip\n", line: 1, column: 10, expected: "a set's type"),
      Case(text: "create a hash:ip family inet9\n", line: 1, column: 25, expected: "inet or inet6"),
      Case(
        text: "create a hash:ip\ncreate a hash:ip\n", line: 2, column: 8, expected: "each set once"),
      Case(text: "add b 1.2.3.4\n", line: 1, column: 5, expected: "a set created before"),
      Case(text: "create a hash:ip\nadd a\n", line: 2, column: 6, expected: "an entry"),
      Case(
        text: "create a hash:ip\nadd a 1.2.3.4 timeout x\n", line: 2, column: 23,
        expected: "seconds"),
      Case(
        text: "create a hash:ip\nadd a 1.2.3.4 for ever\n", line: 2, column: 15,
        expected: "timeout, packets, bytes, comment or nomatch"),
      Case(
        text: "create a hash:ip\nadd a 1.2.3.4 comment \"x\n", line: 2, column: 23,
        expected: "a closing quote"),
      Case(text: "create a hash:ip\nadd a\u{0} 1\n", line: 2, column: 6, expected: "text"),
    ])
  func places(_ one: Case) throws {
    let error = try #require(throws: FirewallError.self) {
      try AddressSetReader.read(Array(one.text.utf8), source: "sets")
    }
    #expect(error.line == one.line)
    #expect(error.column == one.column)
    #expect(error.expected == one.expected)
  }
}
