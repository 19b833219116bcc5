import Addressing
import Conntrack
import Glibc
import Lab
import Netlink
import SystemPackage
import Testing

/// Sends plain datagrams from a host, one from each of many ports.
private func sendOnce(
  from host: LabHost, ports: some Sequence<UInt16>, to destination: Endpoint, text: String = "x"
) throws {
  let ports = Array(ports)
  try host.namespace.run {
    for port in ports {
      let file = socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      defer { close(file) }
      func address(_ end: Endpoint) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = UInt16(AF_INET)
        address.sin_port = end.port.bigEndian
        address.sin_addr.s_addr = UInt32(truncatingIfNeeded: end.address.bits).bigEndian
        return address
      }
      func with(_ end: Endpoint, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int) -> Int {
        var address = address(end)
        return unsafe withUnsafePointer(to: &address) { pointer in
          unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
          }
        }
      }
      let bound = unsafe with(Endpoint(host.address4, port)) { unsafe Int(bind(file, $0, $1)) }
      guard bound == 0 else { throw Errno(rawValue: errno) }
      let bytes = Array(text.utf8)
      let sent = unsafe with(destination) {
        unsafe sendto(file, bytes, bytes.count, 0, $0, $1)
      }
      guard sent == bytes.count else { throw Errno(rawValue: errno) }
    }
  }
}

/// How many netlink sockets a host has: nobody else opens any there.
private func netlinkSockets(on host: LabHost) throws -> Int {
  let path = FilePath("/proc/thread-self/net/netlink")
  let text = try #require(try host.namespace.readFiles([path])[path])
  // The first line names the columns; the kernel's own sockets have port 0.
  return text.split(separator: "\n").dropFirst().count {
    $0.split(separator: " ").dropFirst(2).first != "0"
  }
}

extension Kernel {
  /// What the kernel tells about flows, as it happens.
  @Suite(.timeLimit(.minutes(15))) struct Events {
    @Test("NEW, UPDATE and DESTROY of real traffic arrive, of SIP only", arguments: [false, true])
    func traffic(leavesOutUnanswered: Bool) async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx)
        let media = try SIPServer.start(on: lab.pbx, port: 16384)
        let carrier = try SIPClient.open(on: lab.carrier, port: 24376)
        let phone = try SIPClient.open(on: lab.other, port: 7078)
        let filter = FlowEventFilter(leavesOutUnanswered: leavesOutUnanswered)
        let events = try FlowEvents.open(filter, in: lab.pbx.namespace)
        #expect(try await phone.request(to: media.local).isAnswered)
        #expect(try await carrier.request(to: server.local).isAnswered)
        #expect(try await carrier.request(to: server.local).isAnswered)
        try await lab.pbx.run(["conntrack", "-F"])
        var seen: [String] = []
        for try await event in events {
          switch event {
          case .new(let flow): seen.append("new \(flow.original.sourceEndpoint)")
          // One that comes more than two seconds later makes it ASSURED.
          case .update(let flow) where flow.status.contains(.assured): break
          case .update(let flow):
            #expect(flow.status.contains(.seenReply))
            seen.append("update \(flow.original.sourceEndpoint)")
          case .destroy(let flow): seen.append("destroy \(flow.original.sourceEndpoint)")
          default: seen.append("\(event)")
          }
          if case .destroy = event { break }
        }
        let source = carrier.local
        #expect(
          seen == (leavesOutUnanswered ? [] : ["new \(source)"])
            + ["update \(source)", "destroy \(source)"])
        // The kernel kept the rest away: nothing was decoded in vain.
        #expect(events.counts.received == events.counts.given)
        #expect(events.counts.losses == 0)
      }
    }

    @Test("Both families arrive, and a flow the host opens")
    func families() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let events = try FlowEvents.open(in: lab.pbx.namespace)
        let server = try SIPServer.start(on: lab.pbx, address: lab.pbx.address6)
        let carrier = try SIPClient.open(
          on: lab.carrier, address: lab.carrier.address6, port: 5060)
        #expect(try await carrier.request(to: server.local).isAnswered)
        let own = try SIPServer.start(on: lab.pbx)
        try own.send(to: Endpoint(lab.other.address4, 33333))
        var sources: Set<Endpoint> = []
        for try await event in events {
          if case .new(let flow) = event { sources.insert(flow.original.sourceEndpoint) }
          if sources.count == 2 { break }
        }
        #expect(sources == [carrier.local, own.local])
      }
    }

    @Test("An expectation to SIP arrives when the helper makes it, and when it goes")
    func expectations() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        try await lab.pbx.run(
          [
            "iptables", "-t", "raw", "-A", "OUTPUT", "-p", "udp", "--dport", "5060", "-j", "CT",
            "--helper", "sip",
          ])
        let events = try FlowEvents.open(in: lab.pbx.namespace)
        let register = """
          REGISTER sip:198.51.100.10 SIP/2.0\r
          Via: SIP/2.0/UDP 192.0.2.5:5060;branch=z9hG4bK1\r
          From: <sip:pbx@198.51.100.10>;tag=1\r
          To: <sip:pbx@198.51.100.10>\r
          Call-ID: 1\r
          CSeq: 1 REGISTER\r
          Contact: <sip:pbx@192.0.2.5:5060>\r
          Expires: 600\r
          Content-Length: 0\r
          \r

          """
        try sendOnce(
          from: lab.pbx, ports: [5060], to: Endpoint(lab.carrier.address4, 5060), text: register)
        var began: Conntrack.Expectation?
        for try await event in events {
          if case .expectation(let expectation) = event {
            began = expectation
            break
          }
        }
        #expect(began?.tuple.destinationEndpoint == Endpoint(lab.pbx.address4, 5060))
        #expect(began?.helper == "sip")
        try await lab.pbx.run(["conntrack", "-F", "expect"])
        var ended: Conntrack.Expectation?
        for try await event in events {
          if case .expectationEnd(let expectation) = event {
            ended = expectation
            break
          }
        }
        #expect(ended?.id == began?.id)
      }
    }

    @Test(
      "A dump that begins after the events leaves no gap and no double, whatever begins meanwhile")
    func noGap() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let server = try SIPServer.start(on: lab.pbx)
        let carrier = lab.carrier
        let destination = server.local
        let ports: [UInt16] = Array(20_000..<20_400)
        let sending = Task.detached {
          for port in ports {
            try sendOnce(from: carrier, ports: [port], to: destination)
            if port % 4 == 0 { usleep(500) }
          }
        }
        // Some began before anybody listened: they send no event, ever (facts B6).
        while try FlowTable.count(in: lab.pbx.namespace) < 40 { await Task.yield() }
        let events = try FlowEvents.open(in: lab.pbx.namespace)
        var merge = DumpMerge()
        let dump = try FlowTable.dump(FlowQuery(), in: lab.pbx.namespace)
        #expect(dump.flows.count >= 40)
        try await sending.value
        try sendOnce(from: lab.carrier, ports: [60_000], to: destination)
        var began = 0
        for try await event in events {
          merge.apply(event)
          if case .new(let flow) = event {
            began += 1
            if flow.original.sourcePort == 60_000 { break }
          }
        }
        let flows = merge.flows(with: dump.flows)
        #expect(flows.map(\.original.sourcePort).sorted() == ports + [60_000])
        #expect(began < ports.count, "some flows were older than the events")
        #expect(events.counts.losses == 0)
      }
    }

    @Test("A tiny receive buffer loses events, says so, and a dump makes it good")
    func loss() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let events = try FlowEvents.open(
          buffering: FlowEvents.Buffering(receiveBuffer: 2048, largestReceiveBuffer: 0),
          in: lab.pbx.namespace)
        let load = try lab.pbx.load(
          (0..<5000).map { number in
            Flow(
              from: Endpoint(lab.attacker.address4, UInt16(1024 + number)),
              to: Endpoint(lab.pbx.address4, 5060), isAnswered: true, seconds: 600)
          })
        #expect(load.created == 5000)
        var heard = 0
        for try await event in events {
          if event == .loss(.receiveBuffer) { break }
          heard += 1
        }
        #expect(heard < 5000)
        let merge = DumpMerge()
        let dump = try FlowTable.dump(FlowQuery(), in: lab.pbx.namespace)
        #expect(merge.flows(with: dump.flows).count == 5000)
        #expect(events.counts.losses > 0)
      }
    }

    @Test("A receive buffer that may grow does so until nothing is lost")
    func growth() async throws {
      try await Lab.with { lab in
        try await lab.pbx.loadReferenceRuleset()
        let events = try FlowEvents.open(
          buffering: FlowEvents.Buffering(receiveBuffer: 2048, largestReceiveBuffer: 64 << 20),
          in: lab.pbx.namespace)
        // As often as it takes: each loss doubles the buffer, and a load without loss ends it.
        for round in 0..<20 {
          let before = events.counts.losses
          let source = IPAddress(ipv4: 0x6440_0000 + UInt32(round))
          try lab.pbx.load(
            (0..<100).map { number in
              Flow(
                from: Endpoint(source, UInt16(1024 + number)),
                to: Endpoint(lab.pbx.address4, 5060), isAnswered: true, seconds: 600)
            })
          var heard = 0
          for try await event in events {
            if case .loss = event { break }
            heard += 1
            if heard == 100 { break }
          }
          if heard == 100, events.counts.losses == before { return }
        }
        Issue.record("it still loses: \(events.counts)")
      }
    }

    @Test("Stopping, dropping and cancelling end the thread and close the socket")
    func ends() async throws {
      try await Lab.with { lab in
        let host = lab.pbx
        #expect(try netlinkSockets(on: host) == 0)
        let events = try FlowEvents.open(in: host.namespace)
        #expect(try netlinkSockets(on: host) == 1)
        events.stop()
        events.stop()
        #expect(try netlinkSockets(on: host) == 0)
        var iterator = events.makeAsyncIterator()
        #expect(try await iterator.next() == nil)

        _ = try FlowEvents.open(in: host.namespace)
        #expect(try netlinkSockets(on: host) == 0)

        let waiting = Task {
          let events = try FlowEvents.open(in: host.namespace)
          for try await _ in events {}
          return try netlinkSockets(on: host)
        }
        while try netlinkSockets(on: host) == 0 { await Task.yield() }
        waiting.cancel()
        // The loop has ended though nothing ever came; the thread is on its way out.
        _ = try await waiting.value
        while try netlinkSockets(on: host) > 0 { await Task.yield() }
      }
    }

    @Test("Opening them thousands of times leaves no descriptor and no thread")
    func manyOpens() async throws {
      try await Lab.with { lab in
        func count(_ folder: String) -> Int {
          guard let directory = unsafe opendir(folder) else { return -1 }
          defer { unsafe closedir(directory) }
          var result = 0
          while unsafe readdir(directory) != nil { result += 1 }
          return result
        }
        // Other suites run in this process: a leak would show by thousands.
        let before = (count("/proc/self/fd"), count("/proc/self/task"))
        for _ in 0..<3000 { try FlowEvents.open(in: lab.pbx.namespace).stop() }
        #expect(count("/proc/self/fd") < before.0 + 500)
        #expect(count("/proc/self/task") < before.1 + 500)
        #expect(try netlinkSockets(on: lab.pbx) == 0)
      }
    }

    @Test("A namespace that is not there is an error with advice")
    func noNamespace() throws {
      let error = try #require(throws: ConntrackError.self) {
        _ = try FlowEvents.open(in: .path("/run/netns/none"))
      }
      #expect(error.advice != nil)
    }
  }
}
