import Addressing
import Firewall
import Testing

struct EvaluationHeaderTests {
  @Test(
    "Addresses, interfaces, protocols and fragments",
    arguments: [
      ("", Expected.yes),
      ("-s 203.0.113.66/32", .yes), ("-s 203.0.113.67/32", .no),
      ("! -s 203.0.113.66/32", .no), ("! -s 203.0.113.67/32", .yes),
      ("-s 203.0.113.0/24 -d 192.0.2.5/32", .yes), ("-d 192.0.2.6/32", .no),
      ("-s 203.0.0.66/255.255.0.255", .yes), ("-s 203.0.0.67/255.255.0.255", .no),
      ("! -s 203.0.0.66/255.255.0.255", .no), ("-s 0.0.0.0/0", .yes),
      ("-i eth0", .yes), ("-i eth", .no), ("-i eth+", .yes), ("-i +", .yes), ("-i eth00", .no),
      ("! -i eth0", .no), ("! -i eth+", .no), ("! -i ppp+", .yes),
      ("-o eth0", .no), ("! -o eth0", .yes), ("! -o eth+", .yes),
      ("-p udp", .yes), ("-p 17", .yes), ("! -p udp", .no), ("-p tcp", .no), ("! -p tcp", .yes),
      ("-p all", .yes), ("-f", .no), ("! -f", .yes),
      ("-m comment --comment \"-j DROP\"", .yes),
    ])
  func header(conditions: String, expected: Expected) throws {
    #expect(Expected(try Given.answer(conditions, Given.packet())) == expected)
  }

  @Test(
    "What is not known of a header is unknown, unless the answer does not hang on it",
    arguments: [
      ("-i eth0", Expected.unknown), ("! -i eth0", .unknown), ("-i +", .yes),
      ("-p tcp -i eth0", .no), ("-i eth0 -p tcp", .no),
      ("-p udp -m udp --sport 5060", .unknown), ("-p udp -m udp ! --sport 5060", .unknown),
      ("-p udp -m udp --sport 0:65535", .yes), ("-p udp -m udp --sport 5060 --dport 22", .no),
      ("-p udp -m multiport --sports 5060,5061", .unknown),
      ("-p udp -m multiport --ports 5060", .yes), ("-p udp -m multiport --ports 22", .unknown),
    ])
  func missing(conditions: String, expected: Expected) throws {
    var packet = try Given.packet()
    packet.inInterface = nil
    packet.sourcePort = nil
    #expect(Expected(try Given.answer(conditions, packet)) == expected)
  }

  @Test(
    "IPv6 headers",
    arguments: [
      ("-s 2001:db8:2::/64", Expected.yes), ("! -s 2001:db8:2::/64", .no), ("-s ::/0", .yes),
      ("-s ::66/::ff", .yes), ("-s ::67/::ff", .no), ("-p udp", .yes), ("-p ipv6-icmp", .no),
      ("-m iprange --src-range 2001:db8:2::1-2001:db8:2::ff", .yes),
      ("-m iprange ! --src-range 2001:db8:2::1-2001:db8:2::ff", .no),
    ])
  func six(conditions: String, expected: Expected) throws {
    let packet = try Given.packet(
      from: "[2001:db8:2::66]:24376", to: "[2001:db8::5]:5060")
    #expect(Expected(try Given.answer(conditions, packet)) == expected)
  }

  @Test(
    "Ports of UDP",
    arguments: [
      ("-p udp -m udp", Expected.yes), ("-p udp -m udp --dport 5060", .yes),
      ("-p udp -m udp ! --dport 5060", .no), ("-p udp -m udp --dport 5061", .no),
      ("-p udp -m udp --dport 5000:5100", .yes), ("-p udp -m udp --dport :5060", .yes),
      ("-p udp -m udp --dport 5060:", .yes), ("-p udp -m udp --dport 5061:", .no),
      ("-p udp -m udp --dport 5070:5050", .no), ("-p udp -m udp ! --dport 5070:5050", .yes),
      ("-p udp -m udp --sport 24376 --dport 5060", .yes), ("-p udp -m udp --dport sip", .yes),
      ("-p tcp -m tcp --dport 5060", .no), ("-p udp -m multiport --dports 22,5060", .yes),
      ("-p udp -m multiport --dports 5000:5100,22", .yes),
      ("-p udp -m multiport ! --dports 22,5060", .no),
      ("-p udp -m multiport --sports 5060", .no), ("-p udp -m multiport --ports 24376", .yes),
      ("-p udp -m multiport ! --ports 22", .yes), ("-p udp -m multiport --dports 5060", .yes),
    ])
  func ports(conditions: String, expected: Expected) throws {
    #expect(Expected(try Given.answer(conditions, Given.packet())) == expected)
  }

  @Test(
    "A later fragment has no ports, inverted or not",
    arguments: [
      ("-p udp", Expected.yes), ("-f", .yes), ("-p udp -m udp --dport 5060", .no),
      ("-p udp -m udp ! --dport 5060", .no), ("-p udp -m multiport ! --dports 5060", .no),
    ])
  func fragments(conditions: String, expected: Expected) throws {
    var packet = try Given.packet()
    packet.isLaterFragment = true
    #expect(Expected(try Given.answer(conditions, packet)) == expected)
  }

  @Test(
    "TCP flags",
    arguments: [
      ("-p tcp -m tcp --syn", UInt8?(2), Expected.yes), ("-p tcp -m tcp --syn", 18, .no),
      ("-p tcp -m tcp ! --syn", 16, .yes), ("-p tcp -m tcp --syn", nil, .unknown),
      ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", 2, .yes),
      ("-p tcp -m tcp --tcp-flags ALL NONE", 0, .yes),
      ("-p tcp -m tcp ! --tcp-flags SYN,ACK ACK", 16, .no),
      ("-p tcp -m tcp --tcp-option 8", 2, .unknown),
    ])
  func flags(conditions: String, flags: UInt8?, expected: Expected) throws {
    var packet = try Given.packet(.tcp)
    packet.tcpFlags = flags
    #expect(Expected(try Given.answer(conditions, packet)) == expected)
  }

  @Test(
    "ICMP types by number and by name",
    arguments: [
      ("-p icmp -m icmp --icmp-type 8", Expected.yes), ("-p icmp -m icmp --icmp-type 8/0", .yes),
      ("-p icmp -m icmp --icmp-type 8/1", .no), ("-p icmp -m icmp ! --icmp-type 8", .no),
      ("-p icmp -m icmp --icmp-type echo-request", .yes), ("-p icmp -m icmp --icmp-type any", .yes),
      ("-p icmp -m icmp --icmp-type 0", .no), ("-p icmp -m icmp --icmp-type 255", .yes),
      ("-p udp", .no),
    ])
  func icmp(conditions: String, expected: Expected) throws {
    var packet = try Given.packet(.icmp)
    packet.icmp = (type: 8, code: 0)
    #expect(Expected(try Given.answer(conditions, packet)) == expected)
    packet.icmp = nil
    if conditions.contains("type 8") {
      #expect(Expected(try Given.answer(conditions, packet)) == .unknown)
    }
  }

  @Test(
    "Length, TTL and type of service",
    arguments: [
      ("-m length --length 100:200", Expected.yes), ("-m length ! --length 128", .no),
      ("-m length --length 129:", .no), ("-m ttl --ttl-eq 64", .yes),
      ("-m ttl ! --ttl-eq 64", .no), ("-m ttl --ttl-lt 64", .no), ("-m ttl --ttl-gt 63", .yes),
      ("-m ttl --ttl-lt 0", .no), ("-m ttl --ttl-gt 255", .no), ("-m dscp --dscp 0x2e", .yes),
      ("-m dscp --dscp-class EF", .yes), ("-m dscp ! --dscp 0x2e", .no),
      ("-m tos --tos 0xb8/0xff", .yes), ("-m tos --tos 0x10/0x3f", .no),
    ])
  func fields(conditions: String, expected: Expected) throws {
    var packet = try Given.packet()
    #expect(Expected(try Given.answer(conditions, packet)) == .unknown)
    packet.length = 128
    packet.ttl = 64
    packet.typeOfService = 0xb8
    #expect(Expected(try Given.answer(conditions, packet)) == expected)
  }

  @Test(
    "What is not understood is unknown and says so",
    arguments: [
      "-m fantasy --much more", "-m udp --weird 5", "-m state --state SLEEPING",
      "-m set --match-set", "-s example.invalid", "-m connbytes --connbytes 5",
    ])
  func unrecognized(conditions: String) throws {
    // The reader refuses some of these itself; that is as good.
    guard let answer = try? Given.answer(conditions, Given.packet()) else { return }
    guard case .unknown(let reasons) = answer else {
      Issue.record("\(conditions) was decided")
      return
    }
    #expect(!reasons.isEmpty)
    #expect(!reasons.contains { $0.rule?.chain != "INPUT" })
  }

  @Test(
    "A match that cannot be decided says what it hangs on",
    arguments: [
      ("-m limit --limit 1/sec", UnknownReason.Kind.rate),
      ("-m hashlimit --hashlimit-upto 1/sec --hashlimit-name a", .rate),
      ("-m statistic --mode random --probability 0.5", .rate), ("-m quota --quota 10", .rate),
      ("-m connlimit --connlimit-above 3", .rate), ("-m geoip --src-cc DE", .geography),
      ("-m recent --rcheck --name a --rsource", .memory), ("-m condition --condition a", .memory),
      ("-m string --string INVITE --algo bm", .payload), ("-m u32 --u32 0x0=0x1", .payload),
      ("-m bpf --bytecode \"1,6 0 0 1\"", .payload), ("-m length --length 1:100", .payload),
      ("-m cgroup --cgroup 1", .fact), ("-m mac --mac-source 02:00:00:00:00:01", .fact),
      ("-m fantasy", .unrecognized),
    ])
  func kinds(conditions: String, kind: UnknownReason.Kind) throws {
    guard case .unknown(let reasons) = try Given.answer(conditions, Given.packet()) else {
      Issue.record("\(conditions) was decided")
      return
    }
    #expect(reasons.map(\.kind) == [kind])
  }
}
