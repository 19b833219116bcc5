import Addressing
import Firewall
import Testing

struct EvaluationHostTests {
  @Test(
    "IPv4 address types",
    arguments: [
      ("--dst-type LOCAL", "192.0.2.5", Expected.yes), ("--dst-type LOCAL", "192.0.2.6", .no),
      ("! --dst-type LOCAL", "192.0.2.6", .yes), ("--dst-type LOCAL", "127.1.2.3", .yes),
      ("--dst-type UNICAST", "192.0.2.6", .yes), ("--dst-type UNICAST", "192.0.2.5", .no),
      ("--dst-type BROADCAST", "192.0.2.255", .unknown),
      ("--dst-type BROADCAST", "192.0.2.6", .no),
      ("--dst-type BROADCAST", "255.255.255.255", .yes),
      ("--dst-type MULTICAST", "224.0.0.1", .yes), ("--dst-type MULTICAST", "192.0.2.5", .no),
      ("--dst-type LOCAL,MULTICAST", "224.0.0.1", .yes),
      ("--dst-type BLACKHOLE", "192.0.2.6", .unknown),
      ("--dst-type LOCAL --limit-iface-in", "192.0.2.5", .unknown),
      ("--dst-type LOCAL --limit-iface-in", "192.0.2.6", .no),
    ])
  func types(conditions: String, destination: String, expected: Expected) throws {
    let packet = try Given.packet(to: "\(destination):5060")
    #expect(Expected(try Given.answer("-m addrtype \(conditions)", packet)) == expected)
  }

  @Test(
    "IPv6 address types: a local address is unicast too",
    arguments: [
      ("--dst-type LOCAL", "2001:db8::5", Expected.yes),
      ("--dst-type LOCAL", "2001:db8::6", .no), ("--dst-type UNICAST", "2001:db8::5", .yes),
      ("--dst-type MULTICAST", "ff02::1", .yes), ("--dst-type MULTICAST", "2001:db8::5", .no),
    ])
  func six(conditions: String, destination: String, expected: Expected) throws {
    let packet = try Given.packet(from: "[2001:db8::66]:1", to: "[\(destination)]:5060")
    #expect(Expected(try Given.answer("-m addrtype \(conditions)", packet)) == expected)
  }

  @Test("Without the host's addresses the type is unknown")
  func addressless() throws {
    let answer = try Given.answer("-m addrtype --dst-type LOCAL", Given.packet()) {
      $0.localAddresses = nil
    }
    #expect(Expected(answer) == .unknown)
  }

  @Test("Frames, MAC addresses, bridge ports, reverse paths and IPsec are unknown until known")
  func facts() throws {
    let cases: [(String, Expected, Expected)] = [
      ("-m mac --mac-source 02:00:00:00:00:01", .unknown, .yes),
      ("-m mac ! --mac-source 02:00:00:00:00:01", .unknown, .no),
      ("-m pkttype --pkt-type unicast", .yes, .yes),
      ("-m pkttype ! --pkt-type broadcast", .yes, .yes),
      ("-m physdev --physdev-in eth0", .unknown, .no),
      ("-m physdev ! --physdev-in eth0", .unknown, .yes),
      ("-m physdev ! --physdev-is-bridged", .unknown, .yes),
      ("-m rpfilter", .unknown, .yes), ("-m rpfilter --invert", .unknown, .no),
      ("-m rpfilter --loose", .unknown, .yes), ("-m rpfilter --validmark", .unknown, .unknown),
      ("-m policy --dir in --pol ipsec", .unknown, .no),
      ("-m policy --dir in --pol none", .unknown, .yes),
      ("-m policy --dir in --pol ipsec --proto esp", .unknown, .no),
    ]
    for (conditions, before, after) in cases {
      var packet = try Given.packet()
      #expect(Expected(try Given.answer(conditions, packet)) == before, "\(conditions)")
      packet.sourceHardwareAddress = [2, 0, 0, 0, 0, 1]
      packet.bridgePort = BridgePort.none
      packet.passesReversePath = true
      packet.isDecapsulated = false
      #expect(Expected(try Given.answer(conditions, packet)) == after, "\(conditions)")
    }
  }

  @Test("A received packet has no owner")
  func owner() throws {
    let packet = try Given.packet()
    #expect(Expected(try Given.answer("-m owner --uid-owner 0", packet)) == .no)
    #expect(Expected(try Given.answer("-m owner ! --uid-owner 0", packet)) == .yes)
  }

  // 2024-02-29 was a Thursday; 12:30:00 UTC.
  @Test(
    "The hour, the day and the date",
    arguments: [
      ("", Expected.yes), ("--timestart 12:00 --timestop 13:00", .yes),
      ("--timestart 12:30:01 --timestop 13:00", .no),
      ("--timestart 22:00 --timestop 06:00", .no), ("--timestart 12:00 --timestop 06:00", .yes),
      ("--weekdays Thu", .yes), ("! --weekdays Thu", .no), ("--weekdays Mon,Fri", .no),
      ("--monthdays 29", .yes), ("--monthdays 1,28", .no), ("! --monthdays 29", .no),
      ("--datestart 2024-02-29T12:00:00 --datestop 2024-03-01", .yes),
      ("--datestart 2024-03-01", .no), ("--datestop 2024-02-29T12:29:59", .no),
      ("--timestart 12:00 --timestop 13:00 --kerneltz", .unknown),
    ])
  func time(conditions: String, expected: Expected) throws {
    let answer = try Given.answer("-m time \(conditions)", Given.packet()) {
      $0.time = 1_709_209_800
    }
    #expect(Expected(answer) == expected)
    let walk = Evaluation(
      try {
        var snapshot = try Given.snapshot(Given.filter(["-m time \(conditions) -j DROP"]))
        snapshot.time = 1_709_209_800
        return snapshot
      }()
    ).walk(try Given.packet(), to: .input)
    #expect(walk.dependsOnMemory.isEmpty == (expected == .unknown))
  }

  @Test("A period over midnight belongs to the day it began on if asked for")
  func contiguous() throws {
    // 2024-03-01 00:30, a Friday.
    let conditions = "-m time --timestart 22:00 --timestop 01:00 --weekdays Thu"
    for (suffix, expected) in [("", Expected.no), (" --contiguous", .yes)] {
      let answer = try Given.answer(conditions + suffix, Given.packet()) {
        $0.time = 1_709_253_000
      }
      #expect(Expected(answer) == expected)
    }
  }

  @Test("Adding to a recent list always holds; asking one that was not read is unknown")
  func recent() throws {
    let packet = try Given.packet()
    #expect(Expected(try Given.answer("-m recent --set --name a --rsource", packet)) == .yes)
    #expect(Expected(try Given.answer("-m recent ! --set --name a --rsource", packet)) == .no)
    #expect(
      Expected(try Given.answer("-m recent --update --seconds 60 --name a", packet)) == .unknown)
  }
}
