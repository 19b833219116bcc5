/// The values worth checking while the place is known: a verdict hangs on them most often.
enum OptionValues {
  /// Brings a match option's value into the form saves print.
  ///
  /// - Returns: What should have stood there, if the value cannot be.
  static func normalize(_ option: inout RuleOption, of match: String) -> String? {
    switch match {
    case "tcp", "udp", "sctp", "dccp", "udplite":
      guard option.name == "--sport" || option.name == "--dport", let value = option.arguments.first
      else { return nil }
      return arePorts(value, list: false) ? nil : "a port or a range of ports, 0 to 65535"
    case "multiport":
      guard let value = option.arguments.first, option.arguments.count == 1 else { return nil }
      return arePorts(value, list: true) ? nil : "ports and ranges of ports, 0 to 65535"
    case "state", "conntrack":
      guard option.name == "--state" || option.name == "--ctstate",
        let value = option.arguments.first
      else { return nil }
      return states(value, match == "conntrack", &option)
    default: return nil
    }
  }

  /// `a`, `a:b`, `:b` or `a:`, of numbers or service names; several with commas where allowed.
  private static func arePorts(_ text: String, list: Bool) -> Bool {
    var number = 0
    var colons = 0
    var length = 0
    var isName = false
    for byte in text.utf8 {
      length += 1
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        number = min(number * 10 + Int(byte - 0x30), 1 << 20)
      case UInt8(ascii: ":"):
        colons += 1
        if colons > 1 || number > 65_535 && !isName { return false }
        number = 0
        isName = false
      case UInt8(ascii: ","):
        if !list || length == 1 || number > 65_535 && !isName { return false }
        number = 0
        colons = 0
        length = 0
        isName = false
      case UInt8(ascii: "-") where length == 1: return false
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "+"),
        UInt8(ascii: "/"):
        isName = true
      default: return false
      }
    }
    return length > 0 && (isName || number <= 65_535)
  }

  private static let stateNames = ["INVALID", "NEW", "ESTABLISHED", "RELATED", "UNTRACKED"]
  private static let statusNames = ["SNAT", "DNAT"]

  /// iptables takes states in any case and cut short.
  private static func states(_ value: String, _ isConntrack: Bool, _ option: inout RuleOption)
    -> String?
  {
    switch value {
    case "NEW", "ESTABLISHED", "RELATED,ESTABLISHED", "NEW,ESTABLISHED", "INVALID",
      "NEW,RELATED,ESTABLISHED", "INVALID,NEW", "RELATED", "UNTRACKED":
      return nil
    default: break
    }
    let names = isConntrack ? stateNames + statusNames : stateNames
    let parts = value.split(separator: ",", omittingEmptySubsequences: false)
    if parts.allSatisfy({ names.contains(String($0)) }) { return nil }
    var full: [String] = []
    for part in parts {
      let wanted = part.uppercased()
      guard !wanted.isEmpty, let name = names.first(where: { $0.hasPrefix(wanted) }) else {
        return "states of " + names.joined(separator: ", ")
      }
      full.append(name)
    }
    option.arguments = [full.joined(separator: ",")]
    return nil
  }
}
