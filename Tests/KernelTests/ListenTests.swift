import Addressing
import Firewall
import Lab
import Netlink
import SIP
import SIPLeak
import Synchronization
import SystemPackage
import Testing

extension Kernel {
  /// Evidence from the wire: what peers send, heard by a rule of ours that decides nothing.
  @Suite struct Listens {
    private static var program: String {
      guard let own = PrivateNamespaces.program else { return "sipleak" }
      return FilePath(own).removingLastComponent().appending("sipleak").string
    }

    /// Listens while a closure sends, and ends when it has.
    private func listen(
      _ lab: Lab, to peers: [IPAddress], capture: String? = nil,
      while body: () async throws -> Void
    ) async throws -> SIPEvidence {
      let isDone = Flag()
      let listening = Listening(
        to: peers, seconds: 600, capture: capture.map { FilePath($0) },
        access: HostAccess(lab.pbx.namespace))
      async let evidence = listening.run { isDone.isSet }
      do {
        try await waitForRule(lab, peers.count)
        try await body()
      } catch {
        isDone.set()
        _ = try await evidence
        throw error
      }
      isDone.set()
      return try await evidence
    }

    /// Waits until a rule of ours stands for each peer.
    private func waitForRule(_ lab: Lab, _ count: Int) async throws {
      #expect(try await eventually { try await rules(lab).count >= count }, "no rule of ours came")
    }

    /// The rules of ours that stand, in any backend and family.
    private func rules(_ lab: Lab) async throws -> [Substring] {
      var found: [Substring] = []
      for tool in ["iptables-nft-save", "ip6tables-nft-save"] {
        found += try await lab.pbx.run([tool]).output.split(separator: "\n")
          .filter { $0.contains("sipleak:listen") }
      }
      for (names, tool) in [
        ("/proc/net/ip_tables_names", "iptables-legacy-save"),
        ("/proc/net/ip6_tables_names", "ip6tables-legacy-save"),
      ] where try await !lab.pbx.run(["cat", names]).output.isEmpty {
        found += try await lab.pbx.run([tool]).output.split(separator: "\n")
          .filter { $0.contains("sipleak:listen") }
      }
      return found
    }

    /// Waits until a rule of ours has counted so many packets: what was sent has come.
    private func waitForPackets(_ lab: Lab, _ count: Int) async throws {
      #expect(
        try await eventually {
          try await lab.pbx.run(["iptables-nft-save", "-c", "-t", "raw"]).output
            .split(separator: "\n").contains {
              $0.contains("sipleak:listen") && $0.hasPrefix("[\(count):")
            }
        })
    }

    private final class Flag: Sendable {
      private let value = Mutex(false)
      var isSet: Bool { value.withLock { $0 } }
      func set() { value.withLock { $0 = true } }
    }

    @Test(
      "A peer is heard on every port, nobody's fate changes, and the rules are as before",
      arguments: AddressFamily.allCases)
    func everyPort(family: AddressFamily) async throws {
      try await LeakyLab.with(family) { leaky in
        let save = family == .ipv4 ? "iptables-save" : "ip6tables-save"
        let before = try await leaky.save(save)
        let peer = leaky.attacker.local.address
        let pbx = leaky.server.local.address
        let received = leaky.server.count(from: peer)
        let evidence = try await listen(leaky.lab, to: [peer]) {
          #expect(try await rules(leaky.lab).count == 1)
          // Still let in by the state rule, as the carrier is by his.
          for _ in 0..<3 {
            #expect(try await leaky.attacker.request("INVITE", to: leaky.server.local).isAnswered)
          }
          #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
          // Asks for 5060, travels to the RTP range: refused there as ever.
          for _ in 0..<2 {
            #expect(
              try await leaky.attacker.request("INVITE", to: Endpoint(pbx, 10012)).isAnswered
                == false)
          }
          let other = try SIPClient.open(
            on: leaky.lab.attacker, address: peer, port: 31337)
          #expect(try await other.request("REGISTER", to: leaky.server.local).isAnswered == false)
        }
        #expect(leaky.server.count(from: peer) == received + 3)
        #expect(try await leaky.save(save) == before)
        #expect(evidence.problems == [])
        #expect(evidence.lost == 0 && evidence.overruns == 0)
        let heard = try #require(evidence.peers.first)
        #expect(heard.packets == 6 && heard.sipPackets == 6)
        #expect(heard.misdirected == 2)
        #expect(
          heard.methods.ranked.map { "\($0.value) \($0.count)" } == ["INVITE 5", "REGISTER 1"])
        #expect(
          heard.ports.ranked.map { "\($0.value.transport) \($0.value.port ?? 0) \($0.count)" }
            == ["udp 5060 4", "udp 10012 2"])
        let strayed = try #require(heard.messages.values.first { $0.isMisdirected })
        #expect(strayed.uriPort == 5060)
        #expect(strayed.destination == Endpoint(pbx, 10012))
        #expect(strayed.user == "100")
        #expect(strayed.source == leaky.attacker.local)
      }
    }

    @Test("Its rules go although another sipleak holds the firewall for long")
    func lockHeld() async throws {
      try await LeakyLab.with(.ipv4) { leaky in
        let before = try await leaky.save("iptables-save")
        let pbx = leaky.lab.pbx
        var holder = ""
        let evidence = try await listen(leaky.lab, to: [leaky.attacker.local.address]) {
          // As a trace of minutes does.
          let started = try await pbx.run([
            "sh", "-c",
            "flock /run/sipleak.lock sleep 300 < /dev/null > /dev/null 2>&1 & echo $!; "
              + "until ! flock -n /run/sipleak.lock true; do sleep 0.05; done",
          ])
          holder = started.output.filter(\.isNumber)
        }
        #expect(try await leaky.save("iptables-save") == before)
        #expect(evidence.problems == [])
        _ = try await pbx.attempt(["sh", "-c", "pkill -P \(holder); kill \(holder)"])
      }
    }

    @Test("The legacy backend is used where it is the one in use")
    func legacy() async throws {
      try await Lab.with { lab in
        try await lab.pbx.run(["iptables-legacy-restore"], input: ReferenceRuleset.text(.ipv4))
        // The raw table comes with the first look and stays, as the kernel has it.
        func save() async throws -> [Substring] {
          try await lab.pbx.run(["iptables-legacy-save", "-t", "filter"]).output
            .split(separator: "\n").filter { $0.hasPrefix("-A") }
        }
        let before = try await save()
        let attacker = try SIPClient.open(on: lab.attacker)
        let evidence = try await listen(lab, to: [attacker.local.address]) {
          let answer = try await attacker.request(to: Endpoint(lab.pbx.address4, 5060))
          #expect(answer == .refused(.noRouteToHost))
        }
        #expect(evidence.backends == ["legacy"])
        #expect(evidence.peers.first?.sipPackets == 1)
        #expect(try await save() == before)
        #expect(try await rules(lab) == [])
      }
    }

    @Test("A raw table that was not there before is not there afterwards")
    func madeTable() async throws {
      try await Lab.with { lab in
        let before = try await lab.pbx.run(["nft", "list", "ruleset"]).output
        let attacker = try SIPClient.open(on: lab.attacker)
        let evidence = try await listen(
          lab, to: [attacker.local.address, lab.attacker.address6]
        ) {
          let answer = try await attacker.request(to: Endpoint(lab.pbx.address4, 5060))
          #expect(answer == .refused(.connectionRefused))
        }
        #expect(evidence.peers.map(\.packets) == [1, 0])
        #expect(try await lab.pbx.run(["nft", "list", "ruleset"]).output == before)
      }
    }

    @Test("A log group that another program holds, or that another rule names, is no obstacle")
    func otherLoggers() async throws {
      try await Lab.with { lab in
        let held = try PacketLog.open(in: lab.pbx.namespace, groups: 56060...56060)
        try await lab.pbx.run([
          "iptables", "-A", "INPUT", "-j", "NFLOG", "--nflog-group", "56061", "--nflog-prefix",
          "mine",
        ])
        let attacker = try SIPClient.open(on: lab.attacker)
        let evidence = try await listen(lab, to: [attacker.local.address]) {
          let answer = try await attacker.request(to: Endpoint(lab.pbx.address4, 5060))
          #expect(answer == .refused(.connectionRefused))
        }
        #expect(evidence.group == 56061)
        // Logged twice, by two rules; ours counts.
        #expect(evidence.peers.first?.packets == 1)
        do throws(NetlinkError) {
          _ = try PacketLog.open(in: lab.pbx.namespace, groups: 56060...56060)
          Issue.record("a held group was given away")
        } catch {
          #expect(error.errno == .notPermitted)
        }
        #expect(held.group == 56060)
      }
    }

    @Test("A flood is logged up to the rate, and what the log cannot take is said")
    func flood() async throws {
      try await Lab.with { lab in
        let server = try SIPServer.start(on: lab.pbx)
        let attacker = try SIPClient.open(on: lab.attacker)
        // Counters of the kernel before our rule and behind it: a server's buffer may overflow.
        try await lab.pbx.run(
          ["nft", "-f", "-"],
          input: """
            table ip count {
              chain before {
                type filter hook prerouting priority -350;
                udp dport 5060 counter
              }
              chain behind {
                type filter hook input priority 0;
                udp dport 5060 counter
              }
            }

            """)
        let evidence = try await listen(lab, to: [attacker.local.address]) {
          // Without a pause: the rate would make up for one.
          for _ in 0..<3000 { try attacker.send(to: server.local) }
          await server.settle()
        }
        let heard = try #require(evidence.peers.first)
        // The burst of the rule and what its rate adds; never all.
        #expect(heard.packets >= 400)
        #expect(heard.packets < 3000)
        // Not one packet was dropped for it.
        var counters: [Substring] = []
        #expect(
          try await eventually {
            counters = try await lab.pbx.run(["nft", "list", "table", "ip", "count"]).output
              .split(separator: "\n").filter { $0.contains("counter packets") }
            return counters.count == 2 && Set(counters).count == 1
          }, "\(counters)")
      }
    }

    @Test("svmap and svwar are named by what they send, and tshark counts the same in the capture")
    func sipvicious() async throws {
      try await Lab.with { lab in
        // svwar goes on only against a server that answers.
        _ = try SIPServer.start(on: lab.pbx)
        let peer = lab.attacker.address4
        let file = "/run/sipvicious.pcap"
        let evidence = try await listen(lab, to: [peer], capture: file) {
          // They keep sessions below HOME, and never end before their time without an answer.
          for words in [
            ["svmap", "-p", "5060,5080", "-m", "OPTIONS", "192.0.2.5"],
            ["svwar", "--force", "-m", "INVITE", "-e", "100-120", "192.0.2.5"],
          ] {
            _ = try await lab.attacker.attempt(
              ["timeout", "-k", "1", "300", "env", "HOME=/run"] + words)
          }
        }
        let heard = try #require(evidence.peers.first)
        let marks = Set(heard.fingerprints.values.map(\.fingerprint.id))
        #expect(
          marks.isSuperset(of: [
            "sipvicious-agent", "sipvicious-name", "sipvicious-from", "sipvicious-tag",
          ]), "\(marks)")
        #expect(heard.fingerprints.values.contains { $0.text.hasPrefix("made for 192.0.2.5:50") })
        #expect(heard.users.values.contains("110"))
        #expect(heard.agents.values == ["friendly-scanner"])
        #expect(evidence.capture?.packets == heard.packets)

        let fields = try await lab.pbx.run([
          "tshark", "-r", file, "-d", "udp.port==5080,sip", "-Y", "sip.Method", "-T", "fields",
          "-e",
          "sip.Method",
        ]).output.split(separator: "\n")
        for (method, count) in zip(heard.methods.values, heard.methods.counts) {
          #expect(fields.count { $0 == method } == count, "\(method)")
        }
        #expect(fields.count == heard.sipPackets)
        let all = try await lab.pbx.run(["tshark", "-r", file]).output.split(separator: "\n")
        #expect(all.count == heard.packets)
        #expect(!all.contains { $0.contains("Malformed") })
        let permissions = try await lab.pbx.run(["stat", "-c", "%a", file]).output
        #expect(permissions == "600\n")
      }
    }

    @Test("SIPp is named by its tag")
    func sipp() async throws {
      try await Lab.with { lab in
        let evidence = try await listen(lab, to: [lab.attacker.address4]) {
          _ = try await lab.attacker.attempt([
            "timeout", "300", "sipp", "-sn", "uac", "192.0.2.5:5060", "-m", "3", "-r", "10",
            "-nostdin",
            "-max_retrans", "1", "-timeout", "3", "-i", "203.0.113.66",
          ])
        }
        let heard = try #require(evidence.peers.first)
        let marks = Set(heard.fingerprints.values.map(\.fingerprint.id))
        #expect(marks.isSuperset(of: ["sipp-tag", "sipp-subject"]), "\(marks)")
        #expect(heard.users.values == ["service"])
        #expect(heard.methods.values.first == "INVITE")
      }
    }

    @Test("Killed in the middle it leaves one rule that only logs, and the next run removes it")
    func killed() async throws {
      try await LeakyLab.with { leaky in
        let lab = leaky.lab
        let before = try await leaky.save()
        let peer = leaky.attacker.local.address
        async let first = lab.pbx.attempt([
          "sh", "-c",
          "echo $$ > /run/listener; exec '\(Self.program)' diagnose --listen 600s --peer \(peer)",
        ])
        try await waitForRule(lab, 1)
        try await lab.pbx.run(["sh", "-c", "kill -KILL $(cat /run/listener)"])
        #expect(try await first.status == 137)
        let left = try await rules(lab)
        #expect(left.count == 1)
        #expect(left.first?.contains("-j NFLOG") == true)
        // It decides nothing.
        #expect(try await leaky.attacker.request(to: leaky.server.local).isAnswered)
        #expect(try await leaky.carrier.request(to: leaky.server.local).isAnswered)
        let said = try await lab.pbx.attempt([Self.program, "diagnose"])
        #expect(said.errors.contains("left of an interrupted --listen"), "\(said)")
        let next = try await lab.pbx.attempt([Self.program, "diagnose", "--listen", "200ms"])
        #expect(next.status == 2, "\(next)")
        #expect(next.output.contains("had left were removed first"), "\(next)")
        #expect(try await rules(lab) == [])
        #expect(try await leaky.save() == before)
      }
    }

    @Test(
      "Ctrl-C, TERM and a hang-up end it early; the rule goes, and what was heard is told",
      arguments: ["INT", "TERM", "HUP"])
    func interrupted(signal: String) async throws {
      try await LeakyLab.with { leaky in
        let lab = leaky.lab
        let before = try await leaky.save()
        async let running = lab.pbx.attempt([
          "sh", "-c", "echo $$ > /run/listener; exec '\(Self.program)' diagnose --listen 600s",
        ])
        try await waitForRule(lab, 1)
        #expect(
          try await leaky.attacker.request("INVITE", to: Endpoint(lab.pbx.address4, 10012))
            .isAnswered == false)
        try await lab.pbx.run(["sh", "-c", "kill -\(signal) $(cat /run/listener)"])
        let result = try await running
        #expect(result.status == 2, "\(result)")
        #expect(result.output.contains("then interrupted"), "\(result)")
        #expect(result.output.contains("From  203.0.113.66"), "\(result)")
        #expect(
          result.output.contains("asks for port 5060 and travels to port 10012"), "\(result)")
        #expect(try await rules(lab) == [])
        #expect(try await leaky.save() == before)
      }
    }

    @Test("Purge removes a rule that was left, and nothing else")
    func purge() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let before = try await lab.pbx.run(["iptables", "-S"]).output
        try await lab.pbx.run([
          "iptables", "-t", "raw", "-A", "PREROUTING", "-s", "203.0.113.66", "-m", "comment",
          "--comment", "sipleak:listen", "-j", "NFLOG", "--nflog-group", "1",
        ])
        // A comment like ours on a rule that decides is none of ours.
        try await lab.pbx.run([
          "iptables", "-t", "raw", "-A", "PREROUTING", "-s", "203.0.113.70", "-m", "comment",
          "--comment", "sipleak:listen", "-j", "DROP",
        ])
        try await Enforcement(access: HostAccess(lab.pbx.namespace)).apply(
          try await RemovalPlan.live(.purge, access: HostAccess(lab.pbx.namespace))
        ) { _ in }
        #expect(try await rules(lab).count == 1)
        #expect(try await rules(lab).first?.contains("-j DROP") == true)
        #expect(try await lab.pbx.run(["iptables", "-S"]).output == before)
      }
    }

    @Test("JSON carries what was heard, and a payload reaches no terminal unescaped")
    func escaped() async throws {
      try await LeakyLab.with { leaky in
        let lab = leaky.lab
        let peer = leaky.attacker.local.address
        let message =
          "INVITE sip:'or'x'='x@192.0.2.5 SIP/2.0\\r\\nFrom: \\033[2J\\342\\200\\256evil <sip:a@b>\\r\\n"
          + "User-Agent: friendly-scanner\\007\\r\\n\\r\\n"
        for format in ["text", "json"] {
          async let running = lab.pbx.attempt([
            "sh", "-c",
            "echo $$ > /run/listener; exec '\(Self.program)' diagnose --listen 600s --format \(format)",
          ])
          try await waitForRule(lab, 1)
          // In one write, so in one datagram.
          try await lab.attacker.run([
            "sh", "-c", "printf '\(message.replacing("'", with: "'\\''"))' > /run/message",
          ])
          try await lab.attacker.run(["bash", "-c", "cat /run/message > /dev/udp/192.0.2.5/5060"])
          try await waitForPackets(lab, 1)
          try await lab.pbx.run(["sh", "-c", "kill -INT $(cat /run/listener)"])
          let result = try await running
          #expect(result.status == 2, "\(result)")
          #expect(
            result.output.unicodeScalars.allSatisfy {
              $0 == "\n" || $0.value >= 0x20 && $0.value != 0x7f && $0.value != 0x202e
            }, "\(result)")
          #expect(result.output.contains("friendly-scanner"))
          if format == "json" {
            #expect(result.output.contains("\"sip_evidence\":{"))
            #expect(result.output.contains("\"kind\":\"sql\""))
            #expect(result.output.contains("\"address\":\"\(peer)\""))
          } else {
            #expect(result.output.contains("INJECT sql in Request-URI"), "\(result)")
          }
        }
      }
    }

    @Test("A capture is never written over or through anything, and a full disk is told")
    func capture() async throws {
      try await LeakyLab.with { leaky in
        let lab = leaky.lab
        let before = try await leaky.save()
        try await lab.pbx.run([
          "sh", "-c",
          "rm -rf /run/cap && mkdir /run/cap && mount -t tmpfs -o size=4k t /run/cap && "
            + "echo precious > /run/precious && ln -s /run/precious /run/cap/link && "
            + "ln -s /run/elsewhere /run/cap/dangling && touch /run/cap/there",
        ])
        for name in ["/run/cap/there", "/run/cap/link", "/run/cap/dangling", "/run/cap/no/x"] {
          let result = try await lab.pbx.attempt([
            Self.program, "diagnose", "--listen", "100ms", "--pcap", name,
          ])
          // The leak stays a leak; that nothing was captured is said.
          #expect(result.status == 2, "\(result)")
          #expect(result.errors.contains("cannot write the capture"), "\(result)")
          #expect(try await rules(lab) == [])
        }
        #expect(try await lab.pbx.run(["cat", "/run/precious"]).output == "precious\n")
        #expect(try await lab.pbx.attempt(["test", "-e", "/run/elsewhere"]).status == 1)
        let evidence = try await listen(
          lab, to: [leaky.attacker.local.address], capture: "/run/cap/full.pcap"
        ) {
          let before = leaky.server.count(from: leaky.attacker.local.address)
          try await leaky.attacker.burst(60, every: .milliseconds(1), to: leaky.server.local)
          #expect(
            await leaky.server.received(before + 60, from: leaky.attacker.local.address))
        }
        #expect(evidence.problems.count == 1)
        #expect(evidence.problems.first?.contains("No space left") == true, "\(evidence.problems)")
        #expect(evidence.peers.first?.packets == 60)
        let kept = evidence.capture?.packets ?? 0
        #expect(kept < 60)
        // What is there reads back without a packet cut in half.
        let read = try await lab.pbx.run(["tshark", "-r", "/run/cap/full.pcap"])
        #expect(read.output.split(separator: "\n").count == kept)
        #expect(!read.errors.contains("cut short"))
        try await lab.pbx.run(["umount", "/run/cap"])
        #expect(try await leaky.save() == before)
      }
    }

    @Test("What keeps it from listening is one sentence, and the diagnosis stands without")
    func obstacles() async throws {
      try await LeakyLab.with { leaky in
        let pbx = leaky.lab.pbx
        let before = try await leaky.save()
        // These mounts are the test process's own.
        _ = try await pbx.run(["mount", "--bind", "/dev/null", "/usr/sbin/xtables-nft-multi"])
        let missing = try await pbx.attempt([
          Self.program, "diagnose", "--listen", "100ms", "--peer", "203.0.113.66",
        ])
        _ = try await pbx.run(["umount", "/usr/sbin/xtables-nft-multi"])
        #expect(missing.status == 3, "\(missing)")
        #expect(try await leaky.save() == before)
        for words in [
          ["--listen", "0"], ["--listen", "11m"], ["--listen", "soon"], ["--pcap", "/run/x"],
          ["--peer", "203.0.113.66"], ["--listen", "1s", "--from", "/run"],
          ["--listen", "1s", "--peer", "attacker"], ["--listen", "1s", "--pcap", ""],
        ] {
          let result = try await pbx.attempt([Self.program, "diagnose"] + words)
          #expect(result.status == 64, "\(words): \(result)")
          #expect(result.output.isEmpty)
        }
        let silent = try await pbx.attempt([
          Self.program, "diagnose", "--listen", "100ms", "--peer", "2001:db8::99",
        ])
        #expect(silent.output.contains("2001:db8::99  sent nothing in this time"), "\(silent)")
      }
    }

    @Test("Without a finding there is nobody to listen to, and nothing is changed")
    func nobody() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let result = try await lab.pbx.attempt([Self.program, "diagnose", "--listen", "600s"])
        #expect(result.output.contains("Name one with --peer"), "\(result)")
        #expect(try await rules(lab) == [])
      }
    }

    @Test("A block waits for no listener, and a second listener says that the first is at it")
    func beside() async throws {
      try await LeakyLab.with { leaky in
        let peer = leaky.attacker.local.address
        let evidence = try await listen(leaky.lab, to: [peer]) {
          do throws(SIPLeakError) {
            _ = try await Listening(
              to: [peer], seconds: 1, access: leaky.access
            ).run()
            Issue.record("two listened at once")
          } catch {
            #expect(error.code == .locked)
            #expect(error.message == "another sipleak listens now")
          }
          #expect(try await leaky.attacker.request(to: leaky.server.local).isAnswered)
          let outcome = try await leaky.block()
          #expect(outcome.answer == .verified, "\(outcome.verification.lines)")
        }
        #expect(evidence.peers.first?.sipPackets == 1)
        // Ahead of the block, so that a blocked peer is heard.
        let again = try await listen(leaky.lab, to: [peer]) {
          let answer = try await leaky.attacker.request(to: leaky.server.local)
          #expect(answer == .silence)
        }
        #expect(again.peers.first?.sipPackets == 1)
        #expect(try await rules(leaky.lab) == [])
        #expect(try await leaky.attacker.request(to: leaky.server.local) == .silence)
      }
    }
  }
}
