import Addressing
import Firewall

/// The rules of a random firewall, in all the forms the walk claims to decide.
extension RandomFirewall {
  mutating func save() -> String {
    var text = ""
    for table in ["raw", "mangle", "nat", "filter", "security"]
    where table == "filter" || chance(table == "security" ? 15 : 45) {
      let bases: [String]
      switch table {
      case "raw": bases = ["PREROUTING"]
      case "mangle": bases = ["PREROUTING", "INPUT", "FORWARD", "POSTROUTING"]
      case "nat":
        translatesEverywhere = chance(60)
        bases = translatesEverywhere ? ["PREROUTING"] : ["PREROUTING", "POSTROUTING"]
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
    let transport = one(["udp", "udp", "udp", "tcp", "tcp", "sctp", "icmp", "", "", ""])
    if chance(30) { words.append(address("-s", pool.patterns + pool.sources)) }
    if chance(25) { words.append(address("-d", pool.patterns + pool.local)) }
    if chance(15), base != "POSTROUTING" {
      words.append("\(bang())-i \(one(["ev0", "ev+", "ev2", "lo", "e+", "eth0"]))")
    }
    if chance(8), base == nil || base == "FORWARD" || base == "POSTROUTING", table != "raw",
      table != "nat"
    {
      words.append("\(bang())-o \(one(["ev2", "ev+", "ev0"]))")
    }
    var isInvertedTransport = false
    if !transport.isEmpty {
      isInvertedTransport = chance(10)
      let name = transport == "icmp" && family == .ipv6 ? "ipv6-icmp" : transport
      words.append("\(isInvertedTransport ? "! " : "")-p \(name)")
    }
    if !isInvertedTransport { words += transportMatches(transport) }
    for _ in 0..<(chance(50) ? 1 : chance(30) ? 2 : 0) { words.append(match(table, base)) }
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
    case "udp", "tcp", "sctp":
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
          "\(bang())"
            + one([
              "--syn", "--tcp-flags SYN,ACK ACK", "--tcp-flags ALL NONE", "--tcp-flags ALL ALL",
              "--tcp-flags SYN,FIN SYN,FIN", "--tcp-flags ACK,URG URG", "--tcp-flags ACK,PSH PSH",
              "--tcp-flags FIN,SYN,RST,ACK SYN,ACK",
            ]))
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
    switch Int.random(in: 0..<29, using: &random) {
    case 24, 25: return payloadMatch()
    case 26: return chanceMatch()
    case 27: return family == .ipv6 ? headerMatch() : "-m addrtype --dst-type LOCAL,BROADCAST"
    case 28:
      return base == "POSTROUTING"
        ? "-m owner \(bang())\(one(["--uid-owner 0", "--socket-exists"]))"
        : "-m addrtype \(bang())--dst-type "
          + one([family == .ipv4 ? "BROADCAST" : "LOCAL", "LOCAL,UNICAST", "UNSPEC"])
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
    case 17: return "-m length \(bang())--length \(one(["0:100", "100:", "65", "64:320", "1088:"]))"
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
        : base == "POSTROUTING" || base == nil && ["mangle", "nat"].contains(table)
          ? "-m mark ! --mark 0x4/0x4"
          : one(["-m policy --dir in --pol none", "-m policy --dir in --pol ipsec"])
    }
  }

  private mutating func payloadMatch() -> String {
    one([
      "-m string --string AAAA --algo bm", "-m string ! --string AAAA --algo kmp",
      "-m string --string aaaa --algo bm --icase", "-m string --string INVITE --algo bm --to 60",
      "-m string --hex-string \"|41 41|\" --algo kmp --from 60 --to 70",
      "-m u32 --u32 \"6&0xff=17\"", "-m u32 ! --u32 \"0>>22&0x3c@8=0x41414141\"",
      "-m u32 --u32 \"2&0xffff=64:80\"", "-m u32 --u32 \"40&0xff=0x41\"",
    ])
  }

  private mutating func chanceMatch() -> String {
    one([
      "-m statistic --mode random \(bang())--probability 1",
      "-m statistic --mode random \(bang())--probability 0",
      "-m statistic --mode nth \(bang())--every 1 --packet 0", "-m quota \(bang())--quota 0",
      "-m limit --limit 1/min --limit-burst 1",
      "-m cpu --cpu 0",
    ])
  }

  /// Questions about IPv6 extension headers.
  private mutating func headerMatch() -> String {
    one([
      "-m rt \(bang())--rt-type 0", "-m hbh \(bang())--hbh-len 8", "-m dst \(bang())--dst-len 8",
      "-m frag --fragfirst", "-m ipv6header \(bang())--header prot",
      "-m ipv6header \(bang())--header hop-by-hop --soft",
      "-m ipv6header \(bang())--header prot --soft", "-m ah --ahspi 1",
      "-m ipv6header \(bang())--header route,prot",
    ])
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
    case 4: return table == "filter" && base != "POSTROUTING" ? "-j REJECT" : "-j RETURN"
    case 5: return "-j RETURN"
    case 6: return ""
    case 7:
      return "-j MARK "
        + one(["--set-xmark \(xmark)", "--set-mark 0x3/0x6", "--or-mark 0x4", "--and-mark 0xf"])
    case 8:
      return "-j CONNMARK "
        + one([
          "--save-mark", "--restore-mark", "--set-xmark \(xmark)", "--set-mark 0x2/0xf",
          "--save-mark --nfmask 0xf --ctmask 0xff", "--restore-mark --nfmask 0xff --ctmask 0xf",
        ])
    case 9:
      return one(["-j NFLOG", "-j LOG", "-j AUDIT --type drop", "-j NFQUEUE --queue-bypass"])
    default: break
    }
    switch table {
    case "raw":
      return one([
        "-j CT --notrack", "-j NOTRACK", "-j CT --zone 3", "-j CT --zone-orig 3", "-j DROP",
      ])
    case "mangle":
      return one([
        "-j DSCP --set-dscp 0x2e", "-j TOS --set-tos 0x10/0x3f",
        family == .ipv4 ? "-j TTL --ttl-set 64" : "-j HL --hl-set 64", "-j DROP",
      ])
    case "nat":
      // A chain of the user's may be reached from either hook, which the tools then refuse.
      if base == "POSTROUTING" { return one(["-j MASQUERADE", "-j ACCEPT"]) }
      guard base == "PREROUTING" || base == nil && translatesEverywhere,
        transport == "udp" || transport == "tcp", !isInverted
      else { return "-j ACCEPT" }
      let local = one(pool.local)
      let address = family == .ipv4 ? local : "[\(local)]"
      return one([
        "-j DNAT --to-destination \(address):5060", "-j DNAT --to-destination \(local)",
        "-j REDIRECT --to-ports 7000", "-j DNAT --to-destination :5060",
        "-j DNAT --to-destination \(family == .ipv4 ? pool.inner : "[\(pool.inner)]"):5060",
        "-j DNAT --to-destination \(pool.inner)",
      ])
    default:
      return one(["-j DROP", "-j ACCEPT", table == "filter" ? "-j REJECT" : "-j DROP"])
    }
  }
}

extension String {
  fileprivate var nonEmpty: String? { isEmpty ? nil : self }
}
