import Addressing
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
