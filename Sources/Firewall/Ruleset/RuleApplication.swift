/// What a rule line does to the chains read so far.
extension RulesetReading {
  mutating func apply(
    _ parsed: ParsedLine, _ counters: RuleCounters?, line: Int, text: Range<Int>, isPlain: Bool
  ) throws(FirewallError) {
    if parsed.isForOtherFamily {
      layout.lines.append(.text(Array(source.bytes[text])))
      return
    }
    switch parsed.command {
    case .append(let name):
      let chain = try chain(name)
      if parsed.listedSource == nil && parsed.listedDestination == nil {
        let bytes = RuleText(source, parser.tokens, parsed).bytes()
        fill(chain)
        chains[chain].rules.append(
          Rule(
            counters: counters, matches: parsed.matches, target: parsed.target, bytes: bytes,
            line: line))
        if isPlain && parsed.counterTokens == nil {
          layout.addRule(chain: chain)
        } else {
          layout.lines.append(
            .oddRule(
              chain: chain, bytes: bytes, counters: counters, text: Array(source.bytes[text])))
        }
        return
      }
      isReordered = true
      fill(chain)
      chains[chain].rules += try expanded(parsed, counters, line: line)
    case .insert(let name, let position):
      let chain = try chain(name)
      let count = chains[chain].rules.count + (heads[chain]?.count ?? 0)
      guard position <= count + 1 else {
        throw source.error(
          at: parser.tokens[min(2, parser.tokens.count - 1)],
          expected: "a position from 1 to \(count + 1)")
      }
      isReordered = true
      fill(chain)
      // Each of several addresses is inserted at the same place, so the last comes out first.
      let rules = try expanded(parsed, counters, line: line)
      if position == 1 {
        heads[chain, default: []] += rules
        return
      }
      let pushed = count - position + 1 + (heads[chain] == nil ? 0 : count)
      guard growth.move(pushed) else {
        throw source.error(
          at: parser.tokens[0].start, expected: "fewer insertions into long chains",
          code: .tooLarge, advice: "Give the rules in their order, by -A.")
      }
      putHead(on: chain)
      chains[chain].rules.insert(contentsOf: rules.reversed(), at: position - 1)
    case .newChain(let name):
      guard chainIndex[name] == nil else {
        throw source.error(at: parser.tokens[0].start, expected: "each chain once", found: name)
      }
      let index = add(Chain(name: name))
      layout.lines.append(
        .oddChain(index, policy: nil, counters: nil, text: Array(source.bytes[text])))
    case .policy(let name, let policy):
      let index = chainIndex[name] ?? add(Chain(name: name))
      guard BaseOptions.builtInChains.contains(name) else {
        throw source.error(
          at: parser.tokens[0].start, expected: "a built-in chain after -P", found: name)
      }
      let before = chains[index]
      chains[index].policy = policy
      if let counters { chains[index].counters = counters }
      // The line that declared it says otherwise, and must come back as it stood.
      if before.policy != policy || before.counters != chains[index].counters { isReordered = true }
      layout.lines.append(
        .oddChain(
          index, policy: policy, counters: chains[index].counters, text: Array(source.bytes[text])))
    case .flush(let name):
      isReordered = true
      if let name {
        empty(try chain(name))
      } else {
        for index in filled { empty(index) }
        filled = []
      }
    }
  }

  /// Says that a chain is about to have rules.
  mutating func fill(_ chain: Int) {
    if chains[chain].rules.isEmpty && heads[chain] == nil { filled.append(chain) }
  }

  mutating func empty(_ chain: Int) {
    chains[chain].rules = []
    heads[chain] = nil
  }

  mutating func putHead(on chain: Int) {
    guard let head = heads.removeValue(forKey: chain) else { return }
    chains[chain].rules.insert(contentsOf: head.reversed(), at: 0)
  }

  mutating func chain(_ name: String) throws(FirewallError) -> Int {
    if let index = chainIndex[name] { return index }
    guard BaseOptions.builtInChains.contains(name) else {
      let token = parser.tokens[min(1, parser.tokens.count - 1)]
      throw source.error(at: token, expected: "a chain declared before")
    }
    return add(Chain(name: name))
  }

  /// One rule for each pair of the addresses that `-s a,b -d c,d` lists, as the kernel holds them.
  mutating func expanded(_ parsed: ParsedLine, _ counters: RuleCounters?, line: Int)
    throws(FirewallError) -> [Rule]
  {
    let text = RuleText(source, parser.tokens, parsed)
    let sources = text.list(parsed.listedSource)
    let destinations = text.list(parsed.listedDestination)
    let pairs = sources.count * destinations.count
    guard pairs <= RulesetGrowth.mostPairs else {
      throw source.error(
        at: parser.tokens[0].start,
        expected: "at most \(RulesetGrowth.mostPairs) pairs of addresses", code: .tooLarge)
    }
    if pairs > 1 {
      let length = text.bytes(source: sources[0], destination: destinations[0]).count
      guard growth.expand(into: pairs, of: length) else {
        throw source.error(
          at: parser.tokens[0].start, expected: "fewer addresses in the lists of this file",
          code: .tooLarge, advice: "An address set holds them better.")
      }
    }
    var rules: [Rule] = []
    for from in sources {
      for to in destinations {
        var matches = parsed.matches
        if !matches.isEmpty {
          for index in matches[0].options.indices {
            if matches[0].options[index].name == "-s", let from {
              matches[0].options[index].arguments = [from]
            }
            if matches[0].options[index].name == "-d", let to {
              matches[0].options[index].arguments = [to]
            }
          }
        }
        rules.append(
          Rule(
            counters: counters, matches: matches, target: parsed.target,
            bytes: text.bytes(source: from, destination: to), line: line))
      }
    }
    return rules
  }
}
