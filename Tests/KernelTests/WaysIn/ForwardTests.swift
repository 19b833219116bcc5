import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// An inner PBX behind this host; the lab's third host is it.
  @Suite struct WaysInByForwarding {
    /// A router with a DNAT rule for SIP, a state rule in FORWARD, and the carrier allowed.
    private func load(_ scene: Scene) async throws -> Endpoint {
      let inner = Endpoint(scene.lab.other.address(scene.family), 5060)
      let forwarding = scene.family == .ipv4 ? "ipv4/ip_forward" : "ipv6/conf/all/forwarding"
      try scene.lab.pbx.set("net/\(forwarding)", "1")
      try await scene.load(
        """
        *nat
        :PREROUTING ACCEPT [0:0]
        :POSTROUTING ACCEPT [0:0]
        -A PREROUTING -d \(scene.pbx.address) -p udp -m udp --dport 5060 -j DNAT --to-destination \(inner.address)
        COMMIT
        *filter
        :INPUT DROP [0:0]
        :FORWARD DROP [0:0]
        -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        -A FORWARD -s \(scene.carrier) -o to-other -p udp -m udp --dport 5060 -j ACCEPT
        -A FORWARD -i to-other -j ACCEPT
        COMMIT

        """)
      return inner
    }

    @Test(
      "A leak through FORWARD is found, with the DNAT rule there and removed", arguments: Ground.all
    )
    func inner(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let inner = try await load(scene)
        let server = try SIPServer.start(on: scene.lab.other, address: inner.address)
        let attacker = try scene.client(scene.lab.attacker)
        let carrier = try scene.client(scene.lab.carrier, port: 5060)
        try await scene.expectIn(carrier, at: scene.pbx, server)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        let match = "-s \(scene.attacker) -d \(inner.address) -p udp --dport 5060"
        try await scene.whileAllowed(match, chain: "FORWARD") {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        try await scene.expectIn(attacker, at: scene.pbx, server)
        for isThere in [true, false] {
          if !isThere { try await scene.rule("-t nat -F PREROUTING") }
          try await scene.expectIn(attacker, at: scene.pbx, server)
          let found = try await scene.audit().findings(of: scene.attacker)
          try #require(found.count == 1, "\(found.map(\.why))")
          found[0].expectBypass(
            scene, from: attacker.local, wire: scene.pbx, delivered: inner)
          #expect(found[0].asHeld.rule?.chain == "FORWARD")
          #expect(found[0].asHeld.rule?.index == 1)
          if isThere {
            #expect(found[0].asNew.rule?.chain == "FORWARD")
            #expect(found[0].asNew.rule?.index == 0)
            // The carrier is admitted by FORWARD, so its flow is no finding.
            #expect(try await scene.audit().findings.count == 1)
          }
        }
      }
    }

    @Test(
      "A forwarded peer is blocked in either place, whatever the inner PBX keeps sending",
      arguments: Ground.all,
      [false, true].flatMap { isPlain in
        BlockRequest.Place.allCases.map { BlockRequest(place: $0, isPlain: isPlain) }
      })
    func block(ground: Ground, request: BlockRequest) async throws {
      let place = request.place
      try await Scene.with(ground) { scene in
        let inner = try await load(scene)
        let before = try await scene.saved()
        let behavior = SIPServer.Behavior(
          answerDelay: .milliseconds(30), retransmitsAnswers: true,
          keepaliveInterval: .milliseconds(200))
        let server = try SIPServer.start(
          on: scene.lab.other, address: inner.address, behavior: behavior)
        let attacker = try scene.client(scene.lab.attacker)
        let match = "-s \(scene.attacker) -d \(inner.address) -p udp --dport 5060"
        try await scene.whileAllowed(match, chain: "FORWARD") {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        try await scene.expectIn(attacker, at: scene.pbx, server)
        let (plan, outcome) = try await scene.block(request)
        #expect(plan.entries.map(\.port) == [5060])
        #expect(outcome.verification.answer == .verified, "\(outcome.verification.lines)")
        try await scene.expectOut(attacker, at: scene.pbx, server)
        let carrier = try scene.client(scene.lab.carrier, port: 5060)
        try await scene.expectIn(carrier, at: scene.pbx, server)
        // The inner server's keepalives have opened nothing meanwhile.
        try await Task.sleep(for: .milliseconds(600))
        try await scene.expectOut(attacker, at: scene.pbx, server)
        if place == .raw {
          let flows = try await scene.observe().sample.flows.filter {
            [$0.original.source, $0.original.destination].contains(scene.attacker)
          }
          #expect(flows.isEmpty, "\(flows)")
        }
        let access = HostAccess(scene.lab.pbx.namespace)
        let purge = try await RemovalPlan.live(.purge, access: access)
        try await Enforcement(access: access).apply(purge) { _ in }
        #expect(try await scene.saved() == before)
      }
    }

    @Test(
      "A forwarded plain block that is over or unblocked leaves no rule of its own in any table",
      arguments: Ground.all)
    func lifted(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let inner = try await load(scene)
        let before = try await scene.saved()
        let server = try SIPServer.start(on: scene.lab.other, address: inner.address)
        let attacker = try scene.client(scene.lab.attacker)
        let match = "-s \(scene.attacker) -d \(inner.address) -p udp --dport 5060"
        func rules() async throws -> Int {
          try await scene.saved().count { $0.contains("sipleak: until ") }
        }
        let access = HostAccess(scene.lab.pbx.namespace)
        for isOver in [true, false] {
          try await scene.whileAllowed(match, chain: "FORWARD") {
            try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
          }
          let request = BlockRequest(seconds: isOver ? 1 : 3600, isPlain: true)
          _ = try await scene.block(request)
          #expect(try await rules() == 4)
          if isOver {
            let ended = await eventually {
              (try? await scene.audit())?.blocks.map(\.state) == [.expired]
            }
            #expect(ended)
            let (plan, _) = try await scene.block(BlockRequest(isPlain: true))
            #expect(plan.entries.isEmpty && plan.lifted.count == 1)
          } else {
            let removal = try await RemovalPlan.live(.addresses([scene.attacker]), access: access)
            try await Enforcement(access: access).apply(removal) { _ in }
          }
          #expect(try await rules() == 0)
          // Nothing is left that would keep an allowed peer out.
          try await scene.whileAllowed(match, chain: "FORWARD") {
            try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
          }
          try await scene.lab.pbx.run(["conntrack", "-F"])
        }
        let purge = try await RemovalPlan.live(.purge, access: access)
        try await Enforcement(access: access).apply(purge) { _ in }
        #expect(try await scene.saved() == before)
      }
    }

    @Test(
      "A forwarded block that lost one of its jumps is told and made whole by the next apply",
      arguments: Ground.all, [false, true])
    func lostPart(ground: Ground, isPlain: Bool) async throws {
      try await Scene.with(ground) { scene in
        let inner = try await load(scene)
        let server = try SIPServer.start(on: scene.lab.other, address: inner.address)
        let attacker = try scene.client(scene.lab.attacker)
        let match = "-s \(scene.attacker) -d \(inner.address) -p udp --dport 5060"
        try await scene.whileAllowed(match, chain: "FORWARD") {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        _ = try await scene.block(BlockRequest(isPlain: isPlain))
        let whole = try await scene.saved()
        #expect(try await scene.audit().blocks.map(\.state) == [.inForce])
        for (jump, missing) in [
          ("-t mangle -F FORWARD", [OwnBlock.Part.toInside]), ("-t raw -F OUTPUT", [.answers]),
          ("-t raw -F PREROUTING", [.peer, .fromInside]),
        ] {
          try await scene.rule(jump)
          let audit = try await scene.audit()
          #expect(audit.blocks.map(\.state) == [.missingPart], "\(jump)")
          #expect(audit.blocks.map(\.missing) == [missing], "\(jump)")
          #expect(audit.exitStatus == 1)
          let (plan, _) = try await scene.block(BlockRequest(isPlain: isPlain))
          #expect(plan.isRenewal, "\(jump)")
          #expect(try await scene.audit().blocks.map(\.state) == [.inForce], "\(jump)")
          #expect(try await scene.saved() == whole, "\(jump)")
          try await scene.expectOut(attacker, at: scene.pbx, server)
        }
      }
    }

    @Test(
      "A lured inner PBX behind a masquerade with random ports is cut off from the peer named",
      arguments: Ground.all, [false, true])
    func randomPorts(ground: Ground, isPlain: Bool) async throws {
      try await Scene.with(ground) { scene in
        let inner = try await load(scene)
        try await scene.rule("-t nat -F PREROUTING")
        try await scene.rule(
          "-t nat -A POSTROUTING -s \(inner.address) -o to-attacker -j MASQUERADE --random-fully")
        let behavior = SIPServer.Behavior(keepaliveInterval: .milliseconds(200))
        let server = try SIPServer.start(
          on: scene.lab.other, address: inner.address, behavior: behavior)
        let attacker = try scene.client(scene.lab.attacker)
        try server.send(to: attacker.local)
        #expect(await eventually { attacker.receivedCount >= 1 })
        let finding = try #require(try await scene.audit().findings.first)
        let (_, outcome) = try await scene.block(
          BlockRequest(named: [scene.attacker], isPlain: isPlain))
        #expect(outcome.verification.answer == .verified, "\(outcome.verification.lines)")
        try await scene.expectOut(attacker, at: finding.wire, server)
        try? server.send(to: attacker.local)
        try await scene.expectOut(attacker, at: finding.wire, server)
      }
    }

    @Test(
      "Whom FORWARD admits from some port is not blocked, whatever INPUT says",
      arguments: Ground.all)
    func admittedByForward(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let inner = try await load(scene)
        let server = try SIPServer.start(on: scene.lab.other, address: inner.address)
        let attacker = try scene.client(scene.lab.attacker)
        let match = "-s \(scene.attacker) -d \(inner.address) -p udp --dport 5060"
        try await scene.whileAllowed(match, chain: "FORWARD") {
          try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        }
        try await scene.rule("-I FORWARD 2 \(match) --sport 5060 -j ACCEPT")
        let found = try await scene.audit().findings(of: scene.attacker)
        #expect(found.map(\.cause) == [.establishedBypass])
        #expect(found.first?.notBlockableBecause?.contains("FORWARD 2") == true)
      }
    }

    @Test(
      "A masqueraded inner PBX that sends first is reached by the router's own port",
      arguments: Ground.all)
    func masqueraded(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let inner = try await load(scene)
        try await scene.rule("-t nat -F PREROUTING")
        try await scene.rule(
          "-t nat -A POSTROUTING -s \(inner.address) -o to-attacker -j MASQUERADE")
        let server = try SIPServer.start(on: scene.lab.other, address: inner.address)
        let attacker = try scene.client(scene.lab.attacker)
        let wire = Endpoint(scene.second, 5060)
        try await scene.expectOut(attacker, at: wire, server)
        try server.send(to: attacker.local)
        #expect(await eventually { attacker.receivedCount == 1 })
        var found = try await scene.audit().findings
        try #require(found.count == 1, "\(found.map(\.why))")
        #expect(found[0].cause == .hostOpened)
        #expect(found[0].level == .look)
        #expect(found[0].grade == .latent)
        #expect(found[0].delivered == inner)
        #expect(found[0].asHeld.rule?.chain == "FORWARD")
        let by = found[0].wire
        #expect(by.port == 5060 && by.address != inner.address)
        try await scene.expectIn(attacker, at: by, server)
        found = try await scene.audit().findings
        #expect(found.map(\.cause) == [.hostOpened])
      }
    }
  }
}
