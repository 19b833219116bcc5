import Addressing
import Conntrack
import HostNetwork
import Lab
import SIPLeak
import Testing

extension Kernel {
  @Suite struct Routing {
    @Test(
      "Policy rules, default routes and multiple paths are seen", arguments: AddressFamily.allCases)
    func choices(family: AddressFamily) async throws {
      try await Lab.with { lab in
        let v4 = family == .ipv4
        func ip(_ words: String...) async throws {
          try await lab.pbx.run(["ip", v4 ? "-4" : "-6"] + words)
        }
        func choices() throws -> RouteChoices {
          try HostNetwork.routeChoices(family, in: lab.pbx.namespace)
        }
        #expect(try choices() == RouteChoices())
        try await ip("rule", "add", "fwmark", "1", "lookup", "100")
        #expect(try choices() == RouteChoices(ruleCount: 1))
        try await ip("rule", "del", "fwmark", "1", "lookup", "100")
        try await ip("rule", "add", "from", "all", "lookup", "main", "pref", "50")
        #expect(try choices() == RouteChoices())

        try await ip("route", "add", "default", "dev", "to-attacker", "metric", "100")
        #expect(try choices() == RouteChoices(uplinks: ["to-attacker"]))
        try await ip("route", "add", "default", "dev", "to-carrier", "metric", "200")
        #expect(try choices() == RouteChoices(uplinks: ["to-attacker", "to-carrier"]))
        try await ip("route", "del", "default", "dev", "to-carrier", "metric", "200")
        let half = v4 ? "128.0.0.0/1" : "8000::/1"
        try await ip("route", "add", half, "dev", "to-other", "table", "7")
        #expect(try choices() == RouteChoices(uplinks: ["to-attacker", "to-other"]))
        try await ip("route", "flush", "table", "7")
        #expect(try choices().makesCertain("to-attacker", strict: []))

        // IPv6 takes no multipath route without gateways.
        let gateways =
          v4 ? ["203.0.113.66", "203.0.113.70"] : ["2001:db8:a::66", "2001:db8:a::70"]
        try await ip(
          "route", "add", v4 ? "10.1.0.0/16" : "2001:db8:77::/48", "nexthop", "via", gateways[0],
          "dev", "to-attacker", "onlink", "nexthop", "via", gateways[1], "dev", "to-other", "onlink"
        )
        #expect(try choices() == RouteChoices(uplinks: ["to-attacker"], isMultipath: true))
      }
    }

    @Test(
      "Routes asked for together are those asked for one by one", arguments: AddressFamily.allCases)
    func together(family: AddressFamily) async throws {
      try await Lab.with { lab in
        let v4 = family == .ipv4
        func ip(_ words: String...) async throws {
          try await lab.pbx.run(["ip", v4 ? "-4" : "-6"] + words)
        }
        let via = "\(lab.other.address(family))"
        let nets =
          v4
          ? ["10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16"]
          : ["fd01::/32", "fd01:0:1::/48", "fd02::/32", "fd03::/32", "fd04::/32"]
        try await ip("route", "add", nets[0], "via", via)
        try await ip("route", "add", nets[1], "dev", "to-attacker")
        try await ip("route", "add", "unreachable", nets[2])
        try await ip("route", "add", "prohibit", nets[3])
        try await ip("route", "add", "blackhole", nets[4])
        // More than are sent with one call, of every kind, and one that none leads to.
        var peers = (0..<40).flatMap { number in
          nets.compactMap { IPPrefix($0) }.map {
            IPAddress(family: family, bits: $0.address.bits + UInt128(number) * 7)
          }
        }
        peers += [
          lab.pbx.address(family), lab.carrier.address(family), lab.attacker.address(family),
          try #require(IPAddress(v4 ? "192.88.99.1" : "2001:db8:ffff::1")),
        ]
        for local in [nil, lab.pbx.address(family), lab.attacker.address(family)] {
          var lookup = try RouteLookup(in: lab.pbx.namespace)
          let together = try lookup.routes(
            peers.map { RouteLookup.Question(peer: $0, local: local) })
          #expect(together.count == peers.count)
          for (peer, answer) in zip(peers, together) {
            let alone = Result { () throws(HostNetworkError) in
              try lookup.route(to: peer, from: local)
            }
            switch (answer, alone) {
            case (.success(let one), .success(let other)): #expect(one == other, "\(peer)")
            case (.failure(let one), .failure(let other)): #expect(one.errno == other.errno)
            default: Issue.record("\(peer): \(answer), alone \(alone)")
            }
          }
          let kinds = Set(together.map { try? $0.get()?.kind })
          if local == nil { #expect(kinds.isSuperset(of: [.unreachable, .prohibit, nil])) }
        }
        var lookup = try RouteLookup(in: lab.pbx.namespace)
        let mixed = try lookup.routes([
          RouteLookup.Question(peer: peers[0], local: lab.pbx.address(v4 ? .ipv6 : .ipv4)),
          RouteLookup.Question(peer: lab.carrier.address(family)),
        ])
        #expect(throws: HostNetworkError.self) { try mixed[0].get() }
        #expect(try mixed[1].get()?.interface == "to-carrier")
        #expect(try lookup.routes([]).isEmpty)
      }
    }

    @Test(
      "What is observed of many peers is what the kernel says of each",
      arguments: AddressFamily.allCases)
    func observed(family: AddressFamily) async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let v4 = family == .ipv4
        let wide = try #require(IPPrefix(v4 ? "10.0.0.0/8" : "fd10::/16"))
        let link = try #require(IPPrefix(v4 ? "10.1.2.0/24" : "fd10:0:0:12::/64"))
        let closed = v4 ? "10.9.0.0/16" : "fd10:0:0:9::/64"
        for words in [
          ["\(wide)", "via", "\(leaky.lab.other.address(family))"],
          ["\(link)", "dev", "to-attacker"], ["unreachable", closed],
        ] { try await pbx.run(["ip", v4 ? "-4" : "-6", "route", "add"] + words) }
        let step: UInt128 = v4 ? 0x0001_0041 : 1 << 64 + 0x41
        let last = link.address.bits | (v4 ? 0xff : UInt128(UInt64.max))
        let peers =
          (0..<64).map { IPAddress(family: family, bits: wide.address.bits + UInt128($0) * step) }
          + [link.address, IPAddress(family: family, bits: last)]
          // The routes between these are the same, and what the kernel does is not.
          + (v4
          ? ["0.1.2.3", "1.2.3.4", "203.0.113.200", "224.0.1.75", "240.0.0.1", "255.255.255.255"]
          : ["64:ff9b::1", "2001:db8:ffff::1", "fe80::77", "fec0::1", "ff0e::1"])
          .compactMap { IPAddress($0) }
        _ = try pbx.load(
          peers.lazy.map { peer in
            Flow(
              from: Endpoint(peer, 5060), to: Endpoint(pbx.address(family), 5060),
              isAnswered: true, seconds: 3600)
          })
        let rule = ["ip", v4 ? "-4" : "-6", "rule", "add", "from", "all", "tos", "0x10"]
        for rules in [[], rule + ["lookup", "100"]] {
          if !rules.isEmpty { try await pbx.run(rules) }
          let observed = try await leaky.observe().network.peerRoutes
          #expect(Set(observed.map(\.peer)).isSuperset(of: peers))
          for entry in observed {
            let alone = try? HostNetwork.route(
              to: entry.peer, from: pbx.address(entry.peer.family), in: pbx.namespace)
            #expect(entry.route == alone, "\(entry.peer)")
          }
        }
      }
    }

    @Test("A carrier that comes by the second of two uplinks is no leak, and an attacker still is")
    func twoUplinks() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let audit = Audit(try await leaky.observe())
        #expect(audit.findings.map(\.peer) == [leaky.attacker.local])
        #expect(audit.blindSpots.allSatisfy { $0.kind != "ingress-unknown" })
        // The way back to the carrier is the default route by the other uplink.
        for words in [
          [
            "iptables", "-R", "INPUT", "5", "-i", "to-carrier", "-s", "198.51.100.0/24", "-p",
            "udp",
            "--dport", "5060", "-j", "ACCEPT",
          ],
          ["ip", "address", "del", "198.51.100.1/24", "dev", "to-carrier"],
          ["ip", "route", "del", "198.51.100.10"],
          ["ip", "route", "add", "default", "dev", "to-attacker", "metric", "100"],
          ["ip", "route", "add", "default", "dev", "to-carrier", "metric", "200"],
          [
            "ip", "neigh", "add", "198.51.100.10", "lladdr", "02:00:00:00:09:09", "dev",
            "to-attacker",
          ],
        ] { try await pbx.run(words) }
        let carrier = leaky.carrier.local.address
        let before = leaky.server.count(from: carrier)
        try leaky.carrier.send(to: leaky.server.local)
        #expect(await leaky.server.received(before + 1, from: carrier))
        let accepted = try await pbx.run(["iptables", "-v", "-S", "INPUT"]).output
        #expect(accepted.contains("-i to-carrier"))

        let observation = try await leaky.observe()
        let route = try #require(
          observation.network.peerRoutes.first { $0.peer == leaky.carrier.local.address })
        #expect(route.route?.interface == "to-attacker")
        #expect(route.isInterfaceCertain == false)
        let after = Audit(observation)
        let leaks = after.findings.filter { $0.level == .leak }
        #expect(leaks.map(\.peer) == [leaky.attacker.local])
        let undecided = after.findings.first { $0.peer == leaky.carrier.local }
        #expect(undecided?.cause == .undecided)
        #expect(after.blindSpots.contains { $0.kind == "ingress-unknown" })
      }
    }
  }
}
