import Addressing

extension ConditionCompiler {
  /// `-m rt`, `hbh`, `dst`, `frag`, `srh` and `ipv6header`, and `ah` of IPv6: none of them matches
  /// a packet without the header it asks for, whatever is inverted.
  func compileExtensionHeader(_ name: String, _ options: [Option]) -> [Condition]? {
    guard family == .ipv6, let missing = Self.knownUndecidable[name] else {
      return Self.knownUndecidable[name].map { [.undecidable($0)] }
    }
    guard name == "ipv6header" else {
      return [.other(ExtensionHeader(without: .no, missing: missing))]
    }
    var wanted: UInt8?
    var isInverted = false
    var isSoft = false
    for option in options {
      switch option.name {
      case "--header":
        wanted = option.only.flatMap(Self.headers)
        isInverted = option.isInverted
      case "--soft": isSoft = true
      default: return [.undecidable(missing)]
      }
    }
    guard let wanted else { return [.undecidable(missing)] }
    // Without any of them only the last, "prot", is there. Inverting a soft test asks that each
    // header named is absent.
    let found = Self.protocolHeader
    let matches: Bool
    if isSoft {
      matches = (found ^ wanted ^ (isInverted ? wanted : 0)) & wanted == 0
    } else {
      matches = (found == wanted) != isInverted
    }
    return [.other(ExtensionHeader(without: Truth(matches), missing: missing))]
  }

  private static let protocolHeader: UInt8 = 1

  /// The bits of `xt_ipv6header`'s flags.
  private static func headers(_ list: String) -> UInt8? {
    let bits: [String: UInt8] = [
      "hop": 0x80, "hop-by-hop": 0x80, "ipv6-opts": 0x40, "dst": 0x40, "route": 0x20,
      "ipv6-route": 0x20, "frag": 0x10, "ipv6-frag": 0x10, "auth": 0x08, "ah": 0x08, "esp": 0x04,
      "none": 0x02, "ipv6-nonxt": 0x02, "prot": 0x01, "protocol": 0x01, "0": 0x80, "60": 0x40,
      "43": 0x20, "44": 0x10, "51": 0x08, "50": 0x04, "59": 0x02, "255": 0x01,
    ]
    var result: UInt8 = 0
    for word in list.split(separator: ",", omittingEmptySubsequences: false) {
      guard let bit = bits[word.lowercased()] else { return nil }
      result |= bit
    }
    return result
  }
}

/// A question about IPv6 extension headers, answered only for packets that have none.
struct ExtensionHeader: MatchCondition {
  /// The answer for a packet without any.
  var without: Truth
  var missing: Missing

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard situation.packet.hasExtensionHeaders == false,
      !Self.headers.contains(situation.transport)
    else { return .unknown }
    return without
  }

  /// Hop-by-hop, routing, fragment, ESP, AH, none, destination options, mobility.
  private static let headers: Set<UInt8> = [0, 43, 44, 50, 51, 59, 60, 135]

  func missing(_ situation: Situation, _ variant: Variant) -> Missing { missing }
}
