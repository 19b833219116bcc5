internal import Addressing

/// iptables' own options, and whose the others are.
extension RuleParser {
  mutating func option(_ line: inout ParsedLine, isChain: (String) -> Bool)
    throws(FirewallError)
  {
    var isInverted = false
    if isBang(index) {
      isInverted = true
      index += 1
      if isBang(index) { throw error("an option after \"!\"") }
      guard index < tokens.count else { throw errorAtEnd("an option after \"!\"") }
    }
    guard isOption(index) else { throw error("an option") }
    let start = index
    let token = tokens[start]
    if source.bytes[token.start + 1] != UInt8(ascii: "-") {
      let letter = source.bytes[token.start + 1]
      let attached =
        token.end - token.start > 2 ? source.string((token.start + 2)..<token.end) : nil
      if BaseOptions.takesArgument(letter)
        || BaseOptions.isFlag(letter) && attached == nil
      {
        index += 1
        try base(letter, attached, isInverted, start, &line, isChain)
      } else {
        try extensionOption(source.text(token), nil, isInverted, start)
      }
      return
    }
    var name = source.text(token)
    var attached: String?
    if let equals = name.utf8.firstIndex(of: UInt8(ascii: "=")) {
      attached = String(name[name.index(after: equals)...])
      name = String(name[..<equals])
    }
    if let letter = BaseOptions.long[name] {
      index += 1
      try base(letter, attached, isInverted, start, &line, isChain)
    } else {
      try extensionOption(name, attached, isInverted, start, line: &line, isChain)
    }
  }

  mutating func base(
    _ letter: UInt8, _ attached: String?, _ isInverted: Bool, _ start: Int,
    _ line: inout ParsedLine, _ isChain: (String) -> Bool
  ) throws(FirewallError) {
    func refuse(_ expected: String) -> FirewallError {
      source.error(at: tokens[start], expected: expected)
    }
    let mayInvert = BaseOptions.mayInvert(letter)
    if isInverted && !mayInvert { throw refuse("an option that can be negated after \"!\"") }
    if BaseOptions.isOnce(letter) {
      // -j and -g exclude each other.
      let key = letter == UInt8(ascii: "g") ? UInt8(ascii: "j") : letter
      let bit: UInt64 = 1 << UInt64(key & 63)
      if seen & bit != 0 { throw refuse("each option once") }
      seen |= bit
    }
    switch letter {
    case UInt8(ascii: "s"), UInt8(ascii: "d"), UInt8(ascii: "i"), UInt8(ascii: "o"),
      UInt8(ascii: "p"):
      try header(letter, attached, isInverted, start, &line)
    case UInt8(ascii: "f"):
      if attached != nil { throw refuse("-f without a value") }
      matches[0].options.append(RuleOption(name: "-f", isInverted: isInverted))
    case UInt8(ascii: "m"):
      let given = try value(attached, "a match")
      if given.isEmpty { throw refuse("a match") }
      let name = Extensions.matchAliases[given] ?? given
      let spec = Extensions.matches[name]
      matches.append(MatchClause(name: name, options: []))
      // The newest of a kind takes all that follows; to keep the older would cost each option a look.
      loaded.removeAll { $0.clause >= 0 && $0.spec === spec }
      loaded.append(Loaded(clause: matches.count - 1, spec: spec))
    case UInt8(ascii: "j"), UInt8(ascii: "g"):
      let name = try value(attached, "a target or chain")
      if name.isEmpty { throw refuse("a target or chain") }
      target = TargetClause(name: name, isGoto: letter == UInt8(ascii: "g"))
      let chain = letter == UInt8(ascii: "g") || isChain(name)
      loaded.append(
        Loaded(clause: -1, spec: chain ? nil : Extensions.targets[name], isChain: chain))
    case UInt8(ascii: "c"):
      line.counters = try counters(attached: attached)
      line.counterTokens = start..<index
    case UInt8(ascii: "4"): if family == .ipv6 { line.isForOtherFamily = true }
    case UInt8(ascii: "6"): if family == .ipv4 { line.isForOtherFamily = true }
    case UInt8(ascii: "w"), UInt8(ascii: "W"), UInt8(ascii: "t"), UInt8(ascii: "M"):
      // The table is the section's; a line that names another would be misread.
      throw refuse("an option of a rule")
    default: break
    }
  }

  mutating func header(
    _ letter: UInt8, _ attached: String?, _ isInverted: Bool, _ start: Int,
    _ line: inout ParsedLine
  ) throws(FirewallError) {
    var isInverted = isInverted
    var at = start
    let value: String
    if let attached {
      value = attached
    } else {
      if isBang(index) {
        if isInverted { throw error("one \"!\"") }
        isInverted = true
        index += 1
      }
      at = index
      value = try word(BaseOptions.wanted(letter))
    }
    if let expected = BaseOptions.fault(letter, value, family) {
      throw source.error(at: tokens[at], expected: expected)
    }
    if letter == UInt8(ascii: "p") {
      if !isInverted {
        implicit = value
      } else if value == "0" || value == "all" {
        throw source.error(at: tokens[at], expected: "a protocol that leaves some packets")
      }
    }
    if letter == UInt8(ascii: "s") || letter == UInt8(ascii: "d"),
      value.utf8.contains(UInt8(ascii: ","))
    {
      if attached != nil {
        throw source.error(
          at: tokens[at], expected: "a list of addresses as a word of its own")
      }
      if isInverted {
        throw source.error(at: tokens[at], expected: "one address after \"!\"")
      }
      if letter == UInt8(ascii: "s") { line.listedSource = at }
      if letter == UInt8(ascii: "d") { line.listedDestination = at }
    }
    matches[0].options.append(
      RuleOption(
        name: BaseOptions.name(letter), isInverted: isInverted, arguments: [value]))
  }

  mutating func counters(attached: String?) throws(FirewallError) -> RuleCounters {
    let wanted = "two numbers: packets and bytes"
    let at = index
    var first = try value(attached, wanted)
    let second: String
    if let comma = first.firstIndex(of: ",") {
      second = String(first[first.index(after: comma)...])
      first = String(first[..<comma])
    } else {
      second = try word(wanted)
    }
    guard let packets = UInt64(first), let bytes = UInt64(second), !first.hasPrefix("+"),
      !second.hasPrefix("+")
    else {
      index = min(at, tokens.count - 1)
      throw error(wanted)
    }
    return RuleCounters(packets: packets, bytes: bytes)
  }
}
