import Addressing
import Lab
import SystemPackage
import Testing

extension Kernel {
  /// The lab's SIP server and client behave as the tests built on them assume.
  @Suite struct SIPEndpoints {
    @Test("an answer waits as long as it is told to")
    func answerDelay() async throws {
      try await Lab.with { lab in
        let server = try SIPServer.start(
          on: lab.pbx, behavior: .init(answerDelay: .milliseconds(80)))
        let client = try SIPClient.open(on: lab.carrier)
        #expect(try await client.request(to: server.local, within: .seconds(10)).isAnswered)
        let answered = ContinuousClock.now
        let asked = try #require(server.received.first?.time)
        // Later on a busy machine, and never earlier.
        #expect(answered - asked >= .milliseconds(80))
      }
    }

    @Test("keepalives go to everybody who sent a request, again and again")
    func keepalives() async throws {
      try await Lab.with { lab in
        let server = try SIPServer.start(
          on: lab.pbx,
          behavior: .init(answers: false, keepaliveInterval: .milliseconds(50)))
        let client = try SIPClient.open(on: lab.attacker)
        let stranger = try SIPClient.open(on: lab.other)
        try client.send(to: server.local)
        #expect(await eventually { client.receivedCount >= 3 })
        #expect(stranger.receivedCount == 0)
      }
    }

    @Test("keepalives can go to named peers before they ever sent anything")
    func keepalivesToPeers() async throws {
      try await Lab.with { lab in
        let client = try SIPClient.open(on: lab.carrier, port: 5060)
        let server = try SIPServer.start(
          on: lab.pbx,
          behavior: .init(keepaliveInterval: .milliseconds(30), keepalivePeers: [client.local]))
        #expect(await eventually { client.receivedCount >= 2 })
        server.close()
        // What it sent before may still be on its way; what it went on to send would never end.
        var count = -1
        #expect(
          await eventually {
            count = client.receivedCount
            try? await Task.sleep(for: .milliseconds(300))
            return client.receivedCount == count
          })
      }
    }

    @Test("the answer to INVITE is repeated until it is acknowledged")
    func retransmission() async throws {
      try await Lab.with { lab in
        let server = try SIPServer.start(
          on: lab.pbx, behavior: .init(retransmitsAnswers: true))
        let client = try SIPClient.open(on: lab.carrier)
        #expect(try await client.request("INVITE", to: server.local).isAnswered)
        #expect(await eventually { client.receivedCount >= 2 })
        let options = try SIPClient.open(on: lab.other)
        #expect(try await options.request("OPTIONS", to: server.local).isAnswered)
        try await Task.sleep(for: .milliseconds(700))
        #expect(options.receivedCount == 1)
      }
    }

    @Test("a server on :: counts an IPv4 peer as IPv4")
    func dualStack() async throws {
      try await Lab.with { lab in
        let server = try SIPServer.start(on: lab.pbx, address: IPAddress(family: .ipv6, bits: 0))
        for family in AddressFamily.allCases {
          let client = try SIPClient.open(on: lab.carrier, address: lab.carrier.address(family))
          let pbx = Endpoint(lab.pbx.address(family), 5060)
          #expect(try await client.request(to: pbx).isAnswered)
          #expect(server.count(from: client.local.address) == 1)
        }
      }
    }

    @Test("a closed port and a drop on the way out are told apart from silence")
    func refusals() async throws {
      try await Lab.with { lab in
        let client = try SIPClient.open(on: lab.carrier)
        let sip = Endpoint(lab.pbx.address4, 5060)
        #expect(try await client.request(to: sip) == .refused(.connectionRefused))
        let server = try SIPServer.start(on: lab.pbx)
        try await lab.pbx.run(["iptables", "-A", "OUTPUT", "-p", "udp", "-j", "DROP"])
        #expect(
          try await client.request(to: sip, within: .milliseconds(100)) == .silence)
        #expect(await eventually { server.sendFailures == [.notPermitted: 1] })
      }
    }

    @Test("a burst arrives in full and every refusal of it is counted")
    func burst() async throws {
      try await Lab.with { lab in
        let server = try SIPServer.start(on: lab.pbx)
        let client = try SIPClient.open(on: lab.carrier)
        try await client.burst(100, every: .milliseconds(1), to: server.local)
        #expect(await server.received(100, from: client.local.address))
        #expect(await eventually { client.receivedCount == 100 })
        #expect(client.refusedCount == 0)
      }
    }

    @Test("bytes that are no SIP are counted and not answered")
    func garbage() async throws {
      try await Lab.with { lab in
        let server = try SIPServer.start(on: lab.pbx)
        try await lab.carrier.run([
          "sh", "-c",
          "printf 'hello\\000\\377' > /run/x; exec bash -c 'cat /run/x > /dev/udp/192.0.2.5/5060'",
        ])
        #expect(await server.received(1, from: lab.carrier.address4))
        #expect(server.received.first?.message == "")
        let client = try SIPClient.open(on: lab.carrier)
        #expect(try await client.request("SUBSCRIBE", to: server.local) == .answered(status: 501))
      }
    }
  }
}
