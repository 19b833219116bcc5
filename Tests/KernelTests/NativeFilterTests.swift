import Addressing
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// Native nft chains beside the rules iptables shows, as fail2ban writes them.
  @Suite struct NativeFilters {
    static func chain(_ rules: String...) -> String {
      """
      add table inet f2b-table
      add set inet f2b-table addr-set-sshd { type ipv4_addr; }
      add set inet f2b-table ports { type inet_service; flags interval; }
      add element inet f2b-table ports { 22, 8000-8010 }
      add chain inet f2b-table f2b-chain { type filter hook input priority filter - 1; }

      """ + rules.map { "add rule inet f2b-table f2b-chain \($0)\n" }.joined()
    }

    /// What the audit of the leak says once these were loaded, and whether it still leaks.
    private func audit(_ nft: String) async throws -> (audit: Audit, isAnswered: Bool) {
      try await LeakyLab.with { leaky in
        try await leaky.lab.pbx.run(["nft", nft])
        let answer = try await leaky.attacker.request(to: leaky.server.local)
        return (Audit(try await leaky.observe()), answer.isAnswered)
      }
    }

    @Test(
      "A native chain for tcp/22 leaves the leak certain and makes no noise",
      arguments: [
        "tcp dport { 22 } ip saddr @addr-set-sshd reject",
        // Its elements are listed apart.
        "tcp dport @ports drop",
      ])
    func unconcerned(rule: String) async throws {
      let (audit, isAnswered) = try await audit(Self.chain(rule))
      #expect(isAnswered)
      #expect(audit.findings.map(\.cause) == [.establishedBypass])
      #expect(audit.findings.first?.isBlockable == true)
      #expect(audit.isComplete, "\(audit.problems)")
      #expect(audit.exitStatus == 2)
    }

    @Test("A native chain that accepts held packets first leaves the leak certain")
    func acceptsHeld() async throws {
      let (audit, isAnswered) = try await audit(
        Self.chain("ct state { established, related } accept", "drop"))
      #expect(isAnswered)
      // Nobody is certainly admitted any more, the carrier neither.
      #expect(audit.findings.map(\.cause) == [.establishedBypass, .undecided])
      #expect(audit.findings.first?.peer?.port == 24376)
    }

    @Test("A chain that cannot touch SIP is no blind spot")
    func noBlindSpot() async throws {
      let (audit, _) = try await audit(
        Self.chain("tcp dport { 22, 5060 } ip saddr @addr-set-sshd reject"))
      #expect(!audit.blindSpots.contains { $0.kind == "unseen-filter" })
    }

    @Test(
      "A native chain that may touch udp/5060 makes the leak undecided and is named",
      arguments: [
        "udp dport { 5060, 5061 } ip saddr @addr-set-sshd reject",
        "ip saddr @addr-set-sshd drop",
        "udp dport 5000-6000 ct mark 7 drop",
      ])
    func concerned(rule: String) async throws {
      let (audit, isAnswered) = try await audit(Self.chain(rule))
      #expect(isAnswered)
      // The carrier's flow may be refused as well.
      #expect(audit.findings.map(\.cause) == [.undecided, .undecided])
      let why = try #require(audit.findings.first).why
      #expect(why.contains("f2b-chain"), "\(why)")
      #expect(audit.blindSpots.contains { $0.text.contains("f2b-chain") })
    }

    @Test("A native rule inside iptables' own chain is noticed though iptables prints it wrongly")
    func hidden() async throws {
      let (audit, _) = try await audit("insert rule ip filter INPUT udp dport { 7000, 7001 } drop")
      #expect(audit.findings.map(\.cause) == [.undecided, .undecided])
      #expect(audit.blindSpots.contains { $0.text.contains("prints wrongly") })
    }
  }
}
