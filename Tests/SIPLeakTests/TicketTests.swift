import Addressing
import Conntrack
import Firewall
import FoundationEssentials
import SystemPackage
import Testing

@testable import SIPLeak

@Suite("Ticket")
struct TicketTests {
  /// A folder that goes with the test.
  private final class Folder {
    let path: String

    init() throws {
      path = FileManager.default.temporaryDirectory.path + "/ticket-\(UUID().uuidString)"
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ text: String, _ name: String) throws -> String {
      try Data(text.utf8).write(to: URL(filePath: "\(path)/\(name)"))
      return "\(path)/\(name)"
    }
  }

  private let leak = FlowText.line(
    flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured]))
  private let carrier = FlowText.line(
    flow("198.51.100.10:5060", "192.0.2.5:5060", [.seenReply, .assured]))

  private func observe(
    _ table: String, rules: String = SavedHost.rules, rules6: String? = nil,
    local: [String] = ["192.0.2.5"], interfaces: [String] = []
  ) async throws -> Observation {
    let folder = try Folder()
    let files = TicketFiles(
      flows: try folder.write(table, "table.txt"),
      rules: ExplainSource(
        ruleset: FilePath(try folder.write(rules, "rules.v4")),
        ruleset6: try rules6.map { FilePath(try folder.write($0, "rules.v6")) }),
      local: local.map(address), interfaces: interfaces)
    return try await Observation.ticket(files, endpoints: SIPEndpoints())
  }

  @Test("A table and its rules as text give the leak that the kernel's would")
  func leakFound() async throws {
    let observation = try await observe("\(leak)\n\(carrier)\n")
    let audit = Audit(observation)
    #expect(audit.findings.map(\.cause) == [.establishedBypass])
    #expect(audit.findings.first?.asNew.rule?.index == 5)
    #expect(audit.findings.first?.asHeld.rule?.index == 2)
    #expect(audit.isComplete, "\(audit.problems)")
    let kinds = Set(audit.blindSpots.map(\.kind))
    #expect(kinds.isSuperset(of: ["text-hides-helpers", "no-expectations", "no-host-facts"]))
    #expect(!kinds.contains("assumed-local"))
    let json = try AuditJSON(audit, of: observation).line()
    #expect(json.contains("\"flow_id\":null"))
    // What such text cannot show is not ruled out by it.
    let diagnosis = Diagnosis(audit, of: observation)
    expect(diagnosis, .helper, .cannotTell, "does not show it")
    expect(diagnosis, .ipv6, .cannotTell, "does not show it")
    expect(diagnosis, .hostOpened, .ruledOut)
  }

  @Test("A cut line is named with file, line and column, and the answer is not complete")
  func cut() async throws {
    let audit = Audit(try await observe("\(carrier)\n\(leak.prefix(60))\n\(carrier)\n"))
    #expect(audit.exitStatus == 3)
    #expect(audit.problems.count == 1)
    #expect(
      audit.problems.first?.hasSuffix(
        "table.txt:2:60: expected \"name=value\" or a flag in brackets: was the line cut?, "
          + "found \"d\"") == true,
      "\(audit.problems)")
    // A leak is a leak all the same.
    #expect(Audit(try await observe("\(leak)\nudp\n")).exitStatus == 2)
  }

  @Test("Own addresses that nobody named are told from the flows, and that is said")
  func assumed() async throws {
    let audit = Audit(try await observe("\(leak)\n\(carrier)\n", local: []))
    #expect(audit.exitStatus == 2)
    let spot = audit.blindSpots.first { $0.kind == "assumed-local" }
    #expect(spot?.text.hasPrefix("192.0.2.5 is taken for") == true)
  }

  @Test(
    "Own addresses that the flows leave open are asked for",
    arguments: [
      // Either end could be the host.
      ("one", SavedHost.rules, "192.0.2.5 and 203.0.113.66 are an end"),
      // No address is in all flows.
      ("two hosts", SavedHost.rules, "no address is an end"),
      // It forwards: the PBX may be another host.
      (
        "forwards",
        SavedHost.rules.replacing(":FORWARD ACCEPT [0:0]", with: ":FORWARD ACCEPT [7:700]"),
        "filter FORWARD has counted packets"
      ),
    ])
  func asked(name: String, rules: String, sentence: String) async throws {
    let elsewhere = FlowText.line(flow("198.51.100.7:1", "192.0.2.99:5060", [.seenReply]))
    let table = [
      "one": leak, "two hosts": "\(leak)\n\(elsewhere)", "forwards": "\(leak)\n\(carrier)",
    ]
    let error = await #expect(throws: SIPLeakError.self) {
      try await observe(table[name] ?? "", rules: rules, local: [])
    }
    #expect(error?.code == .badFile)
    #expect(error?.message.contains(sentence) == true, "\(error?.message ?? "")")
    #expect(error?.advice.contains("--local") == true)
  }

  @Test("IPv6 flows without ip6tables rules are undecided, not open")
  func otherFamily() async throws {
    let line = FlowText.line(flow("[2001:db8::66]:1", "[2001:db8::5]:5060", [.seenReply]))
    let audit = Audit(
      try await observe("\(line)\n\(leak)\n", local: ["192.0.2.5", "2001:db8::5"]))
    #expect(audit.findings.map(\.cause) == [.establishedBypass, .undecided])
    #expect(!audit.isComplete)
    let rules6 = SavedHost.rules.replacing("-s 198.51.100.10/32", with: "-s 2001:db8::10/128")
      .replacing("icmp-host-prohibited", with: "icmp6-adm-prohibited")
    let both = Audit(
      try await observe(
        "\(line)\n\(leak)\n", rules6: rules6, local: ["192.0.2.5", "2001:db8::5"]))
    #expect(both.findings.map(\.cause) == [.establishedBypass, .establishedBypass])
    #expect(both.isComplete, "\(both.problems)")
  }

  @Test("A translated flow is undecided if the text holds no nat table: it may be left out")
  func withoutNAT() async throws {
    var led = flow("203.0.113.66:24376", "192.0.2.5:5070", [.seenReply, .destinationNAT])
    led.reply.sourcePort = 5060
    let table = FlowText.line(led)
    let found = Audit(try await observe(table)).findings
    #expect(found.map(\.cause) == [.undecided])
    #expect(found.first?.why.contains("no nat table") == true, "\(found.map(\.why))")
    // A nat table without the rule says that the rule is gone.
    let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
    #expect(
      Audit(try await observe(table, rules: nat + SavedHost.rules)).findings.map(\.cause)
        == [.establishedBypass])
  }

  @Test("That a family's rules were not given is said once")
  func missingFamily() async throws {
    let spots = Audit(try await observe(leak)).blindSpots.filter { $0.kind == "unseen-filter" }
    #expect(spots.count == 1, "\(spots)")
  }

  @Test("A rule for an inside interface leaves the answer open unless it is said who comes by it")
  func interfaces() async throws {
    let rules = SavedHost.rules.replacing(
      "[0:0] -A INPUT -p tcp", with: "[0:0] -A INPUT -i eth1 -j ACCEPT\n[0:0] -A INPUT -p tcp")
    #expect(Audit(try await observe(leak, rules: rules)).findings.map(\.cause) == [.undecided])
    #expect(
      Audit(try await observe(leak, rules: rules, interfaces: ["eth0"])).findings.map(\.cause)
        == [.establishedBypass])
    #expect(Audit(try await observe(leak, rules: rules, interfaces: ["eth1"])).findings == [])
    // A pattern is met by some names and not by others.
    let pattern = rules.replacing("-i eth1", with: "-i eth+")
    #expect(Audit(try await observe(leak, rules: pattern)).findings.map(\.cause) == [.undecided])
  }

  @Test(
    "A search's output and a missing line are said",
    arguments: [
      ("root@pbx:~# conntrack -L | grep 5060", true),
      ("$ conntrack -L -p udp --orig-port-dst 5060", true),
      ("# conntrack -L -o extended,id", false), ("# cat /proc/net/nf_conntrack", false),
      ("[root@pbx ~]# conntrack -L 2>&1", false),
    ])
  func searches(prompt: String, isSearch: Bool) async throws {
    let end = "conntrack v1.4.7 (conntrack-tools): 9 flow entries have been shown."
    let observation = try await observe("\(prompt)\n\(leak)\n")
    #expect(observation.blindSpots.contains { $0.kind == "filtered-text" } == isSearch)
    #expect(observation.problems == [])
    let short = try await observe("\(leak)\n\(end)\n")
    #expect(short.problems.first?.contains("conntrack printed 9 flows, and 1 are here") == true)
  }

  @Test("Text that is no table is an error with its place, and so is a missing file")
  func noTable() async throws {
    for text in ["", "hello\n", "<html>\n"] {
      let error = await #expect(throws: SIPLeakError.self) { try await observe(text) }
      #expect(error?.code == .badFile, "\(text)")
    }
    let files = TicketFiles(flows: "/nonexistent/table", rules: ExplainSource(ruleset: "/x"))
    await #expect(throws: SIPLeakError.self) {
      try await Observation.ticket(files, endpoints: SIPEndpoints())
    }
  }

  @Test("Many bad lines are told in part and counted")
  func manyComplaints() async throws {
    let text = leak + "\n" + String(repeating: "rubbish\n", count: 500)
    let observation = try await observe(text)
    #expect(observation.problems.count == 21)
    #expect(observation.problems.last?.contains("480 more lines") == true)
  }
}
