import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// SIP over TCP and TLS.
  @Suite struct WaysInByTCP {
    static let endpoints = SIPLeak.SIPEndpoints(tcpPorts: [5060, 5061])

    private func rule(_ scene: Scene, _ port: UInt16) -> String {
      "-s \(scene.attacker) -p tcp --dport \(port)"
    }

    /// A connection of the attacker that was let in before the allowlist was narrowed.
    private func connected(
      _ scene: Scene, _ port: UInt16, keepalive: Duration? = nil
    ) async throws -> (StreamServer, StreamClient) {
      let server = try StreamServer.start(
        on: scene.lab.pbx, address: scene.pbx.address, port: port, keepalive: keepalive)
      let attacker = try StreamClient.open(on: scene.lab.attacker, address: scene.attacker)
      try await scene.whileAllowed(rule(scene, port)) {
        #expect(await attacker.connect(to: server.local, within: .seconds(10)) == .connected)
        #expect(await attacker.request(to: server.local, within: .seconds(10)))
      }
      return (server, attacker)
    }

    @Test(
      "A connection outlives its rule on 5060 and on 5061", arguments: Ground.all, [5060, 5061])
    func established(ground: Ground, port: UInt16) async throws {
      try await Scene.with(ground) { scene in
        let (server, attacker) = try await connected(scene, port)
        let before = server.count(from: scene.attacker)
        #expect(await attacker.request(to: server.local))
        #expect(server.count(from: scene.attacker) == before + 1)
        let second = try StreamClient.open(
          on: scene.lab.attacker, address: scene.attacker, port: 24377)
        #expect(await second.connect(to: server.local) != .connected)
        let found = try await scene.audit(Self.endpoints).findings
        try #require(found.count == 1, "\(found.map(\.why))")
        found[0].expectBypass(scene, from: attacker.local, wire: server.local)
        #expect(found[0].transport == .tcp)
        #expect(found[0].grade == .assured)
        #expect(found[0].isBlockable, "\(found[0].notBlockableBecause ?? "")")
        #expect(try await scene.audit().findings.isEmpty)
        let (_, outcome) = try await scene.block(.init(), Self.endpoints)
        #expect(outcome.verification.answer == .verified, "\(outcome.verification.lines)")
        #expect(await attacker.request(to: server.local, within: .milliseconds(300)) == false)
      }
    }

    @Test(
      "A rule that drops what is NEW without SYN leaves the leak certain", arguments: Ground.all)
    func withoutSYN(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        try await scene.rule("-I INPUT 4 -p tcp ! --syn -m state --state NEW -j DROP")
        let (server, attacker) = try await connected(scene, 5060)
        #expect(await attacker.request(to: server.local))
        let found = try await scene.audit(Self.endpoints).findings
        #expect(found.map(\.cause) == [.establishedBypass], "\(found.map(\.why))")
        // Who may connect is admitted, though a segment out of nowhere would be dropped.
        try await scene.rule("-I INPUT 5 \(rule(scene, 5060)) --syn -j ACCEPT")
        #expect(try await scene.audit(Self.endpoints).findings.isEmpty)
      }
    }

    @Test(
      "A deleted connection is picked up midway when our side talks, unless tcp_loose is 0",
      arguments: Ground.all, [true, false])
    func pickedUp(ground: Ground, isLoose: Bool) async throws {
      try await Scene.with(ground) { scene in
        try scene.lab.pbx.set("net.netfilter.nf_conntrack_tcp_loose", isLoose ? "1" : "0")
        // A keepalive that is not acknowledged in time is sent again, so one a second is enough.
        let (server, attacker) = try await connected(scene, 5060, keepalive: .milliseconds(300))
        let family = scene.family == .ipv4 ? "ipv4" : "ipv6"
        try await scene.lab.pbx.run(["conntrack", "-D", "-f", family, "-p", "tcp"])
        let before = server.count(from: scene.attacker)
        if isLoose {
          // Our segment has begun a flow from our side; the attacker answers it (facts A13).
          #expect(
            try await eventually {
              try await scene.audit(Self.endpoints).findings.map(\.cause) == [.hostOpened]
            })
          #expect(await attacker.request(to: server.local, within: .seconds(10)))
          #expect(server.count(from: scene.attacker) > before)
        } else {
          #expect(await attacker.request(to: server.local, within: .seconds(1)) == false)
          #expect(server.count(from: scene.attacker) == before)
          #expect(try await scene.audit(Self.endpoints).findings.isEmpty)
        }
      }
    }

    @Test("A connection in TIME_WAIT or CLOSE lets nobody in", arguments: Ground.all)
    func over(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let (server, attacker) = try await connected(scene, 5060)
        attacker.close()
        let states: Set<UInt8> = [7, 8]
        #expect(
          try await eventually {
            try await scene.observe(Self.endpoints).sample.flows.contains {
              $0.original.source == scene.attacker && states.contains($0.tcpState ?? 0)
            }
          })
        let audit = try await scene.audit(Self.endpoints)
        #expect(audit.findings.isEmpty, "\(audit.findings.map(\.why))")
        #expect(audit.sipFlowCount == 1)
        let again = try StreamClient.open(on: scene.lab.attacker, address: scene.attacker)
        #expect(await again.connect(to: server.local, within: .milliseconds(300)) != .connected)
      }
    }
  }
}
