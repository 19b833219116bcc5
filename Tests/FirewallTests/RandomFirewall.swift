import TestSupport
import Addressing
import Firewall

/// A random firewall and random packets for it, made from a seed alone.
///
/// It fits one topology: a host with `ev0` towards the peers and `ev2` towards an inner network.
/// ``saves`` and ``setText`` can be loaded by the real tools there, the packets sent by ``ev0``,
/// and the rules' counters compared with the walk.
struct RandomFirewall {
  let seed: UInt64
  let family: AddressFamily
  let backends: [Backend]
  private(set) var saves: [Backend: String] = [:]
  private(set) var sets: [AddressSet] = []
  private(set) var packets: [Packet] = []
  private(set) var paths: [PacketPath] = []
  private var random: SeededGenerator

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

  private struct Pool {
    var sources: [String]
    var local: [String]
    var inner: String
    var patterns: [String]
    var ranges: [String]
  }

  private var pool: Pool { family == .ipv4 ? Self.v4 : Self.v6 }

  init(seed: UInt64) {
    self.seed = seed
    random = SeededGenerator(seed: seed)
    family = UInt64.random(in: 0..<3, using: &random) == 0 ? .ipv6 : .ipv4
    let pick = Int.random(in: 0..<6, using: &random)
    backends = pick == 0 ? [.nft, .legacy] : pick % 2 == 0 ? [.nft] : [.legacy]
    makeSets()
    for backend in backends { saves[backend] = save() }
    for _ in 0..<12 { makePacket() }
  }

  /// The addresses of the host in this topology.
  static let localAddresses = [
    "192.0.2.5", "192.0.2.6", "10.77.3.1", "127.0.0.1", "2001:db8::5", "2001:db8::6", "fd77::1",
    "::1",
  ].compactMap { IPAddress($0) }

  // MARK: Chance

  private mutating func chance(_ percent: Int) -> Bool {
    Int.random(in: 0..<100, using: &random) < percent
  }

  private mutating func one<T>(_ list: [T]) -> T {
    list[Int.random(in: 0..<list.count, using: &random)]
  }

  private mutating func bang(_ percent: Int = 25) -> String { chance(percent) ? "! " : "" }

  // MARK: Sets

  private mutating func makeSets() {
    let addresses = pool.sources + pool.local + [pool.inner]
    let nets =
      family == .ipv4
      ? ["203.0.113.0/24", "203.0.113.64/26", "192.0.2.0/24", "10.0.0.0/8"]
      : ["2001:db8:2::/64", "2001:db8:2::40/122", "2001:db8::/64", "fd00::/8"]
    let ports = ["udp:5060", "tcp:5060", "udp:7000", "tcp:22", "udp:40000", "udp:1024"]
    let types = [
      "hash:ip", "hash:net", "hash:ip,port", "hash:net,port", "hash:ip,port,ip",
      "hash:ip,port,net", "hash:net,iface", "bitmap:port",
    ]
    for number in 0..<3 {
      let type = one(types)
      var set = AddressSet(
        name: "set\(number)", type: type,
        family: ["hash:mac", "bitmap:port"].contains(type) ? nil : family)
      if type == "bitmap:port" { set.createOptions = ["range", "0-65535"] }
      for _ in 0..<Int.random(in: 0..<7, using: &random) {
        let words = type.drop(while: { $0 != ":" }).dropFirst().split(separator: ",").map {
          dimension -> String in
          switch dimension {
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
        if set.entries.contains(where: { $0.element == element }) { continue }
        set.entries.append(
          AddressSet.Entry(element: element, isException: type.contains("net") && chance(20)))
      }
      sets.append(set)
    }
  }

  /// The sets as `ipset restore` reads them.
  var setText: String {
    var text = ""
    for set in sets {
      let family = set.family.map { $0 == .ipv4 ? " family inet" : " family inet6" } ?? ""
      let options = set.createOptions.map { " " + $0 }.joined()
      text += "create \(set.name) \(set.type)\(family)\(options)\n"
      for entry in set.entries {
        text += "add \(set.name) \(entry.element)\(entry.isException ? " nomatch" : "")\n"
      }
    }
    return text
  }

  // MARK: Rules

  private mutating func save() -> String {
    var text = ""
    for table in ["raw", "mangle", "nat", "filter"] where table == "filter" || chance(45) {
      let bases: [String]
      switch table {
      case "raw": bases = ["PREROUTING"]
      case "mangle": bases = ["PREROUTING", "INPUT", "FORWARD"]
      case "nat": bases = ["PREROUTING"]
      default: bases = ["INPUT", "FORWARD"]
      }
      let users = (0..<Int.random(in: 0..<5, using: &random)).map { "c\($0)" }
      text += "*\(table)\n"
      for base in bases {
        text += ":\(base) \(table == "filter" && chance(40) ? "DROP" : "ACCEPT") [0:0]\n"
      }
      for user in users { text += ":\(user) - [0:0]\n" }
      for base in bases {
        for _ in 0..<Int.random(in: 0..<6, using: &random) {
          text += rule(table, base, base, users)
        }
      }
      for (index, user) in users.enumerated() {
        for _ in 0..<Int.random(in: 0..<5, using: &random) {
          text += rule(table, user, nil, Array(users[(index + 1)...]))
        }
      }
      text += "COMMIT\n"
    }
    return text
  }

  private mutating func rule(
    _ table: String, _ chain: String, _ base: String?, _ targets: [String]
  ) -> String {
    var words = ["-A", chain]
    let transport = one(["udp", "udp", "udp", "tcp", "icmp", "", "", ""])
    if chance(30) { words.append(address("-s", pool.patterns + pool.sources)) }
    if chance(25) { words.append(address("-d", pool.patterns + pool.local)) }
    if chance(15) { words.append("\(bang())-i \(one(["ev0", "ev+", "ev2", "lo", "e+", "eth0"]))") }
    if chance(8), base == nil || base == "FORWARD", table != "raw", table != "nat" {
      words.append("\(bang())-o \(one(["ev2", "ev+", "ev0"]))")
    }
    var isInvertedTransport = false
    if !transport.isEmpty {
      isInvertedTransport = chance(10)
      let name = transport == "icmp" && family == .ipv6 ? "ipv6-icmp" : transport
      words.append("\(isInvertedTransport ? "! " : "")-p \(name)")
    }
    if !isInvertedTransport { words += transportMatches(transport) }
    for _ in 0..<(chance(50) ? 1 : chance(20) ? 2 : 0) { words.append(match(table, base)) }
    words.append(target(table, base, transport, isInvertedTransport, targets))
    return words.filter { !$0.isEmpty }.joined(separator: " ") + "\n"
  }

  /// The tools refuse the inversion of everything.
  private mutating func address(_ option: String, _ list: [String]) -> String {
    let pattern = one(list)
    return "\(pattern.hasSuffix("/0") ? "" : bang())\(option) \(pattern)"
  }

  private mutating func transportMatches(_ transport: String) -> [String] {
    let port = ["5060", "22", "7000", "1024:", ":1023", "5000:5100", "40000", "0:65535"]
    switch transport {
    case "udp", "tcp":
      if chance(20) {
        let list = one(["5060", "22,5060", "5000:5100,7000", "1024:65535"])
        return ["-m multiport \(bang())--\(one(["sports", "dports", "ports"])) \(list)"]
      }
      var words = ["-m \(transport)"]
      // The tools misprint the inversion of all ports.
      let source = one(port)
      let destination = one(port)
      if chance(15) { words.append("\(source.hasPrefix("0") ? "" : bang())--sport \(source)") }
      if chance(50) {
        words.append("\(destination.hasPrefix("0") ? "" : bang())--dport \(destination)")
      }
      if transport == "tcp", chance(30) {
        words.append(
          "\(bang())\(one(["--syn", "--tcp-flags SYN,ACK ACK", "--tcp-flags ALL NONE"]))")
      }
      return words.count > 1 ? words : []
    case "icmp":
      if !chance(50) { return [] }
      return [
        family == .ipv4
          ? "-m icmp \(bang())--icmp-type \(one(["8", "0", "3/3", "any", "8/0"]))"
          : "-m icmp6 \(bang())--icmpv6-type \(one(["128", "129", "1/4", "128/0"]))"
      ]
    default: return []
    }
  }

  private mutating func match(_ table: String, _ base: String?) -> String {
    let set = one(sets)
    let directions = one([
      "src", "dst", "src,dst", "dst,src", "src,dst,src", "dst,dst,src", "src,src,dst",
    ])
    let mark = one(["0x1", "0x2", "0x0/0x1", "0x10/0xf0", "0x1/0x3"])
    switch Int.random(in: 0..<24, using: &random) {
    case 0, 1, 2: return "-m state --state \(states(false))"
    case 3, 4, 5: return "-m conntrack \(bang())--ctstate \(states(true))"
    case 6:
      return "-m conntrack \(bang())--ctstatus "
        + one(["SEEN_REPLY", "ASSURED", "CONFIRMED", "EXPECTED", "NONE", "SEEN_REPLY,EXPECTED"])
    case 7: return "-m conntrack --ctdir \(one(["ORIGINAL", "REPLY"]))"
    case 8:
      let side = one(["ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst"])
      let prefixes = pool.patterns.filter {
        !$0.hasSuffix("/0") && !$0.hasSuffix("6") || $0.contains("/26")
      }
      return "-m conntrack \(bang())--\(side) \(one(prefixes))"
    case 9:
      let option = one(["ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport"])
      return
        "-m conntrack --ctstate \(states(true)) --ctproto \(one(["17", "6"])) \(bang())--\(option) 5060"
    case 10, 11: return "-m mark \(bang())--mark \(mark)"
    case 12: return "-m connmark \(bang())--mark \(mark)"
    case 13, 14, 15:
      return "-m set \(bang())--match-set \(set.name) \(directions)"
        + (chance(15) ? " --return-nomatch" : "")
    case 16:
      return "-m iprange \(bang())--\(one(["src", "dst"]))-range \(one(pool.ranges))"
    case 17: return "-m length \(bang())--length \(one(["0:100", "100:", "60"]))"
    case 18:
      return family == .ipv4
        ? "-m ttl \(one(["--ttl-eq 64", "! --ttl-eq 64", "--ttl-lt 64", "--ttl-gt 63"]))"
        : "-m hl \(one(["--hl-eq 64", "! --hl-eq 64", "--hl-lt 64", "--hl-gt 63"]))"
    case 19:
      return
        "-m addrtype \(bang())--\(one(["src", "dst"]))-type \(one(["LOCAL", "UNICAST", "MULTICAST"]))"
    case 20: return "-m pkttype \(bang())--pkt-type \(one(["unicast", "multicast"]))"
    case 21: return "-m \(one(["dscp \(bang())--dscp 0x2e", "tos \(bang())--tos 0x10/0x3f"]))"
    case 22:
      return one([
        "-m physdev \(bang())--physdev-is-in", "-m physdev \(bang())--physdev-in ev0",
        "-m comment --comment \"a b -j DROP\"", "-m helper \(bang())--helper sip",
        "-m connbytes \(bang())--connbytes 2: --connbytes-mode packets --connbytes-dir both",
        "-m time --timestart 06:00 --timestop 18:00", "-m time --weekdays Mon,Wed,Sat",
        "-m recent --set --name r1", "-m statistic --mode random --probability 0.5",
      ])
    default:
      return base == "PREROUTING" && table != "nat"
        ? one([
          "-m rpfilter", "-m rpfilter --invert", "-m mac \(bang())--mac-source 02:00:00:00:00:01",
        ])
        : one(["-m policy --dir in --pol none", "-m policy --dir in --pol ipsec"])
    }
  }

  private mutating func states(_ hasTranslations: Bool) -> String {
    var list = ["NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"]
    if hasTranslations { list += ["DNAT", "SNAT"] }
    return list.filter { _ in chance(35) }.joined(separator: ",").isEmpty
      ? "ESTABLISHED" : list.filter { _ in chance(50) }.joined(separator: ",").nonEmpty ?? "NEW"
  }

  private mutating func target(
    _ table: String, _ base: String?, _ transport: String, _ isInverted: Bool, _ targets: [String]
  ) -> String {
    if !targets.isEmpty, chance(40) { return "\(chance(25) ? "-g" : "-j") \(one(targets))" }
    let xmark = one(["0x1", "0x2", "0x10/0x10", "0x0/0x1"])
    switch Int.random(in: 0..<13, using: &random) {
    case 0, 1, 2: return "-j ACCEPT"
    case 3: return table == "nat" ? "-j ACCEPT" : "-j DROP"
    case 4: return table == "filter" ? "-j REJECT" : "-j RETURN"
    case 5: return "-j RETURN"
    case 6: return ""
    case 7: return "-j MARK --set-xmark \(xmark)"
    case 8: return "-j CONNMARK \(one(["--save-mark", "--restore-mark", "--set-xmark \(xmark)"]))"
    case 9: return "-j NFLOG"
    default: break
    }
    switch table {
    case "raw":
      return one(["-j CT --notrack", "-j NOTRACK", "-j CT --zone 3", "-j CT --notrack", "-j DROP"])
    case "mangle":
      return one([
        "-j DSCP --set-dscp 0x2e", "-j TOS --set-tos 0x10/0x3f",
        family == .ipv4 ? "-j TTL --ttl-set 64" : "-j HL --hl-set 64", "-j DROP",
      ])
    case "nat":
      guard transport == "udp" || transport == "tcp", !isInverted else { return "-j ACCEPT" }
      let local = one(pool.local)
      let address = family == .ipv4 ? local : "[\(local)]"
      return one([
        "-j DNAT --to-destination \(address):5060", "-j DNAT --to-destination \(local)",
        "-j REDIRECT --to-ports 7000", "-j DNAT --to-destination :5060",
      ])
    default:
      return one(["-j DROP", "-j ACCEPT", "-j REJECT"])
    }
  }

  // MARK: Packets

  private mutating func makePacket() {
    let path: PacketPath = chance(20) ? .forward : .input
    let transport: IPProtocol = one([.udp, .udp, .udp, .tcp, family == .ipv4 ? .icmp : .icmpv6])
    guard let source = IPAddress(one(pool.sources)),
      let destination = IPAddress(path == .input ? one(pool.local) : pool.inner)
    else { return }
    let sourcePort = one([5060, 40000, 1023, 24376] as [UInt16])
    let port = one([5060, 5060, 5061, 22, 7000] as [UInt16])
    let isICMP = !transport.hasPorts
    var connection = ConnectionFacts.new
    if !isICMP, chance(60) {
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
    if isICMP { packet.icmp = (type: family == .ipv4 ? 8 : 128, code: 0) }
    if transport == .tcp { packet.tcpFlags = connection.state == .new ? 2 : 16 }
    packet.payload = Array(repeating: 0x41, count: one([0, 12, 400]))
    let header: UInt32 = (family == .ipv4 ? 20 : 40) + (transport == .tcp ? 20 : 8)
    packet.length = header + UInt32(packet.payload?.count ?? 0)
    packet.ttl = one([63, 64, 65])
    packet.typeOfService = one([0, 0x10, 0xb8])
    packet.sourceHardwareAddress = [2, 0, 0, 0, 0, 1]
    packet.bridgePort = BridgePort.none
    packet.isDecapsulated = false
    packet.passesReversePath = true
    packets.append(packet)
    paths.append(path)
  }
}

extension String {
  fileprivate var nonEmpty: String? { isEmpty ? nil : self }
}
