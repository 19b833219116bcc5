import Addressing
import Firewall
import Testing

/// Files a fuzzer or an attacker makes so that a few bytes cost much time or memory.
@Suite struct RulesetGrowthTests {
  struct Shape: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var text: @Sendable () -> String
    init(_ name: String, _ text: @escaping @Sendable () -> String) {
      testDescription = name
      self.text = text
    }
  }

  static func filter(_ lines: String...) -> String {
    "*filter\n" + lines.joined() + "COMMIT\n"
  }

  static let shapes: [Shape] = [
    Shape("tables") { (0..<20_000).map { "*\($0)\nCOMMIT\n" }.joined() },
    Shape("insertions at the head") { filter(String(repeating: "-I INPUT\n", count: 40_000)) },
    Shape("flushes of many empty chains") {
      filter(
        (0..<20_000).map { ":\($0) -\n" }.joined(), String(repeating: "-F\n", count: 40_000))
    },
    Shape("flushes of one rule among many chains") {
      filter(
        (0..<20_000).map { ":\($0) -\n" }.joined(),
        String(repeating: "-A 7\n-F\n", count: 20_000))
    },
  ]

  // Each took minutes when every line looked at all that came before it.
  @Test("Lines without end are read in time linear in them", .timeLimit(.minutes(1)))
  func linear() throws {
    for shape in Self.shapes {
      let bytes = Array(shape.text().utf8)
      let rules = try RulesetReader.read(bytes, source: "f", backend: .nft, family: .ipv4)
      #expect(rules.write() == bytes, "\(shape.testDescription)")
    }
  }

  static let refused: [Shape] = [
    Shape("words in a rule") {
      filter("-A INPUT", String(repeating: " -m tcp", count: 600), "\n")
    },
    Shape("pairs of addresses in many rules") {
      let list = Array(repeating: "192.0.2.1", count: 250).joined(separator: ",")
      return filter(String(repeating: "-A INPUT -s \(list) -d \(list)\n", count: 50))
    },
    Shape("long rules of many addresses") {
      let list = Array(repeating: "192.0.2.1", count: 60_000).joined(separator: ",")
      let comment = String(repeating: "x", count: 300_000)
      return filter("-A INPUT -s \(list) -m comment --comment \(comment)\n")
    },
    Shape("insertions below the head of a long chain") {
      filter(
        String(repeating: "-A INPUT\n", count: 100_000),
        String(repeating: "-I INPUT 2\n", count: 3_000))
    },
  ]

  @Test(
    "What would grow out of proportion to the file is refused with its line", arguments: refused)
  func growth(_ shape: Shape) throws {
    let error = try #require(throws: FirewallError.self) {
      try RulesetReader.read(
        Array(shape.text().utf8), source: "f", backend: .nft, family: .ipv4)
    }
    #expect(error.code == .tooLarge)
    #expect(error.line != nil)
  }
}
