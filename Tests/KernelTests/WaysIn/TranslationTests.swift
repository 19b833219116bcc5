import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// Flows whose wire and delivered side differ.
  @Suite struct WaysInByTranslation {
    /// A rule of the nat table that leads 5070 on the attacker's side to 5060.
    enum Rule: String, Sendable, CaseIterable { case redirect = "REDIRECT", destination = "DNAT" }

    private func words(_ rule: Rule, _ scene: Scene) -> String {
      let start = "PREROUTING -p udp -d \(scene.second) --dport 5070 -j \(rule.rawValue)"
      switch rule {
      case .redirect: return "\(start) --to-ports 5060"
      case .destination:
        return "\(start) --to-destination \(scene.bracketed(scene.second)):5060"
      }
    }

    @Test(
      "A flow led from another port is a leak with the rule still there, and with it removed",
      arguments: Ground.all, Rule.allCases)
    func fromAnotherPort(ground: Ground, rule: Rule) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve(at: scene.second)
        let attacker = try scene.client(scene.lab.attacker)
        let wire = Endpoint(scene.second, 5070)
        try await scene.rule("-t nat -A \(words(rule, scene))")
        // INPUT sees port 5060 and refuses what is NEW (facts A5).
        try await scene.expectOut(attacker, at: wire, server)
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: wire, server, requests: 1)
        }
        try await scene.expectIn(attacker, at: wire, server)
        var audit = try await scene.audit()
        try #require(audit.findings.count == 1, "\(audit.findings.map(\.why))")
        audit.findings[0].expectBypass(
          scene, from: attacker.local, wire: wire, delivered: server.local)
        #expect(audit.findings[0].asNew.rule?.chain == "INPUT")
        #expect(audit.findings[0].isBlockable, "\(audit.findings[0].notBlockableBecause ?? "")")

        // Without the rule a new packet would go to port 5070, where nobody listens; the flow stays.
        try await scene.rule("-t nat -D \(words(rule, scene))")
        try await scene.expectIn(attacker, at: wire, server)
        audit = try await scene.audit()
        try #require(audit.findings.count == 1, "\(audit.findings.map(\.why))")
        audit.findings[0].expectBypass(
          scene, from: attacker.local, wire: wire, delivered: server.local)
      }
    }

    @Test(
      "A new packet that the firewall accepts elsewhere is none for this endpoint",
      arguments: Ground.all)
    func acceptedElsewhere(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve(at: scene.second)
        let attacker = try scene.client(scene.lab.attacker)
        let wire = Endpoint(scene.second, 5070)
        try await scene.rule("-t nat -A \(words(.destination, scene))")
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: wire, server, requests: 1)
        }
        try await scene.rule("-t nat -D \(words(.destination, scene))")
        // Port 5070 itself is open to all; what is NEW there does not reach port 5060.
        try await scene.rule("-I INPUT 4 -p udp --dport 5070 -j ACCEPT")
        try await scene.expectIn(attacker, at: wire, server)
        try await scene.expectOut(
          try scene.client(scene.lab.attacker, port: 24377), at: wire, server)
        let audit = try await scene.audit()
        try #require(audit.findings.count == 1, "\(audit.findings.map(\.why))")
        audit.findings[0].expectBypass(
          scene, from: attacker.local, wire: wire, delivered: server.local)
        #expect(audit.findings[0].why.contains("5070"))
        // Blocking the attacker would cut what he may reach: port 5070.
        #expect(!audit.findings[0].isBlockable)
      }
    }

    @Test(
      "A block of a translated flow holds although the server keeps sending from its own port",
      arguments: Ground.all)
    func block(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve(
          at: scene.second, behavior: .init(keepaliveInterval: .milliseconds(20)))
        let attacker = try scene.client(scene.lab.attacker)
        let wire = Endpoint(scene.second, 5070)
        try await scene.rule("-t nat -A \(words(.redirect, scene))")
        try await scene.whileAllowed(scene.attackersRule) {
          try await scene.expectIn(attacker, at: wire, server, requests: 1)
        }
        try await scene.expectIn(attacker, at: wire, server)
        let (plan, outcome) = try await scene.block()
        #expect(Set(plan.entries.map(\.port)) == [5060, 5070])
        #expect(outcome.verification.answer == .verified, "\(outcome.verification.lines)")
        let heard = attacker.receivedCount
        #expect(await eventually { attacker.receivedCount > heard + 2 })
        for end in [wire, server.local] { try await scene.expectOut(attacker, at: end, server) }
        #expect(try await scene.audit().findings.isEmpty)
      }
    }

    @Test(
      "A carrier led by a native nft rule is no leak, though iptables shows no such rule",
      arguments: Ground.all)
    func nativeRule(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve(at: scene.second)
        let carrier = try scene.client(scene.lab.carrier, port: 5060)
        let wire = Endpoint(scene.second, 5070)
        let family = scene.family == .ipv4 ? "ip" : "ip6"
        try await scene.lab.pbx.run(
          ["nft", "-f", "-"],
          input: """
            table \(family) own {
              chain pre {
                type nat hook prerouting priority -90; policy accept;
                \(family) daddr \(scene.second) udp dport 5070 dnat to :5060
              }
            }

            """)
        try await scene.expectIn(carrier, at: wire, server)
        let found = try await scene.audit().findings
        #expect(found.map(\.cause) == [.undecided], "\(found.map(\.why))")
        #expect(found.first?.wire == wire)
        #expect(found.first?.delivered == server.local)
        #expect(found.first?.isBlockable == false)
      }
    }

    @Test(
      "A flow of ours whose source is translated lets its peer in by the translated port",
      arguments: Ground.all)
    func sourceOfOurs(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        try await scene.rule(
          "-t nat -A POSTROUTING -p udp --sport 5060 -o to-other -j SNAT --to-source "
            + "\(scene.bracketed(scene.second)):6060")
        let server = try scene.serve()
        let other = try scene.client(scene.lab.other, port: 33333)
        let wire = Endpoint(scene.second, 6060)
        try await scene.expectOut(other, at: wire, server)
        try server.send(to: other.local)
        #expect(await eventually { other.receivedCount == 1 })
        var found = try await scene.audit().findings
        try #require(found.count == 1, "\(found.map(\.why))")
        #expect(found[0].cause == .hostOpened)
        #expect(found[0].grade == .latent)
        #expect(found[0].peer == other.local)
        #expect(found[0].wire == wire)
        #expect(found[0].delivered == scene.pbx)
        #expect(found[0].isTranslated)
        #expect(found[0].asNew.verdict.isRefused)
        #expect(found[0].asHeld.verdict == .accept)
        try await scene.expectIn(other, at: wire, server)
        found = try await scene.audit().findings
        #expect(found.map(\.cause) == [.hostOpened])
        #expect(found.first?.grade != .latent)
      }
    }
  }
}
