import Addressing

/// Gives the syntax of a rule's matches a meaning.
///
/// What is not understood becomes a condition that is never decided and says which match it is.
struct ConditionCompiler {
  let family: AddressFamily
  let backend: Backend
  let sets: SetTables
  var recent = RecentTables.unread
  /// Where the rule stands that is compiled; `nil`: nowhere in particular.
  var place: RecentTables.Place?

  func conditions(of rule: Rule) -> [Condition] {
    var result: [Condition] = []
    for clause in rule.matches { compile(clause, into: &result) }
    return result.filter { if case .always = $0 { false } else { true } }
  }

  private func compile(_ clause: MatchClause, into result: inout [Condition]) {
    let options = clause.options.map(Option.init)
    if let compiled = compile(clause.name, options) {
      result += compiled
    } else {
      result.append(.undecidable(Missing(.unrecognized, Self.unread(clause))))
    }
  }

  /// The conditions of a match, or `nil` if any part of it is not understood.
  private func compile(_ name: String, _ options: [Option]) -> [Condition]? {
    switch name {
    case "ip", "ip6": compileHeader(options)
    case "comment": [.always]
    case "tcp": compileTCP(options)
    case "udp", "udplite": compileDatagram(name == "udp" ? .udp : .udplite, options)
    case "sctp": compileSCTP(options)
    case "dccp": compileDCCP(options)
    case "multiport", "mport": compileMultiport(options)
    case "icmp", "icmp6", "icmpv6": compileICMP(options, isSix: name != "icmp")
    case "state": compileState(options)
    case "conntrack": compileConntrack(options)
    case "mark": compileMark(options)
    case "connmark": compileConnectionMark(options)
    case "helper": compileHelper(options)
    case "connbytes": compileConnectionBytes(options)
    case "set": compileSet(options)
    case "iprange": compileRange(options)
    case "length": compileLength(options)
    case "ttl", "hl": compileTTL(options, name: name)
    case "tos": compileTOS(options)
    case "dscp": compileDSCP(options)
    case "addrtype": compileAddressType(options)
    case "pkttype": compilePacketType(options)
    case "mac": compileMAC(options)
    case "physdev": compilePhysicalDevice(options)
    case "owner": compileOwner(options)
    case "rpfilter": compileReversePath(options)
    case "policy": compilePolicy(options)
    case "time": compileTime(options)
    case "recent": compileRecent(options)
    case "string": compileString(options)
    case "u32": compileU32(options)
    case "bpf": compileBPF(options)
    case "statistic": compileStatistic(options)
    case "quota": compileQuota(options)
    case "rt", "hbh", "dst", "frag", "srh", "ah", "ipv6header":
      compileExtensionHeader(name, options)
    default: Self.knownUndecidable[name].map { [.undecidable($0)] }
    }
  }

  /// The clause as text for a reason, cut to a bearable length.
  private static func unread(_ clause: MatchClause) -> String {
    let words = clause.options.flatMap { ($0.isInverted ? ["!"] : []) + [$0.name] + $0.arguments }
    let text = words.joined(separator: " ").prefix(120)
    return clause.name == "ip"
      ? "\"\(text)\" is not understood"
      : "match \"\(clause.name)\"\(text.isEmpty ? "" : " with \"\(text)\"") is not evaluated"
  }
}

/// An option with a leading `!` among its arguments, the old spelling, moved where it belongs.
struct Option {
  var name: String
  var isInverted: Bool
  var arguments: [String]

  init(_ option: RuleOption) {
    name = option.name
    isInverted = option.isInverted
    arguments = option.arguments
    if arguments.count > 1, arguments[0] == "!" {
      arguments.removeFirst()
      isInverted.toggle()
    }
  }

  /// The argument, if there is exactly one.
  var only: String? { arguments.count == 1 ? arguments[0] : nil }
}

extension UInt32 {
  /// Reads a number as `strtoul(3)` with base 0 does: decimal, 0x hexadecimal or 0 octal.
  init?(anyBase text: some StringProtocol) {
    guard let first = text.utf8.first, (48...57).contains(first) else { return nil }
    if text.hasPrefix("0x") || text.hasPrefix("0X") {
      self.init(text.dropFirst(2), radix: 16)
    } else if text.count > 1, first == 48 {
      self.init(text.dropFirst(), radix: 8)
    } else {
      self.init(text, radix: 10)
    }
  }

  /// Reads `A:B`, `A:`, `:B` or `A` (both ends).
  static func range(_ text: String, upTo most: UInt32) -> (UInt32, UInt32)? {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let low = parts[0].isEmpty ? 0 : UInt32(anyBase: parts[0]), low <= most else {
      return nil
    }
    guard parts.count == 2 else { return (low, low) }
    guard let high = parts[1].isEmpty ? most : UInt32(anyBase: parts[1]), high <= most else {
      return nil
    }
    return (low, high)
  }
}
