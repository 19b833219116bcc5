import Addressing
import Conntrack
import Testing

@testable import SIPLeak

/// What an answer of ten thousand findings takes care of.
@Suite struct LargeAnswerTests {
  private func manyLeaks(_ count: Int) throws -> (Audit, Observation) {
    var host = SavedHost()
    host.flows = (0..<count).map { index in
      flow(
        "203.0.\(113 + index / 200).\(1 + index % 200):24376", "192.0.2.5:5060", [.seenReply],
        id: UInt32(index))
    }
    let observation = try host.observation()
    return (Audit(observation), observation)
  }

  @Test("Elements sorted by moving each once stand as sorted ones do", arguments: 0..<50)
  func sorting(seed: Int) {
    struct Element: Equatable {
      var key: Int
      var place: Int
    }
    let count = seed * 3
    var elements = (0..<count).map { Element(key: $0 * 7919 % (seed % 5 * 10 + 3), place: $0) }
    if seed % 2 == 0 { elements.shuffle() }
    // The standard sort keeps equal ones in order too.
    let expected = elements.sorted { $0.key < $1.key }
    elements.sortMovingOnce(by: \.key)
    #expect(elements == expected)
  }

  @Test("Lines come in pieces of whole lines that together are the text")
  func lines() throws {
    let (audit, observation) = try manyLeaks(600)
    #expect(audit.findings.count == 600)
    var pieces: [String] = []
    AuditLines.write(audit, of: observation, isQuiet: false) { pieces.append($0) }
    #expect(pieces.count > 1)
    #expect(pieces.allSatisfy { $0.hasSuffix("\n") })
    #expect(pieces.joined() == AuditLines.text(audit, of: observation, isQuiet: false))
  }

  @Test("JSON comes in pieces that together are the document", arguments: [0, 1, 2, 100])
  func json(count: Int) throws {
    var (audit, observation) = try manyLeaks(count)
    // What looks like the place where the findings go, in a text from outside.
    observation.host.name = "pbx\"findings\":[]"
    audit.problems = ["\"findings\":[]"]
    var pieces: [String] = []
    let document = AuditJSON(audit, of: observation)
    try document.write { pieces.append($0) }
    #expect(pieces.joined() == (try document.line()))
    if count == 100 { #expect(pieces.count > 1) }
  }

  @Test("How the table was read is said a family, and not at all where it is not known")
  func reading() throws {
    var (_, observation) = try manyLeaks(1)
    #expect(ReadingText.lines(observation) == [])
    var reading = FlowDump.Account()
    reading.entries = 1_000_000
    reading.buckets = 1_048_576
    reading.threads = 2
    reading.readings = 2
    reading.seconds = 0.61
    var family = FlowDump.Account.Family(family: .ipv4, strategy: .portPlaces)
    family.walks = 2
    family.walked = 8001
    family.flows = 8000
    family.seconds = 0.5
    var refused = FlowDump.Account.Family(family: .ipv6, strategy: .everything)
    refused.walks = 1
    refused.walked = 1
    refused.isFallback = true
    reading.families = [family, refused]
    observation.sample.reading = reading
    #expect(
      ReadingText.lines(observation) == [
        "flow table: 1,000,000 entries, 1,048,576 buckets, read in 610 ms on 2 threads, for the "
          + "second time: it was resized meanwhile",
        "ipv4: asked by port and direction, 2 walks of 500 ms, the kernel gave 8,001 entries, "
          + "8,000 may concern SIP",
        "ipv6: asked for everything, the kernel having refused the filter, 1 walk of 0 ms, the "
          + "kernel gave 1 entry, 0 may concern SIP",
      ])
  }
}
