import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// A rule was taken out while a flow that it had let in was alive.
  @Suite struct WaysInByNarrowing {
    @Test(
      "One-way packets of the peer keep its flow alive beyond every timeout", arguments: Ground.all)
    func oneWay(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        for name in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
          try scene.lab.pbx.set("net.netfilter.\(name)", "3")
        }
        let talker = try scene.serve()
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: scene.pbx, talker, requests: 1)
        }
        talker.close()
        // From here on nothing leaves this host.
        let server = try scene.serve(behavior: .init(answers: false))
        attacker.keepSending(every: .milliseconds(100), to: scene.pbx)
        try await Task.sleep(for: .seconds(4))
        let came = server.count(from: attacker.local.address)
        #expect(
          await server.received(came + 3, from: attacker.local.address))
        let audit = try await scene.audit()
        try #require(audit.findings.count == 1)
        audit.findings[0].expectBypass(scene, from: attacker.local, wire: scene.pbx)
        attacker.stopSending()
        // Another port of the same host is refused, and a silent one is soon as if it never was.
        try await scene.expectOut(
          try scene.client(scene.lab.attacker, port: 24377), at: scene.pbx, server)
        #expect(
          try await eventually {
            try await scene.audit().findings.isEmpty
          })
        try await scene.expectOut(attacker, at: scene.pbx, server)
      }
    }
  }
}
