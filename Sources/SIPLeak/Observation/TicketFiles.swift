public import Addressing
import Conntrack
import Firewall
import FoundationEssentials
import HostNetwork

/// What a ticket holds of a host: its flow table and rulesets as text.
public struct TicketFiles: Sendable {
  /// The file with the text of the flow table; `-` is standard input.
  public var flows: String
  /// The files with the rules.
  public var rules: ExplainSource
  /// The host's own addresses; empty: to be told from the flows, if that is possible.
  public var local: [IPAddress]
  /// The interfaces that peers come by; empty: any but `lo`.
  public var interfaces: [String]

  /// Makes a description.
  public init(
    flows: String, rules: ExplainSource, local: [IPAddress] = [], interfaces: [String] = []
  ) {
    self.flows = flows
    self.rules = rules
    self.local = local
    self.interfaces = interfaces
  }
}

extension Observation {
  /// Reads the texts of a ticket: what `conntrack -L` and `iptables-save -c` printed somewhere.
  ///
  /// What such texts can't tell is in the observation's blind spots, and what of them could not be
  /// read in its problems. Needs no privileges.
  ///
  /// - Parameters:
  ///   - files: What there is.
  ///   - endpoints: Which ports count as SIP.
  /// - Returns: The observation.
  /// - Throws: ``SIPLeakError`` when a file can't be read, a ruleset is malformed, or the host's
  ///   addresses are neither given nor told by the flows.
  public static func ticket(
    _ files: TicketFiles, endpoints: SIPEndpoints
  ) async throws(SIPLeakError) -> Observation {
    let query = FlowQuery(transports: endpoints.transports, ports: endpoints.ports)
    let bytes: [UInt8]
    do throws(FirewallError) {
      bytes = try InputFile.read(files.flows)
    } catch {
      throw SIPLeakError(.badFile, "\(error)", advice: error.advice ?? "")
    }
    let table = TableTextReader.read(bytes, query: query)
    let name = files.flows == "-" ? "standard input" : files.flows
    guard table.flowCount > 0 || !table.expectations.isEmpty || table.announcedFlows == 0 else {
      throw SIPLeakError(
        .badFile,
        table.complaints.first.map { "\(name):\($0)" } ?? "\(name) holds no flow",
        advice: "Give what `conntrack -L` prints, or a copy of /proc/net/nf_conntrack.")
    }
    var snapshot = try await files.rules.snapshot()
    var ticket = TicketReading(table: table, name: name)
    let addresses =
      files.local.isEmpty ? try ticket.assumedAddresses(snapshot) : files.local
    ticket.noteTable()
    ticket.noteRules(snapshot)
    var network = NetworkFacts()
    // Loopback is every host's own; of the others neither prefix nor interface is known.
    let loopback = [IPAddress(ipv4: 0x7f00_0001), IPAddress(family: .ipv6, bits: 1)]
    network.addresses = (loopback + addresses).map {
      LocalAddress(
        address: $0, prefixLength: $0.family.bitWidth, interface: $0.isLoopback ? "lo" : "")
    }
    network.interfaces = ticket.interfaces(files.interfaces, snapshot)
    snapshot.localAddresses = network.addresses.map(\.address)
    var observation = Observation(
      host: HostIdentity(
        name: name, kernel: "unknown",
        flowCount: UInt32(clamping: table.flowCount)),
      endpoints: endpoints, network: network, settings: ConntrackSettings(),
      expectations: table.expectations,
      sample: Sample(
        time: Date().timeIntervalSince1970, flows: table.flows,
        firewall: FirewallReading(snapshot: snapshot)),
      problems: ticket.problems, blindSpots: ticket.blindSpots)
    observation.familiesWithoutNAT = Set(
      snapshot.rulesets.filter { $0.table("nat") == nil }.map(\.family))
    return observation
  }
}

/// What is known of a ticket, and what has to be said of it.
private struct TicketReading {
  let table: TableTextReading
  let name: String
  var problems: [String] = []
  var blindSpots: [BlindSpot] = []

  init(table: TableTextReading, name: String) {
    self.table = table
    self.name = name
  }

  // MARK: the flows

  mutating func noteTable() {
    let shown = 20
    problems += table.complaints.prefix(shown).map { "\(name):\($0)" }
    if table.complaintCount > UInt64(shown) {
      problems.append(
        "\(name): \(Quantity.grouped(table.complaintCount - UInt64(shown))) more lines like these")
    }
    if let missing = table.missing { problems.append("\(name): \(missing)") }
    blindSpots.append(
      BlindSpot(
        "text-hides-helpers",
        "conntrack's text does not show which flows a helper let in (EXPECTED, master), and "
          + "/proc/net/nf_conntrack no helper either: such a flow is judged as if it had come by "
          + "itself"))
    if table.expectations.isEmpty {
      blindSpots.append(
        BlindSpot(
          "no-expectations",
          "whether a helper expects flows is not known: add what `conntrack -L expect` prints"))
    }
    if table.hasEvents {
      blindSpots.append(
        BlindSpot(
          "events-only",
          "events show the flows that changed while somebody looked, not those that only stand"))
    }
    for command in table.commands.filter(Self.isSearch) {
      blindSpots.append(
        BlindSpot("filtered-text", "what \"\(command)\" did not print is not seen"))
    }
    blindSpots.append(
      BlindSpot(
        "no-time",
        "when the table was read is not known: rules that ask for the time of day are undecided"))
    blindSpots.append(
      BlindSpot(
        "no-host-facts",
        "routes, gateways, name servers, listening sockets, settings, native nft rules and those of "
          + "the other iptables backend are not in the files: before you block, let sipleak run on "
          + "the host"))
  }

  /// Whether a command may have left flows out.
  private static func isSearch(_ command: String) -> Bool {
    let filters: Set<Substring> = ["grep", "egrep", "awk", "sed", "head", "tail"]
    if command.contains("|") || !filters.isDisjoint(with: command.split(separator: " ")) {
      return true
    }
    guard let tool = command.firstRange(of: "conntrack") else { return false }
    // Behind the tool's name only what asks for the whole table, or for more columns.
    var words = command[tool.upperBound...].split(separator: " ")[...]
    while let word = words.popFirst() {
      switch word {
      case "-o", "--output": _ = words.popFirst()
      case "-L", "--dump", "-E", "--event", "expect", "conntrack", "-n", "2>&1": break
      default:
        if word.hasPrefix("-o") || word.hasPrefix("--output=") || word.hasPrefix(">") { break }
        return word.hasPrefix("-")
      }
    }
    return false
  }

  // MARK: whose addresses

  /// The addresses that only the host itself can have, if the host forwards nothing.
  mutating func assumedAddresses(
    _ snapshot: FirewallSnapshot
  ) throws(SIPLeakError) -> [IPAddress] {
    let advice =
      "Say which addresses are the host's own: --local ADDRESS, once for each (`ip -br addr`)."
    if let chain = snapshot.forwardingEvidence {
      throw SIPLeakError(
        .badFile, "the host forwards (\(chain)), so the flows don't tell its own addresses",
        advice: advice)
    }
    var found: [IPAddress] = []
    for family in AddressFamily.allCases {
      guard table.flows.contains(where: { $0.family == family }) else { continue }
      let common = table.commonAddresses[family] ?? []
      guard let only = common.first, common.count == 1 else {
        let what =
          common.isEmpty
          ? "no address is an end of every \(family == .ipv4 ? "IPv4" : "IPv6") flow"
          : "\(common.map(\.description).joined(separator: " and ")) are an end of every "
            + "\(family == .ipv4 ? "IPv4" : "IPv6") flow"
        throw SIPLeakError(
          .badFile, "which address is the host's own is not to be told: \(what)", advice: advice)
      }
      found.append(only)
      blindSpots.append(
        BlindSpot(
          "assumed-local",
          "\(only) is taken for the host's own address, as it is an end of every flow; if the "
            + "host forwards for it, nothing here is right: --local tells"))
    }
    return found
  }

  // MARK: the rules

  mutating func noteRules(_ snapshot: FirewallSnapshot) {
    for family in AddressFamily.allCases
    where !snapshot.rulesets.contains(where: { $0.family == family }) {
      let option = family == .ipv4 ? "--ruleset" : "--ruleset6"
      // That its rules are unseen is in the snapshot already; that they are needed only shows here.
      if table.flows.contains(where: { $0.family == family }) {
        problems.append(
          "\(family == .ipv4 ? "IPv4" : "IPv6") flows are in \(name), and no \(option) was given, so "
            + "its rules are not known")
      }
    }
  }

  /// The interfaces a peer may come by.
  ///
  /// Those asked for, else every one that rules name and one that none does. A packet of another host
  /// never comes by `lo`.
  func interfaces(_ given: [String], _ snapshot: FirewallSnapshot) -> [Interface] {
    var names = given
    if given.isEmpty {
      var known: Set<String> = []
      for pattern in snapshot.interfacePatterns where pattern != "lo" {
        // "eth+" stands for names that no rule has by itself.
        let name = pattern.hasSuffix("+") ? pattern.dropLast() + "~" : pattern[...]
        if known.insert(String(name)).inserted { names.append(String(name)) }
      }
      names.append("(any other)")
    }
    return names.enumerated().map { index, name in
      Interface(name: name, index: UInt32(index + 2), isUp: true, isLoopback: false)
    }
  }
}

extension FirewallSnapshot {
  /// The interfaces that rules ask for, in order.
  fileprivate var interfacePatterns: [String] {
    var patterns: Set<String> = []
    for rule in rules {
      for match in rule.matches {
        for option in match.options where option.name == "-i" || option.name == "--in-interface" {
          patterns.formUnion(option.arguments)
        }
      }
    }
    return patterns.sorted()
  }

  /// What shows that the host has forwarded packets, in words; `nil`: nothing does.
  fileprivate var forwardingEvidence: String? {
    for ruleset in rulesets {
      for table in ruleset.tables {
        for chain in table.chains where chain.name == "FORWARD" {
          let packets =
            (chain.counters?.packets ?? 0)
            &+ chain.rules.compactMap(\.counters?.packets).reduce(0, &+)
          if packets > 0 { return "\(table.name) FORWARD has counted packets" }
        }
      }
    }
    return nil
  }

  private var rules: [Rule] {
    rulesets.flatMap { $0.tables.flatMap { $0.chains.flatMap(\.rules) } }
  }
}
