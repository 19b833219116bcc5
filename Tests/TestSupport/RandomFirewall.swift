import Addressing
import Firewall

/// A random firewall and random packets for it, made from a seed alone.
///
/// It fits one topology: a host with `ev0` towards the peers and `ev2` towards an inner network.
public struct RandomFirewall {
  /// What was made.
  public private(set) var scenario: FirewallScenario
  var random: SeededGenerator
  /// Whether every chain of the nat table is reached from PREROUTING alone.
  var translatesEverywhere = true

  var family: AddressFamily { scenario.family }
  var sets: [AddressSet] { scenario.sets }

  /// How many packets go with a firewall; no more than there are remote ends.
  private static let packetCount = 16

  private static let v4 = Pool(
    sources: ["198.51.100.10", "203.0.113.66", "203.0.113.200", "10.9.8.7", "192.0.2.77"],
    local: ["192.0.2.5", "192.0.2.6"], inner: "10.77.3.33",
    patterns: [
      "198.51.100.10/32", "203.0.113.0/24", "203.0.113.64/26", "0.0.0.0/0", "10.0.0.7/255.0.0.255",
      "192.0.2.0/24", "192.0.2.5/32", "10.77.3.0/24", "0.0.0.6/0.0.0.6", "128.0.0.0/1",
    ],
    ranges: ["203.0.113.60-203.0.113.70", "192.0.2.5-192.0.2.6", "10.0.0.0-10.255.255.255"])
  private static let v6 = Pool(
    sources: ["2001:db8:1::10", "2001:db8:2::66", "2001:db8:2::200", "fd00::7", "2001:db8::77"],
    local: ["2001:db8::5", "2001:db8::6"], inner: "fd77::33",
    patterns: [
      "2001:db8:1::10/128", "2001:db8:2::/64", "2001:db8:2::40/122", "::/0", "fd00::/8",
      "2001:db8::/64", "2001:db8::5/128", "fd77::/64", "::6/::6", "2000::/3",
    ],
    ranges: ["2001:db8:2::60-2001:db8:2::70", "2001:db8::5-2001:db8::6", "fd00::-fdff::"])

  struct Pool {
    var sources: [String]
    var local: [String]
    var inner: String
    var patterns: [String]
    var ranges: [String]
  }

  var pool: Pool { family == .ipv4 ? Self.v4 : Self.v6 }

  /// Makes the firewall of a seed.
  public init(seed: UInt64) {
    random = SeededGenerator(seed: seed)
    let isIPv6 = UInt64.random(in: 0..<3, using: &random) == 0
    scenario = FirewallScenario(family: isIPv6 ? .ipv6 : .ipv4)
    let pick = Int.random(in: 0..<6, using: &random)
    makeSets()
    let backends: [Backend] = pick == 0 ? [.nft, .legacy] : pick % 2 == 0 ? [.nft] : [.legacy]
    for backend in backends { scenario.saves[backend] = save() }
    makePackets()
  }

  // MARK: Chance

  mutating func chance(_ percent: Int) -> Bool {
    Int.random(in: 0..<100, using: &random) < percent
  }

  mutating func one<T>(_ list: [T]) -> T {
    list[Int.random(in: 0..<list.count, using: &random)]
  }

  mutating func bang(_ percent: Int = 25) -> String { chance(percent) ? "! " : "" }

  // MARK: Sets

  private mutating func makeSets() {
    let addresses = pool.sources + pool.local + [pool.inner]
    let nets =
      family == .ipv4
      ? ["203.0.113.0/24", "203.0.113.64/26", "192.0.2.0/24", "10.0.0.0/8"]
      : ["2001:db8:2::/64", "2001:db8:2::40/122", "2001:db8::/64", "fd00::/8"]
    let ports = ["udp:5060", "tcp:5060", "udp:7000", "tcp:22", "udp:40000", "udp:1024"]
    let types =
      [
        "hash:ip", "hash:net", "hash:ip,port", "hash:net,port", "hash:ip,port,ip",
        "hash:ip,port,net", "hash:net,iface", "bitmap:port",
      ] + (family == .ipv4 ? ["bitmap:ip", "bitmap:ip,mac"] : [])
    for number in 0..<3 {
      let type = one(types)
      var set = AddressSet(
        name: "set\(number)", type: type,
        family: type.hasPrefix("bitmap") ? nil : family)
      if type == "bitmap:port" { set.createOptions = ["range", "0-65535"] }
      if type.hasPrefix("bitmap:ip") { set.createOptions = ["range", "203.0.113.0/24"] }
      for _ in 0..<Int.random(in: 0..<7, using: &random) {
        let words = type.drop(while: { $0 != ":" }).dropFirst().split(separator: ",").map {
          dimension -> String in
          switch dimension {
          case "ip" where type.hasPrefix("bitmap"):
            return one(["203.0.113.66", "203.0.113.200", "203.0.113.7"])
          case "ip": return one(addresses)
          case "net": return chance(60) ? one(nets) : one(addresses)
          case "port":
            let port = one(ports)
            return type == "bitmap:port"
              ? String(port.drop(while: { $0 != ":" }).dropFirst()) : port
          case "mark": return one(["0x1", "0x2", "0x10"])
          case "mac": return one(["02:00:00:00:00:01", "02:00:00:00:00:09"])
          default: return one(["ev0", "ev2", "eth0"])
          }
        }
        let element = words.joined(separator: ",")
        // A bitmap has one element an address, whatever else it says.
        let isTaken = set.entries.contains {
          $0.element == element
            || type.hasPrefix("bitmap") && $0.element.prefix { $0 != "," } == words[0]
        }
        if isTaken { continue }
        set.entries.append(
          AddressSet.Entry(element: element, isException: type.contains("net") && chance(20)))
      }
      scenario.sets.append(set)
    }
    guard chance(50) else { return }
    var list = AddressSet(name: "list0", type: "list:set", family: nil)
    for set in scenario.sets where chance(60) {
      list.entries.append(AddressSet.Entry(element: set.name, isException: false))
    }
    scenario.sets.append(list)
  }

  // MARK: Packets

  /// Every packet has a remote end of its own, so that no two are of one flow, and within a batch
  /// a length of its own.
  private mutating func makePackets() {
    var ends = pool.sources.flatMap { source in
      [5060, 40000, 1023, 24376].map { port in (source, UInt16(port)) }
    }
    ends.shuffle(using: &random)
    for (number, end) in ends.prefix(Self.packetCount).enumerated() {
      let length = FirewallScenario.length(of: number)
      if let packet = packet(from: end.0, port: end.1, length: length) {
        scenario.packets.append(packet)
      }
    }
  }

  private mutating func packet(
    from source: String, port sourcePort: UInt16, length: UInt32
  ) -> FirewallScenario.Sent? {
    let path: PacketPath = chance(20) ? .forward : .input
    let transport: IPProtocol = one([
      .udp, .udp, .udp, .udp, .tcp, .tcp, .sctp, family == .ipv4 ? .icmp : .icmpv6,
    ])
    guard let source = IPAddress(source),
      let destination = IPAddress(path == .input ? one(pool.local) : pool.inner)
    else { return nil }
    let port = one([5060, 5060, 5061, 22, 7000] as [UInt16])
    let isICMP = !transport.hasPorts
    var connection = ConnectionFacts.new
    if transport == .udp || transport == .tcp, chance(60) {
      connection = ConnectionFacts(
        state: .established, direction: chance(50) ? .original : .reply,
        status: chance(50) ? 0xa : 0xe)
      connection.mark = one([0, 1, 0x12])
      connection.zone = 0
      connection.helper = ""
    }
    var packet = Packet(
      transport: transport, source: source, destination: destination,
      sourcePort: isICMP ? nil : sourcePort, destinationPort: isICMP ? nil : port,
      inInterface: "ev0", connection: connection)
    if path == .forward { packet.outInterface = "ev2" }
    if isICMP {
      packet.icmp = (type: family == .ipv4 ? 8 : 128, code: 0)
      // Nobody asked for this answer.
      if chance(20) {
        packet.icmp = (type: family == .ipv4 ? 0 : 129, code: 0)
        packet.connection = ConnectionFacts(state: .invalid)
      }
    }
    if transport == .tcp {
      packet.tcpFlags = connection.state == .new ? one([2, 2, 16]) : one([16, 24, 17])
      if connection.state == .new, chance(20) {
        packet.tcpFlags = one([0, 0x29, 3, 0x3f])
        packet.connection = ConnectionFacts(state: .invalid)
      }
    }
    let own: UInt32 = transport == .tcp ? 20 : transport == .sctp ? 32 : 8
    let header = (family == .ipv4 ? 20 : 40) + own
    guard length >= header else { return nil }
    packet.payload = Array(repeating: 0x41, count: Int(length - header))
    packet.length = length
    packet.ttl = one([63, 64, 65])
    packet.typeOfService = one([0, 0x10, 0xb8])
    packet.sourceHardwareAddress = [2, 0, 0, 0, 0, 1]
    packet.bridgePort = BridgePort.none
    packet.isDecapsulated = false
    packet.passesReversePath = true
    return FirewallScenario.Sent(packet: packet, path: path)
  }
}
