import Addressing
import Conntrack
import HostNetwork
import Testing

@testable import SIPLeak

@Suite("Settings")
struct SettingsTests {
  /// A host on which nothing matters.
  private func good() throws -> Observation {
    var observation = try SavedHost().observation()
    observation.settings.accounting = true
    observation.settings.timestamps = true
    observation.settings.events = 2
    observation.settings.udpTimeout = 30
    observation.settings.udpStreamTimeout = 120
    observation.settings.tcpLoose = true
    observation.settings.count = 100
    observation.settings.max = 262_144
    observation.settings.buckets = 262_144
    observation.settings.sipHelper = SIPHelperSettings(isLoaded: false)
    observation.network.reversePathFilter = ["lo": 0, "eth0": 1]
    observation.network.peerRoutes = [
      NetworkFacts.PeerRoute(
        peer: address("203.0.113.66"), local: address("192.0.2.5"),
        route: Route(interface: "eth0", gateway: nil, source: nil, kind: .unicast))
    ]
    return observation
  }

  private func judged(
    _ name: String, _ change: (inout Observation) -> Void
  ) throws -> JudgedSetting {
    var observation = try good()
    change(&observation)
    return try #require(
      SettingsJudgement.all(of: observation).first { $0.name.hasSuffix(name) }, "\(name)")
  }

  @Test("Where nothing matters, nothing is said")
  func nothing() throws {
    let observation = try good()
    let settings = SettingsJudgement.all(of: observation)
    #expect(settings.allSatisfy { $0.level == .fine && $0.value != nil && $0.command == nil })
    #expect(SettingsText.paragraphs(settings) == [])
    #expect(settings.contains { $0.name == "net.ipv4.conf.eth0.rp_filter" && $0.value == "1" })
    #expect(!settings.contains { $0.name.contains("conf.lo.") })
  }

  @Test("Each that matters says why, and the command that changes it")
  func matters() throws {
    let prefix = "sysctl -w net.netfilter.nf_conntrack_"
    var one = try judged("acct") { $0.settings.accounting = false }
    #expect(one.level == .matters && one.command == prefix + "acct=1")
    one = try judged("_max") { $0.settings.count = 235_930 }
    #expect(one.level == .matters && one.command == prefix + "max=524288")
    #expect(one.text.contains("90% full (235,930 of 262,144)"))
    one = try judged("_max") { $0.settings.count = 200_000 }
    #expect(one.level == .minor)
    one = try judged("udp_timeout_stream") { $0.settings.udpStreamTimeout = 30 }
    #expect(one.level == .matters && one.command == prefix + "udp_timeout_stream=120")
    one = try judged("udp_timeout_stream") { $0.settings.udpStreamTimeout = 3600 }
    #expect(one.level == .matters && one.text.contains("1 h"))
    one = try judged("udp_timeout") { $0.settings.udpTimeout = 3600 }
    #expect(one.level == .matters && one.command == prefix + "udp_timeout=30")
    one = try judged("tcp_loose") { $0.endpoints.tcpPorts = [5061] }
    #expect(one.level == .matters && one.command == prefix + "tcp_loose=0")
    one = try judged("buckets") { $0.settings.buckets = 16_384 }
    #expect(one.level == .minor && one.command == prefix + "buckets=262144")
    one = try judged("_helper") { $0.settings.automaticHelpers = true }
    #expect(one.level == .matters && one.command == prefix + "helper=0")
    one = try judged("events") { $0.settings.events = 0 }
    #expect(one.level == .minor)
    one = try judged("eth0.rp_filter") { $0.network.reversePathFilter["eth0"] = 0 }
    #expect(one.level == .matters && one.command == "sysctl -w net.ipv4.conf.eth0.rp_filter=1")
    one = try judged("eth0.rp_filter") {
      $0.network.reversePathFilter["eth0"] = 0
      $0.network.peerRoutes = []
    }
    #expect(one.level == .minor)
  }

  @Test("The SIP helper's parameters matter where it is in use, and are said where it is not")
  func helper() throws {
    var helper = SIPHelperSettings(isLoaded: true)
    helper.directSignalling = false
    helper.directMedia = true
    var one = try judged("sip_direct_signalling") { $0.settings.sipHelper = helper }
    #expect(one.level == .minor && one.value == "0")
    one = try judged("sip_direct_signalling") {
      $0.settings.sipHelper = helper
      $0.settings.automaticHelpers = true
    }
    #expect(one.level == .matters)
    #expect(
      one.command == "echo 1 > /sys/module/nf_conntrack_sip/parameters/sip_direct_signalling")
    one = try judged("sip_direct_signalling") {
      $0.settings.sipHelper = helper
      var flow = flow("203.0.113.66:1", "192.0.2.5:5060", [.seenReply])
      flow.helper = "sip"
      $0.sample.flows = [flow]
    }
    #expect(one.level == .matters)
    var host = SavedHost()
    host.rules =
      "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -m udp --dport 5060 -j CT --helper sip\n"
      + "COMMIT\n" + SavedHost.rules
    let firewall = try host.firewall()
    one = try judged("sip_direct_signalling") {
      $0.settings.sipHelper = helper
      $0.sample.firewall = firewall
    }
    #expect(one.level == .matters)
  }

  @Test("What could not be read is unknown, never fine")
  func unknown() throws {
    var observation = try good()
    observation.settings = ConntrackSettings()
    observation.network.reversePathFilter = [:]
    let settings = SettingsJudgement.all(of: observation)
    #expect(settings.count >= 10)
    #expect(settings.allSatisfy { $0.level == .unknown && $0.value == nil })
    #expect(SettingsText.paragraphs(settings).map(\.text) == ["none is known"])
    let one = try judged("sip_direct_media") {
      $0.settings.sipHelper = SIPHelperSettings(isLoaded: true)
    }
    #expect(one.level == .unknown)
  }

  @Test("An interface whose name is hostile or has dots is quoted in the command")
  func names() {
    #expect(ReversePath.assignable("eth0") == "net.ipv4.conf.eth0.rp_filter")
    #expect(ReversePath.assignable("eth0.100") == "net/ipv4/conf/eth0.100/rp_filter")
    #expect(ReversePath.assignable("a;'b") == "'net.ipv4.conf.a;'\\''b.rp_filter'")
  }

  @Test("A diagnosis says rp_filter and accounting once, with their commands")
  func once() throws {
    var observation = try good()
    observation.network.reversePathFilter["eth0"] = 0
    observation.settings.accounting = false
    observation.settings.sipHelper = nil
    let audit = Audit(observation)
    let text = DiagnosisText(audit, of: observation, style: TextStyle()).text()
    #expect(text.components("rp_filter on eth0 is 0") == 1)
    #expect(text.components("forged") == 1)
    #expect(text.components("nf_conntrack_acct is 0") == 1)
    #expect(text.contains("            sysctl -w net.ipv4.conf.eth0.rp_filter=1\n"))
    #expect(text.contains("not known: nf_conntrack_sip"))
    #expect(audit.blindSpots.contains { $0.kind == "rp-filter-off" })
    let json = try AuditJSON(audit, of: observation).line()
    #expect(json.contains("\"name\":\"net.ipv4.conf.eth0.rp_filter\""))
    #expect(json.contains("\"command\":null"))
    #expect(json.contains("\"level\":\"unknown\",\"name\":\"nf_conntrack_sip\""))
  }

  @Test("In another namespace the commands enter it, but for what all namespaces share")
  func namespace() throws {
    var one = try judged("acct") {
      $0.settings.accounting = false
      $0.host.namespace = "4711"
    }
    #expect(
      one.command
        == "nsenter --net=/proc/4711/ns/net sysctl -w net.netfilter.nf_conntrack_acct=1")
    one = try judged("eth0.rp_filter") {
      $0.network.reversePathFilter["eth0"] = 0
      $0.host.namespace = "pbx"
    }
    #expect(one.command == "nsenter --net=/run/netns/pbx sysctl -w net.ipv4.conf.eth0.rp_filter=1")
    one = try judged("_max") {
      $0.settings.count = 262_144
      $0.host.namespace = "pbx"
    }
    #expect(one.command == "sysctl -w net.netfilter.nf_conntrack_max=524288")
  }

  @Test("Many interfaces are one paragraph")
  func grouped() {
    let settings = (0..<9).map {
      JudgedSetting("net.ipv4.conf.eth\($0).rp_filter", "0", .matters, "harm", "set \($0)")
    }
    let paragraphs = SettingsText.paragraphs(settings)
    #expect(paragraphs.count == 1)
    #expect(paragraphs.first?.text.hasPrefix("rp_filter on eth0, eth1, ") == true)
    #expect(paragraphs.first?.commands.count == 5)
    #expect(paragraphs.first?.commands.last == "… and 5 more: --format json")
  }
}

extension String {
  /// How often a text stands in this one.
  fileprivate func components(_ text: String) -> Int { ranges(of: text).count }
}
