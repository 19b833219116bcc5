import Addressing
import ArgumentParser
import SIPLeak
import SystemPackage

/// How answers are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  case text, json
}

/// Which sockets count as SIP.
struct EndpointOptions: ParsableArguments {
  @Option(
    name: .customLong("port"), parsing: .singleValue,
    help: ArgumentHelp(
      "A UDP port that carries SIP; may be repeated. (default: 5060)", valueName: "port"),
    transform: Parse.port)
  var udpPorts: [UInt16] = []

  @Option(
    name: .customLong("tcp-port"), parsing: .singleValue,
    help: ArgumentHelp(
      "A TCP port that carries SIP; may be repeated. (default: none)", valueName: "port"),
    transform: Parse.port)
  var tcpPorts: [UInt16] = []

  @Option(
    name: .customLong("endpoint"), parsing: .singleValue,
    help: ArgumentHelp(
      "An address that is ours though no interface holds it (a VIP); may be repeated.",
      valueName: "address"), transform: Parse.address)
  var addresses: [IPAddress] = []

  var endpoints: SIPEndpoints {
    SIPEndpoints(
      udpPorts: udpPorts.isEmpty ? [5060] : Set(udpPorts), tcpPorts: Set(tcpPorts),
      addresses: Set(addresses))
  }

  /// Whether any was given: a saved observation was read for its own ports.
  var isGiven: Bool { !udpPorts.isEmpty || !tcpPorts.isEmpty || !addresses.isEmpty }
}

/// Which network namespace is meant.
struct NamespaceOptions: ParsableArguments {
  @Option(
    name: .customLong("netns"),
    help: ArgumentHelp(
      """
      Another network namespace of this host, such as a container's: a name of `ip netns`, a \
      process's number, or a path with a slash.
      """, valueName: "netns"))
  var name: String?

  /// How the namespace is reached.
  func access() throws(SIPLeakError) -> HostAccess {
    guard let name else { return HostAccess() }
    return try HostAccess.opening(name)
  }

  /// The option as it was given, after a blank.
  var option: String { name.map { " --netns \(EscapedText.shellWord($0))" } ?? "" }
}

/// The files of a ruleset.
struct RulesetOptions: ParsableArguments {
  @Option(help: ArgumentHelp("A file that iptables-save wrote, not this host.", valueName: "file"))
  var ruleset: String?

  @Option(help: ArgumentHelp("A file that ip6tables-save wrote.", valueName: "file"))
  var ruleset6: String?

  @Option(help: ArgumentHelp("A file that ipset save wrote.", valueName: "file"))
  var sets: String?

  var isGiven: Bool { ruleset != nil || ruleset6 != nil }

  var source: ExplainSource {
    ExplainSource(
      ruleset: ruleset.map { FilePath($0) }, ruleset6: ruleset6.map { FilePath($0) },
      sets: sets.map { FilePath($0) })
  }

  func validate() throws {
    if sets != nil, !isGiven {
      throw ValidationError("--sets goes with --ruleset or --ruleset6.")
    }
    if [ruleset, ruleset6, sets].count(where: { $0 == "-" }) > 1 {
      throw ValidationError("Only one file can be - (standard input).")
    }
  }
}

/// A flow table as text, and what belongs to it.
struct TicketOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      Judge the text of `conntrack -L` or /proc/net/nf_conntrack in a file, not this host; goes \
      with --ruleset. - is standard input.
      """, valueName: "file"))
  var flows: String?

  @OptionGroup var rules: RulesetOptions

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "With --flows: an address of the host they are of; may be repeated.", valueName: "address"),
    transform: Parse.address)
  var local: [IPAddress] = []

  @Option(
    name: .customLong("in"), parsing: .singleValue,
    help: ArgumentHelp(
      "With --flows: an interface that peers come by, else any; may be repeated.",
      valueName: "interface"))
  var interfaces: [String] = []

  func validate() throws {
    guard let flows else {
      if rules.isGiven { throw ValidationError("--ruleset goes with --flows.") }
      if !local.isEmpty { throw ValidationError("--local goes with --flows.") }
      if !interfaces.isEmpty { throw ValidationError("--in goes with --flows.") }
      return
    }
    guard rules.isGiven else {
      throw ValidationError(
        "--flows needs the rules as well: --ruleset FILE, as iptables-save -c wrote it.")
    }
    if flows == "-", [rules.ruleset, rules.ruleset6, rules.sets].contains("-") {
      throw ValidationError("Only one file can be - (standard input).")
    }
  }

  /// The files, if a table was given.
  var files: TicketFiles? {
    flows.map {
      TicketFiles(flows: $0, rules: rules.source, local: local, interfaces: interfaces)
    }
  }
}

/// Where the observation comes from.
struct SourceOptions: ParsableArguments {
  @Option(
    name: .customLong("from"),
    help: ArgumentHelp(
      "Judge a folder that `observe --save` wrote, not this host.", valueName: "dir"))
  var folder: String?

  @Option(
    name: .customLong("sample"),
    help: ArgumentHelp(
      "Read twice, this long apart, and show what moved, such as 5s. 0 reads once.",
      valueName: "time"), transform: Parse.seconds)
  var interval: Double?

  @OptionGroup var namespace: NamespaceOptions

  /// Reads the observation that the options ask for.
  ///
  /// - Parameters:
  ///   - endpoints: Which ports count as SIP.
  ///   - access: How this host is reached.
  ///   - ticket: The texts to read instead, if any.
  /// - Returns: The observation.
  /// - Throws: `SIPLeakError`.
  func observation(
    _ endpoints: EndpointOptions, access: HostAccess? = nil, ticket: TicketFiles? = nil
  ) async throws(SIPLeakError) -> Observation {
    if let ticket { return try await Observation.ticket(ticket, endpoints: endpoints.endpoints) }
    guard let folder else {
      let host = if let access { access } else { try namespace.access() }
      return try await Observation.live(endpoints.endpoints, interval: interval, access: host)
    }
    var saved = try ObservationFiles.load(FilePath(folder))
    if endpoints.isGiven { saved.endpoints = endpoints.endpoints }
    return saved
  }

  func validate() throws {
    if folder != nil, let interval, interval > 0 {
      throw ValidationError("--sample reads this host; it cannot be used with --from.")
    }
    if folder != nil, namespace.name != nil {
      throw ValidationError("--netns reads this host; it cannot be used with --from.")
    }
  }

  /// Refuses what a table as text excludes.
  func validate(with ticket: TicketOptions) throws {
    guard ticket.flows != nil else { return }
    if folder != nil { throw ValidationError("--flows and --from exclude each other.") }
    if namespace.name != nil {
      throw ValidationError("--netns reads this host; it cannot be used with --flows.")
    }
    if let interval, interval > 0 {
      throw ValidationError("--sample reads this host; it cannot be used with --flows.")
    }
  }
}

/// Reading of values, each with a message that says what was expected.
enum Parse {
  static func port(_ text: String) throws -> UInt16 {
    guard let port = UInt16(text), port > 0, text.utf8.allSatisfy({ (48...57).contains($0) })
    else { throw ValidationError("\"\(shown(text))\" is no port; a number from 1 to 65535 is.") }
    return port
  }

  static func address(_ text: String) throws -> IPAddress {
    guard let address = IPAddress(text) else {
      throw ValidationError(
        "\"\(shown(text))\" is no IP address; 192.0.2.5 or 2001:db8::5 is.")
    }
    return address.unmapped
  }

  static func prefix(_ text: String) throws -> IPPrefix {
    let start = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).first
    guard let given = IPPrefix(text), let address = start.flatMap({ IPAddress(String($0)) }) else {
      throw ValidationError(
        "\"\(shown(text))\" is no address or prefix; 192.0.2.5, 192.0.2.0/24 or 2001:db8::/32 is.")
    }
    // Peers are known by their plain address, so a mapped prefix would match nobody.
    let prefix = given.unmapped
    if prefix.family == .ipv6, prefix.length > 0, prefix.contains(Self.mapped) {
      throw ValidationError(
        "\"\(shown(text))\" holds the IPv4 addresses (::ffff:0:0/96) and others; name IPv4 and IPv6 "
          + "prefixes each by itself, such as 0.0.0.0/0 and 2001:db8::/32.")
    }
    guard given.address == address else {
      throw ValidationError(
        "\"\(shown(text))\" is an address within a prefix; \(prefix) is the prefix, "
          + "\(address.unmapped) the address.")
    }
    return prefix
  }

  private static let mapped = IPAddress(family: .ipv6, bits: 0xffff_0000_0000)

  static func target(_ text: String) throws -> RulesetQuestions.Target {
    guard let target = RulesetQuestions.Target(text) else {
      throw ValidationError("\"\(shown(text))\" is no port; udp/5060 or tcp/5061 is.")
    }
    return target
  }

  /// Reads `5s`, `500ms`, `10m`, `24h`, `7d`, or a bare number of seconds.
  static func seconds(_ text: String) throws -> Double {
    let units: [(String, Double)] = [
      ("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("", 1),
    ]
    for (unit, factor) in units where text.hasSuffix(unit) {
      let digits = text.dropLast(unit.count)
      guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) || $0 == 46 }),
        let number = Double(digits), number.isFinite, number * factor <= 2_147_483
      else { break }
      return number * factor
    }
    throw ValidationError(
      "\"\(shown(text))\" is no duration; 500ms, 5s, 10m, 24h or 7d is, up to 24 days.")
  }

  private static func shown(_ text: String) -> String { EscapedText.terminal(text) }
}
