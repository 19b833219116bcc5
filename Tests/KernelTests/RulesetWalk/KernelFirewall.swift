import Addressing
import Firewall
import Glibc
import Lab
import SystemPackage
import TestSupport

/// A rule or, with index 0, a policy.
struct Place: Hashable, CustomStringConvertible {
  var backend: Backend
  var table: String
  var chain: String
  var index: Int

  var description: String { "\(backend.rawValue) \(table) \(chain) \(index)" }
}

/// What the kernel did with one packet.
struct PacketFate {
  /// How often each rule or policy counted it.
  var counts: [Place: UInt64] = [:]
  /// Whether it got past every table.
  var isAccepted = false
}

/// What the kernel did with a scenario.
struct KernelAnswer {
  /// The rulesets as the tools print them once they are loaded.
  var rulesets: [Ruleset]
  /// When they were loaded, in seconds since 1970.
  var time: Int64
  /// Each packet's fate, in the scenario's order.
  var packets: [PacketFate]
}

/// A host whose firewall is loaded by the real tools, with the means to send it any packet.
///
/// The lab's PBX with `ev0` towards the sender and `ev2` towards an inner network. Nothing else is
/// on these cables: the neighbours have no addresses, and what the host sends is dropped before
/// connection tracking sees it.
struct KernelFirewall {
  /// The tools refused a ruleset or set.
  struct Refusal: Error { var text: String }

  private let host: LabHost
  private let sender: FrameSocket
  private let receiver: FrameSocket
  private static let tables: KeyValuePairs = [
    "raw": ["PREROUTING", "OUTPUT"],
    "mangle": ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
    "nat": ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
    "filter": ["INPUT", "FORWARD", "OUTPUT"],
    "security": ["INPUT", "FORWARD", "OUTPUT"],
  ]

  init(_ lab: Lab) async throws {
    host = lab.pbx
    for name in [
      "ipv4/ip_forward", "ipv6/conf/all/forwarding", "netfilter/nf_conntrack_tcp_be_liberal",
    ] {
      try host.set("net/\(name)", "1")
    }
    try host.set("net/ipv6/conf/default/accept_dad", "0")
    try await host.run(["ip", "-batch", "-"], input: Self.network)
    for neighbour in [lab.attacker, lab.other] {
      try neighbour.set("net/ipv6/conf/eth0/disable_ipv6", "1")
      try await neighbour.run(
        ["ip", "-batch", "-"], input: "addr flush dev eth0\nlink set eth0 mtu 65535 up\n")
    }
    sender = try FrameSocket(interface: "eth0", type: 0, in: lab.attacker.namespace)
    receiver = try FrameSocket(
      interface: "ev0", type: TestFrame.markerType, in: host.namespace)
  }

  private static let network = """
    link del to-carrier
    link set to-attacker down
    link set to-other down
    link set to-attacker name ev0 address 02:00:00:00:00:02 mtu 65535 addrgenmode none
    link set to-other name ev2 address 02:00:00:00:00:04 mtu 65535 addrgenmode none
    addr flush dev ev0
    addr flush dev ev2
    link set ev0 up
    link set ev2 up
    addr add 192.0.2.5/24 dev ev0
    addr add 192.0.2.6/24 dev ev0
    addr add 10.77.3.1/24 dev ev2
    addr add 2001:db8::5/64 dev ev0 nodad
    addr add 2001:db8::6/64 dev ev0 nodad
    addr add fd77::1/64 dev ev2 nodad
    route add default dev ev0
    route add ::/0 dev ev0
    neigh replace 10.77.3.33 lladdr 02:00:00:00:00:03 dev ev2 nud permanent
    neigh replace fd77::33 lladdr 02:00:00:00:00:03 dev ev2 nud permanent

    """

  // MARK: Running

  /// Loads a scenario's firewall, sends its packets and reads what counted them.
  ///
  /// - Parameters:
  ///   - scenario: The firewall and the packets.
  ///   - isCareful: Whether to read the counters after every packet rather than after a batch.
  /// - Returns: What was observed.
  /// - Throws: ``Refusal`` when the tools don't take the firewall.
  func run(_ scenario: FirewallScenario, isCareful: Bool = false) async throws -> KernelAnswer {
    var now = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    let loaded = try await ask(Self.loading(scenario) + Self.reading(scenario), scenario)
    var observation = KernelAnswer(
      rulesets: loaded.rulesets, time: Int64(now.tv_sec), packets: [])
    var before = loaded.counters
    // Lengths tell the packets of a batch apart only while each has its own.
    let size = isCareful ? 1 : FirewallScenario.batchSize
    for start in stride(from: 0, to: scenario.packets.count, by: size) {
      let batch = Array(scenario.packets[start...].prefix(size))
      try HeldFlow.insert(batch.map(\.packet), in: host.namespace)
      let marker = TestFrame.marker(UInt64.random(in: .min ... .max))
      try sender.send(
        batch.enumerated().map { number, sent in
          let identifier = UInt16(truncatingIfNeeded: start + number + 1)
          return TestFrame.bytes(of: sent.packet, identifier: identifier)
        } + [marker])
      try receiver.wait(for: marker)
      if isCareful { try await Task.sleep(for: .milliseconds(3)) }
      let after = try await ask(Self.reading(scenario), scenario).counters
      guard let fates = Counting.fates(batch.count, before, after, isAlone: isCareful) else {
        return try await run(scenario, isCareful: true)
      }
      observation.packets += fates
      before = after
    }
    return observation
  }

  /// Runs a script on the host and reads the rulesets it prints.
  private func ask(
    _ script: String, _ scenario: FirewallScenario
  ) async throws -> (rulesets: [Ruleset], counters: Counters) {
    let result = try await host.attempt(["sh", "-s"], input: script)
    guard result.status == 0 else { throw Refusal(text: result.errors) }
    let parts = result.output.split(separator: Self.mark, omittingEmptySubsequences: false)
    guard parts.count == scenario.backends.count + 2 else {
      throw Refusal(text: "not all counters were printed: \(result.output)")
    }
    var rulesets: [Ruleset] = []
    var counters = Counters()
    for (backend, text) in zip(scenario.backends, parts.dropFirst()) {
      let ruleset = try RulesetReader.read(
        Array(text.utf8), source: "the kernel", backend: backend, family: scenario.family)
      counters.add(ruleset, loaded: scenario.saves[backend] ?? "")
      rulesets.append(ruleset)
    }
    let words = parts[parts.count - 1].split(whereSeparator: \.isWhitespace)
    if let place = words.firstIndex(of: "packets"), place + 3 < words.count,
      let packets = UInt64(words[place + 1]), let bytes = UInt64(words[place + 3])
    {
      counters.accepted = RuleCounters(packets: packets, bytes: bytes)
    }
    return (rulesets, counters)
  }

  // MARK: Scripts

  private static let mark = "@@ next\n"

  private static func tool(_ backend: Backend, _ family: AddressFamily) -> String {
    "\(family == .ipv4 ? "iptables" : "ip6tables")-\(backend.rawValue)"
  }

  /// Takes down what is there and loads a scenario's sets and rules.
  private static func loading(_ scenario: FirewallScenario) -> String {
    var script = "set -e\nnft -f - <<'END'\n\(native)END\n"
    // Sets can't be destroyed while a rule of any kind names them.
    for family in AddressFamily.allCases {
      script += "\(tool(.legacy, family))-restore <<'END'\n\(emptyTables)END\n"
    }
    script += "conntrack -F >/dev/null 2>&1\nipset flush\nipset destroy\n"
    script += "ipset restore <<'END'\n\(scenario.setText)END\n"
    for backend in scenario.backends {
      let restore = "\(tool(backend, scenario.family))-restore"
      script += "\(restore) <<'END'\n\(scenario.saves[backend] ?? "")END\n"
    }
    return script
  }

  /// What the host sends is dropped; what gets past every table is counted behind them all.
  private static let native = """
    flush ruleset
    table inet observer {
      counter accepted { }
      chain output { type filter hook output priority -400; policy drop; }
      chain input { type filter hook input priority 400; counter name accepted; }
      chain postrouting { type filter hook postrouting priority 400; counter name accepted; }
    }

    """

  private static let emptyTables = tables.map { table, chains in
    "*\(table)\n" + chains.map { ":\($0) ACCEPT\n" }.joined() + "COMMIT\n"
  }.joined()

  private static func reading(_ scenario: FirewallScenario) -> String {
    var script = "set -e\n"
    for backend in scenario.backends {
      script += "echo '@@ next'\n\(tool(backend, scenario.family))-save -c\n"
    }
    return script + "echo '@@ next'\nnft list counters table inet observer\n"
  }
}
