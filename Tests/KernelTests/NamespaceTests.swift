import Addressing
import Conntrack
import Firewall
import HostNetwork
import Lab
import SIPLeak
import SystemPackage
import Testing

extension Kernel {
  /// A PBX in a namespace of its own, looked at and shut from another one.
  @Suite struct OtherNamespaces {
    /// The executable beside this test bundle.
    private static var program: String {
      guard let own = PrivateNamespaces.program else { return "sipleak" }
      return FilePath(own).removingLastComponent().appending("sipleak").string
    }

    /// Starts a process on a host that only sleeps, and gives its number to the closure.
    private func withProcess<R>(
      on host: LabHost, _ body: (String) async throws -> R
    ) async throws -> R {
      let started = try await host.run(
        ["sh", "-c", "sleep 300 < /dev/null > /dev/null 2>&1 & echo $!"])
      let id = started.output.filter(\.isNumber)
      do {
        let result = try await body(id)
        _ = try await host.run(["kill", id])
        return result
      } catch {
        _ = try? await host.run(["kill", id])
        throw error
      }
    }

    @Test("A leak is found from outside by name, process and path, and nothing of the outside's is")
    func outside() async throws {
      try await LeakyLab.with { leaky in
        let other = leaky.lab.other
        // What a mixed-up reading would show: rules, a listener and a flow of the outside's own.
        try await other.restore(
          "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p udp --dport 5060 -j DROP\nCOMMIT\n")
        _ = try SIPServer.start(on: other, address: other.address4)
        try await withProcess(on: leaky.lab.pbx) { id in
          for name in ["pbx", id, "/proc/\(id)/ns/net", "/run/netns/pbx"] {
            var result = try await other.attempt(
              [Self.program, "audit", "--netns", name, "--format", "json"])
            #expect(result.status == 2, "\(name): \(result)")
            #expect(result.output.contains("\"address\":\"203.0.113.66\""), "\(name)")
            #expect(result.output.contains("\"index\":8"))
            #expect(!result.output.contains(other.address4.description), "\(name)")
            #expect(result.output.contains("\"namespace\":\"\(name)\""))
            result = try await other.attempt([Self.program, "diagnose", "--netns", name])
            #expect(result.status == 2, "\(name): \(result)")
            #expect(result.output.contains("sipleak block 203.0.113.66 --netns \(name)"))
            result = try await other.attempt(
              [
                Self.program, "explain", "--netns", name, "udp", "203.0.113.66:1", "->",
                "192.0.2.5:5060", "state", "new",
              ])
            #expect(result.status == 0, "\(result)")
            #expect(result.output.contains("INPUT 8"), "\(result)")
            result = try await other.attempt(
              [Self.program, "watch", "--netns", name, "--for", "1s"])
            #expect(result.status == 2, "\(name): \(result)")
            #expect(result.output.contains(" leak cause=established-bypass"), "\(result)")
            result = try await other.attempt(
              [Self.program, "trace", "--netns", name, "203.0.113.66"])
            #expect(result.status == 0, "\(name): \(result)")
            #expect(result.output.contains("--netns \(name) --apply"), "\(result)")
          }
        }
        // And from there without the option: its own.
        let own = try await other.attempt([Self.program, "audit", "--format", "json"])
        #expect(!own.output.contains("203.0.113.66"), "\(own)")
      }
    }

    @Test("Everything an observation holds is the named namespace's")
    func facts() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        try await pbx.run(["ipset", "create", "inside", "hash:ip"])
        try await pbx.run(
          [
            "iptables", "-A", "INPUT", "-p", "udp", "--dport", "9", "-m", "recent", "--name",
            "insiders", "--set",
          ])
        try await pbx.run(
          ["iptables-legacy", "-t", "mangle", "-A", "INPUT", "-j", "MARK", "--set-mark", "7"])
        try pbx.set("net.netfilter.nf_conntrack_udp_timeout_stream", "77")
        try pbx.set("net.netfilter.nf_conntrack_acct", "0")
        try pbx.set("net/ipv4/conf/to-other/rp_filter", "1")
        let access = try HostAccess.opening("pbx")
        let inside = try await Observation.live(SIPLeak.SIPEndpoints(), access: access)
        let direct = try await Observation.live(
          SIPLeak.SIPEndpoints(), access: HostAccess(pbx.namespace))
        #expect(inside.problems == direct.problems)
        #expect(inside.host.namespace == "pbx")
        #expect(inside.network == direct.network)
        #expect(inside.settings.udpStreamTimeout == 77)
        #expect(inside.settings.accounting == false)
        #expect(inside.settings.count == inside.host.flowCount)
        #expect(inside.network.reversePathFilter["to-other"] == 1)
        #expect(inside.network.addresses.contains { $0.address == pbx.address4 })
        #expect(inside.network.listeners.contains { $0.address == leaky.server.local })
        #expect(inside.sample.flows.count == direct.sample.flows.count)
        let snapshot = inside.sample.firewall.snapshot
        #expect(snapshot.sets?.map(\.name) == ["inside"])
        #expect(snapshot.recentLists?.map(\.name) == ["insiders"])
        #expect(snapshot.rulesets.contains { $0.backend == .legacy && $0.table("mangle") != nil })
        // The settings come out of a saved folder as they went in.
        try ObservationFiles.save(inside, to: "/run/inside")
        let saved = try ObservationFiles.load("/run/inside")
        #expect(saved.settings == inside.settings)
        #expect(saved.host == inside.host)
        #expect(Audit(saved).settings == Audit(inside).settings)
      }
    }

    @Test("A namespace whose name is gone is still the same while it is read")
    func pinned() async throws {
      try await LeakyLab.with { leaky in
        let access = try await withProcess(on: leaky.lab.pbx) { id in
          try HostAccess.opening(id)
        }
        // The process is gone, and somebody else may have its number.
        let audit = Audit(try await Observation.live(SIPLeak.SIPEndpoints(), access: access))
        #expect(audit.findings.map(\.cause) == [.establishedBypass])
      }
    }

    @Test("The name servers of a container's own file are never blocked")
    func resolvers() async throws {
      try await LeakyLab.with { leaky in
        let script = """
          mount -t tmpfs none /etc && echo nameserver 203.0.113.53 > /etc/resolv.conf
          sleep 300 < /dev/null > /dev/null 2>&1 & echo $!
          """
        let started = try await leaky.lab.pbx.run(["unshare", "-m", "sh", "-c", script])
        let id = started.output.filter(\.isNumber)
        let observation = try await Observation.live(
          SIPLeak.SIPEndpoints(), access: try HostAccess.opening(id))
        #expect(observation.network.resolvers.contains(IPAddress(ipv4: 0xcb00_7135)))
        _ = try await leaky.lab.pbx.run(["kill", id])
      }
    }

    @Test("A block goes into the named namespace, is checked there, and leaves the outside alone")
    func block() async throws {
      try await LeakyLab.with { leaky in
        let other = leaky.lab.other
        func sipleak(_ words: String...) async throws -> ToolOutput {
          try await other.attempt([Self.program] + words + ["--netns", "pbx"])
        }
        try await other.restore("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
        let rules = try await leaky.save()
        let outside = try await other.run(["iptables-save"]).output
        var result = try await sipleak("block")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("Apply: sipleak block --netns pbx --apply"))
        #expect(result.output.contains("Undo: sipleak unblock 203.0.113.66 --netns pbx"))
        #expect(try await leaky.save() == rules)
        result = try await sipleak("block", "--apply", "--verify-after", "200ms")
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("dry run       our rules load in an empty namespace"))
        #expect(result.output.contains("verified"))
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
        #expect(try await other.run(["ipset", "save"]).output.isEmpty)
        #expect(
          try await other.run(["iptables-save"]).output.filter { !$0.isNumber }
            == outside.filter { !$0.isNumber })
        result = try await sipleak("audit", "--quiet")
        #expect(result.status == 0, "\(result)")
        result = try await sipleak("unblock", "203.0.113.66", "--dry-run")
        #expect(result.output.contains("Apply: sipleak unblock 203.0.113.66 --netns pbx"))
        result = try await sipleak("unblock", "203.0.113.66")
        #expect(result.status == 0, "\(result)")
        result = try await sipleak("purge")
        #expect(result.status == 0, "\(result)")
        #expect(try await leaky.save() == rules)
      }
    }

    @Test(
      "What is no namespace to be entered is one clear sentence, and nothing is read or changed")
    func refusals() async throws {
      try await Lab.with { lab in
        let cases = [
          ("nowhere", "there is no network namespace nowhere"),
          ("2147483646", "there is no process 2147483646"),
          ("/run/nothing", "there is no network namespace /run/nothing"),
          ("/etc/passwd", "/etc/passwd is no network namespace"),
          ("/proc/self/ns/mnt", "/proc/self/ns/mnt is no network namespace"),
          ("/dev/null", "/dev/null is no network namespace"),
          ("/run", "/run is no network namespace"),
        ]
        for (name, sentence) in cases {
          for verb in ["audit", "diagnose", "observe", "block", "purge"] {
            let result = try await lab.other.attempt([Self.program, verb, "--netns", name])
            #expect(
              result.status == (["block", "purge"].contains(verb) ? 1 : 3), "\(verb) \(result)")
            #expect(result.errors.contains("sipleak: \(sentence)"), "\(verb) \(result)")
            #expect(result.output.isEmpty)
          }
        }
        let result = try await lab.other.attempt(
          [
            "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", Self.program, "audit",
            "--netns", "pbx",
          ])
        #expect(result.status == 3, "\(result)")
        #expect(result.errors.contains("Run it as root"), "\(result)")
        for words in [
          ["audit", "--from", "/run"], ["explain", "--ruleset", "x", "udp", "a", "->", "b"],
        ] {
          let result = try await lab.other.attempt([Self.program] + words + ["--netns", "pbx"])
          #expect(result.status == 64, "\(result)")
        }
      }
    }

    @Test("The texts of a ticket give the finding that the host itself gives")
    func ticket() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let live = try #require(Audit(try await leaky.observe()).findings.first)
        for form in ["", "-o extended,id,timestamp", "-o save", "/proc"] {
          let table = form == "/proc" ? "cat /proc/net/nf_conntrack" : "conntrack -L \(form)"
          let result = try await pbx.attempt(
            [
              "sh", "-c",
              """
              \(table) > /run/table.txt 2>&1; iptables-save -c > /run/rules.v4
              exec setpriv --bounding-set=-all --inh-caps=-all -- '\(Self.program)' audit --quiet \\
                --format json --flows /run/table.txt --ruleset /run/rules.v4 --local 192.0.2.5
              """,
            ])
          #expect(result.status == 2, "\(form): \(result)")
          #expect(result.output.contains("\"cause\":\"established-bypass\""))
          #expect(result.output.contains("\"grade\":\"\(live.grade?.rawValue ?? "")\""))
          #expect(result.output.contains("\"address\":\"203.0.113.66\",\"port\":24376"))
          #expect(result.output.contains("\"index\":\(live.asNew.rule?.index ?? 0)"))
          #expect(result.output.contains("\"complete\":true"), "\(form): \(result)")
        }
      }
    }
  }
}
