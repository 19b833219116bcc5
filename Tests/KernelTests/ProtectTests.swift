import Addressing
import Lab
import SIPLeak
import SystemPackage
import Testing

extension Kernel {
  /// Who is never blocked, with a real name server and real commands.
  @Suite struct Protection {
    private static var program: String {
      guard let own = PrivateNamespaces.program else { return "sipleak" }
      return FilePath(own).removingLastComponent().appending("sipleak").string
    }

    private func sipleak(_ host: LabHost, _ words: String...) async throws -> ToolOutput {
      try await host.attempt([Self.program] + words)
    }

    /// The same, asking the name server of the loopback.
    private func asking(_ host: LabHost, _ words: String...) async throws -> ToolOutput {
      let script = """
        echo nameserver 127.0.0.1 > /run/sipleak-resolv && \
        mount --bind /run/sipleak-resolv /etc/resolv.conf && exec "$@"
        """
      return try await host.attempt(
        ["unshare", "-m", "sh", "-c", script, "sh", Self.program] + words)
    }

    /// Runs a body with dnsmasq answering on the host's loopback for carrier.example.
    private func withNames(
      on host: LabHost, _ body: () async throws -> Void
    ) async throws {
      // In the foreground it changes neither user nor groups, which a private namespace forbids.
      let command = """
        dnsmasq --no-daemon --no-resolv --no-hosts --conf-file=/dev/null --listen-address=127.0.0.1 \
        --bind-interfaces --pid-file= --local=/example/ \
        --naptr-record=carrier.example,10,10,s,SIP+D2U,,_sip._udp.pool.example \
        --srv-host=_sip._udp.pool.example,a.pool.example,5060 \
        --host-record=a.pool.example,198.51.100.10,2001:db8:2::10 \
        --host-record=carrier.example,203.0.113.66 < /dev/null > /dev/null 2>&1 & echo $!
        """
      let id = try await host.run(["sh", "-c", command]).output.filter(\.isNumber)
      let end = { _ = try? await host.attempt(["kill", id]) }
      do {
        // Port 53, as the kernel lists who is bound.
        #expect(
          try await eventually {
            try await host.attempt(["grep", "-q", ":0035 ", "/proc/net/udp"]).status == 0
          })
        try await body()
      } catch {
        await end()
        throw error
      }
      await end()
    }

    @Test("A trunk's name is asked for by NAPTR, SRV, A and AAAA, remembered, and never blocked")
    func names() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let words = ["--trunk", "carrier.example", "--state", "/run/sipleak-names"]
        _ = try await pbx.run(["sh", "-c", "rm -rf /run/sipleak-names; mkdir /run/sipleak-names"])
        // Nobody answers, nothing is remembered: whoever leaks may be the trunk.
        var result = try await asking(pbx, "block", words[0], words[1], words[2], words[3])
        #expect(result.status == 1, "\(result)")
        #expect(result.output.contains("no name server answered"), "\(result)")
        #expect(!result.output.contains("add -exist"), "\(result)")
        result = try await asking(pbx, "protect", words[0], words[1], words[2], words[3])
        #expect(result.status == 3, "\(result)")

        try await withNames(on: pbx) {
          result = try await asking(pbx, "protect", words[0], words[1], words[2], words[3])
          #expect(result.status == 0, "\(result)")
          for text in ["198.51.100.10", "2001:db8:2::10", "203.0.113.66"] {
            #expect(result.output.contains(text), "\(text): \(result)")
          }
          result = try await asking(pbx, "protect", "--trunk", "nowhere.example")
          #expect(result.status == 3 && result.output.contains("no such name"), "\(result)")
        }
        // The name server is gone again, and what it said holds.
        result = try await asking(pbx, "block", words[0], words[1], words[2], words[3])
        #expect(result.errors.contains("its last answer is used"), "\(result)")
        #expect(!result.output.contains("add -exist"), "\(result)")
        result = try await asking(pbx, "audit", words[0], words[1], words[2], words[3])
        #expect(result.status == 0, "\(result)")
      }
    }

    @Test("A command's contacts are trusted, and a command that fails lets nobody be blocked")
    func command() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let contact =
          "printf '  Contact:  6001/sip:6001@203.0.113.66:24376;ob       0a1b2c3d4e Avail   1.0\\n'"
        var result = try await sipleak(
          pbx, "audit", "--trust", "198.51.100.10", "--trust-command", "sh -c \"\(contact)\"")
        #expect(result.status == 0, "\(result)")
        for (command, why) in [
          ("false", "it failed"), ("true", "it printed nothing"), ("no-such-program", "no such"),
          ("echo 'No such command'", "1:4"), ("yes 192.0.2.1", "more than 1 MiB"),
        ] {
          result = try await sipleak(
            pbx, "block", "203.0.113.66", "--apply", "--trust-command", command)
          #expect(result.status == 1, "\(command): \(result)")
          #expect((result.output + result.errors).contains(why), "\(command): \(result)")
          #expect(try await pbx.run(["ipset", "save"]).output.isEmpty)
          result = try await sipleak(
            pbx, "audit", "--trust", "203.0.113.66", "--trust-command", command)
          #expect(result.status == 3, "\(command): \(result)")
        }
      }
    }

    @Test("An address is judged as block would judge it, and a file's bad line is named")
    func address() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        var result = try await sipleak(pbx, "protect", "203.0.113.66")
        #expect(result.status == 0 && result.output.contains("could be blocked"), "\(result)")
        result = try await sipleak(pbx, "protect", "198.51.100.10")
        #expect(result.status == 1 && result.output.contains("accepted as NEW"), "\(result)")
        result = try await sipleak(pbx, "protect", "203.0.113.66", "--inside", "nowhere0")
        #expect(result.status == 3, "\(result)")
        _ = try await pbx.run(["sh", "-c", "cat > /run/list"], input: "# who\n203.0.113.66\n")
        result = try await sipleak(pbx, "protect", "203.0.113.66", "--trust-file", "/run/list")
        #expect(result.status == 1 && result.output.contains("/run/list:2"), "\(result)")
        _ = try await pbx.run(["sh", "-c", "cat > /run/list"], input: "# who\n  203.0.113.666\n")
        result = try await sipleak(pbx, "audit", "--trust-file", "/run/list")
        #expect(result.status == 3 && result.errors.contains("/run/list:2:3"), "\(result)")
        result = try await sipleak(pbx, "block", "--apply", "--trust-file", "/run/list")
        #expect(result.status == 1, "\(result)")
        #expect(try await pbx.run(["ipset", "save"]).output.isEmpty)
      }
    }

    @Test("An IPv6 prefix is blocked whole where nobody else is in it, and else the address alone")
    func prefix() async throws {
      try await LeakyLab.with(.ipv6) { leaky in
        let pbx = leaky.lab.pbx
        // Another address of the attacker's.
        _ = try await leaky.lab.attacker.run([
          "ip", "-6", "address", "add", "2001:db8:a::67/64", "dev", "eth0", "nodad",
        ])
        let neighbour = try SIPClient.open(
          on: leaky.lab.attacker, address: IPAddress("2001:db8:a::67") ?? IPAddress(ipv4: 0))
        // 2001:db8:a::1 is this host's own.
        var result = try await sipleak(pbx, "block", "--prefix6", "64")
        #expect(result.output.contains("sipleak6 2001:db8:a::66,udp:5060"), "\(result)")
        #expect(result.output.contains("2001:db8:a::1: this host's own address"), "\(result)")
        result = try await sipleak(
          pbx, "block", "--prefix6", "124", "--apply", "--verify-after", "100ms")
        #expect(result.status == 0 && result.output.contains("2001:db8:a::60/124"), "\(result)")
        let members = try await pbx.run(["ipset", "save"]).output
        #expect(members.contains("2001:db8:a::60/124,udp:5060"), "\(members)")
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        func counted() async throws -> Int {
          let text = try await pbx.run(["ipset", "save", "sipleak6"]).output
          return text.firstMatch(of: /packets (\d+)/).flatMap { Int($0.1) } ?? 0
        }
        let before = try await counted()
        #expect(try await neighbour.request(to: leaky.server.local) == .silence)
        #expect(try await counted() > before)
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
        result = try await sipleak(pbx, "unblock", "2001:db8:a::67")
        #expect(result.status == 0, "\(result)")
        #expect(!(try await pbx.run(["ipset", "save"]).output.contains("2001:db8:a::60/124")))
      }
    }
  }
}
