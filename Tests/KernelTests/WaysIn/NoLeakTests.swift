import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// What looks like a way in and is none.
  @Suite struct NoWaysIn {
    @Test("A flow the peer opened and nobody answered is still NEW", arguments: Ground.all)
    func unanswered(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve(behavior: .init(answers: false))
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: scene.pbx, server)
        }
        try await scene.expectOut(attacker, at: scene.pbx, server)
        let audit = try await scene.audit()
        #expect(audit.sipFlowCount == 1)
        #expect(audit.findings.isEmpty, "\(audit.findings.map(\.why))")
      }
    }

    @Test("Forged ICMP errors about a flow are RELATED and open nothing", arguments: Ground.all)
    func forgedErrors(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve(behavior: .init(answers: false))
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        // An error about an answer that was never sent, as if the flow had been answered.
        var quoted = Packet(
          transport: .udp, source: scene.pbx.address, destination: scene.attacker,
          sourcePort: 5060, destinationPort: attacker.local.port, inInterface: nil,
          connection: .new)
        quoted.payload = Array("OPTIONS sip:a SIP/2.0\r\n\r\n".utf8)
        var error = Packet(
          transport: scene.family == .ipv4 ? .icmp : .icmpv6, source: scene.attacker,
          destination: scene.pbx.address, sourcePort: nil, destinationPort: nil, inInterface: nil,
          connection: .new)
        error.icmp = scene.family == .ipv4 ? (3, 3) : (1, 4)
        // The error's unused word, then the packet without its Ethernet header.
        error.payload = Array(TestFrame.bytes(of: quoted, identifier: 0).dropFirst(14))
        let frame = TestFrame.bytes(of: error, identifier: 0)
        let wire = try FrameSocket(
          interface: "eth0", type: 0, in: scene.lab.attacker.namespace)
        let toPBX: [UInt8] = [2, 0, 0, 0, 5, 2]
        try wire.send(Array(repeating: toPBX + frame.dropFirst(6), count: 3))
        // The rule for ICMP stands first here, so it is the one that counts them.
        #expect(
          try await eventually {
            let rules = try await scene.observe().sample.firewall.snapshot.rulesets
            let ours = rules.first { $0.family == scene.family && $0.backend == ground.backend }
            let first = ours?.table("filter")?.chain("INPUT")?.rules.first
            return (first?.counters?.packets ?? 0) >= 3
          })
        let flow = try await scene.observe().sample.flows.first {
          $0.original.source == scene.attacker
        }
        #expect(flow?.status.contains(.seenReply) == false)
        #expect(try await scene.audit().findings.isEmpty)
        try await scene.expectOut(attacker, at: scene.pbx, server)
      }
    }

    @Test(
      "A phone whose own port is 5060, media and the carrier are no findings", arguments: Ground.all
    )
    func others(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve()
        let media = try scene.serve(port: 16384)
        let carrier = try scene.client(scene.lab.carrier, port: 5060)
        let phone = try scene.client(scene.lab.other, port: 5060)
        try await scene.expectIn(carrier, at: scene.pbx, server)
        try await scene.expectIn(phone, at: media.local, media)
        try await scene.expectIn(
          try scene.client(scene.lab.other, port: 20000), at: media.local, media)
        // This host as a client of the phone's port.
        try media.send(to: phone.local)
        let audit = try await scene.audit()
        #expect(audit.findings.isEmpty, "\(audit.findings.map(\.why))")
        #expect(audit.sipFlowCount == 1)
        #expect(audit.exitStatus == 0)
      }
    }

    @Test("A trusted trunk that this host qualifies is no finding", arguments: Ground.all)
    func qualifiedTrunk(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let trunk = try scene.client(scene.lab.other, port: 5060)
        let carrier = try scene.client(scene.lab.carrier, port: 5060)
        _ = try scene.serve(
          behavior: .init(
            keepaliveInterval: .milliseconds(30), keepalivePeers: [trunk.local, carrier.local]))
        #expect(
          await eventually {
            trunk.receivedCount > 1 && carrier.receivedCount > 1
          })
        // Unasked, it is a trunk we register to or a lure; the carrier is admitted by a rule.
        let found = try await scene.audit().findings
        #expect(found.map(\.cause) == [.hostOpened])
        #expect(found.first?.peer == trunk.local)
        let trusting = try await scene.audit(
          trusted: [trunk.local.address, carrier.local.address])
        #expect(trusting.findings.isEmpty, "\(trusting.findings.map(\.why))")
        #expect(trusting.exitStatus == 0)
      }
    }

    @Test(
      "A phone whose timed permission ran out has lapsed, and is never blocked unasked",
      arguments: Ground.all)
    func timedSet(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let family = scene.family == .ipv4 ? "inet" : "inet6"
        try await scene.lab.pbx.run(
          ["ipset", "create", "phones", "hash:ip", "family", family, "timeout", "600"])
        try await scene.lab.pbx.run(["ipset", "add", "phones", "\(scene.attacker)"])
        try await scene.rule(
          "-I INPUT 4 -p udp --dport 5060 -m set --match-set phones src -j ACCEPT")
        let server = try scene.serve()
        let phone = try scene.client(scene.lab.attacker)
        try await scene.expectIn(phone, at: scene.pbx, server)
        #expect(try await scene.audit().findings.isEmpty)
        try await scene.lab.pbx.run(["ipset", "del", "phones", "\(scene.attacker)"])
        try await scene.expectIn(phone, at: scene.pbx, server)
        let found = try await scene.audit().findings
        #expect(found.map(\.cause) == [.lapsed], "\(found.map(\.why))")
        #expect(found.first?.level == .look)
        #expect(found.first?.isBlockable == false)
      }
    }

    @Test("A phone whose entry in a recent list is gone has lapsed", arguments: Ground.all)
    func recent(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        try await scene.rule(
          "-I INPUT 4 -p udp --dport 5060 -m recent --rcheck --name phones -j ACCEPT")
        try await scene.rule("-I INPUT 5 -p udp --dport 9999 -m recent --set --name phones -j DROP")
        try await scene.rule(
          "-I INPUT 6 -p udp --dport 9998 -m recent --remove --name phones -j DROP")
        let server = try scene.serve()
        let phone = try scene.client(scene.lab.attacker)
        try phone.send(to: Endpoint(scene.pbx.address, 9999))
        try await scene.expectIn(phone, at: scene.pbx, server)
        #expect(try await scene.audit().findings.isEmpty)
        try phone.send(to: Endpoint(scene.pbx.address, 9998))
        #expect(
          try await eventually {
            try await scene.audit().findings.map(\.cause) == [.lapsed]
          })
        try await scene.expectIn(phone, at: scene.pbx, server)
      }
    }

    /// What this kernel can match on that no address decides; geoip is not among what is built in.
    static let conditions = [
      "-m string --algo bm --string OPTIONS",
      "-m hashlimit --hashlimit-upto 1000/sec --hashlimit-mode srcip --hashlimit-name sip",
      "-m limit --limit 1000/sec",
    ]

    @Test(
      "Phones that a rule on payload or rate admits are one finding, whoever they are",
      arguments: Ground.all, conditions)
    func conditional(ground: Ground, condition: String) async throws {
      try await Scene.with(ground) { scene in
        try await scene.rule("-I INPUT 4 -p udp --dport 5060 \(condition) -j ACCEPT")
        let server = try scene.serve()
        for host in [scene.lab.attacker, scene.lab.other] {
          for port in [24376, 24377] as [UInt16] {
            try await scene.expectIn(try scene.client(host, port: port), at: scene.pbx, server)
          }
        }
        let audit = try await scene.audit()
        #expect(audit.sipFlowCount == 4)
        #expect(audit.findings.map(\.cause) == [.conditional], "\(audit.findings.map(\.why))")
        #expect(audit.findings.first?.level == .look)
        #expect(audit.findings.first?.isBlockable == false)
        #expect(audit.exitStatus == 1)
      }
    }
  }
}
