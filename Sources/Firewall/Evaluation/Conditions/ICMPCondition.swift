import Addressing

extension ConditionCompiler {
  /// `-m icmp` and `-m icmp6`.
  func compileICMP(_ options: [Option], isSix: Bool) -> [Condition]? {
    let transport: IPProtocol = isSix ? .icmpv6 : .icmp
    var result: [Condition] = [.transport(transport.rawValue, isInverted: false)]
    for option in options {
      guard ["--icmp-type", "--icmpv6-type"].contains(option.name), let text = option.only,
        let (type, low, high) = Self.icmpType(text, isSix: isSix)
      else { return nil }
      result.append(
        .other(ICMPCondition(type: type, low: low, high: high, isInverted: option.isInverted)))
    }
    return result
  }

  /// A type, `nil` for any, and the range of codes.
  static func icmpType(_ text: String, isSix: Bool) -> (UInt8?, UInt8, UInt8)? {
    let name = text.lowercased()
    if name == "any" || name == "255/0:255" { return (nil, 0, 255) }
    if let known = (isSix ? icmpv6Names : icmpNames)[name] {
      return (known.0, known.1 ?? 0, known.1 ?? 255)
    }
    let parts = name.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let type = UInt8(parts[0]) else { return nil }
    guard parts.count == 2 else { return (type == 255 && !isSix ? nil : type, 0, 255) }
    guard let (low, high) = UInt32.range(String(parts[1]), upTo: 255) else { return nil }
    return (type, UInt8(low), UInt8(high))
  }

  private static let icmpNames: [String: (UInt8, UInt8?)] = [
    "echo-reply": (0, nil), "pong": (0, nil), "destination-unreachable": (3, nil),
    "network-unreachable": (3, 0), "host-unreachable": (3, 1), "protocol-unreachable": (3, 2),
    "port-unreachable": (3, 3), "fragmentation-needed": (3, 4), "source-route-failed": (3, 5),
    "network-unknown": (3, 6), "host-unknown": (3, 7), "network-prohibited": (3, 9),
    "host-prohibited": (3, 10), "tos-network-unreachable": (3, 11),
    "tos-host-unreachable": (3, 12), "communication-prohibited": (3, 13),
    "host-precedence-violation": (3, 14), "precedence-cutoff": (3, 15),
    "source-quench": (4, nil), "redirect": (5, nil), "network-redirect": (5, 0),
    "host-redirect": (5, 1), "tos-network-redirect": (5, 2), "tos-host-redirect": (5, 3),
    "echo-request": (8, nil), "ping": (8, nil), "router-advertisement": (9, nil),
    "router-solicitation": (10, nil), "time-exceeded": (11, nil), "ttl-exceeded": (11, nil),
    "ttl-zero-during-transit": (11, 0), "ttl-zero-during-reassembly": (11, 1),
    "parameter-problem": (12, nil), "ip-header-bad": (12, 0), "required-option-missing": (12, 1),
    "timestamp-request": (13, nil), "timestamp-reply": (14, nil),
    "address-mask-request": (17, nil), "address-mask-reply": (18, nil),
  ]

  private static let icmpv6Names: [String: (UInt8, UInt8?)] = [
    "destination-unreachable": (1, nil), "no-route": (1, 0), "communication-prohibited": (1, 1),
    "beyond-scope": (1, 2), "address-unreachable": (1, 3), "port-unreachable": (1, 4),
    "failed-policy": (1, 5), "reject-route": (1, 6), "packet-too-big": (2, nil),
    "time-exceeded": (3, nil), "ttl-exceeded": (3, nil), "ttl-zero-during-transit": (3, 0),
    "ttl-zero-during-reassembly": (3, 1), "parameter-problem": (4, nil), "bad-header": (4, 0),
    "unknown-header-type": (4, 1), "unknown-option": (4, 2), "echo-request": (128, nil),
    "ping": (128, nil), "echo-reply": (129, nil), "pong": (129, nil),
    "mld-listener-query": (130, nil), "mld-listener-report": (131, nil),
    "mld-listener-done": (132, nil), "mld-listener-reduction": (132, nil),
    "router-solicitation": (133, nil), "router-advertisement": (134, nil),
    "neighbour-solicitation": (135, nil), "neighbor-solicitation": (135, nil),
    "neighbour-advertisement": (136, nil), "neighbor-advertisement": (136, nil),
    "redirect": (137, nil),
  ]
}

/// `--icmp-type` and `--icmpv6-type`.
struct ICMPCondition: MatchCondition {
  /// `nil`: any.
  var type: UInt8?
  var low: UInt8
  var high: UInt8
  var isInverted: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard let isLater = situation.packet.isLaterFragment else { return .unknown }
    if isLater { return .no }
    guard let type else { return Truth(!isInverted) }
    return Truth(
      situation.packet.icmp.map {
        ($0.type == type && low <= $0.code && $0.code <= high) != isInverted
      })
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.fact, "the ICMP type and code are not known")
  }
}
