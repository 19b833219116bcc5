internal import Addressing

/// What `nft -j list ruleset` tells that the iptables tools do not (facts D9, D10).
struct NftRuleset {
  struct Rule {
    /// Whether `iptables-nft-save` prints it truly.
    var isPrintable = true
    /// Whether it can refuse, change, redirect or hide a packet from tracking.
    var touches = false
    /// Whether it ends or leaves the chain for some packets.
    var decides = false
    var jumps: [String] = []
    /// Whether it jumps by a map whose elements are not listed.
    var jumpsAnywhere = false
  }

  struct Chain {
    var family: String
    var table: String
    var name: String
    var type: String?
    var hook: String?
    var priority: Int?
    var policy: String?
    var rules: [Rule] = []
  }

  struct Key: Hashable {
    var family: String
    var table: String
    var chain: String
  }

  private(set) var chains: [Key: Chain] = [:]
  private(set) var order: [Key] = []
  private(set) var flowtables: [(family: String, table: String, name: String)] = []
  /// Whether some rule hands flows to a flowtable.
  private(set) var offloads = false

  init(_ bytes: [UInt8], name: String) throws(FirewallError) {
    var reader = JSONReader(bytes, name: name, operation: "read the nft ruleset")
    try reader.elements(of: "nftables") { add($0) }
  }

  private mutating func add(_ element: JSONValue) {
    if let chain = element["chain"] {
      guard let key = key(chain, "name") else { return }
      if chains[key] == nil { order.append(key) }
      chains[key] = Chain(
        family: key.family, table: key.table, name: key.chain, type: chain["type"]?.string,
        hook: chain["hook"]?.string, priority: chain["prio"]?.number.flatMap(Int.init(exactly:)),
        policy: chain["policy"]?.string, rules: chains[key]?.rules ?? [])
    } else if let rule = element["rule"] {
      guard let key = key(rule, "chain") else { return }
      if chains[key] == nil {
        order.append(key)
        chains[key] = Chain(family: key.family, table: key.table, name: key.chain)
      }
      let statements = rule["expr"]?.array ?? []
      let facts = NftStatement.facts(statements)
      if facts.offloads { offloads = true }
      chains[key]?.rules.append(facts.rule)
    } else if let table = element["flowtable"] {
      guard let key = key(table, "name") else { return }
      flowtables.append((key.family, key.table, key.chain))
    }
  }

  private func key(_ value: JSONValue, _ name: String) -> Key? {
    guard let family = value["family"]?.string, let table = value["table"]?.string,
      let chain = value[name]?.string
    else { return nil }
    return Key(family: family, table: table, chain: chain)
  }

  /// The chains a chain can lead to, itself included.
  private func reach(_ start: Key) -> Set<Key> {
    var seen: Set<Key> = [start]
    var open = [start]
    while let key = open.popLast() {
      guard let chain = chains[key] else { continue }
      for rule in chain.rules {
        let next =
          rule.jumpsAnywhere
          ? order.filter {
            $0.family == key.family && $0.table == key.table && chains[$0]?.hook == nil
          }
          : rule.jumps.map { Key(family: key.family, table: key.table, chain: $0) }
        for one in next where seen.insert(one).inserted { open.append(one) }
      }
    }
    return seen
  }

  // MARK: what is not seen

  private static let priorities = [
    "raw": [-300], "mangle": [-150], "nat": [-100, 100], "filter": [0], "security": [50],
  ]

  /// Hooks that an arriving packet passes; the others see only what leaves.
  private static let arriving: Set<String> = ["ingress", "prerouting", "input", "forward"]

  /// Whether a base chain is one that iptables makes.
  private func isOfIPTables(_ chain: Chain) -> Bool {
    guard chain.family == "ip" || chain.family == "ip6", let hook = chain.hook,
      let known = Self.priorities[chain.table], let priority = chain.priority
    else { return false }
    return chain.name == hook.uppercased() && known.contains(priority)
  }

  /// The filters that the given rulesets do not show, or show wrongly.
  ///
  /// A chain that cannot refuse or change a packet is left out: empty, or counting, logging and
  /// accepting only, under policy accept (ACCEPT in one base chain ends no other, facts D8).
  ///
  /// - Parameter rulesets: What iptables' nft tools have shown.
  /// - Returns: One entry a chain, in the order nft lists them.
  func unseen(beside rulesets: [Ruleset]) -> [UnseenFilter] {
    var result: [UnseenFilter] = []
    var hooksOfShown: [Key: Set<String>] = [:]
    for key in order {
      guard let chain = chains[key], let hook = chain.hook, Self.arriving.contains(hook),
        chain.family != "arp", !(chain.type == "nat" && hook != "prerouting")
      else { continue }
      if isOfIPTables(chain), isShown(chain, rulesets) {
        for reached in reach(key) { hooksOfShown[reached, default: []].insert(hook) }
      } else if chain.policy == "drop"
        || reach(key).contains(where: { chains[$0]?.rules.contains(where: \.touches) ?? false })
      {
        result.append(foreign(chain, hook))
      }
    }
    for key in order {
      guard let hooks = hooksOfShown[key], let chain = chains[key],
        chain.rules.contains(where: { !$0.isPrintable && ($0.touches || $0.decides) })
      else { continue }
      result.append(
        UnseenFilter(
          family: family(chain.family), backend: .nft, table: chain.table, chain: chain.name,
          hooks: hooks.sorted(),
          why: "it holds native nft rules that iptables prints wrongly or not at all",
          isMisprint: true))
    }
    if offloads {
      for table in flowtables {
        result.append(
          UnseenFilter(
            family: family(table.family), backend: .nft, table: "\(table.family) \(table.table)",
            chain: table.name, hooks: ["ingress"],
            why: "packets of flows handed to this flowtable pass no rule"))
      }
    }
    return result
  }

  private func isShown(_ chain: Chain, _ rulesets: [Ruleset]) -> Bool {
    rulesets.contains {
      $0.backend == .nft && $0.family == family(chain.family)
        && $0.table(chain.table)?.chain(chain.name) != nil
    }
  }

  private func foreign(_ chain: Chain, _ hook: String) -> UnseenFilter {
    var why = "a native nft \(chain.type ?? "filter") chain"
    if let priority = chain.priority { why += " of priority \(priority)" }
    if chain.policy == "drop" { why += " with policy drop" }
    why += " that iptables does not show"
    if chain.family == "bridge" { why += "; it sees packets that cross a bridge" }
    let isIP = chain.family == "ip" || chain.family == "ip6"
    return UnseenFilter(
      family: family(chain.family), backend: .nft,
      table: isIP ? chain.table : "\(chain.family) \(chain.table)", chain: chain.name,
      hooks: [hook], why: why)
  }

  private func family(_ name: String) -> AddressFamily? {
    switch name {
    case "ip": .ipv4
    case "ip6": .ipv6
    default: nil
    }
  }
}
