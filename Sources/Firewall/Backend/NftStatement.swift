/// What one rule of `nft -j` can do, and whether iptables prints it truly.
///
/// What `iptables-nft-save` 1.8.9 makes of native statements was tried one by one: it drops sets,
/// prints an address range as its end and an order as an equality, and says nothing of it.
enum NftStatement {
  static func facts(_ statements: [JSONValue]) -> (rule: NftRuleset.Rule, offloads: Bool) {
    var rule = NftRuleset.Rule()
    var offloads = false
    for statement in statements {
      guard case .object(let members) = statement, let (name, value) = members.first,
        members.count == 1
      else {
        rule.isPrintable = false
        rule.touches = true
        continue
      }
      switch name {
      case "match": if !isPrintable(match: value) { rule.isPrintable = false }
      case "counter": break
      case "accept", "return": rule.decides = true
      case "continue": break
      case "drop":
        rule.touches = true
        rule.decides = true
      case "jump", "goto":
        rule.decides = true
        if let target = value["target"]?.string {
          rule.jumps.append(target)
        } else {
          rule.jumpsAnywhere = true
        }
      case "xt":
        if value["type"]?.string == "target" {
          rule.decides = true
          if !harmlessTargets.contains(value["name"]?.string ?? "") { rule.touches = true }
        }
      case "limit": if value["inv"] != nil { rule.isPrintable = false }
      case "log": if value["group"] == nil { rule.isPrintable = false }
      case "quota", "set", "map", "dup", "last", "ct count":
        // Seen by nobody but the rule itself.
        rule.isPrintable = false
      case "vmap":
        rule.isPrintable = false
        rule.decides = true
        verdicts(value["data"], &rule)
      default:
        // reject, queue, mangle, notrack, nat, fwd, tproxy and what is still to be invented.
        rule.isPrintable = false
        rule.touches = true
        rule.decides = true
        if name == "flow" { offloads = true }
      }
    }
    return (rule, offloads)
  }

  private static let harmlessTargets: Set<String> = [
    "LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "CHECKSUM", "CLASSIFY", "LED", "RATEEST",
  ]

  /// The verdicts of an anonymous map; a named one can hold any.
  private static func verdicts(_ data: JSONValue?, _ rule: inout NftRuleset.Rule) {
    guard let elements = data?["set"]?.array else {
      rule.touches = true
      rule.jumpsAnywhere = true
      return
    }
    for element in elements {
      guard case .object(let members)? = element.array?.last, let (name, value) = members.first
      else {
        rule.touches = true
        continue
      }
      switch name {
      case "accept", "return", "continue": break
      case "jump", "goto":
        if let target = value["target"]?.string { rule.jumps.append(target) }
      default: rule.touches = true
      }
    }
  }

  private static func isPrintable(match: JSONValue) -> Bool {
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
