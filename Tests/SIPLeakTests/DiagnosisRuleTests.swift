import Addressing
import Conntrack
import Firewall
import HostNetwork
import Testing

@testable import SIPLeak

/// The explanations that rules and the host's networks decide.
@Suite("Diagnosis of rules")
struct DiagnosisRuleTests {
  private typealias Host = SavedHost

  @Test("A rule that accepts the peer, or everybody, or beyond the trust is wider than meant")
  func acceptRule() throws {
    let wide = Host.input(
      Host.state, "-s 203.0.113.0/24 -p udp -m udp --dport 5060 -j ACCEPT", Host.reject)
    expect(
      try wide.diagnosis(of: "203.0.113.66"), .acceptRule, .supported, "filter INPUT 2",
      "203.0.113.0/24")
    expect(
      try wide.diagnosis(trusted: ["203.0.113.0/28"]), .acceptRule, .supported,
      "whom you do not trust")
    expect(try wide.diagnosis(trusted: ["203.0.113.0/24"]), .acceptRule, .ruledOut)
    expect(try wide.diagnosis(), .acceptRule, .cannotTell, "only you know")
    let open = Host.input(Host.state, "-p udp -m udp --dport 5060 -j ACCEPT", Host.reject)
    expect(try open.diagnosis(), .acceptRule, .supported, "everybody")
    // The leak is not among those whom the rules accept.
    expect(
      try Host.leaking.diagnosis(), .acceptRule, .ruledOut, "filter INPUT 3: 198.51.100.10")
    expect(try Host.leaking.diagnosis(of: "203.0.113.66"), .acceptRule, .ruledOut)
    let none = Host.input(Host.state, Host.reject)
    expect(try none.diagnosis(), .acceptRule, .ruledOut, "lets anybody begin")
  }

  @Test("A policy of ACCEPT accepts everybody")
  func openPolicy() throws {
    let host = Host.input(Host.state, Host.carrierRule)
    expect(
      try host.diagnosis(), .acceptRule, .supported, "the policy of filter INPUT", "everybody")
  }

  @Test("A rule that hangs on a rate cannot be called wide or narrow")
  func conditionalAccept() throws {
    let host = Host.input(
      Host.state,
      "-p udp -m udp --dport 5060 -m hashlimit --hashlimit-upto 5/min --hashlimit-burst 5 --hashlimit-mode srcip --hashlimit-name sip -j ACCEPT",
      Host.reject)
    expect(try host.diagnosis(), .acceptRule, .cannotTell, "may accept anybody")
    let named = try host.diagnosis(of: "203.0.113.9")
    expect(named, .acceptRule, .cannotTell, "may accept 203.0.113.9")
    let first = try #require(named.peer?.firstPackets.first)
    #expect(first.verdict.isCertain == false)
    #expect(first.conditional.map(\.index) == [2])
    #expect(!first.hangsOn.isEmpty)
  }

  @Test(
    "A port range that holds the SIP port lets strangers in; the usual RTP range does not",
    arguments: [
      ("5000:20000", Explanation.Verdict.supported), ("0:65535", .supported),
      ("10000:20000", .ruledOut), ("16384:32767", .ruledOut),
    ])
  func portRange(range: String, verdict: Explanation.Verdict) throws {
    let host = Host.input(
      Host.state,
      "-p udp -m udp --dport \(range) -m comment --comment \"120 accept rtp\" -j ACCEPT",
      Host.reject)
    let diagnosis = try host.diagnosis()
    expect(diagnosis, .portRange, verdict, range == "0:65535" ? "120 accept rtp" : range)
    expect(diagnosis, .acceptRule, .ruledOut)
  }

  @Test("A port range that covers SIP for others does not explain the peer")
  func portRangeOfOthers() throws {
    let host = Host.input(
      Host.state, "-s 10.0.0.0/8 -p udp -m udp --dport 1024:65535 -j ACCEPT", Host.reject)
    expect(try host.diagnosis(), .portRange, .supported, "10.0.0.0/8")
    expect(try host.diagnosis(of: "203.0.113.66"), .portRange, .ruledOut, "not for these peers")
    expect(try host.diagnosis(of: "10.1.2.3"), .portRange, .supported)
  }

  @Test("A range that begins with the SIP port is a SIP rule")
  func sipRange() throws {
    let host = Host.input(
      Host.state, "-s 198.51.100.10/32 -p udp -m udp --dport 5060:5061 -j ACCEPT", Host.reject)
    expect(try host.diagnosis(), .portRange, .ruledOut)
    expect(try host.diagnosis(), .acceptRule, .cannotTell, "filter INPUT 2")
  }

  private static func nat(_ rules: String...) -> String {
    """
    *nat
    :PREROUTING ACCEPT [0:0]
    :INPUT ACCEPT [0:0]
    :OUTPUT ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]

    """ + rules.map { $0 + "\n" }.joined() + "COMMIT\n"
  }

  @Test("A nat rule that leads another port to SIP is one where the filter then accepts")
  func translation() throws {
    let redirect = Self.nat(
      "-A PREROUTING -p udp -m udp --dport 5070 -j REDIRECT --to-ports 5060")
    var host = Host.input(
      Host.state, "-p udp -m udp --dport 5060 -m conntrack --ctstate DNAT -j ACCEPT",
      Host.carrierRule, Host.reject)
    host.rules += redirect
    expect(
      try host.diagnosis(), .translation, .supported, "nat PREROUTING 1", "udp/5070",
      "filter INPUT 2")
    // INPUT sees 5060 and refuses it.
    host.rules = Host.rules + redirect
    expect(try host.diagnosis(), .translation, .ruledOut, "a first packet is refused")
    host.rules =
      Host.rules + Self.nat("-A PREROUTING -p udp -m udp --dport 80 -j REDIRECT --to-ports 8080")
    expect(try host.diagnosis(), .translation, .ruledOut, "no DNAT or REDIRECT")
  }

  @Test("A flow that was translated on its way to SIP names the nat table")
  func translatedFlow() throws {
    var host = Host()
    host.flows = [
      flow(
        "203.0.113.66:24376", "192.0.2.5:5070", [.seenReply, .assured, .destinationNAT],
        reply: ("192.0.2.5:5060", "203.0.113.66:24376"))
    ]
    expect(
      try host.diagnosis(of: "203.0.113.66"), .translation, .supported, "192.0.2.5:5070",
      "192.0.2.5:5060")
  }

  @Test("ICMP accepted wholesale opens no flow: what it opens is said, and a narrow rule")
  func icmp() throws {
    let wide = Host.input("-p icmp -j ACCEPT", Host.state, Host.carrierRule, Host.reject)
    let diagnosis = try wide.diagnosis()
    expect(diagnosis, .icmp, .ruledOut, "opens no UDP flow", "1 pkts")
    #expect(diagnosis[.icmp]?.evidence.first?.rule?.index == 1)
    #expect(
      diagnosis[.icmp]?.command
        == "iptables -R INPUT 1 -p icmp -m icmp --icmp-type echo-request -m limit --limit "
        + "10/second -j ACCEPT")
    let narrow = Host.input(
      "-p icmp -m icmp --icmp-type 8 -j ACCEPT", Host.state, Host.carrierRule, Host.reject)
    expect(try narrow.diagnosis(), .icmp, .ruledOut, "not accepted wholesale")
    #expect(try narrow.diagnosis()[.icmp]?.command == nil)
    // Meant for ICMP, and for more than that.
    let broad = Host.input("! -p tcp -j ACCEPT", Host.state, Host.carrierRule, Host.reject)
    expect(try broad.diagnosis(), .icmp, .supported, "no ICMP rule")
  }

  @Test("A spoofed source is ruled out only where every way in is told from its own")
  func spoofedSource() throws {
    var host = Host.twoLegged(
      Host.state, "-s 10.0.0.0/8 -p udp -m udp --dport 5060 -j ACCEPT", Host.reject)
    let open = try host.diagnosis()
    expect(open, .spoofedSource, .cannotTell, "rp_filter is 0 on em2")
    #expect(open[.spoofedSource]?.command == "sysctl -w net.ipv4.conf.em2.rp_filter=1")
    host.network.reversePathFilter["em2"] = 1
    expect(try host.diagnosis(), .spoofedSource, .ruledOut, "em2")
    host.network.reversePathFilter["em2"] = 2
    expect(try host.diagnosis(), .spoofedSource, .cannotTell, "any source that has a route")
    // The carrier comes by em2 like everybody: strictness there tells nothing.
    var carrier = Host.twoLegged(Host.state, Host.carrierRule, Host.reject)
    carrier.network.reversePathFilter["em2"] = 1
    expect(try carrier.diagnosis(), .spoofedSource, .cannotTell, "like everybody")
    // A peer whom the rules refuse has no use for his address being forged.
    expect(
      try carrier.diagnosis(of: "203.0.113.66"), .spoofedSource, .ruledOut, "gain nothing")
    // A rule checks instead of the setting.
    host.network.reversePathFilter["em2"] = 0
    host.rules += """
      *raw
      :PREROUTING ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      -A PREROUTING -m rpfilter --invert -j DROP
      COMMIT

      """
    expect(try host.diagnosis(), .spoofedSource, .ruledOut)
  }

  @Test("A drop that asks for another interface does not hold for who comes by em2")
  func interfaceDrop() throws {
    let wrong = Host.twoLegged(
      Host.state, Host.carrierRule, "-i em1 -p udp -m udp --dport 5060 -j DROP")
    expect(
      try wrong.diagnosis(), .interfaceRule, .supported, "filter INPUT 3", "asks for em1",
      "comes by em2")
    let right = Host.twoLegged(
      Host.state, Host.carrierRule, "-i em2 -p udp -m udp --dport 5060 -j DROP")
    expect(try right.diagnosis(), .interfaceRule, .ruledOut)
    let ghost = Host.twoLegged(
      Host.state, Host.carrierRule, "-i eth0 -p udp -m udp --dport 5060 -j DROP")
    expect(
      try ghost.diagnosis(), .interfaceRule, .supported, "eth0, which this host does not have")
    expect(try Host().diagnosis(), .interfaceRule, .ruledOut, "other than lo")
  }

  @Test("Where two ways lead to a peer and decide otherwise, nothing is called right or wrong")
  func interfaceUnknown() throws {
    var host = Host.twoLegged(
      Host.state, Host.carrierRule, "-i em1 -p udp -m udp --dport 5060 -j DROP")
    host.network.routedPrefixes = [
      RoutedPrefix(prefix: prefix("0.0.0.0/0"), interfaces: ["em1", "em2"])
    ]
    expect(
      try host.diagnosis(of: "203.0.113.66"), .interfaceRule, .cannotTell, "em1, em2",
      "not known")
    // A strict check on two uplinks would cut who answers by the other.
    let command = try host.diagnosis()[.spoofedSource]?.command
    #expect(command?.hasPrefix("sysctl") != true)
  }

  @Test(
    "An accept rule for the peer by another interface does not hold; the inside's own rule is no such"
  )
  func interfaceAccept() throws {
    let wrong = Host.twoLegged(
      Host.state, "-s 198.51.100.10/32 -i em1 -p udp -m udp --dport 5060 -j ACCEPT", Host.reject)
    expect(
      try wrong.diagnosis(of: "198.51.100.10"), .interfaceRule, .supported,
      "would accept 198.51.100.10", "asks for em1")
    let inside = Host.twoLegged(Host.state, "-i em1 -j ACCEPT", Host.reject)
    expect(try inside.diagnosis(of: "203.0.113.66"), .interfaceRule, .ruledOut)
    expect(try inside.diagnosis(of: "10.1.2.3"), .interfaceRule, .ruledOut)
  }

  private static func withIPv6(_ rules6: String?) -> SavedHost {
    var host = SavedHost()
    host.network.addresses.append(
      LocalAddress(address: address("2001:db8:5::5"), prefixLength: 64, interface: "eth0"))
    host.network.listeners = [Listener(transport: .udp, address: end("[::]:5060"))]
    host.rules6 = rules6
    return host
  }

  @Test("IPv6 without rules is open to everybody; rules, no listener or no address close it")
  func ipv6() throws {
    let open = try Self.withIPv6(nil).diagnosis()
    expect(open, .ipv6, .supported, "[::]:5060 listens")
    #expect(open[.ipv6]?.command == "ip6tables -I INPUT 1 -p udp --dport 5060 -j DROP")
    let closed = SavedHost.table([Host.state, "-j REJECT"])
    expect(try Self.withIPv6(closed).diagnosis(), .ipv6, .ruledOut, "refuses strangers")
    expect(
      try Self.withIPv6(nil).diagnosis(of: "203.0.113.66"), .ipv6, .ruledOut, "is IPv4")
    expect(try Self.withIPv6(nil).diagnosis(of: "2001:db8:a::66"), .ipv6, .supported)
    var deaf = Self.withIPv6(nil)
    deaf.network.listeners = [Listener(transport: .udp, address: end("192.0.2.5:5060"))]
    expect(try deaf.diagnosis(), .ipv6, .ruledOut, "no SIP socket listens on IPv6")
    expect(try Host().diagnosis(), .ipv6, .ruledOut, "no IPv6 address")
  }

  @Test("A mark set in mangle that the filter accepts is what iptables -L does not show")
  func otherTables() throws {
    var host = Host.input(
      Host.state, "-m mark --mark 0x7 -j ACCEPT", Host.carrierRule, Host.reject)
    let mangle = """
      *mangle
      :PREROUTING ACCEPT [0:0]
      :INPUT ACCEPT [0:0]
      :FORWARD ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      :POSTROUTING ACCEPT [0:0]
      -A PREROUTING -p udp -m udp --dport 5060 -j MARK --set-xmark 0x7/0xffffffff
      COMMIT

      """
    host.rules += mangle
    expect(
      try host.diagnosis(), .otherFilters, .supported, "mangle PREROUTING 1", "filter INPUT 4")
    var harmless = Host()
    harmless.rules += mangle
    expect(try harmless.diagnosis(), .otherFilters, .ruledOut, "mangle let nobody in")
    expect(try Host().diagnosis(), .otherFilters, .ruledOut, "no rule outside the filter table")
  }

  @Test("A native chain that may touch SIP cannot be ruled out, and is named")
  func nativeChain() throws {
    let unseen = UnseenFilter(
      family: nil, backend: .nft, table: "inet firewalld", chain: "filter_INPUT",
      hooks: ["input"], why: "iptables does not show it")
    let diagnosis = try Host.leaking.diagnosis {
      $0.sample.firewall.snapshot.unseen = [unseen]
    }
    expect(diagnosis, .otherFilters, .cannotTell, "firewalld")
    expect(diagnosis, .managedChains, .cannotTell, "firewalld")
    #expect(diagnosis[.otherFilters]?.command == "nft list ruleset")
  }

  @Test("A port that Docker publishes goes past INPUT; chains that let nobody in are said so")
  func docker() throws {
    let chains = """
      *nat
      :PREROUTING ACCEPT [0:0]
      :INPUT ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      :POSTROUTING ACCEPT [0:0]
      :DOCKER - [0:0]
      -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
      -A DOCKER ! -i docker0 -p udp -m udp --dport PORT -j DNAT --to-destination 172.17.0.2:PORT
      COMMIT
      *filter
      :INPUT DROP [0:0]
      :FORWARD DROP [0:0]
      :OUTPUT ACCEPT [0:0]
      :DOCKER - [0:0]
      -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
      -A INPUT -s 198.51.100.10/32 -p udp -m udp --dport 5060 -j ACCEPT
      -A FORWARD -m state --state RELATED,ESTABLISHED -j ACCEPT
      -A FORWARD -o docker0 -j DOCKER
      -A DOCKER -d 172.17.0.2/32 ! -i docker0 -p udp -m udp --dport PORT -j ACCEPT
      COMMIT

      """
    var host = Host()
    host.network.routedPrefixes = [
      RoutedPrefix(prefix: prefix("172.17.0.0/16"), interfaces: ["docker0"]),
      RoutedPrefix(prefix: prefix("0.0.0.0/0"), interfaces: ["eth0"]),
    ]
    host.rules = chains.replacing("PORT", with: "5060")
    let published = try host.diagnosis()
    expect(
      published, .managedChains, .supported, "nat DOCKER 1", "Docker", "publishes udp/5060")
    expect(published, .translation, .supported)
    host.rules = chains.replacing("PORT", with: "8080")
    expect(try host.diagnosis(), .managedChains, .ruledOut, "Docker")
    expect(try Host().diagnosis(), .managedChains, .ruledOut, "none is there")
  }

  @Test("NOTRACK with a rule that accepts UNTRACKED lets strangers in unseen; refused, it does not")
  func untracked() throws {
    let raw = """
      *raw
      :PREROUTING ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      -A PREROUTING -p udp -m udp --dport 5060 -j CT --notrack
      COMMIT

      """
    var host = Host.input(
      "-m state --state RELATED,ESTABLISHED,UNTRACKED -j ACCEPT", Host.reject)
    host.rules += raw
    expect(
      try host.diagnosis(), .untracked, .supported, "raw PREROUTING 1", "filter INPUT 1")
    host.rules = Host.rules + raw
    expect(try host.diagnosis(), .untracked, .ruledOut, "each packet is refused at filter INPUT 5")
    expect(try Host.leaking.diagnosis(), .untracked, .ruledOut, "1 flow at SIP tracked")
    let off = Host.input("-s 10.0.0.0/8 -j DROP")
    expect(try off.diagnosis(), .untracked, .supported, "no rule makes the kernel track IPv4")
  }

  private static let domain =
    "-p udp -m udp --dport 5060 -m string --string \"sip.example.com\" --algo bm --to 65535"

  @Test("A string rule behind the state rule sees first packets only; before it, every packet")
  func payloadRule() throws {
    let behind = Host.input(Host.state, "\(Self.domain) -j ACCEPT", Host.reject)
    expect(
      try behind.diagnosis(), .payloadRule, .supported, "filter INPUT 2", "filter INPUT 1",
      "first packet only")
    let before = Host.input("\(Self.domain) -j ACCEPT", Host.state, Host.reject)
    expect(try before.diagnosis(), .payloadRule, .ruledOut, "sees every packet")
    expect(try Host().diagnosis(), .payloadRule, .ruledOut, "no string rule")
  }

  @Test("A rule that accepts by a domain in the packet is weak; one that drops scanners is none")
  func domainAccept() throws {
    let domain = Host.input(Host.state, "\(Self.domain) -j ACCEPT", Host.reject)
    expect(
      try domain.diagnosis(), .domainAccept, .supported, "anybody in who writes",
      "sip.example.com")
    let inverted = Host.input(
      Host.state,
      "-p udp -m udp --dport 5060 -m string ! --string \"sip.example.com\" --algo bm --to 65535 -j DROP",
      "-p udp -m udp --dport 5060 -j ACCEPT", Host.reject)
    expect(try inverted.diagnosis(), .domainAccept, .supported)
    let scanner = Host.input(
      Host.state,
      "-p udp -m udp --dport 5060 -m string --string \"friendly-scanner\" --algo bm --to 65535 -j DROP",
      Host.carrierRule, Host.reject)
    expect(try scanner.diagnosis(), .domainAccept, .ruledOut, "no rule accepts SIP by a text")
  }

  @Test("An accept rule behind the drop of all its packets never counts")
  func shadowedAccept() throws {
    let tutorial = Host.input(
      Host.state, "-p udp -m udp --dport 5060 -j DROP",
      "-p udp -m udp --dport 5060 -m limit --limit 10/sec -j ACCEPT", Host.reject)
    expect(
      try tutorial.diagnosis(), .shadowedAccept, .supported, "filter INPUT 3", "filter INPUT 2",
      "limit rule")
    expect(try Host().diagnosis(), .shadowedAccept, .ruledOut)
  }
}
