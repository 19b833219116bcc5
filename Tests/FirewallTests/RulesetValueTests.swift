import Addressing
import Firewall
import Testing

/// Values and combinations of options that every version of the tools refuses or takes.
struct RulesetValueTests {
  private func fault(_ rule: String, family: AddressFamily = .ipv4) -> FirewallError? {
    let text = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT \(rule)\nCOMMIT\n"
    do throws(FirewallError) {
      _ = try RulesetReader.read(
        Array(text.utf8), source: "test", backend: .legacy, family: family)
      return nil
    } catch {
      return error
    }
  }

  @Test(
    "What the tools refuse is refused, with what was expected",
    arguments: [
      ("-m mark --mark 4294967296", "VALUE or VALUE/MASK, up to 0xffffffff as --mark"),
      ("-m mark --mark -1", "VALUE or VALUE/MASK, up to 0xffffffff as --mark"),
      ("-m length --length 0:65536", "a number or a range A:B of numbers up to 65535 as --length"),
      ("-m ttl --ttl-eq 256", "a number from 0 to 255 as --ttl-eq"),
      ("-m mac --mac-source 1:2:3:4:5", "a MAC address as --mac-source"),
      ("-m pkttype --pkt-type wrong", nil), ("-m addrtype --src-type wrong", nil),
      ("-m statistic --mode random --probability 1.1", "a number from 0 to 1 as --probability"),
      ("-m connbytes --connbytes 5:1 --connbytes-dir both --connbytes-mode packets", nil),
      ("-j NFQUEUE --queue-balance 4:4", nil), ("-j LOG --log-level bad", nil),
      ("-m tcp --dport 5060", "-p with tcp"), ("-m multiport --dports 1", "-p with multiport"),
      ("-m mark", "mark with --mark"), ("-j MARK", nil), ("-m state", "state with --state"),
      ("-m ttl --ttl-eq 1 --ttl-gt 2", "ttl with only one of --ttl-eq, --ttl-lt, --ttl-gt"),
      ("-j DNAT --to-destination 192.0.2.1:5060", "-p with the ports of DNAT"),
      ("-p udp -j DNAT --to-destination 192.0.2.1:65536", nil),
      ("-j DNAT --to-destination 192.0.2.1 --to-destination 192.0.2.2", "--to-destination once"),
      ("-j TEE ! --gateway 192.0.2.1", "no \"!\" in a target"),
      ("! -p all", "a protocol that leaves some packets"), ("-p udp -m udp --sport -1", nil),
    ] as [(String, String?)])
  func refused(rule: String, expected: String?) throws {
    let error = try #require(fault(rule), "it is read")
    #expect(error.code == .malformed)
    #expect(error.line == 3)
    #expect(error.column != nil)
    if let expected { #expect(error.expected == expected) }
  }

  @Test(
    "What any version takes is read",
    arguments: [
      "-m mark --mark 0x1/0xff", "-m mark --mark 010", "-m length --length :100",
      "-m length --length 64", "-j CT --zone mark", "-p tcp -j TCPOPTSTRIP",
      "-j DNAT --to-destination 192.0.2.1-192.0.2.9", "-m recent --set --name x",
      "-p udp -j DNAT --to-destination :5060", "-p tcp -j REDIRECT --to-ports 80-90",
      "! -p tcp -m tcp --dport 22", "-p 6 -m tcp --dport 22", "-m mac --mac-source 2:0:0:0:0:1",
      "-m newmatch --value 70000 -j NEWTARGET --value 70000", "-m ttl --ttl-newer 1",
      "-m addrtype --src-type local", "-j LOG --log-level warn", "-m time", "-m icmp6 -p 58",
      "-p icmp -m icmp", "-m quota --quota 18446744073709551615", "-m limit",
    ])
  func taken(rule: String) {
    #expect(fault(rule) == nil)
  }

  @Test("Of IPv6 addresses in a translation the colons are no ports")
  func brackets() {
    for rule in [
      "-j DNAT --to-destination 2001:db8::1", "-j DNAT --to-destination [2001:db8::1]",
      "-p udp -j DNAT --to-destination [2001:db8::1]:5060", "-m ah --ahspi 1",
    ] {
      #expect(fault(rule, family: .ipv6) == nil, "\(rule)")
    }
    #expect(fault("-j DNAT --to-destination [2001:db8::1]:5060", family: .ipv6) != nil)
  }
}
