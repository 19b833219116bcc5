import Addressing
import Lab
import SIPLeak
import Testing

/// A lab with a server on the PBX and rules of the test's own.
struct DiagnosisLab {
  let lab: Lab
  let server: SIPServer
  let carrier: SIPClient
  let attacker: SIPClient

  var access: HostAccess { HostAccess(lab.pbx.namespace) }

  static let state = "-m state --state RELATED,ESTABLISHED -j ACCEPT"
  static let fromCarrier = "-s 198.51.100.0/24 -p udp -m udp --dport 5060 -j ACCEPT"
  static let reject = "-j REJECT --reject-with icmp-host-prohibited"

  /// The save of a filter table with these rules in INPUT; everything else is open.
  static func filter(_ rules: [String]) -> String {
    "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
      + rules.map { "-A INPUT \($0)\n" }.joined() + "COMMIT\n"
  }

  /// The save of the raw table with these rules in PREROUTING.
  static func raw(_ rules: String...) -> String {
    "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
      + rules.map { "-A PREROUTING \($0)\n" }.joined() + "COMMIT\n"
  }

  /// The save of the nat table with these rules.
  static func nat(_ rules: String..., chains: String = "") -> String {
    "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
      + ":POSTROUTING ACCEPT [0:0]\n" + chains + rules.map { "-A \($0)\n" }.joined() + "COMMIT\n"
  }

  /// Runs a test where the PBX has these INPUT rules, and IPv6 is shut.
  static func with<R>(
    _ rules: String..., more: String = "", serverOn other: Bool = false,
    _ body: (DiagnosisLab) async throws -> R
  ) async throws -> R {
    try await Lab.with { lab in
      try await lab.pbx.restore(more + filter(rules))
      try await lab.pbx.restore(filter([state, "-j REJECT"]), family: .ipv6)
      let server = try SIPServer.start(on: other ? lab.other : lab.pbx)
      let carrier = try SIPClient.open(
        on: lab.carrier, address: lab.carrier.address4, port: 5060)
      let attacker = try SIPClient.open(on: lab.attacker)
      return try await body(
        DiagnosisLab(lab: lab, server: server, carrier: carrier, attacker: attacker))
    }
  }

  func observe() async throws -> Observation {
    try await Observation.live(SIPLeak.SIPEndpoints(), access: access)
  }

  /// The diagnosis of the PBX as it is now.
  func diagnosis(of peer: IPAddress? = nil) async throws -> Diagnosis {
    let observation = try await observe()
    #expect(observation.problems == [])
    return Diagnosis(Audit(observation), of: observation, peer: peer)
  }

  /// Whether a first packet of the attacker is answered, from a port of its own.
  func letsIn(port: UInt16? = nil) async throws -> Bool {
    let stranger = try SIPClient.open(
      on: lab.attacker, address: lab.attacker.address4, port: UInt16.random(in: 30000...59000))
    defer { stranger.close() }
    let door = port.map { Endpoint(lab.pbx.address4, $0) } ?? Endpoint(lab.pbx.address4, 5060)
    return try await stranger.request(to: door).isAnswered
  }
}

/// Expects a verdict, and words in its summary.
func expect(
  _ diagnosis: Diagnosis, _ kind: Explanation.Kind, _ verdict: Explanation.Verdict,
  _ words: String..., at place: SourceLocation = #_sourceLocation
) {
  guard let found = diagnosis[kind] else {
    Issue.record("\(kind) is not there", sourceLocation: place)
    return
  }
  #expect(found.verdict == verdict, "\(kind): \(found.summary)", sourceLocation: place)
  for word in words {
    #expect(found.summary.contains(word), "\(kind): \(found.summary)", sourceLocation: place)
  }
}
