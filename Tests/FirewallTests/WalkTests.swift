import Addressing
import Firewall
import Testing

struct WalkTests {
  static func walk(
    _ text: String, _ change: (inout Packet) -> Void = { _ in }, path: PacketPath = .input
  ) throws -> Walk {
    var packet = try Given.packet()
    change(&packet)
    return Evaluation(try Given.snapshot(text)).walk(packet, to: path)
  }

  /// `accept INPUT 2`, the deciding rule of a certain walk; or all outcomes.
  static func answer(_ walk: Walk) -> String {
    func text(_ outcome: Outcome) -> String {
      "\(outcome.verdict) \(outcome.rule.map { "\($0.chain) \($0.index)" } ?? "-")"
    }
    return walk.isCertain && walk.outcomes.count == 1
      ? text(walk.outcomes[0]) : walk.outcomes.map(text).sorted().joined(separator: ", ")
  }

  @Test(
    "Verdicts, jumps, gotos, RETURN and policies",
    arguments: [
      ([], [:], "ACCEPT", "accept INPUT 0"),
      ([], [:], "DROP", "drop INPUT 0"),
      (["-j DROP", "-j ACCEPT"], [:], "ACCEPT", "drop INPUT 1"),
      (["-p udp -j REJECT"], [:], "ACCEPT", "reject INPUT 1"),
      (["-p udp", "-j RETURN", "-j ACCEPT"], [:], "DROP", "drop INPUT 0"),
      (["-j A", "-j DROP"], ["A": ["-p tcp -j ACCEPT"]], "ACCEPT", "drop INPUT 2"),
      (["-j A", "-j DROP"], ["A": ["-j RETURN", "-j ACCEPT"]], "ACCEPT", "drop INPUT 2"),
      (["-j A", "-j DROP"], ["A": ["-j ACCEPT"]], "ACCEPT", "accept A 1"),
      // A goto does not come back to the chain it was given in.
      (["-g A", "-j DROP"], ["A": []], "ACCEPT", "accept INPUT 0"),
      (["-j A", "-j DROP"], ["A": ["-g B", "-j ACCEPT"], "B": []], "ACCEPT", "drop INPUT 2"),
      (
        ["-j A", "-j DROP"], ["A": ["-g B", "-j ACCEPT"], "B": ["-j RETURN", "-j ACCEPT"]],
        "ACCEPT", "drop INPUT 2"
      ),
      (
        ["-j A", "-j DROP"],
        ["A": ["-j B", "-j ACCEPT"], "B": ["-g C"], "C": ["-j RETURN"]], "DROP", "accept A 2"
      ),
      (["-p udp -j LOG", "-j NFLOG", "-j DROP"], [:], "ACCEPT", "drop INPUT 3"),
    ] as [([String], [String: [String]], String, String)])
  func control(input: [String], chains: [String: [String]], policy: String, expected: String) throws
  {
    let walk = try Self.walk(Given.filter(input, policy: policy, chains: chains))
    #expect(Self.answer(walk) == expected)
    #expect(walk.isCertain)
    #expect(!walk.path.contains { !$0.isCertain })
  }

  @Test(
    "Unknown conditions make every outcome possible, and only those",
    arguments: [
      // The same either way.
      (["-m geoip --src-cc DE -j DROP", "-j REJECT"], [:], true, "drop INPUT 1, reject INPUT 2"),
      (["-m geoip --src-cc DE -j LOG", "-j DROP"], [:], true, "drop INPUT 2"),
      (["-m geoip --src-cc DE -j ACCEPT", "-j DROP"], [:], false, "accept INPUT 1, drop INPUT 2"),
      (["-m geoip --src-cc DE -j A", "-j DROP"], ["A": []], true, "drop INPUT 2"),
      (
        ["-m geoip --src-cc DE -j A", "-j DROP"], ["A": ["-j ACCEPT"]], false,
        "accept A 1, drop INPUT 2"
      ),
      (
        ["-j A", "-j DROP"], ["A": ["-m geoip --src-cc DE -j RETURN", "-j ACCEPT"]], false,
        "accept A 2, drop INPUT 2"
      ),
      (
        ["-m geoip --src-cc DE -g A", "-j DROP"], ["A": []], false, "accept INPUT 0, drop INPUT 2"
      ),
      (["-j FANTASY", "-j DROP"], [:], false, "drop INPUT 2, unknown INPUT 1"),
      (["-j NFQUEUE --queue-num 1", "-j DROP"], [:], false, "unknown INPUT 1"),
      (["-p tcp -j NFQUEUE", "-j DROP"], [:], true, "drop INPUT 2"),
    ] as [([String], [String: [String]], Bool, String)])
  func unknown(input: [String], chains: [String: [String]], isCertain: Bool, expected: String)
    throws
  {
    let walk = try Self.walk(Given.filter(input, chains: chains))
    #expect(Self.answer(walk) == expected)
    #expect(walk.isCertain == isCertain)
    #expect(walk.unknowns.isEmpty == (walk.outcomes.count == 1 && isCertain))
  }

  @Test("The first outcome is the one if nothing unknown matches")
  func likely() throws {
    let walk = try Self.walk(
      Given.filter(["-m string --string a --algo bm -j REJECT", "-j DROP"]))
    #expect(walk.isCertain)
    #expect(walk.decidingRule?.index == 2)
    let open = try Self.walk(
      Given.filter(["-m string --string a --algo bm -j REJECT", "-p udp -j ACCEPT", "-j DROP"]))
    #expect(open.outcomes.first?.verdict == .accept)
    #expect(open.decidingRule?.index == 2)
  }

  @Test("A path tells what is met on every way from what may be met")
  func path() throws {
    let walk = try Self.walk(
      Given.filter(
        [
          "-p udp", "-m geoip --src-cc DE -j A", "-p udp", "-m geoip --src-cc FR -j ACCEPT",
          "-j DROP",
        ], chains: ["A": ["-p udp"]]))
    let hits = walk.path.map { "\($0.rule.chain) \($0.rule.index) \($0.isCertain)" }
    #expect(
      hits == [
        "INPUT 1 true", "INPUT 2 false", "A 1 false", "INPUT 3 true", "INPUT 4 false",
        "INPUT 5 false",
      ])
  }

  @Test("A mark set under an unknown condition stays connected with the condition")
  func marks() throws {
    let walk = try Self.walk(
      Given.filter([
        "-m geoip --src-cc DE -j MARK --set-xmark 0x1/0xffffffff",
        "-m mark --mark 0x1 -j ACCEPT", "-m mark --mark 0x0 -j DROP", "-j REJECT",
      ]))
    #expect(Self.answer(walk) == "accept INPUT 2, drop INPUT 3")
    #expect(!walk.path.contains { $0.rule.index == 4 })
  }

  @Test("More variants than are kept lose what tells them apart, and never an outcome")
  func widening() throws {
    var rules = (0..<12).map {
      "-m geoip --src-cc DE -j MARK --set-xmark 0x\(String(1 << $0, radix: 16))/0x\(String(1 << $0, radix: 16))"
    }
    rules += ["-m mark --mark 0x0/0xf000 -j DROP", "-j ACCEPT"]
    let walk = try Self.walk(Given.filter(rules))
    #expect(Self.answer(walk) == "drop INPUT 13")
    rules[12] = "-m mark --mark 0x5/0xf -j DROP"
    let other = try Self.walk(Given.filter(rules))
    #expect(Self.answer(other) == "accept INPUT 14, drop INPUT 13")
  }

  @Test(
    "Mark arithmetic",
    arguments: [
      ("--set-xmark 0x3/0xff", "0x1203"), ("--set-mark 0x3/0x1", "0x1237"),
      ("--set-xmark 0x3/0x1", "0x1237"), ("--or-mark 0x1", "0x1235"), ("--and-mark 0xff", "0x34"),
      ("--xor-mark 0x4", "0x1230"), ("--set-mark 5", "0x5"),
    ])
  func arithmetic(options: String, result: String) throws {
    let walk = try Self.walk(
      Given.filter(["-j MARK \(options)", "-m mark --mark \(result) -j DROP"])
    ) { $0.mark = 0x1234 }
    #expect(Self.answer(walk) == "drop INPUT 2")
  }

  @Test("Connection marks are saved and restored under masks, and never without a flow")
  func connectionMarks() throws {
    let rules = [
      "-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff", "-m mark --mark 0x1012 -j DROP",
    ]
    let walk = try Self.walk(Given.filter(rules)) {
      $0.mark = 0x1000
      $0.connection = Given.held()
      $0.connection.mark = 0x3412
    }
    #expect(Self.answer(walk) == "drop INPUT 2")
    let untracked = try Self.walk(Given.filter(rules)) {
      $0.mark = 0x1000
      $0.connection = ConnectionFacts(state: .untracked)
    }
    #expect(Self.answer(untracked) == "accept INPUT 0")
  }

  @Test("A header field that a target changes is not known afterwards")
  func edits() throws {
    let walk = try Self.walk(
      "*mangle\n:INPUT ACCEPT [0:0]\n-A INPUT -j TTL --ttl-set 9\nCOMMIT\n"
        + Given.filter(["-m ttl --ttl-eq 64 -j DROP"])
    ) { $0.ttl = 64 }
    #expect(!walk.isCertain)
  }

  @Test("A forwarded packet's TTL is counted down before FORWARD, as seen on the kernel")
  func forwarded() throws {
    let text =
      "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m ttl --ttl-eq 64 -j MARK --set-mark 1\n"
      + "COMMIT\n*filter\n:FORWARD ACCEPT [0:0]\n"
      + "-A FORWARD -m ttl --ttl-eq 63 -m mark --mark 1 -o eth1 -j DROP\nCOMMIT\n"
    let walk = try Self.walk(
      text,
      {
        $0.ttl = 64
        $0.outInterface = "eth1"
      }, path: .forward)
    #expect(Self.answer(walk) == "drop FORWARD 1")
  }
}
