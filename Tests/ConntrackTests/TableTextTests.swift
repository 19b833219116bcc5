import Addressing
import TestSupport
import Testing

@testable import Conntrack

private func read(_ text: String, query: FlowQuery? = nil) -> TableTextReading {
  TableTextReader.read(Array(text.utf8), query: query)
}

private let plain =
  "udp      17 118 src=203.0.113.66 dst=192.0.2.5 sport=24376 dport=5060 packets=4 bytes=140 "
  + "src=192.0.2.5 dst=203.0.113.66 sport=5060 dport=24376 packets=3 bytes=87 [ASSURED] mark=0 use=1"

@Suite("The text of a table")
struct TableTextTests {
  @Test("One line of conntrack -L is the flow it shows")
  func line() throws {
    let reading = read(plain + "\n")
    #expect(reading.isComplete)
    let flow = try #require(reading.flows.first)
    #expect(flow.original.sourceEndpoint.description == "203.0.113.66:24376")
    #expect(flow.reply == flow.original.inverted)
    #expect(flow.status == [.confirmed, .seenReply, .assured])
    #expect(flow.timeout == 118)
    #expect(flow.mark == 0)
    #expect(flow.originalCounters == Flow.Counters(packets: 4, bytes: 140))
    #expect(flow.replyCounters == Flow.Counters(packets: 3, bytes: 87))
  }

  @Test(
    "What mails, terminals and tickets put around a table is no part of it and no fault of it",
    arguments: [
      plain + "\r\n", "> " + plain + "\n", ">> > " + plain, "  \t" + plain + "   \r",
      "root@pbx:~# conntrack -L\n" + plain + "\nroot@pbx:~# ",
      "[root@pbx ~]# conntrack -L\n\n" + plain, "$ sudo conntrack -L\n" + plain,
      "```\n" + plain + "\n```\n", "\u{feff}" + plain,
      plain.replacing("udp      17", with: "udp \u{a0} \u{a0} 17"),
      plain + "\nconntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown.\n",
      "ipv4     2 " + plain, plain + " id=77", plain + " labels=phone,trunk",
      plain.replacing("use=1", with: "delta-time=8 use=1"),
      plain.replacing("use=1", with: "[start=Sat Nov 21 01:08:40 2026] use=1"),
      plain.replacing("mark=0", with: "mark=0 secctx=system_u:object_r:x_t:s0"),
    ])
  func surroundings(text: String) throws {
    let reading = read(text)
    #expect(reading.complaints == [])
    #expect(reading.isComplete)
    #expect(reading.flows.count == 1)
    #expect(reading.flows.first?.original == read(plain).flows.first?.original)
    #expect(reading.flows.first?.status == [.confirmed, .seenReply, .assured])
  }

  @Test("A line cut anywhere is named by its column or is the whole line, and the rest is read")
  func cut() throws {
    let whole = try #require(read(plain).flows.first)
    for length in 1..<plain.utf8.count {
      let cut = String(plain.prefix(length))
      let reading = read("\(plain.replacing( "24376", with: "999"))\n\(cut)\n")
      #expect(reading.flows.first?.original.sourcePort == 999)
      if reading.flows.count == 2 {
        // Only what stands behind the last thing that matters may be missing.
        #expect(cut.contains("use="), "\(cut)")
        #expect(reading.flows.last == whole)
      } else {
        #expect(reading.complaintCount == 1, "\(cut)")
        #expect(reading.complaints.first?.line == 2)
        #expect((1...length + 1).contains(reading.complaints.first?.column ?? 0), "\(cut)")
        #expect(!reading.isComplete)
      }
    }
  }

  @Test(
    "A place that is wrong is named with what was expected there",
    arguments: [
      ("udp 17 29 src=192.0.2.300 dst=1.2.3.4", "1:15", "an IP address"),
      ("udp 17 29 src=1.2.3.4 dst=1.2.3.4 sport=70000", "1:41", "a port from 0 to 65535"),
      ("udp 6 29 src=1.2.3.4 dst=1.2.3.4", "1:5", "the number of the protocol before it"),
      ("tcp 6 29 OPEN src=1.2.3.4", "1:10", "a TCP state such as ESTABLISHED"),
      ("ipv4 10 udp 17 29 src=1.2.3.4", "1:8", "2 after ipv4 or 10 after ipv6"),
      ("\n\nHello, here is our table:", "3:1", "a line of `conntrack -L`"),
      ("udp 17 29 src=1.2.3.4 dst=1.2.3.4 sport=1 dport=2 [NEWFLAG]", "1:51", "[UNREPLIED]"),
      (plain + " " + plain, "1:\(plain.utf8.count + 2)", "\"name=value\""),
      (
        "conntrack v1.4.7 (conntrack-tools): Operation failed: x", "1:37", "conntrack itself failed"
      ),
      ("10 src=1.2.3.4", "1:1", "a line of `conntrack -L`"),
    ])
  func faults(text: String, place: String, expected: String) {
    let reading = read(text)
    #expect(reading.flows == [])
    let complaint = reading.complaints.first?.description ?? ""
    #expect(complaint.hasPrefix(place + ": expected "), "\(complaint)")
    #expect(complaint.contains(expected), "\(complaint)")
  }

  @Test("A paste that holds fewer flows than conntrack counted is not complete")
  func announced() {
    let end = "conntrack v1.4.7 (conntrack-tools): 2 flow entries have been shown."
    #expect(read("\(plain)\n\(end)").missing == "conntrack printed 2 flows, and 1 are here")
    let other = plain.replacing("24376", with: "24377")
    #expect(read("\(plain)\n\(other)\n\(end)").isComplete)
    // A search that found it too says so with a line of its own.
    #expect(read("\(plain)\n\(plain)\n\(end)").isComplete)
    #expect(read("\(plain)\n\(plain)\n\(end)").flows.count == 1)
  }

  @Test("Events leave each flow as the last of them told, and none that was destroyed")
  func events() throws {
    let new =
      "    [NEW] udp      17 30 src=203.0.113.66 dst=192.0.2.5 sport=1 dport=5060 [UNREPLIED] "
      + "src=192.0.2.5 dst=203.0.113.66 sport=5060 dport=1"
    let update =
      "[1795225330.123456]\t [UPDATE] udp      17 30 src=203.0.113.66 dst=192.0.2.5 sport=1 "
      + "dport=5060 src=192.0.2.5 dst=203.0.113.66 sport=5060 dport=1"
    var reading = read([new, update].joined(separator: "\n"))
    #expect(reading.complaints == [])
    #expect(reading.hasEvents)
    #expect(reading.flows.map(\.status) == [[.confirmed, .seenReply]])
    let gone = update.replacing(" [UPDATE]", with: "[DESTROY]")
    reading = read([new, update, gone].joined(separator: "\n"))
    #expect(reading.complaints == [])
    #expect(reading.flows == [])
    reading = read([new, gone, new].joined(separator: "\n"))
    #expect(reading.flows.map(\.status) == [[.confirmed]])
  }

  @Test("Translation shows in the tuples")
  func translation() throws {
    let redirected =
      "udp 17 25 src=203.0.113.66 dst=192.0.2.5 sport=4 dport=5070 src=192.0.2.5 dst=203.0.113.66 "
      + "sport=5060 dport=4 mark=0 use=1"
    #expect(read(redirected).flows.first?.status == [.confirmed, .seenReply, .destinationNAT])
    let masked =
      "udp 17 25 src=192.0.2.5 dst=203.0.113.66 sport=5060 dport=4 [UNREPLIED] src=203.0.113.66 "
      + "dst=192.0.2.5 sport=4 dport=6060 mark=0 use=1"
    #expect(read(masked).flows.first?.status == [.confirmed, .sourceNAT])
  }

  @Test("An address that every flow ends at is told from those that only some do")
  func common() {
    let other = plain.replacing("203.0.113.66", with: "198.51.100.10")
    let loopback = plain.replacing("203.0.113.66", with: "127.0.0.1")
      .replacing("192.0.2.5", with: "127.0.0.1")
    let reading = read([plain, other, loopback].joined(separator: "\n"))
    #expect(reading.commonAddresses[.ipv4]?.map(\.description) == ["192.0.2.5"])
    #expect(reading.commonAddresses[.ipv6] == nil)
    #expect(read(plain).commonAddresses[.ipv4]?.count == 2)
  }

  @Test("Only what is asked for is kept, everything is counted")
  func query() {
    let other = plain.replacing("5060", with: "53")
    let reading = read("\(plain)\n\(other)\n", query: FlowQuery())
    #expect(reading.flows.count == 1)
    #expect(reading.flowCount == 2)
  }

  @Test("A random table is read back as it was written", arguments: 0..<60)
  func roundTrip(seed: Int) {
    var generator = SeededGenerator(seed: UInt64(seed))
    var table = RandomTable()
    let flows = (0..<50).map { _ in table.flow(using: &generator) }
    let form = FlowText.Form(rawValue: UInt8(seed % 4))
    let ends = ["\n", "\r\n", "  \n", "\n\n"]
    let text = flows.map {
      FlowText.line($0, form: form) + (ends.randomElement(using: &generator) ?? "\n")
    }
    .joined()
    let reading = read(text)
    #expect(reading.complaints == [])
    #expect(reading.flowCount == 50)
    let expected = flows.map { flow in
      var flow = flow
      if !form.contains(.id) { flow.id = 0 }
      return flow
    }
    #expect(reading.flows == expected)
  }

  @Test(
    "Text with bytes changed at random is read or complained of, never invented",
    arguments: 0..<60)
  func mutation(seed: Int) {
    var generator = SeededGenerator(seed: UInt64(seed))
    var table = RandomTable()
    for _ in 0..<200 {
      var bytes = Array(FlowText.line(table.flow(using: &generator), form: .id).utf8)
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
          in: 0...255, using: &generator)
      }
      let lines = bytes.split(separator: 0x0a).count
      let reading = TableTextReader.read(bytes)
      #expect(reading.flows.count + Int(reading.complaintCount) <= max(1, lines))
      for complaint in reading.complaints {
        #expect((1...bytes.count + 1).contains(complaint.column))
      }
    }
  }

  @Test("A hundred thousand wrong lines are counted, and the first hundred told")
  func manyFaults() {
    let reading = read(String(repeating: "x\n", count: 100_000))
    #expect(reading.complaintCount == 100_000)
    #expect(reading.complaints.count == TableTextReading.complaintLimit)
  }
}

/// Flows that a table could hold, no two with the same tuple and zone.
private struct RandomTable {
  private var next: UInt32 = 0

  mutating func flow(using generator: inout SeededGenerator) -> Flow {
    next += 1
    func number<T: FixedWidthInteger>(_ type: T.Type) -> T {
      T.random(in: .min ... .max, using: &generator)
    }
    let family: AddressFamily = Bool.random(using: &generator) ? .ipv4 : .ipv6
    func address() -> IPAddress {
      // Runs of zeros are what IPv6's text is about.
      let mask = UInt128(number(UInt64.self)) << 64 | UInt128(number(UInt64.self))
      let bits = UInt128(number(UInt64.self)) << 64 | UInt128(number(UInt64.self))
      return IPAddress(family: family, bits: Bool.random(using: &generator) ? bits & mask : bits)
    }
    let transports: [IPProtocol] = [
      .udp, .udp, .tcp, .sctp, .dccp, .udplite, IPProtocol(rawValue: 47), .icmp,
      IPProtocol(rawValue: 99),
    ]
    let transport = transports.randomElement(using: &generator) ?? .udp
    let hasPorts = transport.hasPorts || transport.rawValue == 47
    func port() -> UInt16 {
      guard hasPorts else { return 0 }
      return [5060, 0, 65535, number(UInt16.self)].randomElement(using: &generator) ?? 0
    }
    let original = FlowTuple(
      source: IPAddress(family: family, bits: UInt128(next)), destination: address(),
      transport: transport, sourcePort: port(), destinationPort: port())
    var reply = original.inverted
    if transport.hasPorts, Int.random(in: 0..<3, using: &generator) == 0 {
      reply.source = address()
      reply.destinationPort = port()
    }
    var status: FlowStatus = [.confirmed]
    if Bool.random(using: &generator) { status.insert(.seenReply) }
    if Bool.random(using: &generator) { status.insert(.assured) }
    if Int.random(in: 0..<8, using: &generator) == 0 { status.insert(.offload) }
    status.formUnion(FlowText.translation(original: original, reply: reply))
    var flow = Flow(original: original, reply: reply, status: status, id: number(UInt32.self))
    if Int.random(in: 0..<8, using: &generator) != 0 { flow.timeout = number(UInt32.self) }
    if transport == .tcp { flow.tcpState = UInt8.random(in: 0...9, using: &generator) }
    if Bool.random(using: &generator) { flow.mark = number(UInt32.self) }
    switch Int.random(in: 0..<6, using: &generator) {
    case 0: flow.zone = UInt16.random(in: 1 ... .max, using: &generator)
    case 1: flow.originalZone = number(UInt16.self)
    case 2: flow.replyZone = number(UInt16.self)
    default: break
    }
    if Int.random(in: 0..<5, using: &generator) == 0 { flow.helper = "sip-5070" }
    if Bool.random(using: &generator) {
      flow.originalCounters = .init(packets: number(UInt64.self), bytes: number(UInt64.self))
      flow.replyCounters = .init(packets: number(UInt64.self), bytes: number(UInt64.self))
    }
    return flow
  }
}
