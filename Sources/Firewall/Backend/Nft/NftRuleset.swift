internal import Addressing

/// What `nft -j list ruleset` tells that the iptables tools do not (facts D9, D10).
struct NftRuleset {
  struct Chain {
    var family: String
    var table: String
    var name: String
    var type: String?
    var hook: String?
    var priority: Int?
    var policy: String?
    var rules: [NftRule] = []
  }

  struct Key: Hashable {
    var family: String
    var table: String
    var chain: String

    func sibling(_ name: String) -> Key { Key(family: family, table: table, chain: name) }
  }

  private(set) var chains: [Key: Chain] = [:]
  private(set) var order: [Key] = []
  private(set) var flowtables: [(family: String, table: String, name: String)] = []
  /// Whether some rule hands flows to a flowtable.
  private(set) var offloads = false
  private(set) var sets = NftSets()

  init(_ bytes: [UInt8], name: String) throws(FirewallError) {
    self = try NftRuleset(bytes, name, leavingOut: [])
    // A rule that adds to a set makes what was understood of its elements worthless. nft gives such
    // a set a flag that says so, so the text is hardly ever read twice.
    if sets.changed.isDisjoint(with: sets.used) { return }
    self = try NftRuleset(bytes, name, leavingOut: sets.changed)
  }

  private init(_ bytes: [UInt8], _ name: String, leavingOut changed: Set<Key>)
    throws(FirewallError)
  {
    sets.leftOut = changed
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
      let known = sets
      var asked: [Key] = []
      let facts = NftRule(rule["expr"]?.array ?? []) { name in
        let set = key.sibling(name)
        asked.append(set)
        return known.elements[set]
      }
      sets.note(asked: asked)
      for name in facts.changedSets {
        sets.changed.insert(key.sibling(name))
      }
      if facts.offloads { offloads = true }
      chains[key]?.rules.append(facts)
    } else if let set = element["set"] ?? element["map"] {
      guard let key = key(set, "name") else { return }
      sets.add(set, key, isMap: element["map"] != nil)
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
      for step in chain.rules.lazy.flatMap(\.steps) {
        let next: [Key]
        switch step.effect {
        case .jump(let name), .goto(let name): next = [key.sibling(name)]
        case .jumpAnywhere: next = ordinaryChains(of: key)
        case .passes, .touches, .returns: continue
        }
        for one in next where seen.insert(one).inserted { open.append(one) }
      }
    }
    return seen
  }

  /// The chains that a rule of a chain's table may jump to.
  func ordinaryChains(of key: Key) -> [Key] {
    order.filter {
      $0.family == key.family && $0.table == key.table && chains[$0]?.hook == nil
    }
  }

  // MARK: what is not seen

  private static let priorities = [
    "raw": [-300], "mangle": [-150], "nat": [-100, 100], "filter": [0], "security": [50],
  ]

  /// Hooks that an arriving or forwarded packet passes; `output` sees only what the host sends.
  private static let arriving: Set<String> = [
    "ingress", "prerouting", "input", "forward", "postrouting", "egress",
  ]

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
  /// The steps say which packets the others can touch; those of a misprint are not given, for what
  /// iptables prints of it may match more than the rule does.
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
        let steps = NftFlattening.steps(of: key, in: self)
        if let steps, !steps.contains(where: { $0.effect == .touches }) { continue }
        result.append(foreign(chain, hook, steps))
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
            // The kernel hands over flows in the forward hook only, so none that ends here.
            chain: table.name, hooks: ["forward"],
            why: "forwarded packets of flows handed to this flowtable pass no rule"))
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

  private func foreign(_ chain: Chain, _ hook: String, _ steps: [FilterStep]?) -> UnseenFilter {
    var why = "a native nft \(chain.type ?? "filter") chain"
    if let priority = chain.priority { why += " of priority \(priority)" }
    if chain.policy == "drop" { why += " with policy drop" }
    why += " that iptables does not show"
    if chain.family == "bridge" { why += "; it sees packets that cross a bridge" }
    let isIP = chain.family == "ip" || chain.family == "ip6"
    return UnseenFilter(
      family: family(chain.family), backend: .nft,
      table: isIP ? chain.table : "\(chain.family) \(chain.table)", chain: chain.name,
      hooks: [hook], why: why, steps: steps)
  }

  private func family(_ name: String) -> AddressFamily? {
    switch name {
    case "ip": .ipv4
    case "ip6": .ipv6
    default: nil
    }
  }
}
