import Addressing
import Testing

@Suite struct IPAddressTests {
  @Test(
    "an address is written as RFC 5952 has it, and read back",
    arguments: [
      ("0.0.0.0", "0.0.0.0"), ("192.0.2.5", "192.0.2.5"), ("255.255.255.255", "255.255.255.255"),
      ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("2001:DB8:0:0:0:0:0:5", "2001:db8::5"),
      ("2001:db8:5::5", "2001:db8:5::5"), ("2001:0db8::0001", "2001:db8::1"),
      // One zero group is not shortened; of equal runs the first is; of unequal ones the longest.
      ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
      ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
      ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"), ("1:0:0:2:0:0:0:0", "1:0:0:2::"),
      ("::ffff:192.0.2.5", "::ffff:192.0.2.5"), ("::ffff:c000:205", "::ffff:192.0.2.5"),
      ("fe80::1", "fe80::1"),
      ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ])
  func text(given: String, written: String) throws {
    let address = try #require(IPAddress(given))
    #expect(address.description == written)
    #expect(IPAddress(written) == address)
  }

  @Test(
    "what is no address is refused",
    arguments: [
      "", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4",
      "1.2.3.-4", "0x1.2.3.4", "1.2.3.4/24", "::g", ":::", "1::2::3", "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9", "12345::", "fe80::1%eth0", "[::1]", "1.2.3.4\0", "1.2.3.4\n",
      "::ffff:1.2.3", "١.٢.٣.٤", String(repeating: "1", count: 10_000),
    ])
  func notAnAddress(text: String) {
    #expect(IPAddress(text) == nil)
  }

  @Test("bytes come out as they went in, in network order")
  func bytes() throws {
    let v4 = try #require(IPAddress(networkBytes: [192, 0, 2, 5]))
    #expect(v4 == IPAddress("192.0.2.5"))
    #expect(v4.bits == 0xc000_0205)
    #expect(v4.networkBytes == [192, 0, 2, 5])
    let v6 = try #require(IPAddress("2001:db8::ff00:42:8329"))
    #expect(v6.networkBytes.count == 16)
    #expect(v6.networkBytes.prefix(4) == [0x20, 0x01, 0x0d, 0xb8])
    #expect(IPAddress(networkBytes: v6.networkBytes) == v6)
    for count in [0, 1, 3, 5, 15, 17] {
      #expect(IPAddress(networkBytes: [UInt8](repeating: 0, count: count)) == nil)
    }
  }

  @Test("random addresses of both families survive text and bytes")
  func roundTrip() {
    for _ in 0..<2000 {
      // Whole groups cleared at random, so that runs of zeros of every place and length come up.
      var bits = UInt128.random(in: .min ... .max)
      for group in 0..<8 where Bool.random() { bits &= ~(UInt128(0xffff) << (group * 16)) }
      for family in AddressFamily.allCases {
        let address = IPAddress(family: family, bits: bits)
        #expect(IPAddress(address.description) == address)
        #expect(IPAddress(networkBytes: address.networkBytes) == address)
      }
    }
  }

  @Test("bits beyond an IPv4 address are dropped, and equal addresses are equal")
  func width() {
    let address = IPAddress(family: .ipv4, bits: .max)
    #expect(address.bits == 0xffff_ffff)
    #expect(address == IPAddress(ipv4: .max))
    #expect(IPAddress(family: .ipv6, bits: .max).bits == .max)
    #expect(IPAddress(family: .ipv4, bits: 1) != IPAddress(family: .ipv6, bits: 1))
  }

  @Test(
    "kinds of addresses are told",
    arguments: [
      ("127.0.0.1", "loopback"), ("127.255.0.3", "loopback"), ("::1", "loopback"),
      ("::ffff:127.0.0.1", "loopback"), ("0.0.0.0", "unspecified"), ("::", "unspecified"),
      ("169.254.1.1", "link"), ("fe80::5", "link"), ("febf::5", "link"), ("fec0::5", ""),
      ("224.0.0.1", "multicast"), ("239.255.255.255", "multicast"),
      ("255.255.255.255", "multicast"), ("ff02::1", "multicast"), ("240.0.0.1", ""),
      ("192.0.2.5", ""), ("2001:db8::5", ""), ("128.0.0.1", ""), ("::2", ""),
    ])
  func kinds(text: String, kind: String) throws {
    let address = try #require(IPAddress(text))
    #expect(address.isLoopback == (kind == "loopback"))
    #expect(address.isUnspecified == (kind == "unspecified"))
    #expect(address.isLinkLocal == (kind == "link"))
    #expect(address.isMulticastOrBroadcast == (kind == "multicast"))
  }

  @Test("the IPv4 address inside a mapped one comes out, others stay")
  func unmapped() throws {
    let mapped = try #require(IPAddress("::ffff:198.51.100.10"))
    #expect(mapped.family == .ipv6)
    #expect(mapped.unmapped == IPAddress("198.51.100.10"))
    let compatible = try #require(IPAddress("::198.51.100.10"))
    #expect(compatible.unmapped == compatible)
    let plain = try #require(IPAddress("198.51.100.10"))
    #expect(plain.unmapped == plain)
  }

  @Test("IPv4 sorts before IPv6, then by number")
  func order() throws {
    let sorted = try ["1.0.0.1", "9.0.0.0", "203.0.113.66", "::", "::1", "2001:db8::"]
      .map { try #require(IPAddress($0)) }
    #expect(sorted.reversed().sorted() == sorted)
  }

  @Test(
    "an endpoint is an address and a port, brackets around IPv6",
    arguments: ["192.0.2.5:5060", "[2001:db8::5]:5060", "0.0.0.0:0", "[::]:65535"])
  func endpoint(text: String) throws {
    #expect(try #require(Endpoint(text)).description == text)
  }

  @Test(
    "what is no endpoint is refused",
    arguments: [
      "", ":", "192.0.2.5", "192.0.2.5:", ":5060", "192.0.2.5:65536", "192.0.2.5:-1",
      "192.0.2.5:+1", "192.0.2.5:5060 ", "2001:db8::5:5060", "[192.0.2.5]:5060", "[2001:db8::5]",
      "[2001:db8::5:5060", "2001:db8::5]:5060", "[]:5060", "[:", "192.0.2.5:٥", "a:1",
    ])
  func notAnEndpoint(text: String) {
    #expect(Endpoint(text) == nil)
  }

  @Test("a protocol has the name iptables uses, or its number")
  func protocolNames() {
    #expect(
      [1, 6, 17, 33, 58, 132, 136, 47].map { IPProtocol(rawValue: $0).description }
        == ["icmp", "tcp", "udp", "dccp", "ipv6-icmp", "sctp", "udplite", "47"])
    #expect(IPProtocol.udp.hasPorts && IPProtocol.sctp.hasPorts)
    #expect(!IPProtocol.icmp.hasPorts && !IPProtocol(rawValue: 47).hasPorts)
  }

  @Test("a family is known by the kernel's number")
  func families() {
    for family in AddressFamily.allCases {
      #expect(AddressFamily(rawNumber: family.rawNumber) == family)
    }
    #expect(AddressFamily(rawNumber: 0) == nil)
    #expect(AddressFamily(rawNumber: 1) == nil)
  }
}
