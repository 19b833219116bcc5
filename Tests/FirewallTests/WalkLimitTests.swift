import Addressing
import Firewall
import Testing

/// Rulesets no kernel would load, which a file may hold all the same.
struct WalkLimitTests {
  static func walk(_ text: String) throws -> Walk {
    Evaluation(try Given.snapshot(text)).walk(try Given.packet(), to: .input)
  }

  @Test("10,000 nested chains are walked, gotos and jumps alike", arguments: ["-j", "-g"])
  func deep(jump: String) throws {
    let count = 10_000
    var text = "*filter\n:INPUT ACCEPT [0:0]\n"
    for index in 0..<count { text += ":c\(index) - [0:0]\n" }
    text += "-A INPUT \(jump) c0\n"
    for index in 0..<count - 1 { text += "-A c\(index) \(jump) c\(index + 1)\n" }
    text += "-A c\(count - 1) -j DROP\nCOMMIT\n"
    let walk = try Self.walk(text)
    #expect(walk.isCertain)
    #expect(walk.decidingRule?.chain == "c\(count - 1)")
    #expect(walk.path.count == count + 1)
  }

  @Test(
    "A chain that leads to itself is unknown and says so",
    arguments: [
      ["-A A -j A"], ["-A A -g A"], ["-A A -j B", "-A B -j A"], ["-A A -g B", "-A B -g A"],
    ])
  func loops(rules: [String]) throws {
    let text =
      "*filter\n:INPUT ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n-A INPUT -j A\n"
      + rules.map { $0 + "\n" }.joined() + "COMMIT\n"
    let walk = try Self.walk(text)
    #expect(walk.verdict == .unknown)
    #expect(walk.unknowns.contains { $0.text.contains("leads to itself") })
  }

  @Test("Chains that call each other two to the power of forty times end in too many steps")
  func exponential() throws {
    var text = "*filter\n:INPUT ACCEPT [0:0]\n"
    for index in 0...40 { text += ":c\(index) - [0:0]\n" }
    text += "-A INPUT -j c0\n"
    for index in 0..<40 {
      text += "-A c\(index) -j c\(index + 1)\n-A c\(index) -j c\(index + 1)\n"
    }
    let walk = try Self.walk(text + "COMMIT\n")
    #expect(walk.verdict == .unknown)
    #expect(walk.unknowns.contains { $0.text.contains("too many steps") })
  }

  @Test("A thousand unknown rules are walked once, not two to the power of a thousand times")
  func unknowns() throws {
    let rules = (0..<1000).map { "-m geoip --src-cc A\($0) -j MARK --set-mark \($0)" }
    let walk = try Self.walk(Given.filter(rules + ["-j DROP"]))
    #expect(walk.isCertain)
    #expect(walk.path.count == 1001)
  }
}
