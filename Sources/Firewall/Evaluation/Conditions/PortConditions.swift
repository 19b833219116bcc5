import Addressing

extension ConditionCompiler {
  /// `-m tcp`.
  func compileTCP(_ options: [Option]) -> [Condition]? {
    var result: [Condition] = [.transport(IPProtocol.tcp.rawValue, isInverted: false)]
    let (options, both) = withoutAmbiguousPorts(options)
    if let both { result.append(both) }
    for option in options {
      if let port = port(option) {
        result.append(port)
        continue
      }
      switch option.name {
      case "--syn":
        guard option.arguments.isEmpty else { return nil }
        result.append(
          .other(TCPFlags(mask: 0x17, wanted: 0x02, isInverted: option.isInverted)))
      case "--tcp-flags":
        guard option.arguments.count == 2, let mask = Self.tcpFlags(option.arguments[0]),
          let wanted = Self.tcpFlags(option.arguments[1])
        else { return nil }
        result.append(
          .other(TCPFlags(mask: mask, wanted: wanted, isInverted: option.isInverted)))
      case "--tcp-option":
        guard option.only != nil else { return nil }
        result.append(
          .undecidable(Missing(.payload, "match \"tcp\" hangs on what options the segment has")))
      default:
        return nil
      }
    }
    return result
  }

  private static func tcpFlags(_ list: String) -> UInt8? {
    var result: UInt8 = 0
    for word in list.split(separator: ",") {
      switch word.uppercased() {
      case "FIN": result |= 1
      case "SYN": result |= 2
      case "RST": result |= 4
      case "PSH": result |= 8
      case "ACK": result |= 16
      case "URG": result |= 32
      case "ALL": result |= 63
      case "NONE": break
      default: return nil
      }
    }
    return result
  }

  /// `-m udp` and `-m udplite`.
  func compileDatagram(_ transport: IPProtocol, _ options: [Option]) -> [Condition]? {
    var result: [Condition] = [.transport(transport.rawValue, isInverted: false)]
    let (options, both) = withoutAmbiguousPorts(options)
    if let both { result.append(both) }
    for option in options {
      guard let port = port(option) else { return nil }
      result.append(port)
    }
    return result
  }

  /// `-m sctp`.
  func compileSCTP(_ options: [Option]) -> [Condition]? {
    withPorts(.sctp, options, ["--chunk-types": "which chunks the packet has"])
  }

  /// `-m dccp`.
  func compileDCCP(_ options: [Option]) -> [Condition]? {
    withPorts(
      .dccp, options,
      ["--dccp-types": "the DCCP packet's type", "--dccp-option": "what options it has"])
  }

  private func withPorts(
    _ transport: IPProtocol, _ options: [Option], _ payload: [String: String]
  ) -> [Condition]? {
    var result: [Condition] = [.transport(transport.rawValue, isInverted: false)]
    for option in options {
      if let port = port(option) {
        result.append(port)
      } else if let what = payload[option.name] {
        result.append(
          .undecidable(Missing(.payload, "match \"\(transport)\" hangs on \(what)")))
      } else {
        return nil
      }
    }
    return result
  }

  /// `--sport` and `--dport`, `A` or `A:B`.
  private func port(_ option: Option) -> Condition? {
    let isSource: Bool
    switch option.name {
    case "--sport", "--source-port": isSource = true
    case "--dport", "--destination-port": isSource = false
    default: return nil
    }
    guard let text = option.only, let (low, high) = Self.portRange(text) else { return nil }
    return isSource
      ? .sourcePort(low, high, isInverted: option.isInverted)
      : .destinationPort(low, high, isInverted: option.isInverted)
  }

  /// Takes out `! --sport A ! --dport B`, which iptables-nft 1.8.9 loads as "not both of them".
  private func withoutAmbiguousPorts(_ options: [Option]) -> ([Option], Condition?) {
    guard backend == .nft else { return (options, nil) }
    var source: UInt16?
    var destination: UInt16?
    for option in options where option.isInverted {
      switch port(option) {
      case .sourcePort(let low, let high, _) where low == high: source = low
      case .destinationPort(let low, let high, _) where low == high: destination = low
      default: break
      }
    }
    guard let source, let destination else { return (options, nil) }
    return (
      options.filter { port($0) == nil },
      .other(AmbiguousPorts(source: source, destination: destination))
    )
  }

  /// A range whose low end is above its high one is kept as it is: it never matches.
  static func portRange(_ text: some StringProtocol) -> (UInt16, UInt16)? {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let low = parts[0].isEmpty ? 0 : portNumber(parts[0]) else { return nil }
    guard parts.count == 2 else { return parts[0].isEmpty ? nil : (low, low) }
    guard let high = parts[1].isEmpty ? .max : portNumber(parts[1]) else { return nil }
    return (low, high)
  }

  private static func portNumber(_ text: some StringProtocol) -> UInt16? {
    UInt16(text) ?? services[text.lowercased()]
  }

  /// The service names hand-written rules use; the save commands print numbers.
  private static let services: [String: UInt16] = [
    "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37, "domain": 53,
    "bootps": 67, "bootpc": 68, "tftp": 69, "http": 80, "www": 80, "kerberos": 88, "pop3": 110,
    "sunrpc": 111, "auth": 113, "ident": 113, "ntp": 123, "netbios-ns": 137, "netbios-dgm": 138,
    "netbios-ssn": 139, "imap2": 143, "imap": 143, "snmp": 161, "snmp-trap": 162, "bgp": 179,
    "irc": 194, "ldap": 389, "https": 443, "microsoft-ds": 445, "submissions": 465,
    "isakmp": 500, "syslog": 514, "printer": 515, "route": 520, "submission": 587, "ipp": 631,
    "ldaps": 636, "domain-s": 853, "rsync": 873, "imaps": 993, "pop3s": 995, "openvpn": 1194,
    "l2f": 1701, "radius": 1812, "radius-acct": 1813, "nfs": 2049, "stun": 3478, "turn": 3478,
    "mysql": 3306, "iax": 4569, "ipsec-nat-t": 4500, "sip": 5060, "sip-tls": 5061,
    "mdns": 5353, "stuns": 5349, "turns": 5349, "postgresql": 5432, "x11": 6000,
    "http-alt": 8080,
  ]

  /// `-m multiport`.
  func compileMultiport(_ options: [Option]) -> [Condition]? {
    var result: [Condition] = []
    for option in options {
      let place: PortList.Place
      switch option.name {
      case "--sports", "--source-ports": place = .source
      case "--dports", "--destination-ports": place = .destination
      case "--ports": place = .either
      default: return nil
      }
      guard let text = option.only else { return nil }
      var ranges: [(UInt16, UInt16)] = []
      for part in text.split(separator: ",", omittingEmptySubsequences: false) {
        guard let range = Self.portRange(part) else { return nil }
        ranges.append(range)
      }
      result.append(
        .other(PortList(place: place, ranges: ranges, isInverted: option.isInverted)))
    }
    return result.isEmpty ? nil : result
  }
}

/// The ports of `-m multiport`.
struct PortList: MatchCondition {
  enum Place: Sendable { case source, destination, either }

  var place: Place
  var ranges: [(UInt16, UInt16)]
  var isInverted: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard situation.packet.transport.hasPorts else { return .no }
    guard let isLater = situation.packet.isLaterFragment else { return .unknown }
    if isLater { return .no }
    let found: Truth =
      switch place {
      case .source: contains(situation.packet.sourcePort)
      case .destination: contains(variant.port)
      case .either: contains(situation.packet.sourcePort) || contains(variant.port)
      }
    return found.inverted(isInverted)
  }

  private func contains(_ port: UInt16?) -> Truth {
    guard let port else { return .unknown }
    return Truth(ranges.contains { $0.0 <= port && port <= $0.1 })
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    situation.packet.sourcePort == nil && place != .destination
      ? Missing(.fact, "the source port is not known")
      : Missing(.fact, "the destination port is not known")
  }
}

/// `! --sport A ! --dport B` of the nft backend.
///
/// Seen on the kernel: iptables-nft 1.8.9 compares both ports at once, so that the rule matches
/// unless both are those named, and prints it as if each were compared alone.
struct AmbiguousPorts: MatchCondition {
  var source: UInt16
  var destination: UInt16

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    let first = situation.port(situation.packet.sourcePort, source, source, false)
    let second = situation.port(variant.port, destination, destination, false)
    if situation.packet.isLaterFragment == true { return .no }
    return switch (first, second) {
    case (.no, .no): .yes
    case (.yes, .yes): .no
    default: .unknown
    }
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(
      .fact, "two inverted ports in one rule mean different things to versions of iptables-nft")
  }
}
