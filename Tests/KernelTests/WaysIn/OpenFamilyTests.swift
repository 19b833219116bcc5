import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// IPv6 beside rules for IPv4 only, and IPv4 by an IPv6 socket.
  @Suite struct WaysInByFamily {
    @Test(
      "IPv6 without ip6tables is not even tracked: the listener is the finding",
      arguments: [Ground(backend: .nft, family: .ipv4), Ground(backend: .legacy, family: .ipv4)])
    func unfiltered(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let everywhere = IPAddress(family: .ipv6, bits: 0)
        let server = try scene.serve(at: everywhere)
        let attacker = try SIPClient.open(
          on: scene.lab.attacker, address: scene.lab.attacker.address6)
        try await scene.expectIn(
          attacker, at: Endpoint(scene.lab.pbx.address6, 5060), server)
        let observation = try await scene.observe()
        #expect(observation.sample.flows.allSatisfy { $0.family == .ipv4 })
        let audit = try await scene.audit()
        #expect(audit.findings.map(\.cause) == [.unfiltered], "\(audit.findings.map(\.why))")
        #expect(audit.findings.first?.family == .ipv6)
        #expect(audit.findings.first?.why.contains("ip6tables") == true)
        #expect(audit.exitStatus == 1)
      }
    }

    @Test(
      "An IPv4 peer of an IPv6 socket has an IPv4 flow, and leaks by it", arguments: Ground.ipv4)
    func mapped(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        // Rules for the other family, so that it is no finding of its own.
        let v6 = Scene(lab: scene.lab, ground: Ground(backend: ground.backend, family: .ipv6))
        try await v6.load(ReferenceRuleset.text(.ipv6))
        let server = try scene.serve(at: IPAddress(family: .ipv6, bits: 0))
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        try await scene.expectIn(attacker, at: scene.pbx, server)
        let found = try await scene.audit().findings
        try #require(found.count == 1, "\(found.map(\.why))")
        found[0].expectBypass(scene, from: attacker.local, wire: scene.pbx)
        #expect(found[0].family == .ipv4)
      }
    }
  }
}
