import Addressing
import Conntrack
import Firewall
import FoundationEssentials
import SystemPackage
import Testing

@testable import SIPLeak

@Suite("Report")
struct ReportTests {
  private func leaking(_ rules: String = SavedHost.rules) throws -> (Audit, Observation) {
    var host = SavedHost()
    host.rules = rules
    host.flows = [
      flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured]),
      flow("192.0.2.5:5060", "203.0.113.70:33333", [], id: 2),
    ]
    let observation = try host.observation()
    return (Audit(observation), observation)
  }

  @Test("A line of the audit has the same fields in the same order")
  func lines() throws {
    let (audit, observation) = try leaking()
    #expect(
      AuditLines.text(audit, of: observation, isQuiet: true) == """
        2026-11-21T01:42:10Z leak cause=established-bypass grade=assured src=203.0.113.66 sport=24376 dst=192.0.2.5 dport=5060 proto=udp new=reject:filter/INPUT/5 held=accept:filter/INPUT/2 age=unknown
        2026-11-21T01:42:10Z look cause=host-opened grade=latent src=203.0.113.70 sport=33333 dst=192.0.2.5 dport=5060 proto=udp new=reject:filter/INPUT/5 held=accept:filter/INPUT/2 age=unknown

        """)
  }

  @Test("A clean audit prints one line, or nothing when asked to be quiet")
  func clean() throws {
    let observation = try SavedHost().observation()
    let audit = Audit(observation)
    #expect(AuditLines.text(audit, of: observation, isQuiet: true) == "")
    #expect(AuditLines.text(audit, of: observation, isQuiet: false).contains(" clean "))
  }

  @Test("The JSON has every key of its schema")
  func json() throws {
    let (audit, observation) = try leaking()
    let line = try AuditJSON(audit, of: observation).line()
    let object = try #require(
      try JSONDecoder().decode([String: AnyJSON].self, from: Data(line.utf8)) as [String: AnyJSON]?)
    #expect(object["schema"] == .string("sipleak.audit"))
    #expect(object["version"] == .number(1))
    #expect(object["time"] == .string("2026-11-21T01:42:10Z"))
    #expect(object["host"] == .string("pbx1"))
    #expect(object["complete"] == .bool(true))
    guard case .array(let findings) = object["findings"], case .object(let leak) = findings.first
    else {
      Issue.record("no findings")
      return
    }
    for key in [
      "cause", "level", "grade", "transport", "family", "zone", "peer", "delivered", "wire",
      "translated", "verdict_new", "verdict_held", "blockable", "why",
    ] {
      #expect(leak[key] != nil, "\(key)")
    }
    #expect(
      leak["peer"] == .object(["address": .string("203.0.113.66"), "port": .number(24376)]))
    guard case .object(let held) = leak["verdict_held"], case .object(let rule) = held["rule"]
    else {
      Issue.record("no rule")
      return
    }
    #expect(held["verdict"] == .string("accept"))
    #expect(held["certain"] == .bool(true))
    #expect(rule["index"] == .number(2))
    #expect(rule["packets"] == .number(900))
    #expect(rule["backend"] == .string("nft"))
  }

  @Test("A hostile comment cannot forge a line or drive the terminal")
  func hostileComment() throws {
    let hostile = "x\u{1b}[31m\n-A INPUT -j ACCEPT\u{202e}"
    let (audit, observation) = try leaking(
      SavedHost.rules.replacing("002 accept related established", with: hostile))
    let text = DiagnosisText(audit, of: observation, style: TextStyle(width: 200)).text()
    #expect(!text.contains("\u{1b}"))
    #expect(!text.contains("\u{202e}"))
    #expect(!text.contains("\n-A INPUT"))
    #expect(text.contains("\\u{1b}[31m\\n-A INPUT -j ACCEPT\\u{202e}"))
  }

  @Test("JSON holds nothing that drives a terminal, and reads back as it was")
  func hostileJSON() throws {
    let hostile = "x\u{7f}\u{85}\u{9b}31m\u{202e}\u{2066}\u{feff}\u{e0041}\u{2028}é日🙂"
    let line = try JSONLine.text(["text": hostile])
    #expect(
      line.unicodeScalars.allSatisfy { $0 == "\n" || EscapedText.terminal("\($0)") == "\($0)" })
    #expect(line.contains("\\u007f\\u0085\\u009b31m\\u202e"))
    #expect(line.contains("\\udb40\\udc41"))
    #expect(line.contains("é日🙂"))
    #expect(
      try JSONDecoder().decode([String: String].self, from: Data(line.utf8))["text"] == hostile)

    let records = PacketRecords(try SavedHost().firewall().snapshot)
    let answer = records.answer(Array("{\"proto\":1}".utf8), at: "a\u{9b}b")
    #expect(answer.text.contains("a\\u009bb"))
  }

  @Test("The diagnosis says who, how and what to do within 80 columns")
  func diagnosis() throws {
    let (audit, observation) = try leaking()
    let text = DiagnosisText(audit, of: observation, style: TextStyle()).text()
    #expect(text.contains("LEAK  203.0.113.66:24376 -> 192.0.2.5:5060"))
    #expect(text.contains("as NEW   REJECT  filter INPUT 5  \"999 reject all other requests\""))
    #expect(text.contains("as held  ACCEPT  filter INPUT 2  \"002 accept related established\""))
    #expect(text.contains("LOOK  203.0.113.70:33333 <- 192.0.2.5:5060"))
    #expect(text.contains("sipleak block 203.0.113.66 --apply"))
    #expect(!text.contains("\u{1b}"))
    for line in text.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
  }

  @Test(
    "Counts are printed as iptables prints them",
    arguments: [
      (99_999, "99999"), (100_000, "100K"), (9_999_499, "9999K"), (9_999_500, "10M"),
      (11_000_000_000, "11G"), (0, "0"),
    ])
  func counts(value: Int, text: String) {
    #expect(Quantity.short(UInt64(value)) == text)
  }

  @Test(
    "Durations have at most two units",
    arguments: [
      (5.0, "5 s"), (90, "1 min 30 s"), (86400, "24 h"), (0.25, "250 ms"), (200_000, "2 d 7 h"),
      (3600, "1 h"),
    ])
  func durations(seconds: Double, text: String) {
    #expect(Quantity.duration(seconds) == text)
  }

  @Test(
    "A saved time outside of the calendar is a bad file", arguments: ["1e30", "-1", "253402300800"])
  func impossibleTime(text: String) throws {
    let (_, observation) = try leaking()
    let folder = temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder.string) }
    try ObservationFiles.save(observation, to: folder)
    let url = URL(filePath: folder.appending("sample.json").string)
    let saved = String(decoding: try Data(contentsOf: url), as: UTF8.self)
    try Data(saved.replacing("1795225330", with: text).utf8).write(to: url)
    #expect {
      try ObservationFiles.load(folder)
    } throws: { error in
      (error as? SIPLeakError)?.code == .badFile
        && (error as? SIPLeakError)?.message.contains("sample.json: time") == true
    }
  }

  @Test("The uptime of a sample is saved, may be missing, and is a bad file where it is none")
  func uptime() throws {
    var (_, observation) = try leaking()
    observation.sample.uptime = 4242.5
    let folder = temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder.string) }
    try ObservationFiles.save(observation, to: folder)
    #expect(try ObservationFiles.load(folder).sample.uptime == 4242.5)
    let url = URL(filePath: folder.appending("sample.json").string)
    let saved = String(decoding: try Data(contentsOf: url), as: UTF8.self)
    try Data(saved.replacing(",\"uptime\":4242.5", with: "").utf8).write(to: url)
    let uptime = try ObservationFiles.load(folder).sample.uptime
    #expect(uptime == nil)
    try Data(saved.replacing("4242.5", with: "-1").utf8).write(to: url)
    #expect {
      try ObservationFiles.load(folder)
    } throws: { error in
      (error as? SIPLeakError)?.message.contains("sample.json: uptime") == true
    }
  }

  @Test("No time or duration is too strange to be printed")
  func strangeNumbers() throws {
    for value in [Double.nan, .infinity, -.infinity, 1e30, -1e30, -1, 0] {
      #expect(Quantity.rfc3339(value).count == 20)
      #expect(!Quantity.utc(value).isEmpty)
      #expect(!Quantity.duration(value).isEmpty)
    }
    var host = SavedHost()
    var old = flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply])
    old.start = .max
    host.flows = [old]
    var observation = try host.observation()
    for time in [1e30, -1e30, .nan] {
      observation.sample.time = time
      observation.earlier = observation.sample
      observation.earlier?.time = -1e30
      let audit = Audit(observation)
      #expect(!AuditLines.text(audit, of: observation, isQuiet: false).isEmpty)
      #expect(!DiagnosisText(audit, of: observation, style: TextStyle()).text().isEmpty)
    }
  }

  @Test("Whoever is let in but for a few is told by the few")
  func everybodyBut() throws {
    func text(_ rule: String) throws -> String {
      var host = SavedHost()
      host.rules = """
        *filter
        :INPUT DROP [0:0]
        \(rule)
        COMMIT

        """
      let target = try #require(RulesetQuestions.Target("udp/5060"))
      let questions = RulesetQuestions(
        target, interface: "eth0", in: try host.firewall().snapshot)
      return RulesetQuestionsText.text(questions, style: TextStyle(width: 200))
    }
    #expect(
      try text("-A INPUT -s 203.0.113.66/32 -j DROP\n-A INPUT ! -s 192.0.2.0/24 -j ACCEPT")
        .contains("filter INPUT 2: everybody but 192.0.2.0/24, 203.0.113.66\n"))
    #expect(try text("-A INPUT -j ACCEPT").contains("filter INPUT 1: everybody\n"))
    #expect(try text("-A INPUT -s 192.0.2.0/24 -j ACCEPT").contains("INPUT 1: 192.0.2.0/24\n"))
  }

  @Test("A folder whose earlier part was cut short can be saved over")
  func savedOver() throws {
    let (_, observation) = try leaking()
    let folder = temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder.string) }
    try FileManager.default.createDirectory(
      atPath: folder.appending("earlier").string, withIntermediateDirectories: true)
    try ObservationFiles.save(observation, to: folder)
    #expect(try ObservationFiles.load(folder).earlier == nil)
    var twice = observation
    twice.earlier = observation.sample
    try ObservationFiles.save(twice, to: folder)
    #expect(try ObservationFiles.load(folder).earlier != nil)
    try ObservationFiles.save(observation, to: folder)
    #expect(try ObservationFiles.load(folder).earlier == nil)
  }

  private func temporaryFolder() -> FilePath {
    FilePath(
      FileManager.default.temporaryDirectory.appending(
        path: "sipleak-\(UInt64.random(in: 0...(.max)))"
      )
      .path(percentEncoded: false))
  }

  @Test("A saved observation gives the findings it gave live")
  func saved() throws {
    let (audit, original) = try leaking()
    var observation = original
    observation.earlier = original.sample
    let folder = temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder.string) }
    try ObservationFiles.save(observation, to: folder)
    let loaded = try ObservationFiles.load(folder)
    #expect(Audit(loaded).findings.map(\.cause) == audit.findings.map(\.cause))
    #expect(loaded.sample.flows == observation.sample.flows)
    #expect(loaded.network == observation.network)
    #expect(loaded.earlier != nil)

    // Cut short: the last flow is missing.
    let flows = folder.appending("flows.jsonl")
    let lines = try Data(contentsOf: URL(filePath: flows.string)).split(separator: 0x0a)
    try Data(lines[0]).write(to: URL(filePath: flows.string))
    #expect(throws: SIPLeakError.self) { try ObservationFiles.load(folder) }
    // Malformed: file and line are named.
    try Data("{}\n".utf8).write(to: URL(filePath: flows.string))
    do throws(SIPLeakError) {
      _ = try ObservationFiles.load(folder)
      Issue.record("a malformed file was read")
    } catch {
      #expect(error.code == .badFile)
      #expect(error.message.contains("flows.jsonl:1:"))
    }
    try FileManager.default.removeItem(atPath: folder.appending("observation.json").string)
    #expect(throws: SIPLeakError.self) { try ObservationFiles.load(folder) }
  }
}

/// Any JSON value, to look at what was written.
enum AnyJSON: Decodable, Equatable {
  case null, bool(Bool), number(Double), string(String), array([AnyJSON]), object([String: AnyJSON])

  init(from decoder: any Decoder) throws {
    let value = try decoder.singleValueContainer()
    if value.decodeNil() {
      self = .null
    } else if let bool = try? value.decode(Bool.self) {
      self = .bool(bool)
    } else if let number = try? value.decode(Double.self) {
      self = .number(number)
    } else if let string = try? value.decode(String.self) {
      self = .string(string)
    } else if let array = try? value.decode([AnyJSON].self) {
      self = .array(array)
    } else {
      self = .object(try value.decode([String: AnyJSON].self))
    }
  }
}
