import Addressing
import Glibc
import Netlink
import SystemPackage
import Testing

@testable import HostNetwork

/// A UDP socket on a loopback address, port chosen by the kernel.
private struct BoundSocket: ~Copyable {
  let descriptor: Int32
  let port: UInt16

  init(family: AddressFamily, isIPv6Only: Bool) throws {
    let number = Int32(family.rawNumber)
    let descriptor = socket(number, Int32(SOCK_DGRAM.rawValue), 0)
    var bytes = [UInt8](repeating: 0, count: family == .ipv4 ? 16 : 28)
    bytes[0] = family.rawNumber
    if family == .ipv4 { bytes.replaceSubrange(4..<8, with: [127, 0, 0, 1]) }
    var only: Int32 = isIPv6Only ? 1 : 0
    if family == .ipv6 {
      unsafe setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &only, 4)
    }
    var length = socklen_t(bytes.count)
    let bound = unsafe bytes.withUnsafeMutableBytes { raw in
      guard let address = unsafe raw.baseAddress?.assumingMemoryBound(to: sockaddr.self)
      else { return false }
      return unsafe bind(descriptor, address, length) == 0
        && getsockname(descriptor, address, &length) == 0
    }
    port = UInt16(bytes[2]) << 8 | UInt16(bytes[3])
    self.descriptor = descriptor
    try #require(bound && port != 0, "no socket of \(family) here")
  }

  deinit {
    close(descriptor)
  }
}

@Suite("This host")
struct ThisHostTests {
  @Test("has a loopback interface, by name and by number")
  func loopback() throws {
    let interfaces = try HostNetwork.interfaces()
    let loopback = try #require(interfaces.first { $0.isLoopback })
    #expect(loopback.name == "lo")
    #expect(loopback.index == 1)
    #expect(Set(interfaces.map(\.index)).count == interfaces.count)
    let filters = try HostNetwork.reversePathFilter()
    #expect(filters["lo"].map { (0...2).contains($0) } == true)
    #expect(Set(filters.keys).isSubset(of: interfaces.map(\.name)))
  }

  @Test("has addresses only on interfaces it has, and a local route to each IPv4 one")
  func addresses() throws {
    let names = Set(try HostNetwork.interfaces().map(\.name))
    var lookup = try RouteLookup()
    for address in try HostNetwork.addresses() {
      #expect(names.contains(address.interface))
      #expect(address.prefix?.contains(address.address) == true)
      if address.address.family == .ipv4 {
        #expect(try lookup.route(to: address.address)?.kind == .local)
      }
    }
  }

  @Test("has no gateway that is unspecified, and each once")
  func gateways() throws {
    let gateways = try HostNetwork.gateways()
    #expect(Set(gateways).count == gateways.count)
    #expect(!gateways.contains { $0.isUnspecified })
  }

  @Test("lists the sockets that wait for anybody", arguments: [true, false])
  func listeners(isIPv6Only: Bool) throws {
    let plain = try BoundSocket(family: .ipv4, isIPv6Only: false)
    let found = try HostNetwork.listeners(transports: [.udp], ports: [plain.port])
    let own = try #require(found.first { $0.address.address == IPAddress("127.0.0.1") })
    #expect(own.transport == .udp)
    #expect(own.address.port == plain.port)
    #expect(own.isIPv6Only == nil)
    #expect(own.user == geteuid())
    #expect(own.inode != 0)
    let other = try HostNetwork.listeners(transports: [.tcp], ports: [plain.port])
    #expect(!other.contains { $0.inode == own.inode })

    guard let wide = try? BoundSocket(family: .ipv6, isIPv6Only: isIPv6Only) else { return }
    let wildcards = try HostNetwork.listeners(transports: [.udp], ports: [wide.port])
    let wildcard = try #require(wildcards.first { $0.address.address == IPAddress("::") })
    #expect(wildcard.isIPv6Only == isIPv6Only)
    #expect(wildcard.accepts(.ipv6))
    #expect(wildcard.accepts(.ipv4) == !isIPv6Only)
  }

  @Test("refuses a lookup between two families, and a namespace that isn't there")
  func refusals() throws {
    let four = try #require(IPAddress("192.0.2.1"))
    let six = try #require(IPAddress("2001:db8::1"))
    #expect(throws: HostNetworkError.self) { try HostNetwork.route(to: four, from: six) }
    let missing = NetworkNamespace.path(FilePath("/nonexistent"))
    let reads: [() throws -> Void] = [
      { _ = try HostNetwork.interfaces(in: missing) },
      { _ = try HostNetwork.addresses(in: missing) },
      { _ = try HostNetwork.gateways(in: missing) }, { _ = try HostNetwork.listeners(in: missing) },
      { _ = try HostNetwork.reversePathFilter(in: missing) },
      { _ = try HostNetwork.route(to: four, in: missing) },
      { _ = try HostNetwork.routeChoices(.ipv4, in: missing) },
    ]
    for read in reads {
      #expect {
        try read()
      } throws: {
        ($0 as? HostNetworkError)?.code == .namespace
      }
    }
  }

  @Test("that denies something is told apart")
  func permission() {
    let denied = HostNetworkError(NetlinkError(.namespace, operation: "x", errno: .notPermitted))
    #expect(denied.isPermissionDenied)
    let other = HostNetworkError(NetlinkError(.overrun, operation: "x", errno: .noBufferSpace))
    #expect(!other.isPermissionDenied)
    #expect(other.code == .interrupted)
  }
}

@Suite("A listener")
struct ListenerTests {
  @Test(
    "gets packets of a family by its address",
    arguments: [
      ("192.0.2.5:5060", nil, true, false), ("0.0.0.0:5060", nil, true, false),
      ("[2001:db8::5]:5060", false, false, true), ("[::]:5060", false, true, true),
      ("[::]:5060", true, false, true), ("[::]:5060", nil, true, true),
      ("[::ffff:192.0.2.5]:5060", false, true, false),
    ] as [(String, Bool?, Bool, Bool)])
  func families(address: String, isIPv6Only: Bool?, ipv4: Bool, ipv6: Bool) throws {
    let listener = Listener(
      transport: .udp, address: try #require(Endpoint(address)), isIPv6Only: isIPv6Only)
    #expect(listener.accepts(.ipv4) == ipv4)
    #expect(listener.accepts(.ipv6) == ipv6)
  }
}

@Suite("resolv.conf")
struct ResolverTests {
  @Test(
    "names servers, and nothing else in it is one",
    arguments: [
      ("nameserver 192.0.2.53\n", ["192.0.2.53"]),
      ("# nameserver 192.0.2.1\n;nameserver 192.0.2.2\nsearch nameserver\n", []),
      (
        "nameserver\t2001:db8::53\r\nnameserver  fe80::1%eth0\nnameserver 2001:db8::53",
        ["2001:db8::53", "fe80::1"]
      ),
      ("nameserver\nnameserver x\nnameserver 1.2.3\nnameserver %\n", []),
      ("options edns0\nnameserver 127.0.0.53 trailing\n", ["127.0.0.53"]),
      ("", []),
    ] as [(String, [String])])
  func lines(text: String, expected: [String]) {
    #expect(HostNetwork.nameServers(text).map(\.description) == expected)
  }

  @Test("of this host is read without an error, there or not")
  func thisHost() {
    let found = HostNetwork.resolvers()
    #expect(Set(found).count == found.count)
  }
}
