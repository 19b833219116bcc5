import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// Flows this host opened itself.
  @Suite struct WaysInByOurOwnPackets {
    @Test(
      "One packet of ours opens a latent hole, and an answer makes it a flow", arguments: Ground.all
    )
    func latentAndReplied(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve()
        let other = try scene.client(scene.lab.other, port: 33333)
        try await scene.expectOut(other, at: scene.pbx, server)
        try server.send(to: other.local)
        var audit = try await scene.audit()
        try #require(audit.findings.count == 1)
        #expect(audit.findings[0].cause == .hostOpened)
        #expect(audit.findings[0].level == .look)
        #expect(audit.findings[0].grade == .latent)
        #expect(audit.findings[0].origin == .host)
        #expect(audit.findings[0].peer == other.local)
        #expect(audit.findings[0].wire == scene.pbx)
        #expect(audit.findings[0].asNew.verdict == .reject)
        #expect(audit.findings[0].asHeld.verdict == .accept)
        #expect(audit.exitStatus == 1)
        try await scene.expectIn(other, at: scene.pbx, server)
        audit = try await scene.audit()
        #expect(audit.findings.map(\.cause) == [.hostOpened])
        #expect(audit.findings.first?.grade != .latent)
        // Only from that port, and a trusted peer is nobody to look at.
        try await scene.expectOut(
          try scene.client(scene.lab.other, port: 33334), at: scene.pbx, server)
        #expect(try await scene.audit(trusted: [other.local.address]).findings.isEmpty)
      }
    }

    @Test(
      "One forged packet of an allowed source makes a naive server open a flow to the attacker",
      arguments: Ground.all)
    func forgedVia(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve(behavior: .init(answersSentBy: true))
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        // The attacker takes the carrier's address for one packet.
        let length = scene.family == .ipv4 ? "32" : "128"
        try await scene.lab.attacker.run(
          ["ip", "addr", "add", "\(scene.carrier)/\(length)", "dev", "eth0"]
            + (scene.family == .ipv6 ? ["nodad"] : []))
        let forged = try SIPClient.open(
          on: scene.lab.attacker, address: scene.carrier, port: 5060)
        try forged.send("OPTIONS", to: scene.pbx, sentBy: attacker.local)
        #expect(await server.received(1, from: scene.carrier))
        #expect(await eventually { attacker.receivedCount == 1 })
        let found = try await scene.audit().findings(of: scene.attacker)
        #expect(found.map(\.cause) == [.hostOpened])
        #expect(found.first?.grade == .latent)
        try await scene.expectIn(attacker, at: scene.pbx, server)
      }
    }

    @Test(
      "A server bound to every address that answers from another one opens that one",
      arguments: Ground.all)
    func otherLocalAddress(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve(at: scene.wildcard)
        let attacker = try scene.client(scene.lab.attacker)
        let asked = Endpoint(scene.second, 5060)
        try await scene.whileAllowed(scene.attackersRule) {
          // The route back prefers the first address, so the answer leaves from there (facts A14).
          _ = try await attacker.request(to: asked)
          #expect(await server.received(1, from: attacker.local.address))
        }
        let found = try await scene.audit().findings(of: scene.attacker)
        #expect(found.map(\.cause) == [.hostOpened])
        #expect(found.first?.wire == scene.pbx)
        try await scene.expectOut(attacker, at: asked, server)
        try await scene.expectIn(attacker, at: scene.pbx, server)
      }
    }

    @Test(
      "The answer to a broadcast opens a flow from the server's own address", arguments: Ground.ipv4
    )
    func broadcast(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve(at: scene.wildcard)
        let attacker = try scene.client(scene.lab.attacker)
        let everybody = Endpoint(IPAddress(ipv4: 0xcb00_71ff), 5060)
        try await scene.expectOut(attacker, at: everybody, server)
        try await scene.whileAllowed(scene.attackersRule) {
          _ = try await attacker.request(to: everybody)
          #expect(await server.received(1, from: attacker.local.address))
        }
        let found = try await scene.audit().findings(of: scene.attacker)
        #expect(found.map(\.cause) == [.hostOpened])
        #expect(found.first?.origin == .host)
        try await scene.expectOut(attacker, at: everybody, server)
        let wire = try #require(found.first?.wire)
        try await scene.expectIn(attacker, at: wire, server)
      }
    }
  }
}
