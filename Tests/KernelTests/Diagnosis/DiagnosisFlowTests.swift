import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// Explanations by flows: the kernel does the thing, the diagnosis says so, and not otherwise.
  @Suite struct DiagnosisOfFlows {
    @Test("The leak is an established flow that outlives its rule; the carrier's flow is not")
    func establishedFlow() async throws {
      try await LeakyLab.with { leaky in
        let observation = try await leaky.observe()
        let diagnosis = Diagnosis(Audit(observation), of: observation)
        expect(
          diagnosis, .establishedFlow, .supported,
          "state rule at filter INPUT 3 stands before every SIP rule")
        for kind in [
          Explanation.Kind.hostOpened, .helper, .acceptRule, .portRange, .translation, .icmp,
          .interfaceRule, .ipv6, .otherFilters, .managedChains, .untracked, .payloadRule,
          .shadowedAccept, .domainAccept,
        ] {
          expect(diagnosis, kind, .ruledOut)
        }
        let carrier = Diagnosis(
          Audit(observation), of: observation, peer: leaky.carrier.local.address)
        expect(carrier, .establishedFlow, .ruledOut)
        expect(carrier, .acceptRule, .supported, "100 accept sip from carrier")
        #expect(carrier.peer?.flows.count == 1)
      }
    }

    @Test("A flow the PBX opened lets its peer's first packet in, and is named")
    func hostOpened() async throws {
      try await DiagnosisLab.with(
        DiagnosisLab.state, DiagnosisLab.fromCarrier, DiagnosisLab.reject
      ) { it in
        expect(try await it.diagnosis(), .hostOpened, .ruledOut)
        try it.server.send(to: it.attacker.local)
        #expect(try await it.attacker.request(to: it.server.local).isAnswered)
        expect(
          try await it.diagnosis(), .hostOpened, .supported, "this host sent first")
        #expect(try await it.letsIn() == false)
      }
    }

    @Test("An expectation of the SIP helper lets a stranger in as RELATED")
    func helper() async throws {
      let helper = DiagnosisLab.raw("-p udp -m udp --dport 5060 -j CT --helper sip")
      try await DiagnosisLab.with(
        DiagnosisLab.state, DiagnosisLab.fromCarrier, DiagnosisLab.reject, more: helper
      ) { it in
        #expect(try await it.carrier.request(to: it.server.local).isAnswered)
        #expect(try await it.letsIn() == false)
        expect(try await it.diagnosis(), .helper, .cannotTell, "raw PREROUTING 1")
        let carrier = "\(it.carrier.local.address)"
        try await it.lab.pbx.run([
          "conntrack", "-I", "exp", "-p", "udp", "--orig-src", carrier, "--orig-dst",
          "192.0.2.5", "--orig-port-src", "5060", "--orig-port-dst", "5060", "-t", "60",
          "--tuple-src", "0.0.0.0", "--tuple-dst", "192.0.2.5", "--mask-src", "0.0.0.0",
          "--mask-dst", "255.255.255.255", "--tuple-port-src", "0", "--tuple-port-dst", "5060",
          "--mask-port-src", "0", "--mask-port-dst", "65535",
        ])
        let expected = try await it.diagnosis()
        expect(expected, .helper, .supported, "anybody enters 192.0.2.5:5060 as RELATED")
        #expect(try await it.attacker.request(to: it.server.local).isAnswered)
        expect(
          try await it.diagnosis(of: it.attacker.local.address), .helper, .supported,
          "203.0.113.66")
        // What the diagnosis proposes takes rule and expectations away.
        let command = try #require(expected[.helper]?.command)
        try await it.lab.pbx.run(["sh", "-c", command])
        #expect(try await it.letsIn() == false)
        expect(try await it.diagnosis(of: it.carrier.local.address), .helper, .ruledOut)
      }
    }

    @Test("A full reload while a flow stands leaves counters younger than the flow")
    func reloadWindow() async throws {
      try await LeakyLab.with { leaky in
        for _ in 0..<20 {
          #expect(try await leaky.attacker.request(to: leaky.server.local).isAnswered)
        }
        func judge() async throws -> Diagnosis {
          let observation = try await leaky.observe()
          return Diagnosis(Audit(observation), of: observation)
        }
        expect(try await judge(), .reloadWindow, .cannotTell, "ACCEPT")
        try await leaky.lab.pbx.restore(ReferenceRuleset.filter(.ipv4))
        expect(try await judge(), .reloadWindow, .supported, "loaded after it began")
        // With the policy at DROP nothing would be open, and nobody is in.
        _ = try await leaky.lab.pbx.run(["conntrack", "-F"])
        _ = try await leaky.lab.pbx.run(["iptables", "-P", "INPUT", "DROP"])
        _ = try await leaky.lab.pbx.run(["ip6tables", "-P", "INPUT", "DROP"])
        expect(try await judge(), .reloadWindow, .ruledOut, "DROP")
        _ = try await leaky.lab.pbx.run(["iptables", "-F"])
        #expect(
          try await leaky.attacker.request(to: leaky.server.local).isAnswered == false)
      }
    }

    @Test("A flow that ends between two keepalives is another one afterwards")
    func streamTimeout() async throws {
      try await DiagnosisLab.with(
        DiagnosisLab.state, DiagnosisLab.fromCarrier, DiagnosisLab.reject
      ) { it in
        // A flow that begins again may get the memory of the first, and so its id: its start tells.
        try it.lab.pbx.set("net.netfilter.nf_conntrack_timestamp", "1")
        #expect(try await it.carrier.request(to: it.server.local).isAnswered)
        let before = try await it.observe().sample
        let first = try #require(before.flows.first)
        // Its next packet is the last for longer than it lives.
        for name in ["udp_timeout", "udp_timeout_stream"] {
          try it.lab.pbx.set("net.netfilter.nf_conntrack_\(name)", "1")
        }
        #expect(try await it.carrier.request(to: it.server.local).isAnswered)
        var now = try await it.observe()
        // Expired entries are not listed any more.
        while now.sample.flows.contains(where: { $0.original == first.original }) {
          try await Task.sleep(for: .milliseconds(50))
          now = try await it.observe()
        }
        for name in ["udp_timeout", "udp_timeout_stream"] {
          try it.lab.pbx.set("net.netfilter.nf_conntrack_\(name)", "120")
        }
        #expect(try await it.carrier.request(to: it.server.local).isAnswered)
        now = try await it.observe()
        now.earlier = before
        expect(
          Diagnosis(Audit(now), of: now), .streamTimeout, .supported, "ended and began again")
        now.earlier = now.sample
        expect(
          Diagnosis(Audit(now), of: now, keepalive: 60), .streamTimeout, .ruledOut, "120 s")
      }
    }

    @Test("A TTL in a recent list tells a neighbour from one who comes through routers")
    func hopDistance() async throws {
      let note = "-p udp -m udp --dport 5060 -m recent --name sip --set"
      try await DiagnosisLab.with(
        note, DiagnosisLab.state, DiagnosisLab.fromCarrier, DiagnosisLab.reject
      ) { it in
        let peer = it.attacker.local.address
        expect(try await it.diagnosis(of: peer), .hopDistance, .cannotTell)
        #expect(try await it.letsIn() == false)
        expect(try await it.diagnosis(of: peer), .hopDistance, .ruledOut, "0 hops")
        try it.lab.attacker.set("net.ipv4.ip_default_ttl", "57")
        #expect(try await it.letsIn() == false)
        expect(
          try await it.diagnosis(of: peer), .hopDistance, .supported, "7 routers between")
      }
    }
  }
}
