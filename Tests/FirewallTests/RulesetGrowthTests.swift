import Addressing
import Firewall
import Glibc
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

  static func shapes(_ count: Int) -> [Shape] {
    [
      Shape("tables") { (0..<count).map { "*\($0)\nCOMMIT\n" }.joined() },
      Shape("insertions at the head") {
        filter(String(repeating: "-I INPUT\n", count: 2 * count))
      },
      Shape("flushes of many empty chains") {
        filter(
          (0..<count).map { ":\($0) -\n" }.joined(), String(repeating: "-F\n", count: 2 * count))
      },
      Shape("flushes of one rule among many chains") {
        filter(
          (0..<count).map { ":\($0) -\n" }.joined(),
          String(repeating: "-A 7\n-F\n", count: count))
      },
    ]
  }

  /// Seconds this thread has computed, whatever else the machine does.
  private static func computed() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// What it takes to read each shape, in its order.
  private static func cost(_ count: Int) throws -> [Double] {
    try shapes(count).map { shape in
      let bytes = Array(shape.text().utf8)
      let begin = computed()
      let rules = try RulesetReader.read(bytes, source: "f", backend: .nft, family: .ipv4)
      let end = computed()
      #expect(rules.write() == bytes, "\(shape.testDescription)")
      return end - begin
    }
  }

  // Each took minutes when every line looked at all that came before it.
  @Test("Lines without end are read in time linear in them")
  func linear() throws {
    // 16 times the lines: 16 times the work, or 256 times where it grows with the square.
    for (shape, cost) in zip(Self.shapes(0), zip(try Self.cost(1250), try Self.cost(20_000))) {
      #expect(cost.1 < 64 * cost.0 + 0.5, "\(shape.testDescription): \(cost)")
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
