import Addressing
import Firewall
import Testing

/// Conditions that can be decided although something they ask was not told.
struct EvaluationUnsaidTests {
  @Test(
    "A chance that is none, and a quota that holds nothing",
    arguments: [
      ("-m statistic --mode random --probability 1.00000000000", Expected.yes),
      ("-m statistic --mode random ! --probability 1.00000000000", .no),
      ("-m statistic --mode random --probability 0.00000000000", .no),
      ("-m statistic --mode random --probability 0.50000000000", .unknown),
      ("-m statistic --mode nth --every 1 --packet 0", .yes),
      ("-m statistic --mode nth --every 2 --packet 0", .unknown),
      ("-m quota --quota 0", .no), ("-m quota ! --quota 0", .yes), ("-m quota --quota 9", .unknown),
    ])
  func chance(conditions: String, expected: Expected) throws {
    #expect(Expected(try Given.answer(conditions, Given.packet())) == expected)
  }

  @Test(
    "A tracked segment has one of the combinations of flags that are no attack",
    arguments: [
      ("--tcp-flags ALL NONE", Expected.no), ("--tcp-flags ALL ALL", .no),
      ("--tcp-flags SYN,FIN SYN,FIN", .no), ("--tcp-flags SYN,RST SYN,RST", .no),
      ("--tcp-flags FIN,RST FIN,RST", .no), ("--tcp-flags ACK,FIN FIN", .no),
      ("! --tcp-flags ALL NONE", .yes), ("--tcp-flags ACK,URG URG", .unknown),
      ("--syn", .unknown),
    ])
  func flags(option: String, expected: Expected) throws {
    let conditions = "-p tcp -m tcp \(option)"
    var packet = try Given.packet(.tcp)
    packet.connection = Given.held()
    #expect(Expected(try Given.answer(conditions, packet)) == expected)
    packet.connection = ConnectionFacts(state: .invalid)
    #expect(Expected(try Given.answer(conditions, packet)) == .unknown)
  }

  @Test(
    "Without extension headers a packet matches none of the questions about them",
    arguments: [
      ("-m rt --rt-type 0", Expected.no), ("-m rt ! --rt-type 0", .no),
      ("-m hbh --hbh-len 8", .no), ("-m dst --dst-len 8", .no), ("-m frag --fragfirst", .no),
      ("-m ah --ahspi 5", .no), ("-m ipv6header --header hop-by-hop --soft", .no),
      ("-m ipv6header --header prot", .yes), ("-m ipv6header ! --header prot", .no),
      ("-m ipv6header ! --header route --soft", .yes),
      ("-m ipv6header --header route,prot", .no),
    ])
  func headers(conditions: String, expected: Expected) throws {
    var packet = try Given.packet(from: "[2001:db8:2::66]:24376", to: "[2001:db8::5]:5060")
    #expect(Expected(try Given.answer(conditions, packet)) == expected)
    packet.hasExtensionHeaders = nil
    #expect(Expected(try Given.answer(conditions, packet)) == .unknown)
  }

  @Test("No packet is shorter than its headers")
  func length() throws {
    let packet = try Given.packet()
    #expect(Expected(try Given.answer("-m length --length 0:27", packet)) == .no)
    #expect(Expected(try Given.answer("-m length ! --length 0:27", packet)) == .yes)
    #expect(Expected(try Given.answer("-m length --length 0:28", packet)) == .unknown)
  }

  @Test("What is forwarded is addressed to none of the host's addresses")
  func forwarded() throws {
    func verdict(_ type: String, _ path: PacketPath) throws -> Verdict {
      var snapshot = try Given.snapshot(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n"
          + "-A INPUT -m addrtype --dst-type \(type) -j DROP\n"
          + "-A FORWARD -m addrtype --dst-type \(type) -j DROP\nCOMMIT\n")
      snapshot.localAddresses = nil
      return Evaluation(snapshot).walk(try Given.packet(to: "10.1.2.3:5060"), to: path).verdict
    }
    #expect(try verdict("LOCAL", .forward) == .accept)
    #expect(try verdict("BROADCAST", .forward) == .accept)
    #expect(try verdict("UNICAST", .forward) == .drop)
    #expect(try verdict("LOCAL", .input) == .unknown)
  }

  @Test("A RELATED packet other than ICMP begins the flow that its addresses say")
  func related() throws {
    var packet = try Given.packet()
    packet.connection = ConnectionFacts(state: .related)
    let conditions = "-m conntrack --ctorigsrc 203.0.113.66/32 --ctdir ORIGINAL --ctproto 17"
    #expect(Expected(try Given.answer(conditions, packet)) == .yes)
    var error = try Given.packet(.icmp)
    error.connection = ConnectionFacts(state: .related)
    #expect(Expected(try Given.answer(conditions, error)) == .unknown)
  }
}
