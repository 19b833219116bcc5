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

    @Test("Where somebody took one of the rules just written, the others are taken back too")
    func takenMeanwhile() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        func plan(_ peers: String...) async throws -> (BlockPlan, Observation) {
          let before = try await leaky.observe()
          let request = BlockRequest(named: peers.compactMap { IPAddress($0) }, isPlain: true)
          return (
            BlockPlan(request, audit: Audit(before), observation: before, policy: AuditPolicy()),
            before
          )
        }
        let (first, host) = try await plan("198.18.0.9")
        _ = try await Enforcement(access: leaky.access, verifyAfter: 0).apply(
          first, before: host, policy: AuditPolicy()
        ) { _ in }
        let standing = try await leaky.save()
        let (second, before) = try await plan("198.18.0.1", "198.18.0.2", "198.18.0.3")
        for rules in second.rules {
          try await FirewallHost.restore(
            Array(rules.text.utf8), backend: rules.backend, family: rules.family, testOnly: false,
            waitSeconds: 5, leaky.access.tools)
        }
        try await pbx.run(["iptables", "-t", "raw", "-D", "SIPLEAK", "3"])
        #expect(try await leaky.save() != standing)
        let enforcement = Enforcement(access: leaky.access)
        #expect(await enforcement.removeAdded(of: second, before: before))
        #expect(try await leaky.save() == standing)
        // What a plan took away cannot be put back so.
        let (third, now) = try await plan("198.18.0.9")
        #expect(await !enforcement.removeAdded(of: third, before: now))
        #expect(try await leaky.save() == standing)
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
