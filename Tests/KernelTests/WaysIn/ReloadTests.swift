import Addressing
import Conntrack
import Firewall
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// Windows that a reload opens, and what was opened in them.
  @Suite struct WaysInByReload {
    @Test("A flow opened in a flush window outlives the reload", arguments: Ground.all)
    func flushWindow(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve()
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        try await scene.rule("-F")
        try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
        try await scene.load(ReferenceRuleset.filter(ground.family))
        try await scene.expectIn(attacker, at: scene.pbx, server)
        let audit = try await scene.audit()
        let finding = try #require(audit.findings.first)
        #expect(audit.findings.count == 1)
        finding.expectBypass(scene, from: attacker.local, wire: scene.pbx)
        #expect(finding.asNew.rule?.index == 8)
        #expect(finding.isBlockable, "\(finding.notBlockableBecause ?? "")")
        #expect(audit.exitStatus == 2)
      }
    }

    @Test(
      "An init script that adds its rules one by one lets in whoever comes before the last",
      arguments: Ground.all)
    func initScript(ground: Ground) async throws {
      // No nat rule: the state rule itself turns tracking on before the REJECT stands (facts A1c).
      try await Scene.with(ground, rules: ReferenceRuleset.filter(ground.family)) { scene in
        let server = try scene.serve()
        let attacker = try scene.client(scene.lab.attacker)
        let rules = ReferenceRuleset.filter(ground.family).split(separator: "\n")
          .filter { $0.hasPrefix("-A") }
        try await scene.rule("-F")
        for rule in rules {
          if rule.contains("REJECT") {
            try await scene.expectIn(attacker, at: scene.pbx, server, requests: 1)
          }
          // One tool run a rule, as the script has it; its comments are left out.
          let words = rule.split(separator: "\"")
          let plain = words[0].replacing("-m comment --comment ", with: "") + words[2]
          try await scene.rule(String(plain))
        }
        try await scene.expectIn(attacker, at: scene.pbx, server)
        let finding = try #require(try await scene.audit().findings.first)
        finding.expectBypass(scene, from: attacker.local, wire: scene.pbx)
      }
    }

    @Test("With the policy at DROP first, the same script lets nobody in", arguments: Ground.all)
    func policyFirst(ground: Ground) async throws {
      try await Scene.with(ground, rules: ReferenceRuleset.filter(ground.family)) { scene in
        let server = try scene.serve()
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.rule("-P INPUT DROP")
        try await scene.rule("-F")
        try await scene.rule("-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT")
        try await scene.expectOut(attacker, at: scene.pbx, server)
        try await scene.load(ReferenceRuleset.filter(ground.family))
        try await scene.expectOut(attacker, at: scene.pbx, server)
        #expect(try await scene.audit().findings.isEmpty)
      }
    }
  }
}
