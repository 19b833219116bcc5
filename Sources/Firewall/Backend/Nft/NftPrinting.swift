/// Which native conditions `iptables-nft-save` prints truly.
///
/// What 1.8.9 makes of native statements was tried one by one: it drops sets, prints an address range
/// as its end and an order as an equality, and says nothing of it (facts D9).
enum NftPrinting {
  static func isPrintable(match: JSONValue) -> Bool {
    guard let operation = match["op"]?.string, let left = match["left"],
      let right = match["right"]
    else { return false }
    if let parts = left["&"]?.array {
      guard parts.count == 2, operation == "==" || operation == "!=" else { return false }
      if let payload = parts[0]["payload"] {
        let field = payload["field"]?.string
        return ["saddr", "daddr", "frag-off"].contains(field) && isPlain(right)
          || field == "flags" && payload["protocol"]?.string == "tcp"
      }
      return parts[0]["meta"]?["key"]?.string == "mark" && isPlain(right) && parts[1].isScalar
    }
    if let key = left["meta"]?["key"]?.string {
      return printableMeta.contains(key) && isPlain(right)
        && (operation == "==" || operation == "!=")
    }
    guard let payload = left["payload"], let field = payload["field"]?.string else { return false }
    switch payload["protocol"]?.string {
    case "ip", "ip6":
      switch field {
      case "saddr", "daddr":
        return (operation == "==" || operation == "!=")
          && (isPlain(right) || right["prefix"] != nil)
      case "protocol", "nexthdr", "ttl", "hoplimit":
        return isPlain(right) && (operation == "==" || operation == "!=")
      default: return false
      }
    case "tcp", "udp":
      switch field {
      case "sport", "dport":
        return (operation == "==" || operation == "!=")
          && (isPlain(right) || right["range"] != nil)
      case "flags": return operation == "==" || operation == "!="
      default: return false
      }
    case "icmp", "icmpv6":
      return (field == "type" || field == "code") && operation == "==" && isPlain(right)
    default: return false
    }
  }

  private static let printableMeta: Set<String> = [
    "iifname", "oifname", "iif", "oif", "l4proto", "mark", "pkttype",
  ]

  /// A single value, and not the name of a set.
  private static func isPlain(_ value: JSONValue) -> Bool {
    if let text = value.string { return !text.hasPrefix("@") }
    return value.isScalar
  }
}
