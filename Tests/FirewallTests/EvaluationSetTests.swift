import Addressing
import Firewall
import Testing

struct EvaluationSetTests {
  static let sets = """
    create ip hash:ip family inet hashsize 1024 maxelem 65536
    add ip 203.0.113.66
    add ip 198.51.100.0
    create wide hash:ip family inet netmask 24
    add wide 203.0.113.0
    create net hash:net family inet
    add net 203.0.113.0/24
    add net 203.0.113.64/26 nomatch
    add net 10.0.0.0/8
    create ipport hash:ip,port family inet
    add ipport 203.0.113.66,udp:24376
    add ipport 192.0.2.5,udp:5060
    add ipport 192.0.2.5,tcp:22
    create netport hash:net,port family inet
    add netport 203.0.113.0/24,udp:5060
    add netport 203.0.113.66,udp:5061 nomatch
    add netport 192.0.2.0/24,vrrp:0
    create triple hash:ip,port,ip family inet
    add triple 203.0.113.66,udp:5060,192.0.2.5
    create threenet hash:ip,port,net family inet
    add threenet 203.0.113.66,udp:5060,192.0.2.0/24
    create pair hash:net,net family inet
    add pair 203.0.113.0/24,192.0.2.0/24
    add pair 203.0.113.64/26,192.0.2.5 nomatch
    create nets hash:net,port,net family inet
    add nets 0.0.0.0/0,udp:5060,192.0.2.5
    create face hash:net,iface family inet
    add face 203.0.113.0/24,eth0
    add face 10.0.0.0/8,eth1
    create mark hash:ip,mark family inet markmask 0x0000000f
    add mark 203.0.113.66,0x00000002
    create mac hash:mac
    add mac 02:00:00:00:00:01
    create ipmac hash:ip,mac family inet
    add ipmac 203.0.113.66,02:00:00:00:00:01
    create port bitmap:port range 0-65535
    add port 5060
    create map bitmap:ip range 203.0.113.0/24
    add map 203.0.113.66
    create mapmac bitmap:ip,mac range 203.0.113.0/24
    add mapmac 203.0.113.66
    create list list:set size 8
    add list ipport
    add list net
    create empty hash:ip family inet
    create timed hash:ip family inet timeout 86400
    add timed 203.0.113.66 timeout 43000
    create six hash:net family inet6
    add six 2001:db8::/32
    create range hash:ip family inet
    add range 203.0.113.60-203.0.113.70
    create odd hash:ip,wonder family inet
    add odd 203.0.113.66,x

    """

  @Test(
    "Every type of set, on both sides",
    arguments: [
      ("ip src", Expected.yes), ("ip dst", .no), ("wide src", .yes), ("wide dst", .no),
      ("net src", .no), ("net dst", .no), ("ipport src,src", .yes), ("ipport dst,dst", .yes),
      ("ipport src,dst", .no), ("ipport dst", .no), ("netport src,dst", .yes),
      ("netport src,src", .no), ("triple src,dst,dst", .yes), ("triple dst,dst,src", .no),
      ("threenet src,dst,dst", .yes), ("pair src,dst", .no), ("pair dst,src", .no),
      ("nets src,dst,dst", .yes), ("nets src,src,dst", .no), ("face src,src", .yes),
      ("face dst,src", .no), ("face src,dst", .no), ("mark src,src", .yes), ("mac src", .yes),
      ("ipmac src,src", .yes), ("port dst", .yes), ("port src", .no), ("map src", .yes),
      ("map dst", .no), ("mapmac src,src", .yes), ("list src,src", .yes), ("list dst,dst", .yes),
      ("list src,dst", .no), ("empty src", .no), ("timed src", .yes), ("six src", .no),
      ("range src", .yes), ("range dst", .no), ("odd src,src", .unknown),
      ("absent src", .unknown),
    ])
  func types(asked: String, expected: Expected) throws {
    var packet = try Given.packet()
    packet.mark = 0x32
    packet.sourceHardwareAddress = [2, 0, 0, 0, 0, 1]
    let opposite: Expected = expected == .yes ? .no : expected == .no ? .yes : .unknown
    #expect(
      Expected(try Given.answer("-m set --match-set \(asked)", packet, sets: Self.sets))
        == expected)
    #expect(
      Expected(try Given.answer("-m set ! --match-set \(asked)", packet, sets: Self.sets))
        == opposite)
  }

  @Test(
    "An address and a port are read alike, plainly written or not, and nonsense is not guessed at",
    arguments: [
      ("203.0.113.66,udp:5060", Expected.yes), ("203.0.113.66/32,UDP:5060", .yes),
      ("203.0.113.66-203.0.113.66,udp:5060", .yes), ("203.0.113.64/26,udp:5060", .yes),
      ("203.0.113.65/26,udp:5060", .yes), ("203.0.113.66,udp:5060-5061", .yes),
      ("203.0.113.66,udp:05060", .yes), ("203.0.113.66,tcp:5060", .no),
      ("203.0.113.66,5060", .no), ("203.0.113.66,udp:5061", .no),
      ("203.0.113.67,udp:5060", .no), ("203.0.113.0/26,udp:5060", .no),
      ("203.0.113.66,udp:", .unknown), ("203.0.113.66,udp:65536", .unknown),
      ("203.0.113.66,udp:5060x", .unknown), ("203.0.113.66,udp:-1", .unknown),
      ("203.0.113.66", .unknown), ("203.0.113.66,", .unknown), (",udp:5060", .unknown),
      ("203.0.113.256,udp:5060", .unknown), ("203.0.113,udp:5060", .unknown),
      ("203.0.113.66/33,udp:5060", .unknown), ("203.0.113.66,udp:5060,", .unknown),
      ("203.0.113.66,udp:5060,1.2.3.4", .unknown), ("2001:db8::1,udp:5060", .unknown),
    ])
  func elements(element: String, expected: Expected) throws {
    let sets = "create s hash:net,port family inet\nadd s \(element)\n"
    #expect(
      Expected(
        try Given.answer("-m set --match-set s src,dst", Given.packet(), sets: sets)) == expected)
  }

  @Test("--return-nomatch turns exceptions round, in types that have them")
  func exceptions() throws {
    let packet = try Given.packet()
    func answer(_ asked: String) throws -> Expected {
      Expected(
        try Given.answer(
          "-m set --match-set \(asked) --return-nomatch", packet, sets: Self.sets))
    }
    #expect(try answer("net src") == .yes)
    #expect(try answer("netport src,dst") == .no)
    #expect(try answer("pair src,dst") == .yes)
    // Seen on the kernel: other types ignore the option.
    #expect(try answer("ip src") == .yes)
  }

  @Test("A dimension that is not known makes unknown what hangs on it, and nothing else")
  func dimensions() throws {
    var packet = try Given.packet()
    packet.sourcePort = nil
    packet.inInterface = nil
    func answer(_ asked: String) throws -> Expected {
      Expected(try Given.answer("-m set --match-set \(asked)", packet, sets: Self.sets))
    }
    #expect(try answer("ipport src,src") == .unknown)
    #expect(try answer("ipport dst,dst") == .yes)
    #expect(try answer("triple dst,src,src") == .no)
    #expect(try answer("face src,src") == .unknown)
    #expect(try answer("mac src") == .unknown)
    #expect(try answer("port src") == .unknown)
  }

  @Test("Sets that could not be read are unknown, and the reason says so")
  func unread() throws {
    let answer = try Given.answer("-m set --match-set ip src", Given.packet())
    guard case .unknown(let reasons) = answer else {
      Issue.record("decided without sets")
      return
    }
    #expect(reasons.map(\.text) == ["the sets could not be read"])
  }

  @Test("A set with timeouts, or one that rules change, is decided but depends on memory")
  func memory() throws {
    for (asked, remembers) in [("timed src", true), ("ip src", false), ("net dst", true)] {
      let text = Given.filter([
        "-p tcp -j SET --add-set net src", "-m set --match-set \(asked) -j DROP",
      ])
      let walk = Evaluation(try Given.snapshot(text, sets: Self.sets))
        .walk(try Given.packet(), to: .input)
      #expect(walk.isCertain)
      #expect(walk.dependsOnMemory.isEmpty != remembers, "\(asked)")
      #expect(walk.dependsOnMemory.allSatisfy { $0.kind == .memory && $0.rule?.index == 2 })
    }
  }

  @Test("A set that a rule may have changed on the way is not known any more")
  func changed() throws {
    let text = Given.filter([
      "-p udp -j SET --add-set empty src", "-m set --match-set empty src -j ACCEPT", "-j DROP",
    ])
    let walk = Evaluation(try Given.snapshot(text, sets: Self.sets))
      .walk(try Given.packet(), to: .input)
    #expect(!walk.isCertain)
    #expect(walk.unknowns.map(\.kind) == [.memory])
  }
}
