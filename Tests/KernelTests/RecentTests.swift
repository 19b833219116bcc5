import Addressing
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// Lists of `-m recent`, filled and emptied by real packets.
  @Suite struct RecentLists {
    @Test("A peer on the list is admitted, and one that is not there any more has lapsed")
    func lapsed() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        for (index, rule) in [
          "--dport 5060 -m recent --rcheck --name phones -j ACCEPT",
          "--dport 9999 -m recent --set --name phones -j DROP",
          "--dport 9998 -m recent --remove --name phones -j DROP",
        ].enumerated() {
          let words = "-I INPUT \(index + 4) -p udp \(rule)".split(separator: " ").map(String.init)
          try await pbx.run(["iptables"] + words)
        }
        func knock(_ port: UInt16) async throws {
          _ = try await leaky.attacker.request(to: Endpoint(leaky.server.local.address, port))
        }
        func entries() async throws -> [RecentList.Entry]? {
          let observation = try await leaky.observe()
          let reading = observation.sample.firewall
          let again = try FirewallHost.reading(files: reading.files)
          #expect(again.snapshot.recentLists == reading.snapshot.recentLists)
          let list = reading.snapshot.recentLists?.first { $0.name == "phones" }
          return list?.entries
        }
        #expect(try await entries() == [])
        #expect(Audit(try await leaky.observe()).findings.map(\.cause) == [.lapsed])
        try await knock(9999)
        let noted = try #require(try await entries())
        #expect(noted.map(\.address) == [leaky.attacker.local.address])
        #expect(noted.first?.stamps.count == 1)
        #expect(Audit(try await leaky.observe()).findings.isEmpty)
        try await knock(9998)
        #expect(try await entries() == [])
        #expect(Audit(try await leaky.observe()).findings.map(\.cause) == [.lapsed])
      }
    }
  }
}
