import Addressing
import TestSupport
import Testing

@testable import Conntrack

@Suite(
  "The live table's text forms",
  .enabled(if: Corpus.isThere, "the corpus isn't here: set SIPLEAK_CORPUS"))
struct LiveTableTextTests {
  /// The flows of the raw messages, as far as text can tell.
  private func expected(_ families: Set<AddressFamily>) throws -> [FlowTuple: Flow] {
    let flows = try Corpus.payloads().map { (bytes) in try FlowMessage.flow(bytes) }
    return Dictionary(
      flows.filter { families.contains($0.family) }.map { ($0.original, $0) },
      uniquingKeysWith: { first, _ in first })
  }

  private func compare(
    _ reading: TableTextReading, with flows: [FlowTuple: Flow], form: String
  ) throws {
    #expect(reading.complaints == [])
    #expect(reading.missing == nil)
    #expect(Set(reading.flows.map(\.original)) == Set(flows.keys))
    #expect(reading.flows.count == flows.count)
    for flow in reading.flows {
      let other = try #require(flows[flow.original], "\(form): \(flow.original)")
      #expect(flow.reply == other.reply, "\(form)")
      // NAT_DONE, HELPER and their like are what no text shows.
      let shown: FlowStatus = [
        .confirmed, .seenReply, .assured, .sourceNAT, .destinationNAT, .offload,
      ]
      #expect(
        flow.status.intersection(shown) == other.status.intersection(shown),
        "\(form): \(flow.original)")
      #expect(flow.zone == other.zone || form.contains("save"), "\(form)")
      #expect(flow.originalZone == other.originalZone, "\(form)")
      #expect(flow.tcpState == other.tcpState, "\(form): \(flow.original)")
      if form.contains("id") { #expect(flow.id == other.id) }
      if form.contains("save") { continue }
      #expect(flow.mark == other.mark, "\(form)")
      #expect(flow.originalCounters == other.originalCounters, "\(form)")
      #expect(flow.replyCounters == other.replyCounters, "\(form)")
      if !form.hasPrefix("proc") { #expect(flow.helper == other.helper) }
      // Seconds apart; an unsigned 100th of a second that ran over is printed as it is.
      #expect((flow.timeout == nil) == (other.timeout == nil))
    }
  }

  @Test(
    "Each form gives the flows of the raw messages, as far as it can tell",
    arguments: [
      "", ".extended", ".extended_id", ".extended_id_timestamp_labels", ".ktimestamp", ".save",
    ], [AddressFamily.ipv4, .ipv6])
  func forms(form: String, family: AddressFamily) throws {
    let text = try Corpus.bytes("L.\(family.rawValue)\(form).txt")
    try compare(TableTextReader.read(text), with: try expected([family]), form: form)
  }

  @Test("So does XML", arguments: [AddressFamily.ipv4, .ipv6])
  func xml(family: AddressFamily) throws {
    let text = try Corpus.bytes("L.\(family.rawValue).xml")
    let reading = TableTextReader.read(text)
    try compare(reading, with: try expected([family]), form: "xml id")
    for length in stride(from: 0, to: text.count, by: 11) {
      let cut = TableTextReader.read(Array(text[..<length]))
      #expect(cut.flows == Array(reading.flows.prefix(cut.flows.count)))
      #expect(cut.complaintCount <= 1)
    }
  }

  @Test("/proc/net/nf_conntrack gives both families")
  func proc() throws {
    let text = try Corpus.bytes("proc_net_nf_conntrack.txt")
    try compare(TableTextReader.read(text), with: try expected([.ipv4, .ipv6]), form: "proc")
  }

  @Test("Forms mixed line by line, with CRLF and quoting, give the same")
  func mixed() throws {
    var generator = SeededGenerator(seed: 4)
    var lines: [String] = []
    for form in ["", ".extended", ".ktimestamp", ".extended_id"] {
      lines += try Corpus.text("L.ipv4\(form).txt").split(separator: "\n").map(String.init)
    }
    lines.shuffle(using: &generator)
    let text = lines.map { "> \($0)\r\n" }.joined()
    try compare(
      TableTextReader.read(Array(text.utf8)), with: try expected([.ipv4]), form: "mixed")
  }

  @Test("The expectation is the same in both tools' words, except for what /proc leaves out")
  func expectations() throws {
    let listed = TableTextReader.read(try Corpus.bytes("L.expect.extended.txt"))
    #expect(listed.complaints == [])
    let one = try #require(listed.expectations.first)
    #expect(one.flags == [.permanent, .inactive])
    #expect(one.helper == "sip")
    #expect(one.tuple.destinationPort == 40007)
    #expect(one.mask.sourcePort == 0)
    #expect(!one.admitsAnySource)
    #expect(one.master.destinationPort == 5080)
    #expect(one.expectationClass == 0)
    let proc = TableTextReader.read(try Corpus.bytes("proc_net_nf_conntrack_expect.txt"))
    #expect(proc.complaints == [])
    let other = try #require(proc.expectations.first)
    #expect(other.tuple == one.tuple)
    #expect(other.mask == one.mask)
    #expect(other.flags == one.flags)
    #expect(other.helper == "sip")
  }

  @Test("Cut at any byte, a form gives no flow that is not in the table")
  func cut() throws {
    let flows = try expected([.ipv4])
    let text = try Corpus.bytes("L.ipv4.extended_id.txt")
    for length in stride(from: 0, to: text.count, by: 7) {
      let reading = TableTextReader.read(Array(text[..<length]))
      for flow in reading.flows { #expect(flows[flow.original]?.reply == flow.reply) }
      #expect(reading.complaintCount <= 1)
    }
  }
}
