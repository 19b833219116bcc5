import Addressing
import HostNetwork
import TestSupport
import Testing

@testable import SIPLeak

/// One question for a route answers for every peer that the same routes cover.
@Suite("Cells of addresses that the same routes cover") struct RouteCellTests {
  private static func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

  @Test("A route's first and last address are of its cell, their neighbours are not")
  func edges() throws {
    let cells = try #require(
      RouteCells(
        RouteChoices(), .ipv4,
        destinations: [
          Self.prefix("0.0.0.0/0"), Self.prefix("198.51.100.0/24"), Self.prefix("198.51.100.7/32"),
          Self.prefix("255.255.255.255/32"),
        ]))
    func number(_ text: String) -> Int { cells.number(of: address(text)) }
    let around = ["198.51.99.255", "198.51.100.0", "198.51.100.7", "198.51.100.8", "198.51.101.0"]
    #expect(Set(around.map(number)).count == 5)
    #expect(number("198.51.100.0") == number("198.51.100.6"))
    #expect(number("198.51.100.8") == number("198.51.100.255"))
    #expect(number("128.0.0.0") == number("198.51.99.255"))
    #expect(number("255.255.255.254") != number("255.255.255.255"))
  }

  @Test("Whole families, and routes to the very last address, overflow nothing")
  func whole() throws {
    let all = try #require(
      RouteCells(
        RouteChoices(), .ipv6,
        destinations: [Self.prefix("::/0"), Self.prefix("ff00::/8"), Self.prefix("8000::/1")]))
    #expect(all.number(of: address("::2")) == all.number(of: address("7fff::1")))
    #expect(all.number(of: address("8000::")) != all.number(of: address("7fff::1")))
    #expect(all.number(of: address("ff00::")) != all.number(of: address("feff::")))
    let none = try #require(RouteCells(RouteChoices(), .ipv6, destinations: []))
    #expect(none.number(of: address("::2")) == none.number(of: address("fe7f::")))
  }

  @Test("What the kernel treats otherwise by its number alone has a cell of its own")
  func special() throws {
    let cells = try #require(
      RouteCells(RouteChoices(), .ipv4, destinations: [Self.prefix("0.0.0.0/0")]))
    func number(_ text: String) -> Int { cells.number(of: address(text)) }
    let different = ["0.1.2.3", "203.0.113.66", "224.0.1.75", "240.0.0.1", "255.255.255.255"]
    #expect(Set(different.map(number)).count == different.count)
    #expect(number("224.0.0.1") == number("239.255.255.255"))
    #expect(number("128.0.0.0") == number("223.255.255.255"))
    let six = try #require(RouteCells(RouteChoices(), .ipv6, destinations: [Self.prefix("::/0")]))
    #expect(six.number(of: address("ff0e::1")) != six.number(of: address("2001:db8::1")))
  }

  @Test("Policy rules and several paths may tell addresses apart that routes do not")
  func refused() {
    #expect(RouteCells(RouteChoices(ruleCount: 1), .ipv4, destinations: []) == nil)
    #expect(RouteCells(RouteChoices(isMultipath: true), .ipv4, destinations: []) == nil)
  }

  @Test("Addresses of one cell are covered by the same routes", arguments: 0..<200 as Range<UInt64>)
  func covered(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let family: AddressFamily = seed % 2 == 0 ? .ipv4 : .ipv6
    let width = family.bitWidth
    func someAddress() -> IPAddress {
      // Near each other, so that routes and addresses meet.
      let bits = UInt128(UInt8.random(in: 0...255, using: &random)) << UInt128(width - 8)
      return IPAddress(
        family: family, bits: bits | UInt128(UInt16.random(in: 0...3, using: &random)))
    }
    let routes = (0..<20).compactMap { _ in
      IPPrefix(someAddress(), length: Int.random(in: 0...width, using: &random))
    }
    let cells = try #require(RouteCells(RouteChoices(), family, destinations: routes))
    let addresses =
      (0..<60).map { _ in someAddress() } + routes.map(\.address)
    var covering: [Int: Set<IPPrefix>] = [:]
    for address in addresses {
      let covers = Set(routes.filter { $0.contains(address) })
      let number = cells.number(of: address)
      #expect(covering[number] ?? covers == covers)
      covering[number] = covers
    }
  }
}
