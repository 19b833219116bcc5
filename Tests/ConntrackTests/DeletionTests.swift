import Addressing
import Netlink
import SystemPackage
import Testing

@testable import Conntrack

@Suite("A deletion")
struct DeletionTests {
  private let tuple = FlowTuple.udp("203.0.113.66:24376 > 192.0.2.5:5060")

  @Test("always names the whole original tuple, the zone unless 0, and the id")
  func bytes() throws {
    let key = FlowKey(original: tuple, zone: 5, id: 0x8820_89c0)
    let request = try FlowTable.deletion(of: key)
    #expect(Array(request.bytes[4..<6]) == [0x02, 0x01])  // IPCTNL_MSG_CT_DELETE, ctnetlink
    #expect(
      Array(request.bytes[16...])
        == [2, 0, 0, 0] + attribute(1, nested: true, tupleBytes(tuple))
        + attribute(18, [0, 5]) + attribute(12, [0x88, 0x20, 0x89, 0xc0]))
    let plain = try FlowTable.deletion(of: FlowKey(original: tuple, zone: 0, id: 1))
    #expect(
      Array(plain.bytes[16...])
        == [2, 0, 0, 0] + attribute(1, nested: true, tupleBytes(tuple))
        + attribute(12, [0, 0, 0, 1]))
  }

  @Test("of what has no ports or two families is refused before anything is sent")
  func invalid() {
    var icmp = tuple
    icmp.transport = .icmp
    var mixed = tuple
    mixed.destination = IPAddress(family: .ipv6, bits: 1)
    for original in [icmp, mixed] {
      let key = FlowKey(original: original, zone: 0, id: 1)
      #expect {
        // A valid key first: it must not be deleted when a later one is refused.
        try FlowTable.delete([FlowKey(original: tuple, zone: 0, id: 1), key])
      } throws: {
        ($0 as? ConntrackError)?.code == .invalidKey
      }
      let expectation = Conntrack.Expectation(tuple: original, mask: tuple, master: tuple, id: 1)
      #expect {
        try ExpectationTable.delete(expectation)
      } throws: {
        ($0 as? ConntrackError)?.code == .invalidKey
      }
    }
  }

  @Test("of nothing needs no socket")
  func none() throws {
    #expect(try FlowTable.delete([], in: .path(FilePath("/nonexistent"))).deleted == 0)
  }

  @Test("of an expectation names tuple, zone and id")
  func expectation() throws {
    var expectation = Conntrack.Expectation(tuple: tuple, mask: tuple, master: tuple, id: 7)
    expectation.zone = 5
    let request = try ExpectationTable.deletion(of: expectation)
    #expect(Array(request.bytes[4..<6]) == [0x02, 0x02])  // IPCTNL_MSG_EXP_DELETE
    #expect(
      Array(request.bytes[16...])
        == [2, 0, 0, 0] + attribute(2, nested: true, tupleBytes(tuple))
        + attribute(7, [0, 5]) + attribute(5, [0, 0, 0, 7]))
  }
}

@Suite("An expectation")
struct ExpectationTests {
  private static let tuple = FlowTuple.udp("203.0.113.66:0 > 192.0.2.5:5060")
  private static let mask = FlowTuple.udp("255.255.255.255:0 > 255.255.255.255:65535")
  private static let master = FlowTuple.udp("192.0.2.5:5060 > 203.0.113.66:7000")

  private static let message: [UInt8] =
    [2, 0, 0, 0]
    + attribute(1, nested: true, tupleBytes(master))  // CTA_EXPECT_MASTER
    + attribute(2, nested: true, tupleBytes(tuple))  // CTA_EXPECT_TUPLE
    + attribute(3, nested: true, tupleBytes(mask))  // CTA_EXPECT_MASK
    + attribute(4, [0, 0, 2, 0x57])  // CTA_EXPECT_TIMEOUT 599
    + attribute(5, [0x99, 0xbc, 0xbf, 0xef])  // CTA_EXPECT_ID
    + attribute(6, [0x73, 0x69, 0x70, 0])  // CTA_EXPECT_HELP_NAME
    + attribute(7, [0, 5])  // CTA_EXPECT_ZONE
    + attribute(8, [0, 0, 0, 3])  // CTA_EXPECT_FLAGS
    + attribute(9, [0, 0, 0, 1])  // CTA_EXPECT_CLASS

  private func decode(_ bytes: [UInt8]) throws(MalformedNetlink) -> Conntrack.Expectation {
    try Conntrack.Expectation(message: unsafe bytes.span.bytes)
  }

  @Test("is decoded field by field")
  func decoding() throws {
    var expected = Conntrack.Expectation(
      tuple: Self.tuple, mask: Self.mask, master: Self.master, id: 0x99bc_bfef)
    expected.timeout = 599
    expected.helper = "sip"
    expected.zone = 5
    expected.flags = [.permanent, .inactive]
    expected.expectationClass = 1
    #expect(try decode(Self.message) == expected)
  }

  @Test("cut anywhere is refused or misses only what was cut")
  func truncation() {
    for length in 0..<Self.message.count {
      if let cut = try? decode(Array(Self.message[..<length])) {
        #expect(cut.tuple == Self.tuple && cut.mask == Self.mask)
      }
    }
  }

  @Test("that makes no sense is counted, and the others are kept")
  func malformed() {
    var dump = ExpectationDump()
    for bytes in [Self.message, Array(Self.message.prefix(30)), [], Self.message] {
      dump.take(unsafe bytes.span.bytes)
    }
    #expect(dump.expectations.count == 2)
    #expect(dump.reasons == ["2 expectations could not be decoded"])
    dump.isInterrupted = true
    #expect(dump.reasons.count == 2)
    #expect(ExpectationDump().reasons == [])
  }

  @Test("admits what its mask leaves open")
  func admission() {
    let near = FlowTuple.udp("203.0.113.66:9999 > 192.0.2.5:5060")
    let far = FlowTuple.udp("198.51.100.7:9999 > 192.0.2.5:5060")
    var expectation = Conntrack.Expectation(
      tuple: Self.tuple, mask: Self.mask, master: Self.master, id: 1)
    #expect(expectation.admits(near))
    #expect(!expectation.admits(far))
    #expect(!expectation.admitsAnySource)
    #expect(!expectation.admits(.udp("203.0.113.66:9999 > 192.0.2.5:5061")))
    // sip_direct_signalling=0 (facts A4)
    expectation.tuple.source = IPAddress(ipv4: 0)
    expectation.mask.source = IPAddress(ipv4: 0)
    #expect(expectation.admits(far))
    #expect(expectation.admitsAnySource)
  }
}

@Suite("An error of the conntrack table")
struct ConntrackErrorTests {
  @Test(
    "tells a missing capability, a missing namespace and a missing kernel part apart",
    arguments: [
      (
        NetlinkError(.refused, operation: "x", errno: .notPermitted),
        ConntrackError.Code.permissionDenied
      ),
      (NetlinkError(.namespace, operation: "x", errno: .permissionDenied), .permissionDenied),
      (NetlinkError(.namespace, operation: "x", errno: .noSuchFileOrDirectory), .namespace),
      (NetlinkError(.open, operation: "x", errno: .protocolNotSupported), .unsupported),
      (NetlinkError(.overrun, operation: "x", errno: .noBufferSpace), .interrupted),
      (NetlinkError(.malformed, operation: "x"), .malformed),
      (NetlinkError(.refused, operation: "x", errno: .invalidArgument), .kernel),
    ])
  func codes(error: NetlinkError, expected: ConntrackError.Code) {
    let made = ConntrackError(error)
    #expect(made.code == expected)
    #expect(made.isPermissionDenied == (expected == .permissionDenied))
    #expect(made.isPermissionDenied == (made.advice?.contains("CAP_NET_ADMIN") ?? false))
  }

  @Test("is what reading a namespace that isn't there gives")
  func missingNamespace() {
    let missing = NetworkNamespace.path(FilePath("/nonexistent"))
    let reads: [() throws -> Void] = [
      { _ = try FlowTable.dump(FlowQuery(), in: missing) },
      { _ = try FlowTable.count(in: missing) },
      { _ = try ExpectationTable.dump(in: missing) },
      { _ = try ConntrackSettings.read(in: missing) },
      {
        _ = try FlowTable.delete(
          FlowKey(original: .udp("192.0.2.1:1 > 192.0.2.2:2"), zone: 0, id: 1), in: missing)
      },
    ]
    for read in reads {
      #expect {
        try read()
      } throws: { error in
        (error as? ConntrackError)?.code == .namespace
      }
    }
  }

  @Test("or a dump is what this kernel gives, never a clean answer without the capability")
  func thisKernel() throws {
    do {
      let dump = try FlowTable.dump(FlowQuery())
      #expect(dump.isComplete == dump.reasons.isEmpty)
      #expect(dump.flows.count <= Int(dump.walked))
      #expect(dump.flows.allSatisfy { FlowQuery().matches($0) })
    } catch {
      #expect(error.isPermissionDenied || error.code == .unsupported)
    }
    _ = try ConntrackSettings.read()
  }
}
