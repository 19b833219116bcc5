import Addressing
import Firewall
import Testing

/// What a test expects of a condition.
enum Expected: String, CustomTestStringConvertible {
  case yes, no, unknown

  init(_ answer: Ternary) {
    switch answer {
    case .matches: self = .yes
    case .doesNotMatch: self = .no
    case .unknown: self = .unknown
    }
  }

  var testDescription: String { rawValue }
}

/// A change to the packet a table begins with, with a name for the test's report.
struct Change: CustomTestStringConvertible, Sendable {
  var testDescription: String
  var apply: @Sendable (inout Packet) -> Void

  init(_ name: String, _ apply: @escaping @Sendable (inout Packet) -> Void) {
    testDescription = name
    self.apply = apply
  }

  static let none = Change("as it is") { _ in }
}

/// The packets and rulesets tests begin with.
enum Given {
  static func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

  /// `203.0.113.66:24376`.
  static func endpoint(_ text: String) throws -> Endpoint { try #require(Endpoint(text)) }

  /// A NEW packet from the attacker to the PBX.
  static func packet(
    _ transport: IPProtocol = .udp, from source: String = "203.0.113.66:24376",
    to destination: String = "192.0.2.5:5060"
  ) throws -> Packet {
    let source = try endpoint(source)
    let destination = try endpoint(destination)
    return Packet(
      transport: transport, source: source.address, destination: destination.address,
      sourcePort: transport.hasPorts ? source.port : nil,
      destinationPort: transport.hasPorts ? destination.port : nil, inInterface: "eth0",
      connection: .new)
  }

  static func held(_ direction: FlowDirection = .original, status: UInt32 = 0xa) -> ConnectionFacts
  {
    var facts = ConnectionFacts(state: .established, direction: direction, status: status)
    facts.mark = 0
    facts.zone = 0
    facts.helper = ""
    return facts
  }

  static func ruleset(
    _ text: String, backend: Backend = .legacy, family: AddressFamily = .ipv4
  ) throws -> Ruleset {
    try RulesetReader.read(Array(text.utf8), source: "test", backend: backend, family: family)
  }

  static func snapshot(
    _ text: String, backend: Backend = .legacy, family: AddressFamily = .ipv4,
    sets: String? = nil
  ) throws -> FirewallSnapshot {
    var snapshot = FirewallSnapshot(
      rulesets: [try ruleset(text, backend: backend, family: family)])
    snapshot.sets = try sets.map { try AddressSetReader.read(Array($0.utf8), source: "test") }
    snapshot.localAddresses = ["192.0.2.5", "127.0.0.1", "2001:db8::5", "::1"].compactMap {
      IPAddress($0)
    }
    return snapshot
  }

  /// A filter table whose INPUT has these rules, and user chains `NAME: RULE; RULE`.
  static func filter(_ input: [String], policy: String = "ACCEPT", chains: [String: [String]] = [:])
    -> String
  {
    var text = "*filter\n:INPUT \(policy) [0:0]\n:FORWARD ACCEPT [0:0]\n"
    for name in chains.keys.sorted() { text += ":\(name) - [0:0]\n" }
    for rule in input { text += "-A INPUT \(rule)\n" }
    for name in chains.keys.sorted() {
      for rule in chains[name] ?? [] { text += "-A \(name) \(rule)\n" }
    }
    return text + "COMMIT\n"
  }

  /// Whether a rule's conditions hold, asked as the only rule of INPUT.
  static func answer(
    _ conditions: String, _ packet: Packet, sets: String? = nil,
    change: (inout FirewallSnapshot) -> Void = { _ in }
  ) throws -> Ternary {
    var snapshot = try snapshot(
      filter([conditions]), family: packet.family, sets: sets)
    change(&snapshot)
    let reference = RuleReference(
      backend: .legacy, table: "filter", chain: "INPUT", index: 1, text: "")
    return Evaluation(snapshot).matches(reference, packet)
  }
}
