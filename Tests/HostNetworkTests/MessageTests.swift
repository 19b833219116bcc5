import Addressing
import Netlink
import TestSupport
import Testing

@testable import HostNetwork

private func header(_ type: UInt16) -> NetlinkMessage {
  NetlinkMessage(type: type, flags: 0, sequence: 1, portID: 1, payload: 16..<16)
}

private func route(_ bytes: [UInt8]) throws(MalformedNetlink) -> RouteMessage? {
  try RouteMessage(header(24), unsafe bytes.span.bytes)
}

private func address(_ bytes: [UInt8]) throws(MalformedNetlink) -> IndexedAddress? {
  try IndexedAddress(header(20), unsafe bytes.span.bytes)
}

private func link(_ bytes: [UInt8]) throws(MalformedNetlink) -> Interface? {
  try Interface(header(16), unsafe bytes.span.bytes)
}

private func listener(_ bytes: [UInt8]) throws(MalformedNetlink) -> ListenerMessage? {
  try ListenerMessage(header(20), unsafe bytes.span.bytes)
}

private let linkBytes: [UInt8] = [
  0, 0, 1, 0, 3, 0, 0, 0, 0x03, 0x10, 0, 0, 0, 0, 0, 0,  // ifinfomsg: index 3, IFF_UP | BROADCAST
  9, 0, 3, 0, 0x62, 0x72, 0x2d, 0x74, 0, 0, 0, 0,  // IFLA_IFNAME "br-t"
  8, 0, 10, 0, 7, 0, 0, 0,  // IFLA_MASTER 7
  16, 0, 18, 0,  // IFLA_LINKINFO
  11, 0, 1, 0, 0x62, 0x72, 0x69, 0x64, 0x67, 0x65, 0, 0,  // IFLA_INFO_KIND "bridge"
]

private let addressBytes: [UInt8] = [
  2, 32, 0x80, 0, 5, 0, 0, 0,  // ifaddrmsg: AF_INET, /32, index 5
  8, 0, 1, 0, 198, 51, 100, 1,  // IFA_ADDRESS: the other end
  8, 0, 2, 0, 192, 0, 2, 5,  // IFA_LOCAL: ours
]

private let routeBytes: [UInt8] = [
  2, 24, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0,  // rtmsg: AF_INET, unicast
  8, 0, 1, 0, 198, 51, 100, 0,  // RTA_DST
  8, 0, 4, 0, 2, 0, 0, 0,  // RTA_OIF 2
  8, 0, 7, 0, 192, 0, 2, 5,  // RTA_PREFSRC
  8, 0, 5, 0, 192, 0, 2, 1,  // RTA_GATEWAY
  56, 0, 9, 0,  // RTA_MULTIPATH
  16, 0, 0, 0, 2, 0, 0, 0,  // rtnexthop: 16 long, interface 2
  8, 0, 5, 0, 192, 0, 2, 2,  // RTA_GATEWAY
  8, 0, 0, 0, 3, 0, 0, 0,  // rtnexthop without a gateway
  28, 0, 0, 0, 2, 0, 0, 0,  // rtnexthop
  20, 0, 18, 0, 10, 0,  // RTA_VIA, AF_INET6, one byte short of what follows
  0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
]

@Suite("Messages of rtnetlink and sock_diag")
struct MessageTests {
  @Test("give an interface")
  func interface() throws {
    let interface = try #require(try link(linkBytes))
    #expect(
      interface == Interface(name: "br-t", index: 3, isUp: true, kind: "bridge", master: 7))
    #expect(interface.isBridge)
  }

  @Test("give our own address of a point-to-point link, not the other end's")
  func pointToPoint() throws {
    let address = try #require(try address(addressBytes))
    #expect(address.address == IPAddress("192.0.2.5"))
    #expect(address.prefixLength == 32)
    #expect(address.index == 5)
  }

  @Test("give every next hop of a route")
  func nextHops() throws {
    let route = try #require(try route(routeBytes))
    // The RTA_VIA of the last hop holds 14 bytes of address, which is none.
    #expect(route.gateways == [IPAddress("192.0.2.1"), IPAddress("192.0.2.2")])
    #expect(route.outInterface == 2)
    #expect(route.hopInterfaces == [2, 3])
    #expect(route.destinationLength == 24)
    #expect(route.source == IPAddress("192.0.2.5"))
    #expect(route.kind == .unicast)
    #expect(!route.isCloned)
  }

  @Test("give an IPv6 neighbour of an IPv4 route")
  func via() throws {
    let bytes: [UInt8] =
      [2, 0, 0, 0, 254, 3, 0, 1, 0, 2, 0, 0]  // RTM_F_CLONED
      + [22, 0, 18, 0, 10, 0] + (IPAddress("2001:db8::44")?.networkBytes ?? []) + [0, 0]
    let route = try #require(try route(bytes))
    #expect(route.gateways == [IPAddress("2001:db8::44")])
    #expect(route.isCloned)
  }

  @Test("give the kinds of routes, unknown ones by number")
  func kinds() {
    let known: [Route.Kind] = [
      .unicast, .local, .broadcast, .anycast, .multicast, .blackhole, .unreachable, .prohibit,
    ]
    #expect((1...8).map { Route.Kind($0) } == known)
    #expect(Route.Kind(0) == .other(0))
    #expect(Route.Kind(99) == .other(99))
  }

  @Test("give a listener")
  func socket() throws {
    var bytes = [UInt8](repeating: 0, count: 72)
    bytes[0] = 10  // AF_INET6
    bytes[1] = 7  // TCP_CLOSE: an unconnected UDP socket
    bytes.replaceSubrange(4..<6, with: [0x13, 0xc4])  // port 5060
    bytes.replaceSubrange(8..<24, with: IPAddress("2001:db8::5")?.networkBytes ?? [])
    bytes[40] = 2  // interface
    bytes[64] = 33  // user
    bytes[68] = 200  // inode
    bytes += [5, 0, 11, 0, 1, 0, 0, 0]  // INET_DIAG_SKV6ONLY
    let message = try #require(try listener(bytes))
    #expect(message.local == Endpoint("[2001:db8::5]:5060"))
    #expect(message.isIPv6Only == true)
    #expect([message.interface, message.user, message.inode] == [2, 33, 200])
    bytes[0] = 2
    #expect(try listener(bytes)?.local == Endpoint("32.1.13.184:5060"))
    bytes[0] = 99
    #expect(try listener(bytes) == nil)
  }

  @Test(
    "tell the kernel's own policy rules from others",
    arguments: [
      // fib_rule_hdr: family, lengths, tos, table, two unused, action, flags; then attributes.
      ([2, 0, 0, 0, 255, 0, 0, 1, 0, 0, 0, 0], true),  // from all lookup local
      (
        [
          2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0, 8, 0, 15, 0, 254, 0, 0, 0,  // FRA_TABLE main
          8, 0, 14, 0, 255, 255, 255, 255, 8, 0, 6, 0, 0xfe, 0x7f, 0, 0,  // no suppression, pref
          5, 0, 21, 0, 2, 0, 0, 0,  // FRA_PROTOCOL
        ], true
      ),
      ([2, 0, 0, 0, 100, 0, 0, 1, 0, 0, 0, 0], false),  // another table
      ([2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0, 15, 0, 0xe8, 3, 0, 0], false),  // table 1000
      ([2, 0, 32, 0, 254, 0, 0, 1, 0, 0, 0, 0, 8, 0, 2, 0, 192, 0, 2, 5], false),  // from 192.0.2.5
      ([2, 0, 0, 16, 254, 0, 0, 1, 0, 0, 0, 0], false),  // a type of service
      ([2, 0, 0, 0, 254, 0, 0, 8, 0, 0, 0, 0], false),  // prohibit
      ([2, 0, 0, 0, 254, 0, 0, 1, 2, 0, 0, 0], false),  // not
      ([2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0, 8, 0, 14, 0, 0, 0, 0, 0], false),  // no default route
      ([2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0, 8, 0, 10, 0, 1, 0, 0, 0], false),  // fwmark 1
      ([2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0, 5, 0, 99, 0, 1, 0, 0, 0], false),  // a new one
    ] as [([UInt8], Bool)])
  func rules(bytes: [UInt8], isKernelOwn: Bool) throws {
    let rule = try #require(
      try RuleMessage(header(32), unsafe bytes.span.bytes, family: .ipv4))
    #expect(rule.isKernelOwn == isKernelOwn)
    #expect(try RuleMessage(header(32), unsafe bytes.span.bytes, family: .ipv6) == nil)
    #expect(try RuleMessage(header(24), unsafe bytes.span.bytes, family: .ipv4) == nil)
    for length in 0..<bytes.count {
      let cut = Array(bytes[..<length])
      _ = try? RuleMessage(header(32), unsafe cut.span.bytes, family: .ipv4)
    }
  }

  @Test(
    "leave an interface certain only where no other comes into question",
    arguments: [
      (RouteChoices(), [], true), (RouteChoices(uplinks: ["eth9"]), [], true),
      (RouteChoices(ruleCount: 1), [], false), (RouteChoices(isMultipath: true), [], false),
      (RouteChoices(uplinks: ["eth0", "eth1"]), [], false),
      (RouteChoices(uplinks: ["eth0", "eth1"]), ["eth0"], false),
      (RouteChoices(uplinks: ["eth0", "eth1"]), ["eth1"], true),
      (RouteChoices(ruleCount: 1, uplinks: ["eth0", "eth1"]), ["eth1"], false),
      (RouteChoices(uplinks: ["eth0", "eth1"], isMultipath: true), ["eth1"], false),
    ] as [(RouteChoices, Set<String>, Bool)])
  func certainty(choices: RouteChoices, strict: Set<String>, isCertain: Bool) {
    #expect(choices.makesCertain("eth0", strict: strict) == isCertain)
  }

  @Test("of other types and families are passed over")
  func foreign() throws {
    #expect(try RouteMessage(header(25), unsafe routeBytes.span.bytes) == nil)
    #expect(try Interface(header(20), unsafe linkBytes.span.bytes) == nil)
    #expect(try IndexedAddress(header(16), unsafe addressBytes.span.bytes) == nil)
    #expect(try route([128] + routeBytes.dropFirst()) == nil)
    #expect(try address([128] + addressBytes.dropFirst()) == nil)
  }

  @Test("cut or changed at random are read or refused", arguments: 0..<100)
  func hostile(seed: Int) {
    var generator = SeededGenerator(seed: UInt64(seed))
    for original in [linkBytes, addressBytes, routeBytes] {
      for length in 0...original.count {
        var bytes = Array(original[..<length])
        for _ in 0..<Int.random(in: 0...5, using: &generator) where !bytes.isEmpty {
          bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
            in: 0...255, using: &generator)
        }
        _ = try? route(bytes)
        _ = try? address(bytes)
        _ = try? link(bytes)
        _ = try? listener(bytes)
      }
    }
  }

  @Test("with a next hop of length zero are refused and not read for ever")
  func zeroNextHop() {
    let start: [UInt8] = [2, 24, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]
    for length: UInt8 in [0, 7, 13] {
      let hop: [UInt8] = [12, 0, 9, 0, length, 0, 0, 0, 2, 0, 0, 0]
      #expect(throws: MalformedNetlink.self) { try route(start + hop) }
    }
  }
}
