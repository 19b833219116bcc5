import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// Explanations by rules: the stranger gets in by them or does not, and the diagnosis says so.
  @Suite struct DiagnosisOfRules {
    private typealias Rules = DiagnosisLab

    @Test(
      "A rule that is too wide lets the stranger in; one that is not, does not",
      arguments: [
        ("-s 203.0.113.0/24 -p udp -m udp --dport 5060 -j ACCEPT", true),
        ("-s 203.0.113.64/31 -p udp -m udp --dport 5060 -j ACCEPT", false),
      ])
    func acceptRule(rule: String, isOpen: Bool) async throws {
      try await Rules.with(Rules.state, Rules.fromCarrier, rule, Rules.reject) { it in
        #expect(try await it.letsIn() == isOpen)
        let diagnosis = try await it.diagnosis(of: it.attacker.local.address)
        expect(diagnosis, .acceptRule, isOpen ? .supported : .ruledOut, "filter INPUT")
        expect(diagnosis, .establishedFlow, .ruledOut)
      }
    }

    @Test(
      "A port range that holds 5060 lets the stranger in; the RTP range does not",
      arguments: [("5000:20000", true), ("10000:20000", false), ("0:65535", true)])
    func portRange(range: String, isOpen: Bool) async throws {
      try await Rules.with(
        Rules.state, Rules.fromCarrier, "-p udp -m udp --dport \(range) -j ACCEPT", Rules.reject
      ) { it in
        #expect(try await it.letsIn() == isOpen)
        for peer in [nil, it.attacker.local.address] {
          expect(
            try await it.diagnosis(of: peer), .portRange, isOpen ? .supported : .ruledOut,
            "filter INPUT 3")
        }
      }
    }

    @Test("A redirected port leads to SIP where the filter accepts what was translated")
    func translation() async throws {
      let nat = Rules.nat("PREROUTING -p udp -m udp --dport 5070 -j REDIRECT --to-ports 5060")
      try await Rules.with(
        Rules.state, "-m conntrack --ctstate DNAT -j ACCEPT", Rules.fromCarrier, Rules.reject,
        more: nat
      ) { it in
        #expect(try await it.letsIn() == false)
        // REDIRECT changes the address to the interface's own, where nobody listens here.
        try await it.lab.pbx.restore(
          Rules.nat(
            "PREROUTING -p udp -m udp --dport 5070 -j DNAT --to-destination 192.0.2.5:5060"))
        #expect(try await it.letsIn(port: 5070))
        expect(
          try await it.diagnosis(of: it.attacker.local.address), .translation, .supported,
          "nat PREROUTING 1", "udp/5070")
        try await it.lab.pbx.run(["iptables", "-D", "INPUT", "2"])
        try await it.lab.pbx.run(["conntrack", "-F"])
        #expect(try await it.letsIn(port: 5070) == false)
        expect(
          try await it.diagnosis(of: it.attacker.local.address), .translation, .ruledOut,
          "a first packet is refused")
      }
    }

    @Test("ICMP accepted wholesale lets pings in and nothing to SIP; the narrow rule loads")
    func icmp() async throws {
      try await Rules.with(
        "-p icmp -j ACCEPT", Rules.state, Rules.fromCarrier, Rules.reject
      ) { it in
        let ping = ["ping", "-c", "1", "-W", "1", "192.0.2.5"]
        let hasPing = try await it.lab.attacker.attempt(["which", "ping"]).status == 0
        if hasPing { #expect(try await it.lab.attacker.attempt(ping).status == 0) }
        #expect(try await it.letsIn() == false)
        let wholesale = try await it.diagnosis()
        expect(wholesale, .icmp, .ruledOut, "opens no UDP flow")
        let command = try #require(wholesale[.icmp]?.command)
        try await it.lab.pbx.run(["sh", "-c", command])
        expect(try await it.diagnosis(), .icmp, .ruledOut, "not accepted wholesale")
        if hasPing { #expect(try await it.lab.attacker.attempt(ping).status == 0) }
      }
    }

    @Test("With rp_filter off a forged carrier is accepted; strict, he is not")
    func spoofedSource() async throws {
      try await Rules.with(Rules.state, Rules.fromCarrier, Rules.reject) { it in
        try await it.lab.pbx.run(["ip", "route", "add", "default", "dev", "to-attacker"])
        try await it.lab.attacker.run(["ip", "addr", "add", "198.51.100.10/32", "dev", "lo"])
        let forger = try SIPClient.open(
          on: it.lab.attacker, address: it.lab.carrier.address4, port: 40000)
        try forger.send(to: it.server.local)
        #expect(await it.server.received(1, from: it.lab.carrier.address4))
        let open = try await it.diagnosis()
        expect(open, .spoofedSource, .cannotTell, "rp_filter is 0 on to-attacker")
        let command = try #require(open[.spoofedSource]?.command)
        try await it.lab.pbx.run(["sh", "-c", command])
        expect(try await it.diagnosis(), .spoofedSource, .ruledOut, "to-attacker")
        try forger.send(to: it.server.local)
        // The carrier's own arrives after it would have.
        #expect(try await it.carrier.request(to: it.server.local).isAnswered)
        #expect(it.server.received.filter { $0.source.port == 40000 }.count == 1)
      }
    }

    @Test(
      "A drop holds for its interface only",
      arguments: [("to-carrier", true), ("to-attacker", false), ("eth9", true)])
    func interfaceRule(name: String, isOpen: Bool) async throws {
      try await Rules.with(
        Rules.state, Rules.fromCarrier, "-i \(name) -p udp -m udp --dport 5060 -j DROP"
      ) { it in
        #expect(try await it.letsIn() == isOpen)
        expect(
          try await it.diagnosis(of: it.attacker.local.address), .interfaceRule,
          isOpen ? .supported : .ruledOut, isOpen ? "asks for \(name)" : "")
      }
    }

    @Test("IPv6 without ip6tables is open, and closed with")
    func ipv6() async throws {
      try await Rules.with(Rules.state, Rules.fromCarrier, Rules.reject) { it in
        let door = it.lab.pbx.address6
        let server = try SIPServer.start(on: it.lab.pbx, address: door)
        defer { server.close() }
        let stranger = try SIPClient.open(
          on: it.lab.attacker, address: it.lab.attacker.address6)
        #expect(try await stranger.request(to: server.local).isAnswered == false)
        expect(try await it.diagnosis(), .ipv6, .ruledOut, "refuses strangers")
        try await it.lab.pbx.run(["ip6tables", "-F"])
        #expect(try await stranger.request(to: server.local).isAnswered)
        let open = try await it.diagnosis()
        expect(open, .ipv6, .supported, "anybody")
        let command = try #require(open[.ipv6]?.command)
        try await it.lab.pbx.run(["sh", "-c", command])
        #expect(try await stranger.request(to: server.local).isAnswered == false)
        expect(try await it.diagnosis(), .ipv6, .ruledOut)
      }
    }

    @Test("A mark of the mangle table lets in what iptables -L shows refused")
    func otherTables() async throws {
      let mangle =
        "*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n"
        + ":OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
        + "-A PREROUTING -p udp -m udp --dport 5060 -j MARK --set-mark 7\nCOMMIT\n"
      try await Rules.with(
        Rules.state, Rules.fromCarrier, "-m mark --mark 7 -j ACCEPT", Rules.reject, more: mangle
      ) { it in
        #expect(try await it.letsIn())
        expect(try await it.diagnosis(), .otherFilters, .supported, "mangle PREROUTING 1")
        try await it.lab.pbx.run(["iptables", "-D", "INPUT", "3"])
        #expect(try await it.letsIn() == false)
        expect(try await it.diagnosis(), .otherFilters, .ruledOut, "mangle")
        try await it.lab.pbx.run(
          ["nft", NativeFilters.chain("ip saddr @addr-set-sshd drop")])
        expect(try await it.diagnosis(), .otherFilters, .cannotTell, "f2b-chain")
      }
    }

    @Test("A port that Docker publishes passes by INPUT; another port of it does not matter")
    func docker() async throws {
      func nat(_ port: Int) -> String {
        Rules.nat(
          "PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
          "DOCKER -p udp -m udp --dport \(port) -j DNAT --to-destination 203.0.113.70:\(port)",
          chains: ":DOCKER - [0:0]\n")
      }
      try await Rules.with(
        Rules.state, Rules.fromCarrier, Rules.reject, more: nat(5060), serverOn: true
      ) { it in
        // The "container" is the other host, behind the PBX.
        try it.lab.pbx.set("net.ipv4.ip_forward", "1")
        #expect(try await it.letsIn())
        let published = try await it.diagnosis(of: it.attacker.local.address)
        expect(published, .managedChains, .supported, "nat DOCKER 1", "publishes udp/5060")
        expect(published, .translation, .supported)
        try await it.lab.pbx.restore(nat(8080))
        #expect(try await it.letsIn() == false)
        // Its first flow stands, and is all that speaks of Docker now.
        try await it.lab.pbx.run(["conntrack", "-F"])
        let other = try await it.diagnosis(of: it.attacker.local.address)
        expect(other, .managedChains, .ruledOut, "Docker")
        expect(other, .translation, .ruledOut)
      }
    }

    @Test("NOTRACK with a rule that accepts UNTRACKED lets strangers in, and no flow shows them")
    func untracked() async throws {
      let raw =
        "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
        + "-A PREROUTING -p udp -m udp --dport 5060 -j CT --notrack\n"
        + "-A OUTPUT -p udp -m udp --sport 5060 -j CT --notrack\nCOMMIT\n"
      try await Rules.with(
        "-m conntrack --ctstate RELATED,ESTABLISHED,UNTRACKED -j ACCEPT", Rules.reject, more: raw
      ) { it in
        #expect(try await it.letsIn())
        let open = try await it.diagnosis()
        expect(open, .untracked, .supported, "raw PREROUTING 1", "filter INPUT 1")
        #expect(try await it.observe().sample.flows.isEmpty)
        try await it.lab.pbx.restore(
          Rules.filter([Rules.state, Rules.fromCarrier, Rules.reject]))
        #expect(try await it.letsIn() == false)
        expect(
          try await it.diagnosis(), .untracked, .ruledOut, "each packet is refused")
      }
    }

    @Test("A string rule behind the state rule misses every later packet; before it, none")
    func payloadRule() async throws {
      let drop =
        "-p udp -m udp --dport 5060 -m string --string \"INVITE \" --algo bm --to 65535 -j DROP"
      let open = "-p udp -m udp --dport 5060 -j ACCEPT"
      try await Rules.with(Rules.state, drop, open, Rules.reject) { it in
        #expect(try await it.attacker.request("OPTIONS", to: it.server.local).isAnswered)
        #expect(try await it.attacker.request("INVITE", to: it.server.local).isAnswered)
        expect(
          try await it.diagnosis(), .payloadRule, .supported, "filter INPUT 2",
          "first packet only")
        try await it.lab.pbx.restore(Rules.filter([drop, Rules.state, open, Rules.reject]))
        #expect(
          try await it.attacker.request("INVITE", to: it.server.local).isAnswered == false)
        expect(try await it.diagnosis(), .payloadRule, .ruledOut, "sees every packet")
      }
    }

    @Test("Whoever writes the domain is let in by a rule that asks for it")
    func domainAccept() async throws {
      let domain = "-m string --string \"sip:100@192.0.2.5\" --algo bm --to 65535"
      try await Rules.with(
        Rules.state, "-p udp -m udp --dport 5060 \(domain) -j ACCEPT", Rules.reject
      ) { it in
        #expect(try await it.letsIn())
        expect(
          try await it.diagnosis(of: it.attacker.local.address), .domainAccept, .supported,
          "203.0.113.66", "sip:100@192.0.2.5")
        try await it.lab.pbx.run([
          "iptables", "-I", "INPUT", "2", "-s", "203.0.113.0/24", "-j", "DROP",
        ])
        #expect(try await it.letsIn() == false)
        expect(
          try await it.diagnosis(of: it.attacker.local.address), .domainAccept, .ruledOut)
      }
    }

    @Test("An accept rule behind the drop of all SIP never counts, not even for the carrier")
    func shadowedAccept() async throws {
      let limit = "-p udp -m udp --dport 5060 -m limit --limit 10/second -j ACCEPT"
      let drop = "-p udp -m udp --dport 5060 -j DROP"
      try await Rules.with(Rules.state, drop, limit, Rules.reject) { it in
        #expect(try await it.carrier.request(to: it.server.local).isAnswered == false)
        expect(
          try await it.diagnosis(), .shadowedAccept, .supported, "filter INPUT 3",
          "filter INPUT 2")
        try await it.lab.pbx.restore(Rules.filter([Rules.state, limit, drop, Rules.reject]))
        #expect(try await it.carrier.request(to: it.server.local).isAnswered)
        expect(try await it.diagnosis(), .shadowedAccept, .ruledOut)
      }
    }
  }
}
