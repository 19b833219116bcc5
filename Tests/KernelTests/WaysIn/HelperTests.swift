import Addressing
import Conntrack
import Firewall
import Glibc
import Lab
import SIPLeak
import Testing

extension Kernel {
  /// What the kernel's SIP helper lets in.
  @Suite(.timeLimit(.minutes(15))) struct WaysInByHelper {
    /// Gives SIP flows of both directions the helper (no automatic assignment on new kernels).
    private func assignHelper(_ scene: Scene) async throws {
      for rule in ["PREROUTING -p udp --dport 5060", "OUTPUT -p udp --sport 5060"] {
        try await scene.rule("-t raw -A \(rule) -j CT --helper sip")
      }
    }

    /// Registers with the carrier, which answers as a registrar does.
    private func register(_ scene: Scene, _ server: SIPServer) async throws -> SIPServer {
      let registrar = try SIPServer.start(on: scene.lab.carrier, address: scene.carrier)
      try server.send("REGISTER", to: registrar.local)
      #expect(await server.received(1, from: scene.carrier))
      return registrar
    }

    @Test(
      "A registration opens a lasting door for its registrar, which is only to be looked at",
      arguments: Ground.all)
    func registrar(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        try await assignHelper(scene)
        let server = try scene.serve()
        let registrar = try await register(scene, server)
        // The allow rule for the carrier goes; the expectation stays.
        try await scene.rule("-D INPUT 5")
        let expectations = try await scene.observe().expectations
        try #require(expectations.count == 1, "\(expectations)")
        #expect(expectations[0].flags.contains(.permanent))
        #expect(expectations[0].tuple.destinationEndpoint == scene.pbx)
        #expect(!expectations[0].admitsAnySource)

        var found = try await scene.audit().findings
        #expect(Set(found.map(\.cause)) == [.expected, .hostOpened])
        #expect(found.allSatisfy { $0.level == .look })
        let unused = try #require(found.first { $0.cause == .expected })
        #expect(unused.flow == nil)
        #expect(unused.peer == Endpoint(scene.carrier, 0))
        #expect(unused.peerPort == nil)
        #expect(unused.wire == scene.pbx)
        #expect(unused.asNew.verdict == .reject)
        #expect(unused.asHeld.verdict == .accept)

        // The registrar's call comes from another port, RELATED, though no rule admits it any more.
        let call = try scene.client(scene.lab.carrier, port: 31000)
        try await scene.expectIn(call, at: scene.pbx, server)
        found = try await scene.audit().findings
        let used = try #require(found.first { $0.peer?.port == 31000 })
        #expect(used.cause == .expected)
        #expect(used.level == .look)
        #expect(used.origin == .peer)
        #expect(used.flow?.status.contains(.expected) == true)
        #expect(used.flow?.master?.destination == registrar.local.address)
        #expect(found.filter { $0.cause == .expected }.count == 1)
        #expect(try await scene.audit().exitStatus == 1)

        let attacker = try scene.client(scene.lab.attacker)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        #expect(try await scene.audit().findings(of: scene.attacker).isEmpty)
      }
    }

    /// How an expectation of anybody comes about.
    enum Maker {
      /// A program of root's makes it, as conntrackd and helpers in user space do.
      case program
      /// The helper itself, told to by its module's parameter.
      case parameter

      static let path = "/sys/module/nf_conntrack_sip/parameters/sip_direct_signalling"

      /// The parameter is the machine's, not the namespace's: it is set only where the environment
      /// says that this machine may be changed, and put back.
      static var mayBeSet: Bool {
        let isAllowed = unsafe getenv("SIPLEAK_SET_MODULE_PARAMETERS") != nil
        let isWritable = unsafe access(path, W_OK) == 0
        return isAllowed && isWritable
      }

      static func read() throws -> String {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        try #require(file >= 0)
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = unsafe Glibc.read(file, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
      }

      static func write(_ value: String) throws {
        let file = unsafe open(path, O_WRONLY | O_CLOEXEC)
        try #require(file >= 0)
        defer { close(file) }
        #expect(unsafe Glibc.write(file, value, value.utf8.count) == value.utf8.count)
      }
    }

    /// Has an expectation made that lets anybody in to the PBX's SIP port.
    private func expectAnybody(_ scene: Scene, _ maker: Maker, _ server: SIPServer) async throws {
      try await assignHelper(scene)
      guard maker == .program else {
        let before = try Maker.read()
        try Maker.write("0")
        defer { #expect(throws: Never.self) { try Maker.write(before) } }
        _ = try await register(scene, server)
        return
      }
      // A request that expects nothing by itself; the kernel keeps one expectation a tuple.
      let peer = try SIPServer.start(on: scene.lab.carrier, address: scene.carrier)
      try server.send("OPTIONS", to: peer.local)
      #expect(await server.received(1, from: scene.carrier))
      let none = scene.wildcard
      let all =
        scene.family == .ipv4 ? "255.255.255.255" : "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
      let words = [
        "conntrack", "-I", "expect", "-p", "udp", "-s", "\(scene.pbx.address)", "-d",
        "\(scene.carrier)", "--sport", "5060", "--dport", "5060", "--tuple-src", "\(none)",
        "--tuple-dst", "\(scene.pbx.address)", "--mask-src", "\(none)", "--mask-dst", all,
        "--tuple-port-src", "0", "--tuple-port-dst", "5060", "--mask-port-src", "0",
        "--mask-port-dst", "65535", "-t", "600",
      ]
      try await scene.lab.pbx.run(words)
    }

    @Test(
      "An expectation of anybody is a leak before anybody comes, and who comes is one",
      arguments: Ground.all)
    func anybody(ground: Ground) async throws {
      try await comesIn(ground, .program)
    }

    @Test(
      "With sip_direct_signalling=0 a registration is such an expectation, as it stands it is not",
      arguments: Ground.all)
    func parameter(ground: Ground) async throws {
      // The parameter is the machine's: it is changed only where SIPLEAK_SET_MODULE_PARAMETERS says so.
      if Maker.mayBeSet { return try await comesIn(ground, .parameter) }
      try await Scene.with(ground) { scene in
        let server = try scene.serve()
        try await assignHelper(scene)
        _ = try await register(scene, server)
        let expectations = try await scene.observe().expectations
        #expect(expectations.count == 1)
        #expect(expectations.allSatisfy { !$0.admitsAnySource }, "is the parameter 0 here?")
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.expectOut(attacker, at: scene.pbx, server)
      }
    }

    private func comesIn(_ ground: Ground, _ maker: Maker) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve()
        try await expectAnybody(scene, maker, server)
        var audit = try await scene.audit()
        let door = try #require(audit.findings.first)
        #expect(door.cause == .expected)
        #expect(door.level == .leak)
        #expect(door.grade == nil)
        #expect(door.peer == nil)
        #expect(door.wire == scene.pbx)
        #expect(door.delivered == scene.pbx)
        #expect(door.expectation?.admitsAnySource == true)
        #expect(!door.isBlockable)
        #expect(door.asNew.verdict == .reject)
        #expect(door.asHeld.verdict == .accept)
        #expect(audit.exitStatus == 2)

        let attacker = try scene.client(scene.lab.attacker)
        try await scene.expectIn(attacker, at: scene.pbx, server)
        audit = try await scene.audit()
        let finding = try #require(audit.findings(of: scene.attacker).first)
        #expect(finding.cause == .expected)
        #expect(finding.level == .leak)
        #expect(finding.peer == attacker.local)
        #expect(finding.flow?.status.contains(.expected) == true)
        #expect(finding.flow?.master?.destination == scene.carrier)
        #expect(finding.isBlockable, "\(finding.notBlockableBecause ?? "")")

        let (_, outcome) = try await scene.block()
        #expect(outcome.verification.answer == .verified, "\(outcome.verification.lines)")
        try await scene.expectOut(attacker, at: scene.pbx, server)
        // Whoever is not blocked still finds the door, until it is shut (facts A4d).
        #expect(try await scene.audit().findings.first?.peer == nil)
        try await scene.lab.pbx.run(["conntrack", "-F", "expect"])
        #expect(try await scene.audit().findings.allSatisfy { $0.level == .look })
      }
    }

    @Test("A watch reports a door for anybody, and when it is shut", arguments: [Ground.all[0]])
    func watched(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let server = try scene.serve()
        let summary = try await watching(scene.lab) { heard in
          try await expectAnybody(scene, .program, server)
          await heard.wait(for: " leak cause=expected grade=none src=any")
          try await scene.lab.pbx.run(["conntrack", "-F", "expect"])
          await heard.wait(for: " gone cause=expected")
        }
        #expect(summary.leaks == 1)
      }
    }

    @Test(
      "A registration through a masquerading router opens a door to the inner PBX",
      arguments: Ground.all)
    func translated(ground: Ground) async throws {
      try await Scene.with(ground) { scene in
        let inner = Endpoint(scene.lab.other.address(scene.family), 5060)
        let forwarding = scene.family == .ipv4 ? "ipv4/ip_forward" : "ipv6/conf/all/forwarding"
        try scene.lab.pbx.set("net/\(forwarding)", "1")
        try await scene.load(
          """
          *raw
          :PREROUTING ACCEPT [0:0]
          -A PREROUTING -i to-other -p udp -m udp --sport 5060 -j CT --helper sip
          COMMIT
          *nat
          :POSTROUTING ACCEPT [0:0]
          -A POSTROUTING -o to-carrier -j MASQUERADE
          COMMIT
          *filter
          :INPUT DROP [0:0]
          :FORWARD DROP [0:0]
          -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
          -A FORWARD -i to-other -j ACCEPT
          COMMIT

          """)
        let server = try SIPServer.start(on: scene.lab.other, address: inner.address)
        let registrar = try SIPServer.start(on: scene.lab.carrier, address: scene.carrier)
        try server.send("REGISTER", to: registrar.local)
        #expect(await server.received(1, from: scene.carrier))
        var found = try await scene.audit().findings
        let doors = try await scene.observe().expectations
        let unused = try #require(found.first { $0.cause == .expected }, "\(doors)")
        #expect(unused.delivered == inner)
        #expect(unused.wire.address != inner.address)
        #expect(unused.level == .look)
        #expect(unused.asNew.verdict.isRefused)
        #expect(unused.asHeld.rule?.chain == "FORWARD")

        let call = try scene.client(scene.lab.carrier, port: 31000)
        try await scene.expectIn(call, at: unused.wire, server)
        found = try await scene.audit().findings
        let used = try #require(found.first { $0.peer?.port == 31000 })
        #expect(used.cause == .expected)
        #expect(used.level == .look)
        #expect(used.isTranslated)
        #expect(used.wire == unused.wire)
        #expect(used.delivered == inner)
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.expectOut(attacker, at: unused.wire, server)
      }
    }

    @Test(
      "Where the rules refuse what is RELATED, an expectation opens nothing", arguments: Ground.all)
    func relatedRefused(ground: Ground) async throws {
      let rules = ReferenceRuleset.text(ground.family).replacing(
        "RELATED,ESTABLISHED", with: "ESTABLISHED")
      try await Scene.with(ground, rules: rules) { scene in
        let server = try scene.serve()
        try await expectAnybody(scene, .program, server)
        let attacker = try scene.client(scene.lab.attacker)
        try await scene.expectOut(attacker, at: scene.pbx, server)
        #expect(try await scene.audit().findings.filter { $0.cause != .hostOpened }.isEmpty)
      }
    }
  }
}
