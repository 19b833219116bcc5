import Addressing
import Conntrack
import Firewall
import Lab
import Testing

@testable import SIPLeak

extension Kernel {
  /// As many sources as a botnet has, in one run.
  @Suite struct ManyBlocks {
    private static let count = 10_000

    private static func peer(_ number: Int) -> IPAddress {
      // One in five of IPv6, many of them in one /64.
      number % 5 == 4
        ? IPAddress(
          family: .ipv6, bits: UInt128(0x2001_0db8_000f_0000) << 64 + UInt128(number))
        : IPAddress(ipv4: 0x0a00_0000 + UInt32(number))
    }

    @Test("Ten thousand sources are blocked in one apply, flows and all, and purge undoes it")
    func tenThousand() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let peers = (0..<Self.count).map(Self.peer)
        let made = try pbx.load(
          peers.enumerated().lazy.map { number, peer in
            Flow(
              from: Endpoint(peer, UInt16(1024 + number)),
              to: Endpoint(pbx.address(peer.family), 5060), isAnswered: true, seconds: 3600)
          })
        #expect(made.created == Self.count)
        // By the third host: whoever is a gateway is never blocked.
        for family in AddressFamily.allCases {
          try await pbx.run([
            "ip", family == .ipv4 ? "-4" : "-6", "route", "add", "default", "via",
            "\(leaky.lab.other.address(family))",
          ])
        }
        let rules = try await leaky.save()
        let rules6 = try await leaky.save("ip6tables-save")

        let outcome = try await leaky.block()
        #expect(outcome.answer == .verified)
        // The attacker of the lab is one of them.
        #expect(outcome.deleted == Self.count + 1)
        #expect(outcome.verification.lines.allSatisfy { $0.answer == .verified })
        let now = try await leaky.observe()
        let blocked = Set(
          AddressFamily.allCases.flatMap { family in
            (now.sample.firewall.snapshot.ownSet(family)?.entries ?? []).map(\.element)
          })
        let expected = Set((peers + [leaky.attacker.local.address]).map { "\($0),udp:5060" })
        #expect(blocked == expected)
        // Nobody's flow is left but the carrier's, unless that ran out meanwhile.
        #expect(now.sample.flows.allSatisfy { $0.original.source == leaky.carrier.local.address })
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)

        let audit = Audit(now)
        #expect(audit.blocks.count == Self.count + 1)
        #expect(audit.blocks.allSatisfy { $0.state == .inForce })
        let (again, _) = try await leaky.plan()
        #expect(again.isEmpty)

        let unblock = try await RemovalPlan.live(.addresses(peers), access: leaky.access)
        #expect(unblock.elements.count == Self.count)
        #expect(unblock.absent.isEmpty)
        let purge = try await RemovalPlan.live(.purge, access: leaky.access)
        try await Enforcement(access: leaky.access).apply(purge) { _ in }
        #expect(try await leaky.save() == rules)
        #expect(try await leaky.save("ip6tables-save") == rules6)
        #expect(try await pbx.run(["ipset", "save"]).output.isEmpty)
      }
    }

    @Test("What is taken to be in our sets after an apply, without listing them, is in them")
    func notListed() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        for family in AddressFamily.allCases {
          try await pbx.run([
            "ip", family == .ipv4 ? "-4" : "-6", "route", "add", "default", "via",
            "\(leaky.lab.other.address(family))",
          ])
        }
        // A first run makes one set; the second finds members in it and makes the other.
        var known = 0
        for peers in [(0..<4).map(Self.peer), (3..<2500).map(Self.peer)] {
          _ = try pbx.load(
            peers.enumerated().lazy.map { number, peer in
              Flow(
                from: Endpoint(peer, UInt16(1024 + number)),
                to: Endpoint(pbx.address(peer.family), 5060), isAnswered: true, seconds: 3600)
            })
          let (plan, before) = try await leaky.plan()
          let filled = plan.filling(before.sample.firewall.snapshot.sets ?? [])
          let outcome = try await Enforcement(access: leaky.access, verifyAfter: 0).apply(
            plan, before: before, policy: AuditPolicy()
          ) { _ in }
          #expect(outcome.answer == .verified)
          let listed = try await leaky.observe().sample.firewall.snapshot.sets ?? []
          #expect(Set(filled.map(\.name)) == Set(listed.map(\.name)))
          for set in listed {
            let ours = try #require(filled.first { $0.name == set.name })
            #expect(OwnObjects.owns(ours) && ours.family == set.family && ours.type == set.type)
            #expect(ours.entries.count == set.entries.count)
            #expect(Set(ours.entries.map(\.element)) == Set(set.entries.map(\.element)))
            #expect(Set(ours.entries.map(\.comment)) == Set(set.entries.map(\.comment)))
            let count = try await FirewallHost.entryCount(of: set.name, leaky.access.tools)
            #expect(count == set.entries.count)
          }
          known += plan.entries.count
        }
        #expect(known == 2500 + 1)
        await #expect(throws: FirewallError.self) {
          try await FirewallHost.entryCount(of: "nothing", leaky.access.tools)
        }
      }
    }
  }
}
