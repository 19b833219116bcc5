import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// Flows in conntrack zones.
  @Suite struct WaysInByZone {
    /// Puts the attacker's packets into a zone, and our answers if asked for.
    private func zone(_ scene: Scene, isBothWays: Bool) async throws {
      try await scene.rule("-t raw -A PREROUTING -s \(scene.attacker) -j CT --zone 5")
      if isBothWays {
        try await scene.rule("-t raw -A OUTPUT -d \(scene.attacker) -j CT --zone 5")
      }
    }

    @Test(
      "The same tuple in two zones: the flow that the packets are looked up in leaks",
      arguments: Ground.all)
    func twoZones(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve()
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
          try await zone(scene, isBothWays: true)
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        try await scene.expectIn(attacker, at: scene.pbx, server)
        let flows = try await scene.observe().sample.flows
        #expect(Set(flows.map(\.zone)) == [0, 5])
        #expect(Set(flows.map(\.original)).count == 1)
        var found = try await scene.audit().findings
        try #require(found.count == 1, "\(found.map(\.why))")
        found[0].expectBypass(scene, from: attacker.local, wire: scene.pbx)
        #expect(found[0].zone == 5)
        // Without the zone rules the older flow is the one that leaks; the other may be somebody
        // else's doing, who is not seen.
        try await scene.rule("-t raw -F")
        try await scene.expectIn(attacker, at: scene.pbx, server)
        found = try await scene.audit().findings
        try #require(
          found.map(\.cause) == [.establishedBypass, .undecided], "\(found.map(\.why))")
        #expect(found[1].zone == 5)
        found[0].expectBypass(scene, from: attacker.local, wire: scene.pbx)
        #expect(found[0].zone == 0)
      }
    }

    @Test("A block in a zone deletes the flow of that zone and holds", arguments: Ground.all)
    func block(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        try await zone(scene, isBothWays: true)
        let server = try scene.serve()
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        let (_, outcome) = try await scene.block()
        #expect(outcome.deleted == 1)
        #expect(outcome.verification.answer == .verified, "\(outcome.verification.lines)")
        try await scene.expectOut(attacker, at: scene.pbx, server)
      }
    }

    @Test(
      "Zoned in one direction, our answers open a flow that leaks once the zone rule goes",
      arguments: Ground.all)
    func oneSided(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        try await zone(scene, isBothWays: false)
        let server = try scene.serve()
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        // His packets begin a flow in zone 5 each time; the one of our answers is out of reach.
        try await scene.expectOut(attacker, at: scene.pbx, server)
        #expect(try await scene.audit().findings.isEmpty)
        try await scene.rule("-t raw -F")
        let found = try await scene.audit().findings
        #expect(found.map(\.cause) == [.hostOpened], "\(found.map(\.why))")
        #expect(found.first?.zone == 0)
        #expect(found.first?.origin == .host)
        try await scene.expectIn(attacker, at: scene.pbx, server)
      }
    }
  }
}
