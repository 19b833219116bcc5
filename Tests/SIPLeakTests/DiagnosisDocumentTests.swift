import Addressing
import Conntrack
import Firewall
import FoundationEssentials
import HostNetwork
import SystemPackage
import Testing

@testable import SIPLeak

/// The case of the documents, whole: rules 000 to 999, em1 and em2, INVITEs from port 24376.
@Suite("Diagnosis of the document's case")
struct DiagnosisDocumentTests {
  private func text(
    of peer: String? = nil, style: TextStyle = TextStyle()
  ) throws -> String {
    var host = SavedHost.document
    host.status = SavedHost.nothingElse
    let observation = try host.observation()
    let whole = Audit(observation)
    let named = peer.map(address)
    let diagnosis = Diagnosis(whole, of: observation, peer: named)
    return DiagnosisText(
      named.map(whole.about) ?? whole, of: observation, style: style, diagnosis: diagnosis
    ).text()
  }

  @Test("Each explanation gets the verdict an engineer would reach by hand")
  func verdicts() throws {
    let diagnosis = try SavedHost.document.diagnosis()
    expect(
      diagnosis, .establishedFlow, .supported,
      "state rule at filter INPUT 3 stands before every SIP rule")
    expect(diagnosis, .hostOpened, .supported)
    expect(diagnosis, .ipv6, .supported, "[::]:5060 listens")
    expect(
      diagnosis, .acceptRule, .ruledOut, "filter INPUT 10, 11", "198.51.100.0/24",
      "192.0.2.0/28")
    expect(diagnosis, .portRange, .ruledOut, "10000:20000 leaves 5060 out")
    expect(diagnosis, .icmp, .ruledOut, "opens no UDP flow; 4769K pkts, 538M")
    expect(diagnosis, .helper, .ruledOut, "no helper rule")
    expect(diagnosis, .spoofedSource, .cannotTell, "rp_filter is 0 on em2")
    expect(diagnosis, .interfaceRule, .ruledOut)
    expect(diagnosis, .translation, .ruledOut)
    expect(diagnosis, .shadowedAccept, .ruledOut)
    expect(diagnosis, .payloadRule, .ruledOut)
    expect(diagnosis, .domainAccept, .ruledOut)
    expect(diagnosis, .managedChains, .ruledOut)
    expect(diagnosis, .hopDistance, .cannotTell)
    expect(diagnosis, .reloadWindow, .cannotTell)
  }

  @Test("The text fits 80 columns, says what to do before the explanations, and has no colour")
  func layout() throws {
    let text = try text()
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(!text.contains("\u{1b}"))
    // A command is not cut in two: it is to be copied.
    let commands = ["sipleak", "sysctl", "ip6tables", "iptables", "tcpdump"]
    for line in lines.dropFirst() where line.count > 80 {
      let word = line.split(separator: " ").first.map(String.init) ?? ""
      #expect(commands.contains { word.hasPrefix($0) }, "\(line)")
    }
    let todo = try #require(lines.firstIndex { $0.hasPrefix("Do    ") })
    let explanations = try #require(
      lines.firstIndex { $0 == "Explanations considered (\(Explanation.Kind.allCases.count))" })
    #expect(todo < explanations)
    #expect(todo < 24)
    #expect(
      text.contains(
        """
          supported    established flow outlives its rule
                       state rule at filter INPUT 3 stands before every SIP rule
        """), "\(text)")
    #expect(try self.text(style: TextStyle(isColoured: true)).contains("\u{1b}[1;31msupported"))
  }

  @Test("The same case of a saved folder gives the same document, JSON and all")
  func saved() throws {
    let folder = FilePath("/tmp/sipleak-diagnosis-\(UInt64.random(in: 0 ... .max))")
    defer { try? FileManager.default.removeItem(atPath: folder.string) }
    var host = SavedHost.document
    host.status = SavedHost.nothingElse
    var observation = try host.observation()
    observation.sample.firewall.snapshot.localAddresses = host.network.addresses.map(\.address)
    observation.sample.firewall.snapshot.time = observation.sample.wholeSeconds
    var helper = SIPHelperSettings(isLoaded: true)
    helper.directMedia = true
    helper.timeout = 3600
    observation.settings.sipHelper = helper
    observation.settings.automaticHelpers = false
    observation.reloadScripts = [
      FlushingLine(path: "/etc/rc.local", line: 7, text: "iptables -F")
    ]
    try ObservationFiles.save(observation, to: folder)
    let loaded = try ObservationFiles.load(folder)
    #expect(loaded.settings == observation.settings)
    #expect(loaded.reloadScripts == observation.reloadScripts)
    func line(_ observation: Observation) throws -> String {
      let audit = Audit(observation)
      return try AuditJSON(
        audit, of: observation, diagnosis: Diagnosis(audit, of: observation)
      ).line()
    }
    #expect(try line(observation) == line(loaded))
    // One saved before these facts were read is not known to lack them.
    let path = folder.appending("observation.json")
    var text = String(decoding: try Data(contentsOf: URL(filePath: path.string)), as: UTF8.self)
    let from = try #require(text.firstRange(of: ",\"reload_scripts\":["))
    let to = try #require(text[from.upperBound...].firstRange(of: "]"))
    text.removeSubrange(from.lowerBound..<to.upperBound)
    try Data(text.utf8).write(to: URL(filePath: path.string))
    #expect(try ObservationFiles.load(folder).reloadScripts == nil)
  }

  @Test("The JSON carries every explanation with stable ids, rules, flows and settings")
  func json() throws {
    let observation = try SavedHost.document.observation()
    let audit = Audit(observation)
    let line = try AuditJSON(
      audit, of: observation, diagnosis: Diagnosis(audit, of: observation)
    ).line()
    let object = try JSONDecoder().decode([String: AnyJSON].self, from: Data(line.utf8))
    guard case .array(let list) = object["explanations"] else {
      Issue.record("no explanations")
      return
    }
    var ids: Set<String> = []
    for case .object(let one) in list {
      #expect(Set(one.keys) == ["id", "title", "verdict", "summary", "evidence", "command"])
      if case .string(let id) = one["id"] { ids.insert(id) }
    }
    #expect(ids == Set(Explanation.Kind.allCases.map(\.rawValue)))
    #expect(object["peer"] == .null)
    let plain = try JSONDecoder().decode(
      [String: AnyJSON].self,
      from: Data(try AuditJSON(audit, of: observation).line().utf8))
    #expect(plain["explanations"] == .null)
  }

  @Test("A peer without a flow is a sentence, and what the rules would do with it")
  func peerWithoutFlow() throws {
    let text = try text(of: "203.0.113.9")
    #expect(text.contains("Peer  203.0.113.9"))
    #expect(text.contains("It has no flow to SIP in the table."))
    #expect(text.contains("from any port to udp 192.0.2.5:5060 by em2:"), "\(text)")
    #expect(text.contains("REJECT   filter INPUT 17 \"999 reject all other requests\""), "\(text)")
    // By em1 no route leads to it, and nothing would be decided otherwise.
    #expect(!text.contains("em1 (no route"))
    #expect(!text.contains("LEAK"))
    #expect(!text.contains("  0  "))
    let carrier = try self.text(of: "198.51.100.10")
    #expect(carrier.contains("ACCEPT   filter INPUT 10 \"100 accept sip from carrier\""))
    #expect(carrier.contains("supported    accept rule wider than meant"), "\(carrier)")
    let leak = try self.text(of: "203.0.113.66")
    #expect(leak.contains("LEAK  203.0.113.66:24376"))
    #expect(!leak.contains("203.0.113.70"))
  }

  @Test("A hostile comment, chain or domain drives no terminal and no shell")
  func hostile() throws {
    let bad = "x\u{1b}[31m\n-A INPUT -j ACCEPT\u{202e}"
    var host = SavedHost()
    host.rules = """
      *raw
      :PREROUTING ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      :a;$(id) - [0:0]
      -A PREROUTING -j a;$(id)
      -A a;$(id) -p udp -m udp --dport 5060 -j CT --helper sip
      COMMIT
      *filter
      :INPUT ACCEPT [0:0]
      :FORWARD ACCEPT [0:0]
      :OUTPUT ACCEPT [0:0]
      [1:1] -A INPUT -m state --state RELATED,ESTABLISHED -m comment --comment "\(bad)" -j ACCEPT
      [1:1] -A INPUT -p udp -m udp --dport 5060 -m string --string "\u{1b}]0;x" --algo bm -j ACCEPT
      [1:1] -A INPUT -p udp -m udp --dport 1:9999 -m comment --comment "\(bad)" -j ACCEPT
      [1:1] -A INPUT -j DROP
      COMMIT

      """
    host.flows = [flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply, .assured])]
    let observation = try host.observation()
    let audit = Audit(observation)
    let diagnosis = Diagnosis(audit, of: observation)
    let text = DiagnosisText(
      audit, of: observation, style: TextStyle(), diagnosis: diagnosis
    ).text()
    for scalar in text.unicodeScalars where scalar != "\n" {
      #expect(EscapedText.isPlain(scalar))
    }
    #expect(!text.contains("\n-A INPUT"))
    #expect(diagnosis[.helper]?.command?.contains("'a;$(id)'") ?? true)
    let line = try AuditJSON(audit, of: observation, diagnosis: diagnosis).line()
    #expect(line.split(separator: "\n").count == 1)
    #expect(!line.contains("\u{1b}"))
  }
}
