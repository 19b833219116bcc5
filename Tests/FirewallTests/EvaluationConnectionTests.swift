import Addressing
import Firewall
import Testing

struct EvaluationConnectionTests {
  @Test(
    "States, by both matches and with every inversion",
    arguments: [
      ("NEW", ConnectionState.new, Expected.yes), ("NEW", .established, .no),
      ("ESTABLISHED,RELATED", .established, .yes), ("ESTABLISHED,RELATED", .related, .yes),
      ("ESTABLISHED,RELATED", .new, .no), ("INVALID", .invalid, .yes), ("INVALID,NEW", .new, .yes),
      ("UNTRACKED", .untracked, .yes), ("UNTRACKED", .invalid, .no), ("NEW", .untracked, .no),
    ])
  func states(list: String, state: ConnectionState, expected: Expected) throws {
    var packet = try Given.packet()
    packet.connection = ConnectionFacts(state: state)
    let opposite = expected == .yes ? Expected.no : .yes
    #expect(Expected(try Given.answer("-m state --state \(list)", packet)) == expected)
    #expect(Expected(try Given.answer("-m state ! --state \(list)", packet)) == opposite)
    #expect(Expected(try Given.answer("-m conntrack --ctstate \(list)", packet)) == expected)
    #expect(Expected(try Given.answer("-m conntrack ! --ctstate \(list)", packet)) == opposite)
  }

  @Test(
    "Every option of conntrack on a held flow the peer opened",
    arguments: [
      ("--ctproto 17", Expected.yes), ("--ctproto 6", .no), ("! --ctproto udp", .no),
      ("--ctorigsrc 203.0.113.0/24", .yes), ("! --ctorigsrc 203.0.113.66", .no),
      ("--ctorigdst 192.0.2.5", .yes), ("--ctorigsrcport 24376", .yes),
      ("--ctorigdstport 5060:5061", .yes), ("! --ctorigdstport 5060", .no),
      ("--ctreplsrc 192.0.2.5", .unknown), ("--ctrepldstport 24376", .unknown),
      ("--ctstatus SEEN_REPLY", .yes), ("--ctstatus EXPECTED", .no),
      ("! --ctstatus EXPECTED", .yes), ("--ctstatus NONE", .no), ("! --ctstatus NONE", .yes),
      ("--ctstatus EXPECTED,CONFIRMED", .yes), ("--ctdir ORIGINAL", .yes), ("--ctdir REPLY", .no),
      ("--ctexpire 1:100", .unknown), ("--ctstate DNAT", .no), ("--ctstate SNAT,ESTABLISHED", .yes),
      ("--ctstate ESTABLISHED --ctdir REPLY", .no), ("--ctstate NEW --ctexpire 1:100", .no),
    ])
  func options(conditions: String, expected: Expected) throws {
    var packet = try Given.packet()
    packet.connection = Given.held()
    #expect(Expected(try Given.answer("-m conntrack \(conditions)", packet)) == expected)
  }

  @Test("The packet itself may be the one that makes a flow ASSURED, never the one that answers")
  func assured() throws {
    var packet = try Given.packet()
    let condition = "-m conntrack --ctstatus ASSURED"
    // SEEN_REPLY, not ASSURED, and perhaps older than two seconds (facts B2).
    packet.connection = Given.held(status: 0xa)
    #expect(Expected(try Given.answer(condition, packet)) == .unknown)
    packet.connection = Given.held(status: 0xe)
    #expect(Expected(try Given.answer(condition, packet)) == .yes)
    // Opened by the host and not answered yet: the peer's packet sets SEEN_REPLY (facts B1).
    packet.connection = Given.held(.reply, status: 0x8)
    #expect(Expected(try Given.answer(condition, packet)) == .no)
    #expect(Expected(try Given.answer("-m conntrack --ctstatus SEEN_REPLY", packet)) == .yes)
  }

  @Test(
    "Without a flow only the state is looked at",
    arguments: [
      ("--ctstate UNTRACKED --ctproto 6", Expected.yes), ("--ctproto 17", .no),
      ("! --ctproto 6", .no), ("--ctdir ORIGINAL", .no), ("--ctstate INVALID --ctdir REPLY", .no),
    ])
  func flowless(conditions: String, expected: Expected) throws {
    var packet = try Given.packet()
    packet.connection = ConnectionFacts(state: .untracked)
    #expect(Expected(try Given.answer("-m conntrack \(conditions)", packet)) == expected)
    #expect(Expected(try Given.answer("-m connmark ! --mark 0x1", packet)) == .no)
  }

  @Test("DNAT and SNAT are asked of the flow's status")
  func translated() throws {
    var packet = try Given.packet()
    packet.connection = Given.held(status: 0x1aa)
    #expect(Expected(try Given.answer("-m conntrack --ctstate DNAT", packet)) == .yes)
    #expect(Expected(try Given.answer("-m conntrack --ctstate SNAT", packet)) == .no)
    packet.connection.status = nil
    #expect(Expected(try Given.answer("-m conntrack --ctstate DNAT", packet)) == .unknown)
    #expect(Expected(try Given.answer("-m conntrack --ctstate DNAT,ESTABLISHED", packet)) == .yes)
  }

  @Test(
    "Marks with masks",
    arguments: [
      ("--mark 0x12", Expected.yes), ("--mark 0x2/0xf", .yes), ("--mark 0x1/0xf", .no),
      ("! --mark 0x2/0xf", .no), ("--mark 0x12/0x2", .no), ("--mark 18", .yes),
    ])
  func marks(conditions: String, expected: Expected) throws {
    var packet = try Given.packet()
    packet.mark = 0x12
    packet.connection = Given.held()
    packet.connection.mark = 0x12
    #expect(Expected(try Given.answer("-m mark \(conditions)", packet)) == expected)
    #expect(Expected(try Given.answer("-m connmark \(conditions)", packet)) == expected)
    packet.mark = nil
    packet.connection.mark = nil
    let hopeless = conditions == "--mark 0x12/0x2"
    #expect(
      Expected(try Given.answer("-m mark \(conditions)", packet)) == (hopeless ? .no : .unknown))
    #expect(
      Expected(try Given.answer("-m connmark \(conditions)", packet))
        == (hopeless ? .no : .unknown))
  }

  @Test("A helper is asked of the flow that expected this one")
  func helper() throws {
    var packet = try Given.packet()
    #expect(Expected(try Given.answer("-m helper --helper sip", packet)) == .no)
    #expect(Expected(try Given.answer("-m helper ! --helper sip", packet)) == .yes)
    packet.connection = Given.held(status: 0xb)
    #expect(Expected(try Given.answer("-m helper --helper sip", packet)) == .unknown)
    packet.connection.helper = "sip"
    #expect(Expected(try Given.answer("-m helper --helper sip", packet)) == .yes)
    #expect(Expected(try Given.answer("-m helper --helper ftp", packet)) == .no)
  }

  @Test(
    "Volume counts this packet too",
    arguments: [
      ("--connbytes 3: --connbytes-mode packets --connbytes-dir original", Expected.yes),
      ("--connbytes 4: --connbytes-mode packets --connbytes-dir original", .no),
      ("! --connbytes 4: --connbytes-mode packets --connbytes-dir original", .yes),
      ("--connbytes 5:5 --connbytes-mode packets --connbytes-dir both", .yes),
      ("--connbytes 100000: --connbytes-mode bytes --connbytes-dir original", .no),
      ("--connbytes 300: --connbytes-mode bytes --connbytes-dir original", .unknown),
      ("--connbytes 100: --connbytes-mode bytes --connbytes-dir original", .yes),
      ("--connbytes 200 --connbytes-mode bytes --connbytes-dir reply", .yes),
    ])
  func volume(conditions: String, expected: Expected) throws {
    var packet = try Given.packet()
    packet.connection = Given.held()
    #expect(Expected(try Given.answer("-m connbytes \(conditions)", packet)) == .unknown)
    packet.connection.originalCounters = RuleCounters(packets: 2, bytes: 200)
    packet.connection.replyCounters = RuleCounters(packets: 2, bytes: 200)
    #expect(Expected(try Given.answer("-m connbytes \(conditions)", packet)) == expected)
  }

  @Test("Rules that ask connection tracking are told apart")
  func dependence() throws {
    let rules = [
      "-m state --state NEW -j DROP", "-m conntrack --ctdir REPLY -j DROP", "-p udp -j DROP",
      "-m connmark --mark 0x1 -j DROP", "-m mark --mark 0x1 -j DROP",
    ]
    let evaluation = Evaluation(try Given.snapshot(Given.filter(rules)))
    let answers = (1...5).map {
      evaluation.conditionsDependOnState(
        RuleReference(
          backend: .legacy, table: "filter", chain: "INPUT", index: $0, text: ""))
    }
    #expect(answers == [true, true, false, true, false])
  }
}
