import Addressing
import Testing

@Suite struct PrefixTests {
  private func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }
  private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
  private func set(_ texts: String...) throws -> PrefixSet { PrefixSet(try texts.map(prefix)) }

  @Test(
    "a prefix is written without host bits, a single address without a length",
    arguments: [
      ("192.0.2.5/24", "192.0.2.0/24"), ("192.0.2.5/32", "192.0.2.5"), ("192.0.2.5", "192.0.2.5"),
      ("255.255.255.255/0", "0.0.0.0/0"), ("2001:db8::5/32", "2001:db8::/32"), ("ff::/0", "::/0"),
      ("2001:db8::5/128", "2001:db8::5"), ("192.0.2.255/25", "192.0.2.128/25"),
    ])
  func text(given: String, written: String) throws {
    #expect(try prefix(given).description == written)
    #expect(try prefix(written) == prefix(given))
  }

  @Test(
    "what is no prefix is refused",
    arguments: [
      "", "/", "/24", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0/+8", "::/129",
      "192.0.2.0/24/24", "192.0.2.0/255.255.255.0", "192.0.2/24", "192.0.2.0/ 24", "192.0.2.0/٢٤",
      "192.0.2.0/024", "192.0.2.0/00",
    ])
  func notAPrefix(text: String) {
    #expect(IPPrefix(text) == nil)
  }

  @Test(
    "an IPv4-mapped prefix is the IPv4 prefix, and what is wider stays IPv6",
    arguments: [
      ("::ffff:203.0.113.66", "203.0.113.66"), ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
      ("::ffff:0:0/96", "0.0.0.0/0"), ("::ffff:0:0/95", "::fffe:0:0/95"), ("::/0", "::/0"),
      ("2001:db8::/32", "2001:db8::/32"), ("192.0.2.0/24", "192.0.2.0/24"),
      ("::fffe:203.0.113.0/120", "::fffe:cb00:7100/120"),
    ])
  func unmapped(given: String, plain: String) throws {
    #expect(try prefix(given).unmapped.description == plain)
  }

  @Test("a prefix holds its first and last address and not their neighbours")
  func edges() throws {
    let slash28 = try prefix("192.0.2.16/28")
    #expect(try slash28.contains(address("192.0.2.16")) && slash28.contains(address("192.0.2.31")))
    #expect(
      try !slash28.contains(address("192.0.2.15")) && !slash28.contains(address("192.0.2.32")))
    #expect(try prefix("::/0").contains(address("ffff::")))
    #expect(try !prefix("::/0").contains(address("1.2.3.4")))
    #expect(try !prefix("0.0.0.0/0").contains(address("::ffff:1.2.3.4")))
    #expect(try prefix("10.0.0.0/8").contains(prefix("10.1.0.0/16")))
    #expect(try !prefix("10.1.0.0/16").contains(prefix("10.0.0.0/8")))
    #expect(try prefix("::/0").range == 0...UInt128.max)
    #expect(IPPrefix(try address("10.0.0.1"), length: 33) == nil)
    #expect(IPPrefix(try address("10.0.0.1"), length: -1) == nil)
  }

  @Test("a set answers like the list of its prefixes, for every address of a small world")
  func membership() throws {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<50 {
      let left = randomPrefixes(&generator)
      let right = randomPrefixes(&generator)
      let (a, b) = (PrefixSet(left), PrefixSet(right))
      let union = a.union(b)
      let difference = a.subtracting(b)
      let common = a.intersection(b)
      var inserted = a
      for prefix in right { inserted.insert(prefix) }
      for last in UInt32(0)..<256 {
        let address = IPAddress(ipv4: 0xc000_0200 | last)
        let inLeft = left.contains { $0.contains(address) }
        let inRight = right.contains { $0.contains(address) }
        #expect(a.contains(address) == inLeft)
        #expect(union.contains(address) == (inLeft || inRight))
        #expect(inserted.contains(address) == (inLeft || inRight))
        #expect(difference.contains(address) == (inLeft && !inRight))
        #expect(common.contains(address) == (inLeft && inRight))
        #expect(common.intersects(IPPrefix(address)) == (inLeft && inRight))
      }
      #expect(PrefixSet(union.prefixes) == union)
      #expect(inserted == union)
      #expect(difference.union(common) == a)
    }
  }

  private func randomPrefixes(_ generator: inout SystemRandomNumberGenerator) -> [IPPrefix] {
    (0..<Int.random(in: 0...6, using: &generator)).compactMap { _ in
      IPPrefix(
        IPAddress(ipv4: 0xc000_0200 | UInt32.random(in: 0...255, using: &generator)),
        length: Int.random(in: 25...32, using: &generator))
    }
  }

  @Test("sets with the same addresses are equal, however they came about")
  func equality() throws {
    #expect(try set("10.0.0.0/9", "10.128.0.0/9") == set("10.0.0.0/8"))
    #expect(try set("10.0.0.0/8").subtracting(set("0.0.0.0/0")) == PrefixSet())
    #expect(try set("10.0.0.0/8").intersection(set("::/0")) == PrefixSet())
    #expect(try set("10.0.0.0/8", "::/1").subtracting(set("::/0")) == set("10.0.0.0/8"))
    #expect(try set("10.0.0.0/8").subtracting(set("0.0.0.0/0")).isEmpty)
    #expect(try set().isEmpty && !set("::1").isEmpty)
  }

  @Test("a set is written as the fewest prefixes, IPv4 first")
  func fewest() throws {
    let written = try set("::/0", "10.0.0.1", "10.0.0.0", "10.0.0.2/31", "9.255.255.255").prefixes
    #expect(written.map(\.description) == ["9.255.255.255", "10.0.0.0/30", "::/0"])
  }

  @Test("the ends of the address space are no special case")
  func ends() throws {
    let all = try set("::/0")
    let hole = try all.subtracting(set("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::"))
    #expect(try !hole.contains(address("::")) && hole.contains(address("::1")))
    #expect(try !hole.contains(address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")))
    #expect(try hole.union(set("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::")) == all)
    #expect(all.prefixes.map(\.description) == ["::/0"])
    #expect(try set("0.0.0.0/0").subtracting(set("255.255.255.255")).prefixes.count == 32)
    #expect(all.intersection(all) == all)
  }
}
