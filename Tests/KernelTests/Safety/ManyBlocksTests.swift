import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

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
        for family in AddressFamily.allCases {
          try await pbx.run([
            "ip", family == .ipv4 ? "-4" : "-6", "route", "add", "default", "via",
            "\(leaky.lab.attacker.address(family))",
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
        // The carrier's flow is the only one left, and is served.
        #expect(
          Set(now.sample.flows.map(\.original.source)) == [leaky.carrier.local.address])
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
  }
}
