import Addressing
import Firewall
import FoundationEssentials
import Glibc
@testable import SIPLeak
import SystemPackage
import Testing

/// A folder of its own for each test, gone afterwards.
private func withFolder(_ body: (FilePath) throws -> Void) throws {
  let path = FileManager.default.temporaryDirectory.path + "/sipleak-history-\(UUID().uuidString)"
  defer { try? FileManager.default.removeItem(atPath: path) }
  try body(FilePath(path))
}

private let peer = IPAddress(ipv4: 0xcb00_7142)
private let carrier = IPAddress(ipv4: 0xc633_640a)

private func finding(
  _ peer: IPAddress, _ cause: Cause = .establishedBypass, _ level: Level = .leak
) -> Finding {
  let wire = Endpoint(IPAddress(ipv4: 0xc000_0205), 5060)
  let verdict = JudgedVerdict(verdict: .drop, isCertain: true, rule: nil)
  return Finding(
    cause: cause, level: level, grade: .assured, transport: .udp, family: peer.family, zone: 0,
    peer: Endpoint(peer, 24376), delivered: wire, wire: wire, origin: .peer, asNew: verdict,
    asHeld: verdict, isBlockable: true, notBlockableBecause: nil, why: "", flow: nil,
    increments: nil)
}

private func block(_ begun: Double, until: Double?) -> BlockRecord {
  BlockRecord(
    peer: peer, transport: .udp, port: 5060, place: .raw, reason: "established-bypass",
    begun: begun, until: until, outcome: "verified")
}

@Suite("History") struct HistoryTests {
  @Test("A finding keeps its first sight and counts the audits that saw it, also when opened anew")
  func sightings() throws {
    try withFolder { folder in
      try History.open(in: folder).record([finding(peer)], admitted: [], at: 1000)
      let history = try History.open(in: folder)
      try history.record([finding(peer), finding(peer)], admitted: [], at: 1300)
      let known = try history.sightings(since: 0)
      #expect(known.map(\.firstSeen) == [1000])
      #expect(known.map(\.lastSeen) == [1300])
      #expect(known.map(\.times) == [2])
      #expect(try history.sightings(since: 1301).isEmpty)
      #expect(try history.sightings(since: 0, of: carrier).isEmpty)
    }
  }

  @Test("While nothing can be written down, everybody the history knows counts as welcome")
  func readOnly() throws {
    try withFolder { folder in
      try History.open(in: folder).record([finding(peer)], admitted: [carrier], at: 1000)
      let later = 1000 + 10 * HistoryNotes.welcomeSeconds
      #expect(try History.open(in: folder).notes(at: later).welcome == [])
      let history = try #require(try History.openForReading(in: folder))
      #expect(!history.isWritable)
      #expect(try history.notes(at: later).welcome == [carrier])
    }
  }

  @Test("Admitted and host-opened peers are welcome; those of long ago and leaks are not")
  func welcomed() throws {
    try withFolder { folder in
      let history = try History.open(in: folder)
      let other = IPAddress(ipv4: 0xcb00_7146)
      try history.record([finding(peer)], admitted: [carrier], at: 1000)
      try history.record([finding(other, .hostOpened, .look)], admitted: [], at: 2000)
      #expect(try history.welcomed(since: 900) == [carrier, other])
      #expect(try history.welcomed(since: 1500) == [other])
    }
  }

  @Test("A sighting of more than 400 days ago goes when another is written")
  func retention() throws {
    try withFolder { folder in
      let history = try History.open(in: folder)
      try history.record([finding(peer)], admitted: [peer], at: 1000)
      try history.record([finding(carrier)], admitted: [], at: 1000 + 401 * 86400)
      #expect(try history.sightings(since: 0).map(\.peer) == [carrier])
      #expect(try history.welcomed(since: 0).isEmpty)
    }
  }

  @Test("A block ends by its time, by hand, or when it is renewed")
  func blocks() throws {
    try withFolder { folder in
      let history = try History.open(in: folder)
      try history.record([block(1000, until: 2000)])
      #expect(try history.blocks(since: 0).first?.end(at: 1500) == nil)
      #expect(try history.blocks(since: 0).first?.end(at: 2500) == 2000)
      try history.record([block(1500, until: nil)])
      #expect(try history.blocks(since: 0).map(\.endedBy) == [nil, .renewed])
      try history.end(blocksOf: [carrier], by: .unblocked, at: 1600)
      #expect(try history.blocks(since: 1601).count == 1)
      try history.end(blocksOf: [peer], by: .unblocked, at: 1700)
      #expect(try history.blocks(since: 0).map(\.endedBy) == [.unblocked, .renewed])
      #expect(try history.blocks(since: 1701).isEmpty)
    }
  }

  /// A plan that changes nothing by itself.
  private func plan(_ change: (inout BlockPlan) -> Void) throws -> BlockPlan {
    var plan = try SavedHost().plan()
    change(&plan)
    return plan
  }

  private func own(_ holder: OwnBlock.Holder, left: Int64?) -> OwnBlock {
    OwnBlock(
      prefix: IPPrefix(peer), transport: .udp, port: 5060, holder: holder, secondsLeft: left,
      comment: nil, packets: nil, isHooked: true)
  }

  private func standing(_ holder: OwnBlock.Holder) -> StandingBlock {
    StandingBlock(
      element: "\(peer),udp:5060", family: .ipv4, state: .inForce, holder: holder, timeout: nil,
      packets: nil, advice: nil)
  }

  private func plainBlock(_ begun: Double, until: Double) -> BlockRecord {
    var record = block(begun, until: until)
    record.holder = .rules
    return record
  }

  @Test("A block that rules hold has ended when it was lifted, and stood past its time until then")
  func plain() throws {
    try withFolder { folder in
      let history = try History.open(in: folder)
      try history.record([plainBlock(1000, until: 2000)])
      try history.note([standing(.rules)], at: 2500)
      let overdue = try #require(try history.blocks(since: 2400).first)
      #expect(overdue.end(at: 2500) == nil)
      #expect(HistoryReport(sightings: [], blocks: [overdue], at: 2500).text().contains("ended=no"))
      #expect(try history.notes(at: 2500).ranOut.isEmpty)
      #expect(try history.notes(at: 2500).offences.isEmpty)
      try history.record(
        try plan { $0.lifted = [own(.rules, left: -600)] }, answer: .verified, at: 2600)
      let lifted = try #require(try history.blocks(since: 0).first)
      #expect(lifted.ended == 2600)
      #expect(lifted.endedBy == .lifted)
      let text = HistoryReport(sightings: [], blocks: [lifted], at: 3000).text()
      #expect(text.hasSuffix("ended=1970-01-01T00:43:20Z by=lifted holder=rules\n"))
      // It ran its time, and counts against the peer as any other.
      #expect(try history.notes(at: 3000).ranOut == [peer: 2600])
      #expect(try history.notes(at: 3000).offences == [peer: 1])
    }
  }

  @Test("Rules that are found gone after their time have ended, and those before it are left")
  func gone() throws {
    try withFolder { folder in
      let history = try History.open(in: folder)
      try history.record([plainBlock(1000, until: 2000)])
      try history.note([], at: 1500)
      #expect(try history.blocks(since: 0).map(\.ended) == [nil])
      try history.note([], at: 2500)
      #expect(try history.blocks(since: 0).map(\.ended) == [2500])
      #expect(try history.blocks(since: 0).map(\.endedBy) == [.gone])
    }
  }

  @Test("An overdue block of rules can be unblocked, and be renewed")
  func overdueByHand() throws {
    try withFolder { folder in
      let history = try History.open(in: folder)
      try history.record([plainBlock(1000, until: 2000)])
      try history.record([plainBlock(2500, until: 3000)])
      try history.end(blocksOf: [peer], by: .unblocked, at: 3500)
      #expect(try history.blocks(since: 0).map(\.ended) == [3500, 2500])
      #expect(try history.blocks(since: 0).map(\.endedBy) == [.unblocked, .renewed])
    }
  }

  @Test("A block that moves between rules and a set ends as what holds it does")
  func holder() throws {
    try withFolder { folder in
      let history = try History.open(in: folder)
      try history.record([plainBlock(1000, until: 2000)])
      try history.record(
        try plan { $0.moved = [own(.rules, left: 500)] }, answer: .verified, at: 1500)
      #expect(try history.blocks(since: 0).map(\.holder) == [.set])
      #expect(try history.blocks(since: 0).first?.end(at: 2500) == 2000)
      // Put back at a boot without ipset.
      try history.note([standing(.rules)], at: 1600)
      #expect(try history.blocks(since: 0).map(\.holder) == [.rules])
      try history.note([standing(.set)], at: 1700)
      #expect(try history.blocks(since: 0).map(\.holder) == [.set])
    }
  }

  @Test("A corrupt file, somebody else's database and a link are refused and left as they are")
  func refused() throws {
    for text in ["not a database, and long enough to be looked at as one by its header.......", ""]
    {
      try withFolder { folder in
        try FileManager.default.createDirectory(
          atPath: folder.string, withIntermediateDirectories: true)
        let file = folder.appending("history.sqlite").string
        guard !text.isEmpty else {
          try FileManager.default.createSymbolicLink(
            atPath: file, withDestinationPath: folder.appending("elsewhere").string)
          #expect(throws: SIPLeakError.self) { _ = try History.open(in: folder) }
          #expect(!FileManager.default.fileExists(atPath: folder.appending("elsewhere").string))
          return
        }
        try Data(text.utf8).write(to: URL(filePath: file))
        let error = #expect(throws: SIPLeakError.self) {
          _ = try History.open(in: folder)
        }
        #expect(error?.code == .history)
        #expect(error?.message.contains("corrupt") == true)
        #expect(FileManager.default.contents(atPath: file) == Data(text.utf8))
      }
    }
  }

  @Test("A file in the middle of which bytes were overwritten is refused when it is read")
  func damaged() throws {
    try withFolder { folder in
      let history = try History.open(in: folder)
      for number in 0..<200 {
        let address = IPAddress(ipv4: 0x0a00_0000 + UInt32(number))
        try history.record([finding(address)], admitted: [], at: 1000)
      }
      let file = folder.appending("history.sqlite").string
      var bytes = try #require(FileManager.default.contents(atPath: file))
      for at in 4096..<bytes.count { bytes[at] = 0x5a }
      try bytes.write(to: URL(filePath: file))
      let error = #expect(throws: SIPLeakError.self) {
        try History.open(in: folder).record([finding(peer)], admitted: [], at: 2000)
      }
      #expect(error?.message.contains("corrupt") == true)
      #expect(FileManager.default.contents(atPath: file) == bytes)
    }
  }

  @Test("Reading where there is no history gives none and makes none")
  func absent() throws {
    try withFolder { folder in
      let history = try History.openForReading(in: folder)
      #expect(history == nil)
      #expect(!FileManager.default.fileExists(atPath: folder.string))
    }
  }

  @Test("The file is its owner's alone")
  func permissions() throws {
    try withFolder { folder in
      _ = try History.open(in: folder)
      #expect(try folder.stat().permissions.rawValue & 0o777 == 0o700)
      #expect(try folder.appending("history.sqlite").stat().permissions.rawValue & 0o777 == 0o600)
    }
  }
}
