import Addressing
import Conntrack
import Lab
import SystemPackage
import Testing

extension Kernel {
  /// The flow table of a real kernel, filled through netlink.
  @Suite struct FlowTables {
    /// Flows of every orientation in both families and two zones, and as many that are none of ours.
    private func mix(_ count: Int, on pbx: LabHost) -> [Flow] {
      (0..<count).map { index in
        let family: AddressFamily = index % 3 == 0 ? .ipv6 : .ipv4
        let peer =
          family == .ipv4
          ? IPAddress(ipv4: 0x0a00_0001 + UInt32(index))
          : IPAddress(family: .ipv6, bits: UInt128(0x2001_0db8_000f_0000) << 64 + UInt128(index))
        let kind = index % 10
        var flow: Flow
        let inward = FlowTuple(
          source: peer, destination: pbx.address(family), transport: kind == 8 ? .tcp : .udp,
          sourcePort: kind == 9 ? 5060 : 24376,
          destinationPort: kind == 7 || kind == 9 ? 16384 : 5060)
        switch kind {
        case 0, 5:  // the peer opened it
          flow = Flow(original: inward, reply: inward.inverted, status: .seenReply, id: 0)
        case 1:  // redirected to it
          var wire = inward
          wire.destinationPort = 5070
          flow = Flow(original: wire, reply: inward.inverted, status: .seenReply, id: 0)
        case 2, 6:  // the host opened it
          flow = Flow(original: inward.inverted, reply: inward, status: [], id: 0)
        case 3:  // the host opened it, its source port translated
          var wire = inward
          wire.destinationPort = 6060
          flow = Flow(original: inward.inverted, reply: wire, status: .seenReply, id: 0)
        case 4:  // redirected away: only the wire side is 5060
          var delivered = inward.inverted
          delivered.sourcePort = 5090
          flow = Flow(original: inward, reply: delivered, status: .seenReply, id: 0)
        default:  // RTP, another transport, a phone whose own port is 5060
          flow = Flow(
            original: inward, reply: inward.inverted, status: [.seenReply, .assured], id: 0)
          if kind == 8 { flow.tcpState = 3 }
        }
        flow.zone = index % 4 == 1 ? 5 : 0
        flow.timeout = 3600
        return flow
      }
    }

    private func isDelivered(_ flow: Flow) -> Bool {
      flow.original.transport == .udp
        && (flow.original.sourcePort == 5060 || flow.reply.sourcePort == 5060)
    }

    private struct Ends: Hashable {
      var original: FlowTuple
      var reply: FlowTuple
      var zone: UInt16
      init(_ flow: Flow) {
        original = flow.original
        reply = flow.reply
        zone = flow.zone
      }
    }

    @Test("Whatever the strategy, a query gives the flows it asks for, each once")
    func strategies() async throws {
      try await Lab.with { lab in
        let namespace = lab.pbx.namespace
        let flows = mix(3000, on: lab.pbx)
        let creations = try FlowTable.create(flows, in: namespace)
        #expect(creations.created == flows.count, "\(creations)")
        #expect(try FlowTable.create(flows.prefix(10), in: namespace).existing == 10)
        let expected = Set(flows.filter(isDelivered).map(Ends.init))
        let query = FlowQuery(places: FlowQuery.deliveredSide)
        for strategy in [FlowDump.Strategy.everything, .transports, .portPlaces] {
          let dump = try FlowTable.dump(query, strategy: strategy, in: namespace)
          #expect(dump.isComplete, "\(dump.reasons)")
          #expect(dump.flows.count == expected.count, "\(strategy)")
          #expect(Set(dump.flows.map(Ends.init)) == expected, "\(strategy)")
          #expect(dump.strategy == strategy)
          #expect(dump.reading.families.map(\.family) == AddressFamily.allCases)
          #expect(
            dump.reading.families.allSatisfy { $0.walks == (strategy == .portPlaces ? 2 : 1) })
          #expect(dump.reading.isTogether == (strategy == .everything))
          #expect(dump.reading.families.map(\.flows).reduce(0, +) == expected.count)
          #expect(dump.reading.families.allSatisfy { !$0.isFallback && $0.malformed == 0 })
          var streamed: [Flow] = []
          for family in AddressFamily.allCases {
            _ = try FlowTable.walk(query, family: family, strategy: strategy, in: namespace) {
              streamed.append($0)
              return true
            }
          }
          #expect(Set(streamed.map(\.key)) == Set(dump.flows.map(\.key)), "\(strategy)")
          #expect(streamed.count == expected.count)
        }
        // The kernel's filter does the work: of the phones with port 5060 it gives one direction.
        let filtered = try FlowTable.dump(query, strategy: .portPlaces, in: namespace)
        #expect(filtered.walked < 3000)
        let all = try FlowTable.dump(
          FlowQuery(), strategy: .portPlaces, in: namespace)
        let wire = flows.filter { $0.original.transport == .udp && FlowQuery().matches($0) }
        #expect(Set(all.flows.map(Ends.init)) == Set(wire.map(Ends.init)))
      }
    }

    @Test("The command tells on request how it read the table, on standard error and in its JSON")
    func verbose() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let flows = mix(100, on: lab.pbx)
        #expect(try FlowTable.create(flows, in: lab.pbx.namespace).created == flows.count)
        for verb in [["audit"], ["diagnose"], ["observe"]] {
          let result = try await lab.pbx.attempt([Commands.program] + verb + ["--verbose"])
          for text in ["sipleak: flow table: ", "sipleak: ipv4: asked ", "sipleak: ipv6: asked "] {
            #expect(result.errors.contains(text), "\(result)")
          }
          let silent = try await lab.pbx.attempt([Commands.program] + verb)
          #expect(!silent.errors.contains("flow table"), "\(silent)")
        }
        let json = try await lab.pbx.run([
          "sh", "-c", "'\(Commands.program)' audit --format json || :",
        ])
        #expect(json.output.contains("\"reading\":{\"buckets\":"))
        #expect(json.output.contains("\"strategy\":\""))
        // What was saved tells it too.
        _ = try await lab.pbx.run([Commands.program, "observe", "--save", "/run/saved"])
        let saved = try await lab.pbx.attempt(
          [Commands.program, "audit", "--verbose", "--from", "/run/saved"])
        #expect(saved.errors.contains("sipleak: ipv4: asked "), "\(saved)")
      }
    }

    @Test("Ctrl-C in the middle of a dump ends the command at once, with nothing said")
    func interrupt() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let most = try ConntrackSettings.read(in: lab.pbx.namespace).max ?? 4096
        let flows = mix(min(200_000, Int(most) - 256), on: lab.pbx)
        #expect(try FlowTable.create(flows, in: lab.pbx.namespace).created == flows.count)
        // The walks are nearly all of the system time it takes: a few hundredths of a second of that,
        // and it is in one. Again, where this script had no turn until it was over. A shell starts
        // background jobs with SIGINT ignored, hence env.
        let script = """
          for round in $(seq 30); do
            env --default-signal=INT "$0" audit > /run/answer 2>&1 &
            pid=$!
            while read -r stat 2>/dev/null < /proc/$pid/stat; do
              set -- $stat
              [ "$3" = Z ] && break
              [ "${15}" -ge 3 ] && break
            done
            kill -INT $pid
            wait $pid
            status=$?
            [ "$status" = 130 ] && break
          done
          echo "$status $3 $(wc -c < /run/answer)"
          """
        let result = try await lab.pbx.attempt(["sh", "-c", script, Commands.program])
        let words = result.output.split(separator: " ")
        #expect(words.first == "130", "\(result)")
        #expect(words.dropFirst().first != "Z", "it was done before it could be interrupted")
        #expect(words.last == "0\n", "\(result)")
        // Nothing of it is left: the table can be read by others.
        #expect(try FlowTable.count(in: lab.pbx.namespace) >= UInt32(flows.count))
      }
    }
  }
}
