import Addressing
import Firewall
import Testing

struct EvaluationPayloadTests {
  static func invite(_ text: String = "INVITE sip:100@192.0.2.5 SIP/2.0\r\n") throws -> Packet {
    var packet = try Given.packet()
    packet.payload = Array(text.utf8)
    return packet
  }

  @Test(
    "Strings are found where the kernel looks: from the IP header on (facts F6)",
    arguments: [
      ("--string \"INVITE \" --algo bm", Expected.yes), ("--string \"BYE\" --algo bm", .no),
      ("! --string \"BYE\" --algo kmp", .yes), ("--string \"invite\" --algo bm", .no),
      ("--string \"invite\" --algo bm --icase", .yes),
      ("--string \"INVITE \" --algo bm --from 28 --to 35", .yes),
      // Older kernels find what only begins by --to.
      ("--string \"INVITE \" --algo bm --from 28 --to 34", .unknown),
      ("--string \"INVITE \" --algo bm --from 29", .no),
      ("--hex-string \"|49 4e 56|ITE\" --algo bm", .yes),
      ("--hex-string \"|0d0a|\" --algo bm", .yes),
      // A header byte that is not known could be anything; two that are known are not these.
      ("--hex-string \"|fe|\" --algo bm", .unknown),
      ("--hex-string \"|fe|\" --algo bm --from 28", .no),
    ])
  func strings(conditions: String, expected: Expected) throws {
    let packet = try Self.invite()
    #expect(Expected(try Given.answer("-m string \(conditions)", packet)) == expected)
    #expect(Expected(try Given.answer("-m string \(conditions)", Given.packet())) == .unknown)
  }

  static let inviteTest =
    "0>>22&0x3C@8=0x494e5649 && 0>>22&0x3C@12>>8=0x544520"

  @Test("u32 computes the measured INVITE rule (facts F4)")
  func u32() throws {
    let conditions = "-p udp -m u32 --u32 \"\(Self.inviteTest)\""
    #expect(Expected(try Given.answer(conditions, Self.invite())) == .yes)
    #expect(Expected(try Given.answer(conditions, Self.invite("BYE sip:a"))) == .no)
    #expect(Expected(try Given.answer(conditions, Self.invite("IN"))) == .no)
    #expect(Expected(try Given.answer(conditions, Given.packet())) == .unknown)
    let inverted = "-p udp -m u32 ! --u32 \"\(Self.inviteTest)\""
    #expect(Expected(try Given.answer(inverted, Self.invite())) == .no)
  }

  @Test("u32 on IPv6 and with ranges")
  func u32Six() throws {
    var packet = try Given.packet(from: "[2001:db8::66]:1", to: "[2001:db8::5]:5060")
    packet.payload = Array("INVITE sip:a".utf8)
    let condition = "-m u32 --u32 \"48=0x494e5649 && 52>>8=0x544520\""
    #expect(Expected(try Given.answer(condition, packet)) == .yes)
    #expect(Expected(try Given.answer("-m u32 --u32 \"40&0xFFFF=1:5,5060\"", packet)) == .yes)
    #expect(Expected(try Given.answer("-m u32 --u32 \"40&0xFFFF=1:5059\"", packet)) == .no)
    #expect(Expected(try Given.answer("-m u32 --u32 \"44&0xFFFF=1\"", packet)) == .unknown)
  }

  @Test(
    "BPF programs",
    arguments: [
      // ldb [9]; jeq 17; ret 1; ret 0.
      ("4,48 0 0 9,21 0 1 17,6 0 0 1,6 0 0 0", Expected.yes),
      ("4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0", .no),
      // ldxb 4*([0]&0xf); ldh [x+2]; jeq 5060.
      ("5,177 0 0 0,72 0 0 2,21 0 1 5060,6 0 0 1,6 0 0 0", .yes),
      // The identification is not known.
      ("4,40 0 0 4,21 0 1 1,6 0 0 1,6 0 0 0", .unknown),
      // Beyond the packet.
      ("2,32 0 0 5000,6 0 0 1", .no),
    ])
  func bpf(program: String, expected: Expected) throws {
    let conditions = "-m bpf --bytecode \"\(program)\""
    #expect(Expected(try Given.answer(conditions, Self.invite())) == expected)
    #expect(Expected(try Given.answer(conditions, Given.packet())) == .unknown)
  }
}
