import Addressing
import Lab
import SystemPackage
import Testing

extension Kernel {
  /// The leak itself, made as it happens in the field: what everything else is measured against.
  @Suite struct Leaks {
    private func entries(
      _ host: LabHost, _ family: AddressFamily = .ipv4
    ) async throws -> [Substring] {
      let name = family == .ipv4 ? "ipv4" : "ipv6"
      return try await host.run(["conntrack", "-L", "-f", name, "-p", "udp"]).output
        .split(separator: "\n")
    }

    @Test(
      "the reference ruleset answers the carrier and refuses the attacker",
      arguments: AddressFamily.allCases)
    func carrierYesAttackerNo(family: AddressFamily) async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx, address: lab.pbx.address(family))
        let carrier = try SIPClient.open(
          on: lab.carrier, address: lab.carrier.address(family), port: 5060)
        let attacker = try SIPClient.open(on: lab.attacker, address: lab.attacker.address(family))
        #expect(try await carrier.request(to: server.local).isAnswered)
        let refusal = try await attacker.request(to: server.local)
        #expect(refusal == .refused(family == .ipv4 ? .noRouteToHost : .permissionDenied))
        #expect(server.count(from: attacker.local.address) == 0)
        // Refused as NEW: no entry was ever confirmed.
        let source = "src=\(attacker.local.address) "
        #expect(try await entries(lab.pbx, family).contains { $0.contains(source) } == false)
      }
    }

    @Test(
      "a careless reload lets the attacker in, and he stays in", arguments: AddressFamily.allCases)
    func carelessReload(family: AddressFamily) async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx, address: lab.pbx.address(family))
        let attacker = try SIPClient.open(on: lab.attacker, address: lab.attacker.address(family))
        let source = attacker.local.address
        #expect(try await attacker.request(to: server.local).isAnswered == false)
        attacker.keepSending(every: .milliseconds(20), to: server.local)
        try await lab.pbx.carelessReload(family: family) {
          #expect(await server.received(1, from: source))
        }
        attacker.stopSending()
        let before = server.count(from: source)
        for _ in 0..<3 { #expect(try await attacker.request(to: server.local).isAnswered) }
        #expect(server.count(from: source) >= before + 3)
        let entry = try #require(
          try await entries(lab.pbx, family).first { $0.contains("src=\(source) ") })
        #expect(entry.contains("sport=24376 dport=5060"))
        #expect(!entry.contains("UNREPLIED"))
        // The rules are all back: another source port of the same host is refused.
        let fresh = try SIPClient.open(on: lab.attacker, address: source, port: 24377)
        #expect(try await fresh.request(to: server.local).isAnswered == false)
      }
    }

    @Test("without a nat rule the same reload lets nobody in")
    func carelessReloadUntracked() async throws {
      try await Lab.with { lab in
        try await lab.pbx.restore(ReferenceRuleset.filter(.ipv4))
        let server = try SIPServer.start(on: lab.pbx)
        let attacker = try SIPClient.open(on: lab.attacker)
        try await lab.pbx.carelessReload {
          let answer = try await attacker.request(to: server.local)
          #expect(answer.isAnswered)
        }
        #expect(try await attacker.request(to: server.local).isAnswered == false)
      }
    }

    @Test("a flow the pbx opened lets its peer in, from that port only")
    func hostOpened() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx)
        let other = try SIPClient.open(on: lab.other, port: 33333)
        #expect(try await other.request(to: server.local).isAnswered == false)
        try server.send("OPTIONS", to: other.local)
        let latent = try await entries(lab.pbx)
        #expect(
          latent.contains {
            $0.contains("[UNREPLIED]") && $0.contains("src=192.0.2.5 ")
              && $0.contains("sport=5060 dport=33333")
          })
        #expect(try await other.request(to: server.local).isAnswered)
        let second = try SIPClient.open(on: lab.other, port: 33334)
        #expect(try await second.request(to: server.local).isAnswered == false)
      }
    }

    @Test("a rule deleted while a flow is alive leaves the flow in")
    func narrowedAllowlist() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let allow = ["-s", "203.0.113.66", "-p", "udp", "--dport", "5060", "-j", "ACCEPT"]
        try await lab.pbx.run(["iptables", "-I", "INPUT", "4"] + allow)
        let server = try SIPServer.start(on: lab.pbx)
        let attacker = try SIPClient.open(on: lab.attacker)
        #expect(try await attacker.request(to: server.local).isAnswered)
        try await lab.pbx.run(["iptables", "-D", "INPUT"] + allow)
        #expect(try await attacker.request(to: server.local).isAnswered)
      }
    }
  }
}
