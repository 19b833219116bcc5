import Addressing
import Firewall
import Foundation
import TestSupport

/// How often the property tests try: once for the suite, more where `SIPLEAK_TEST_EFFORT` asks.
let effort = UInt64(ProcessInfo.processInfo.environment["SIPLEAK_TEST_EFFORT"] ?? "") ?? 1

extension SeededGenerator {
  mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }

  mutating func pick<T>(_ list: [T]) -> T { list[Int.random(in: list.indices, using: &self)] }
}

/// Small rulesets over a handful of addresses and ports, so that random packets meet every corner.
struct RandomRules {
  var random: SeededGenerator
  let family: AddressFamily

  init(seed: UInt64, family: AddressFamily) {
    random = SeededGenerator(seed: seed)
    self.family = family
  }

  var local: IPAddress {
    IPAddress(family == .ipv4 ? "192.0.2.5" : "2001:db8:2::5") ?? IPAddress(ipv4: 0)
  }

  mutating func source() -> IPAddress {
    let base =
      IPAddress(family == .ipv4 ? "203.0.113.0" : "2001:db8::") ?? IPAddress(ipv4: 0)
    let host = UInt128.random(in: 0..<16, using: &random)
    if random.chance(10) {
      return IPAddress(family: family, bits: .random(in: .min ... .max, using: &random))
    }
    return IPAddress(family: family, bits: base.bits + host)
  }

  private mutating func prefix() -> String {
    let length = family.bitWidth - random.pick([0, 0, 1, 2, 3])
    return IPPrefix(source(), length: length)?.description ?? ""
  }

  private mutating func not() -> String { random.chance(20) ? "! " : "" }

  private mutating func matches() -> String {
    var words: [String] = []
    if random.chance(45) {
      words.append("\(not())-s \(prefix())")
    } else if family == .ipv4, random.chance(5) {
      words.append(
        "\(not())-s 203.0.113.\(random.pick([1, 2, 5]))/255.255.255.\(random.pick([5, 9]))")
    }
    if random.chance(15) { words.append("\(not())-d \(local)") }
    if random.chance(15) {
      words.append("\(not())-i \(random.pick(["eth0", "eth+", "tun0", "lo"]))")
    }
    if random.chance(45) {
      let transport = random.chance(80) ? "udp" : "tcp"
      words.append("-p \(transport)")
      if random.chance(60) {
        words.append(
          "-m \(transport) \(not())--dport \(random.pick(["5060", "5060", "5090", "1024:65535", "22"]))"
        )
      }
      if random.chance(15) {
        words.append("-m \(transport) --sport \(random.pick(["5060", "1024:65535"]))")
      }
      if random.chance(15) {
        words.append(
          "-m multiport \(not())--dports \(random.pick(["5060,5061", "22,80", "5000:5070"]))")
      }
    }
    if random.chance(20) {
      words.append(
        "-m conntrack \(not())--ctstate \(random.pick(["NEW", "ESTABLISHED", "RELATED,ESTABLISHED", "INVALID"]))"
      )
    }
    if random.chance(12) { words.append("-m iprange \(not())--src-range \(range())") }
    if random.chance(25) { words.append("-m set \(not())--match-set \(random.pick(Self.sets))") }
    if random.chance(10) {
      words.append(
        "-m addrtype \(not())--src-type \(random.pick(["LOCAL", "UNICAST", "MULTICAST", "LOCAL,MULTICAST"]))"
      )
    }
    if random.chance(5) { words.append("-m conntrack \(not())--ctorigsrc \(prefix())") }
    if random.chance(10) { words.append("-m mark --mark 0x\(random.pick([0, 1, 2]))/0x3") }
    if random.chance(4) { words.append("-m limit --limit 5/sec") }
    if random.chance(4) { words.append("-m geoip --src-cc DE") }
    return words.joined(separator: " ")
  }

  static let sets = [
    "ips src", "nets src", "ports src,dst", "pairs src,dst", "pairs dst,src", "twice src,src",
    "masked src", "all src", "timed src", "absent src", "sourceports src,src",
  ]

  private mutating func range() -> String {
    let ends = [source(), source()].sorted()
    return "\(ends[0])-\(ends[1])"
  }

  private mutating func filterTarget(_ later: [String]) -> String {
    switch Int.random(in: 0..<10, using: &random) {
    case 0...2: return "-j ACCEPT"
    case 3...5: return random.chance(80) ? "-j DROP" : "-j REJECT"
    case 6: return "-j RETURN"
    case 7: return random.chance(50) ? "-j LOG" : "-j NFQUEUE --queue-num 1"
    default:
      guard !later.isEmpty else { return "-j ACCEPT" }
      return (random.chance(75) ? "-j " : "-g ") + random.pick(later)
    }
  }

  mutating func text() -> String {
    let names = ["INPUT", "A", "B", "C"]
    var lines: [String] = []
    if random.chance(30) {
      lines += ["*raw", ":PREROUTING ACCEPT [0:0]"]
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        lines.append(
          "-A PREROUTING \(matches()) -j \(random.pick(["NOTRACK", "ACCEPT", "DROP", "CT --zone 1"]))"
        )
      }
      lines.append("COMMIT")
    }
    if random.chance(40) {
      lines += ["*mangle", ":PREROUTING ACCEPT [0:0]", ":INPUT ACCEPT [0:0]"]
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let target = random.pick([
          "MARK --set-xmark 0x1/0x3", "MARK --set-xmark 0x2/0x2", "ACCEPT", "DROP",
          "SET --add-set ips src",
        ])
        lines.append("-A \(random.pick(["PREROUTING", "INPUT"])) \(matches()) -j \(target)")
      }
      lines.append("COMMIT")
    }
    if random.chance(30) {
      lines += ["*nat", ":PREROUTING ACCEPT [0:0]"]
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        let to = family == .ipv4 ? "192.0.2.5:5060" : "[2001:db8:2::5]:5060"
        lines.append(
          "-A PREROUTING -p udp \(matches().replacing(#/(! )?-p [a-z]+/#, with: "")) -j \(random.pick(["REDIRECT --to-ports 5090", "DNAT --to-destination \(to)", "ACCEPT"]))"
        )
      }
      lines.append("COMMIT")
    }
    lines.append("*filter")
    for name in names {
      lines.append(
        name == "INPUT" ? ":INPUT \(random.pick(["ACCEPT", "DROP"])) [0:0]" : ":\(name) - [0:0]")
    }
    for (place, name) in names.enumerated() {
      for _ in 0..<Int.random(in: 1...(place == 0 ? 9 : 5), using: &random) {
        lines.append("-A \(name) \(matches()) \(filterTarget(Array(names.dropFirst(place + 1))))")
      }
    }
    lines.append("COMMIT\n")
    return lines.joined(separator: "\n")
  }

  private mutating func entries(_ count: Int, _ element: (inout Self) -> String) -> [AddressSet
    .Entry]
  {
    var result: [AddressSet.Entry] = []
    for _ in 0..<Int.random(in: 0...count, using: &random) {
      result.append(.init(element: element(&self), isException: false))
    }
    return result
  }

  mutating func snapshot() throws -> FirewallSnapshot {
    let rules = try RulesetReader.read(
      Array(text().utf8), source: "random", backend: .nft, family: family)
    var snapshot = FirewallSnapshot(rulesets: [rules])
    var nets = entries(6) { $0.prefix() }
    for index in nets.indices { nets[index].isException = random.chance(25) }
    var sets = [
      AddressSet(
        name: "ips", type: "hash:ip", family: family, entries: entries(5) { "\($0.source())" }),
      AddressSet(name: "nets", type: "hash:net", family: family, entries: nets),
      AddressSet(
        name: "ports", type: "hash:net,port", family: family,
        entries: entries(6) {
          "\($0.prefix()),\($0.random.pick(["udp:5060", "tcp:22", "udp:5090"]))"
        }),
      AddressSet(
        name: "sourceports", type: "hash:net,port", family: family,
        entries: entries(6) { "\($0.prefix()),udp:5060" }),
      AddressSet(
        name: "pairs", type: "hash:net,net", family: family,
        entries: entries(5) {
          "\($0.prefix()),\($0.random.chance(50) ? "\($0.local)" : $0.prefix())"
        }),
      AddressSet(
        name: "twice", type: "hash:net,net", family: family,
        entries: entries(5) { "\($0.prefix()),\($0.prefix())" }),
      AddressSet(
        name: "masked", type: "hash:ip", family: family,
        createOptions: ["netmask \(family.bitWidth - 2)"],
        entries: entries(3) {
          IPPrefix($0.source(), length: $0.family.bitWidth - 2)?.address.description ?? ""
        }),
      AddressSet(
        name: "timed", type: "hash:ip", family: family, createOptions: ["timeout 60"],
        entries: entries(3) { "\($0.source())" }),
    ]
    sets.append(
      AddressSet(
        name: "all", type: "list:set", family: nil,
        entries: [.init(element: "ips"), .init(element: "ports")]))
    snapshot.sets = sets
    if random.chance(70) { snapshot.localAddresses = [local, source()] }
    return snapshot
  }

  mutating func packet() -> Packet {
    var connection = ConnectionFacts.new
    if random.chance(40) {
      connection = ConnectionFacts(
        state: random.chance(80) ? .established : .related, direction: .original, status: 0xa)
      connection.zone = 0
      connection.mark = 0
    }
    var packet = Packet(
      transport: random.chance(85) ? .udp : .tcp, source: source(), destination: local,
      sourcePort: random.pick([nil, 5060, 5060, 24376, 80]),
      destinationPort: random.pick([5060, 5060, 5060, 5090, nil]),
      inInterface: random.pick(["eth0", "eth0", "tun0", nil]), connection: connection)
    if random.chance(10) { packet.delivered = Endpoint(local, 5090) }
    return packet
  }
}
