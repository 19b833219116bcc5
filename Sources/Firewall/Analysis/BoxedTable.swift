import Addressing

/// The rules of one table as boxes and actions, for comparing them with one another.
struct BoxedTable {
  struct BoxedRule {
    var box: RuleBox
    var action: TargetAction
  }

  /// Fields by which rules that may cover another are found.
  struct Key: Hashable {
    var transport: UInt8?
    var source: UInt128 = 0
    var sourceLength: Int?
    var destination: UInt128 = 0
    var destinationLength: Int?
    var port: UInt16?
  }

  /// Which fields a key has.
  fileprivate struct Fields: Hashable {
    var hasTransport: Bool
    var sourceLength: Int?
    var destinationLength: Int?
    var hasPort: Bool
  }

  struct BoxedChain {
    var rules: [BoxedRule] = []
    /// Rules that take what they match out of the chain or hand it to another, by key.
    var takers: [Key: [Int]] = [:]
    fileprivate var fields: Set<Fields> = []
    /// Rules after which a packet may be back in the calling chain.
    var leaks: [Int] = []
  }

  let family: AddressFamily
  let table: Table
  private(set) var chains: [BoxedChain] = []

  init(_ table: Table, backend: Backend, family: AddressFamily, sets: SetTables) {
    self.family = family
    self.table = table
    var targets: [String: Int] = [:]
    for (index, chain) in table.chains.enumerated()
    where targets[chain.name] == nil && !CompiledRuleset.isBuiltIn(chain) {
      targets[chain.name] = index
    }
    let actions = TargetCompiler(family: family, chains: targets)
    let compiler = ConditionCompiler(family: family, backend: backend, sets: sets)
    var around = RuleBox.Surroundings()
    around.isBeforeTracking = table.name == "raw"
    around.setsChangedByRules = sets.changedByRules
    around.changesDestination = table.chains.contains { chain in
      chain.rules.contains { $0.target?.name == "DNPT" || $0.target?.name == "TPROXY" }
    }
    for chain in table.chains {
      var boxed = BoxedChain()
      for (index, rule) in chain.rules.enumerated() {
        let box = Self.box(rule, compiler, around)
        let action = actions.action(of: rule.target)
        boxed.rules.append(BoxedRule(box: box, action: action))
        switch action {
        case .return, .unrecognized: boxed.leaks.append(index)
        case .goto: boxed.leaks.append(index)
        default: break
        }
        switch action {
        case .accept, .refuse, .return, .goto, .jump, .translate, .translateSource:
          guard box.isExact, !box.isEmpty else { continue }
          let key = Self.key(box)
          boxed.takers[key, default: []].append(index)
          boxed.fields.insert(
            Fields(
              hasTransport: key.transport != nil, sourceLength: key.sourceLength,
              destinationLength: key.destinationLength, hasPort: key.port != nil))
        default:
          break
        }
      }
      chains.append(boxed)
    }
  }

  private static func box(
    _ rule: Rule, _ compiler: ConditionCompiler, _ around: RuleBox.Surroundings
  ) -> RuleBox {
    var box = RuleBox(compiler.family)
    func take(_ clause: MatchClause) {
      let key = RuleBox.Clause(name: clause.name, options: clause.options)
      let part = Rule(matches: [clause], target: nil, bytes: [], line: 0)
      for condition in compiler.conditions(of: part) { box.add(condition, key, around) }
    }
    for clause in rule.matches {
      // The options of these matches say something each; those of others only together, and so do
      // two inverted ports in iptables-nft.
      guard ["ip", "ip6", "tcp", "udp", "iprange"].contains(clause.name),
        clause.options.count > 1,
        clause.name.hasPrefix("ip") || clause.options.count(where: \.isInverted) < 2
      else {
        take(clause)
        continue
      }
      for option in clause.options { take(MatchClause(name: clause.name, options: [option])) }
    }
    return box
  }

  private static func key(_ box: RuleBox) -> Key {
    var key = Key(transport: box.transport)
    if let (bits, length) = single(box.sources, box.family) {
      key.source = bits
      key.sourceLength = length
    }
    if let (bits, length) = single(box.destinations, box.family) {
      key.destination = bits
      key.destinationLength = length
    }
    if let ports = box.destinationPorts, ports.count == 1, ports[0].count == 1 {
      key.port = ports[0].lowerBound
    }
    return key
  }

  /// The prefix that ranges make up, if it is one.
  private static func single(_ ranges: SourceRanges?, _ family: AddressFamily) -> (UInt128, Int)? {
    guard let ranges, ranges.count == 1 else { return nil }
    let size = ranges[0].upperBound &- ranges[0].lowerBound
    guard size & (size &+ 1) == 0, ranges[0].lowerBound & size == 0 else { return nil }
    return (ranges[0].lowerBound, family.bitWidth - size.nonzeroBitCount)
  }

  /// The rules of a chain before a position that may cover a box, in no order.
  func candidates(_ chain: Int, covering box: RuleBox, before end: Int) -> [Int] {
    var result: [Int] = []
    for fields in chains[chain].fields {
      var key = Key()
      if fields.hasTransport {
        guard let transport = box.transport else { continue }
        key.transport = transport
      }
      if let length = fields.sourceLength {
        guard let bits = enclosing(box.sources, length) else { continue }
        key.source = bits
        key.sourceLength = length
      }
      if let length = fields.destinationLength {
        guard let bits = enclosing(box.destinations, length) else { continue }
        key.destination = bits
        key.destinationLength = length
      }
      if fields.hasPort {
        guard let ports = box.destinationPorts, ports.count == 1, ports[0].count == 1 else {
          continue
        }
        key.port = ports[0].lowerBound
      }
      for index in chains[chain].takers[key] ?? [] {
        if index >= end { break }
        result.append(index)
      }
    }
    return result
  }

  /// The prefix of a length that holds all ranges.
  private func enclosing(_ ranges: SourceRanges?, _ length: Int) -> UInt128? {
    guard let first = ranges?.first?.lowerBound, let last = ranges?.map(\.upperBound).max(),
      let prefix = IPPrefix(IPAddress(family: family, bits: first), length: length),
      prefix.range.contains(last)
    else { return nil }
    return prefix.range.lowerBound
  }
}
