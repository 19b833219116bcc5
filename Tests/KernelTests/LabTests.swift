import Addressing
import Glibc
import Lab
import Netlink
import SystemPackage
import Testing

extension Kernel {
  /// The lab itself holds what its names promise.
  @Suite struct LabHosts {
    private func sip(_ lab: Lab, _ family: AddressFamily) -> Endpoint {
      Endpoint(lab.pbx.address(family), 5060)
    }

    @Test("the test process is not in the namespace it was started from")
    func isElsewhere() {
      var status = stat()
      #expect(unsafe stat("/proc/self/ns/net", &status) == 0)
      #expect(UInt64(status.st_ino) != Namespaces.outside)
      #expect(PrivateNamespaces.isInside)
    }

    @Test("a namespace that is not the lab's own is refused and nothing runs in it")
    func foreignNamespaceIsRefused() async throws {
      try await Lab.with { lab in
        // What stands for a host now leads to something that is no namespace.
        #expect(unsafe umount2("/run/netns/other", Int32(MNT_DETACH)) == 0)
        await #expect(throws: LabError.self) { try await lab.other.run(["true"]) }
        let error = await #expect(throws: LabError.self) { try await lab.other.attempt(["true"]) }
        #expect(error?.code == .notPrivate)
      }
    }

    @Test("every host reaches the pbx and is reached by it", arguments: AddressFamily.allCases)
    func allHostsAreJoined(family: AddressFamily) async throws {
      try await Lab.with { lab in
        let server = try SIPServer.start(on: lab.pbx, address: lab.pbx.address(family))
        for host in [lab.carrier, lab.attacker, lab.other] {
          let client = try SIPClient.open(on: host, address: host.address(family))
          let answer = try await client.request(to: sip(lab, family))
          #expect(answer == .answered(status: 200), "\(host.name)")
          #expect(server.count(from: host.address(family)) == 1)
          try server.send(to: client.local)
          #expect(await eventually { client.receivedCount == 2 })
        }
      }
    }

    @Test("closing leaves no namespace and no name", .timeLimit(.minutes(15)))
    func closingLeavesNothing() async throws {
      let lab = try await Lab.open()
      let server = try SIPServer.start(on: lab.pbx)
      let client = try SIPClient.open(on: lab.attacker)
      _ = try await client.request(to: server.local)
      lab.close()
      lab.close()
      #expect(throws: LabError.self) { try client.send(to: server.local) }
      for host in lab.hosts {
        #expect(unsafe access("/run/netns/\(host.name)", F_OK) != 0)
        await #expect(throws: LabError.self) { try await host.run(["true"]) }
      }
    }

    @Test("a second lab in the same process is refused, and a lab after it is not")
    func oneAtATime() async throws {
      let lab = try await Lab.open()
      let error = await #expect(throws: LabError.self) { try await Lab.open() }
      #expect(error?.code == .alreadyOpen)
      lab.close()
      try await Lab.open().close()
    }

    @Test("hosts that a crashed run left are replaced")
    func crashedRunIsCleanedUp() async throws {
      try await Lab.with { lab in try await lab.pbx.run(["true"]) }
      #expect(unsafe mkdir("/run/netns", 0o755) == 0 || errno == EEXIST)
      let left = unsafe open("/run/netns/pbx", O_CREAT | O_RDONLY, 0o600)
      #expect(left >= 0)
      close(left)
      try await Lab.with { lab in
        let addresses = try await lab.pbx.run(["ip", "addr"]).output
        #expect(addresses.contains("192.0.2.5"))
      }
    }

    @Test("a tool that fails says what it said")
    func failingTool() async throws {
      try await Lab.with { lab in
        let error = await #expect(throws: LabError.self) {
          try await lab.pbx.run(["iptables", "-A", "NOWHERE", "-j", "ACCEPT"])
        }
        #expect(error?.code == .toolFailed)
        #expect(error?.reason.hasPrefix("status ") == true)
        let missing = await #expect(throws: LabError.self) {
          try await lab.pbx.run(["no-such-program"])
        }
        #expect(missing?.code == .toolFailed)
      }
    }
  }
}

/// Looks again and again until something holds.
///
/// - Parameters:
///   - limit: How long to go on: so long that only what never comes takes it.
///   - condition: What should hold.
/// - Returns: Whether it came to hold.
func eventually(
  within limit: Duration = .seconds(300), _ condition: () async throws -> Bool
) async rethrows -> Bool {
  let end = ContinuousClock.now + limit
  while ContinuousClock.now < end {
    if try await condition() { return true }
    try? await Task.sleep(for: .milliseconds(5))
  }
  return try await condition()
}
