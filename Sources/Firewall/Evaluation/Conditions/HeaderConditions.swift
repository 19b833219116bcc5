import Addressing

extension ConditionCompiler {
  /// `-s -d -i -o -p -f`.
  func compileHeader(_ options: [Option]) -> [Condition]? {
    var result: [Condition] = []
    for option in options {
      switch option.name {
      case "-s", "--source", "--src", "-d", "--destination", "--dst":
        guard let text = option.only else { return nil }
        let isSource = option.name == "-s" || option.name.hasPrefix("--s")
        guard let condition = address(text, isSource: isSource, isInverted: option.isInverted)
        else { return nil }
        result.append(condition)
      case "-i", "--in-interface", "-o", "--out-interface":
        guard let name = option.only, let (bytes, mask) = Self.interfacePattern(name) else {
          return nil
        }
        let isIn = option.name == "-i" || option.name == "--in-interface"
        result.append(
          isIn
            ? .inInterface(bytes, mask: mask, isInverted: option.isInverted)
            : .outInterface(bytes, mask: mask, isInverted: option.isInverted))
      case "-p", "--protocol", "--proto":
        guard let name = option.only, let number = Self.protocolNumber(name) else { return nil }
        // `-p all` asks nothing; the tools refuse its inversion.
        if number == 0 {
          if option.isInverted { result.append(.never) }
        } else {
          result.append(.transport(number, isInverted: option.isInverted))
        }
      case "-f", "--fragment":
        guard option.arguments.isEmpty, family == .ipv4 else { return nil }
        result.append(.laterFragment(isInverted: option.isInverted))
      case "-4", "--ipv4":
        if family != .ipv4 { result.append(.never) }
      case "-6", "--ipv6":
        if family != .ipv6 { result.append(.never) }
      default:
        return nil
      }
    }
    return result
  }

  private func address(_ text: String, isSource: Bool, isInverted: Bool) -> Condition? {
    // A list stands for one rule an address; the tools refuse its inversion.
    if text.contains(",") {
      guard !isInverted else { return nil }
      var patterns: [AddressPattern] = []
      for part in text.split(separator: ",", omittingEmptySubsequences: false) {
        guard let pattern = AddressPattern(String(part), family: family) else { return nil }
        patterns.append(pattern)
      }
      return .other(AnyAddress(patterns: patterns, isSource: isSource))
    }
    guard let pattern = AddressPattern(text, family: family) else { return nil }
    if pattern.mask == 0 { return isInverted ? .never : .always }
    return isSource
      ? .source(pattern.bits, mask: pattern.mask, isInverted: isInverted)
      : .destination(pattern.bits, mask: pattern.mask, isInverted: isInverted)
  }

  /// A name and a mask over its 16 bytes: a trailing `+` frees what follows, else the zero byte
  /// that ends the name counts too.
  static func interfacePattern(_ name: String) -> (UInt128, UInt128)? {
    var bytes = Array(name.utf8)
    guard !bytes.isEmpty, bytes.count <= 15, !bytes.contains(0) else { return nil }
    guard bytes.last == UInt8(ascii: "+") else {
      return (InterfaceName.packed(bytes), .max)
    }
    bytes.removeLast()
    let mask: UInt128 = bytes.isEmpty ? 0 : .max << UInt128(8 * (16 - bytes.count))
    return (InterfaceName.packed(bytes), mask)
  }

  /// A protocol's number by number or by its name in `/etc/protocols`; 0 is `all`.
  static func protocolNumber(_ name: String) -> UInt8? {
    UInt8(name) ?? protocolNames[name.lowercased()]
  }

  private static let protocolNames: [String: UInt8] = [
    "all": 0, "any": 0, "ip": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "ipip": 94,
    "st": 5, "tcp": 6, "egp": 8, "igp": 9, "pup": 12, "udp": 17, "hmp": 20, "xns-idp": 22,
    "rdp": 27, "iso-tp4": 29, "dccp": 33, "xtp": 36, "ddp": 37, "idpr-cmtp": 38, "ipv6": 41,
    "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45, "rsvp": 46, "gre": 47, "esp": 50,
    "ipsec-esp": 50, "ah": 51, "ipsec-ah": 51, "skip": 57, "ipv6-icmp": 58, "icmpv6": 58,
    "icmp6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "rspf": 73, "vmtp": 81, "eigrp": 88,
    "ospf": 89, "ospfigp": 89, "ax.25": 93, "etherip": 97, "encap": 98, "pim": 103,
    "ipcomp": 108, "vrrp": 112, "l2tp": 115, "isis": 124, "sctp": 132, "fc": 133,
    "mobility-header": 135, "ipv6-mh": 135, "mh": 135, "udplite": 136, "mpls-in-ip": 137,
    "manet": 138, "hip": 139, "shim6": 140, "wesp": 141, "rohc": 142, "ethernet": 143,
  ]

  /// `-m iprange`.
  func compileRange(_ options: [Option]) -> [Condition]? {
    var result: [Condition] = []
    for option in options {
      guard let text = option.only, ["--src-range", "--dst-range"].contains(option.name) else {
        return nil
      }
      let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
      guard let low = IPAddress(String(ends[0])), low.family == family else { return nil }
      var high = low
      if ends.count == 2 {
        guard let given = IPAddress(String(ends[1])), given.family == family else { return nil }
        high = given
      }
      result.append(
        .other(
          AddressRange(
            low: low.bits, high: high.bits, isSource: option.name == "--src-range",
            isInverted: option.isInverted)))
    }
    return result
  }
}

/// `-s A,B` as a hand-written file may have it.
struct AnyAddress: MatchCondition {
  var patterns: [AddressPattern]
  var isSource: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    let address = isSource ? situation.packet.source : situation.destination(variant)
    return Truth(address.map { address in patterns.contains { $0.contains(address) } })
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.fact, "the destination address is not known")
  }
}

/// `--src-range` and `--dst-range`.
struct AddressRange: MatchCondition {
  var low: UInt128
  var high: UInt128
  var isSource: Bool
  var isInverted: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard let bits = isSource ? situation.source : variant.destination else { return .unknown }
    return Truth((low <= bits && bits <= high) != isInverted)
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.fact, "the destination address is not known")
  }
}
