/// The options of matches and targets.
extension RuleParser {
  mutating func extensionOption(
    _ name: String, _ attached: String?, _ isInverted: Bool, _ start: Int
  ) throws(FirewallError) {
    // A short option that iptables itself does not have: an unknown extension's, if one is there.
    guard let owner = loaded.last(where: { $0.spec == nil && !$0.isChain }) else {
      throw source.error(at: tokens[start], expected: "an option of iptables")
    }
    index = start + 1
    try take(OptionSpec(name: name, arity: .open), attached, isInverted, start, owner.clause)
  }

  /// Finds whose option this is, in the order `getopt_long` and the extensions' loading give.
  mutating func extensionOption(
    _ name: String, _ attached: String?, _ isInverted: Bool, _ start: Int, line: inout ParsedLine,
    _ isChain: (String) -> Bool
  ) throws(FirewallError) {
    index = start + 1
    if let newest = loaded.last, newest.spec == nil, !newest.isChain {
      let spec = OptionSpec(name: name, arity: .open)
      return try take(spec, attached, isInverted, start, newest.clause)
    }
    for candidate in loaded.reversed() {
      if let spec = candidate.spec?.options[name] {
        return try take(spec, attached, isInverted, start, candidate.clause)
      }
    }
    // Abbreviations, as getopt allows when only one option is meant.
    var found: (spec: OptionSpec, clause: Int)?
    var names = Set(
      BaseOptions.long.keys.filter { $0.hasPrefix(name) }.compactMap(BaseOptions.canonical))
    let base = names.first
    for candidate in loaded.reversed() where names.count < 2 {
      for full in candidate.spec?.completions(of: name) ?? [] {
        guard let spec = candidate.spec?.options[full] else { continue }
        if names.insert(spec.name).inserted { found = (spec, candidate.clause) }
      }
    }
    if names.count == 1, let found {
      return try take(found.spec, attached, isInverted, start, found.clause)
    }
    if names.count == 1, let base, let letter = base.utf8.dropFirst().first {
      return try self.base(letter, attached, isInverted, start, &line, isChain)
    }
    // `-p udp --dport 53` loads the protocol's match by itself.
    if let implicit, let match = Extensions.implicitMatch(ofProtocol: implicit),
      let known = Extensions.matches[match], !loaded.contains(where: { $0.spec === known })
    {
      let completions = known.completions(of: name)
      let full = known.options[name] != nil ? name : completions.count == 1 ? completions[0] : ""
      if let spec = known.options[full] {
        matches.append(MatchClause(name: match, options: []))
        loaded.append(Loaded(clause: matches.count - 1, spec: known))
        return try take(spec, attached, isInverted, start, matches.count - 1)
      }
    }
    // Nobody's that is known: an unknown extension's, or a known one's in a newer version.
    let owner = loaded.last { $0.spec == nil && !$0.isChain } ?? loaded.last { !$0.isChain }
    guard let owner else {
      throw source.error(
        at: tokens[start], expected: "an option of iptables or of a match before it")
    }
    try take(OptionSpec(name: name, arity: .open), attached, isInverted, start, owner.clause)
  }

  mutating func take(
    _ spec: OptionSpec, _ attached: String?, _ isInverted: Bool, _ start: Int, _ clause: Int
  ) throws(FirewallError) {
    var option = RuleOption(name: spec.name, isInverted: isInverted)
    if let attached { option.arguments.append(attached) }
    switch spec.arity {
    case .text:
      if attached == nil { option.arguments.append(try word("a value of \(spec.name)")) }
    case .exactly(let count):
      if count > 0, attached == nil, isBang(index) {
        if isInverted { throw error("one \"!\"") }
        option.isInverted = true
        index += 1
      }
      while option.arguments.count < count {
        let missing = count == 1 ? "a value of \(spec.name)" : "\(count) values of \(spec.name)"
        option.arguments.append(try word(missing))
      }
      if option.arguments.count > count {
        throw source.error(at: tokens[start], expected: "\(spec.name) without a value")
      }
      if option.name == "--syn" {
        // How saves print it.
        option.name = "--tcp-flags"
        option.arguments = ["FIN,SYN,RST,ACK", "SYN"]
      }
    case .open:
      while index < tokens.count, tokens[index].isText || !isBang(index) && !isOption(index) {
        option.arguments.append(source.text(tokens[index]))
        index += 1
      }
    }
    if let kind = spec.kind, let value = option.arguments.first,
      let expected = kind.fault(value, family)
    {
      throw source.error(at: tokens[index - 1], expected: "\(expected) as \(spec.name)")
    }
    if clause < 0 {
      if spec.arity != .open {
        if isInverted { throw source.error(at: tokens[start], expected: "no \"!\" in a target") }
        if target?.options.contains(where: { $0.name == option.name }) == true {
          throw source.error(at: tokens[start], expected: "\(option.name) once")
        }
      }
      target?.options.append(option)
      return
    }
    let match = matches[clause].name
    if let expected = OptionValues.normalize(&option, of: match) {
      throw source.error(at: tokens[index - 1], expected: expected)
    }
    // `policy` describes several elements, one after the other.
    if spec.arity != .open, match != "policy",
      matches[clause].options.contains(where: { $0.name == option.name })
    {
      throw source.error(at: tokens[start], expected: "\(option.name) once")
    }
    matches[clause].options.append(option)
  }
}
