internal import Addressing

/// What a rule line asks for.
enum RuleCommand {
  case append(chain: String)
  /// 1-based, as `-I CHAIN N`.
  case insert(chain: String, position: Int)
  case newChain(String)
  case policy(chain: String, String)
  case flush(chain: String?)
}

/// A rule line understood as words.
struct ParsedLine {
  var command: RuleCommand
  var matches: [MatchClause]
  var target: TargetClause?
  /// Given inside the line by `-c`.
  var counters: RuleCounters?
  /// The words of that `-c`.
  var counterTokens: Range<Int>?
  /// The words after the command, where the rule's own options begin.
  var firstOption: Int
  /// `-4` or `-6` of the other family: the line is not for this ruleset.
  var isForOtherFamily = false
  /// The word that holds the value of `-s` or `-d` when it lists several addresses.
  var listedSource: Int?
  var listedDestination: Int?
}

/// Understands one rule as `iptables-restore` does: which word belongs to which extension.
struct RuleParser {
  let source: SourceText
  let family: AddressFamily
  var tokens: [Token] = []

  private var index = 0
  /// The extensions the line has loaded; the newest is asked first, as `xtables_merge_options` has
  /// it.
  private var loaded: [Loaded] = []
  /// Slot 0 is the clause `ip`.
  private var matches: [MatchClause] = []
  private var target: TargetClause?
  /// The base options met, a bit a letter.
  private var seen: UInt64 = 0
  private var implicit: String?

  private struct Loaded {
    /// The index in `matches`, or -1 for the target.
    var clause: Int
    /// `nil`: not known, so it takes what nobody else does.
    var spec: ExtensionSpec?
    /// A chain of the user's: it takes no options.
    var isChain = false
  }

  init(source: SourceText, family: AddressFamily) {
    self.source = source
    self.family = family
  }

  /// Understands the words in `tokens`, the first of which begins at `start`.
  mutating func parse(at start: Int, isChain: (String) -> Bool) throws(FirewallError) -> ParsedLine
  {
    index = 0
    loaded.removeAll(keepingCapacity: true)
    matches = [MatchClause(name: "ip", options: [])]
    target = nil
    seen = 0
    implicit = nil
    let command = try command(at: start)
    var line = ParsedLine(command: command, matches: [], target: nil, firstOption: index)
    switch command {
    case .append, .insert: break
    case .policy:
      if index < tokens.count { try policyCounters(&line) }
      fallthrough
    default:
      guard index == tokens.count else {
        throw source.error(at: tokens[index], expected: "the end of the line")
      }
      return line
    }
    while index < tokens.count { try option(&line, isChain: isChain) }
    if matches[0].options.isEmpty { matches.removeFirst() }
    line.matches = matches
    line.target = target
    matches = []
    return line
  }

  // MARK: words

  private func error(_ expected: String) -> FirewallError {
    index < tokens.count
      ? source.error(at: tokens[index], expected: expected) : errorAtEnd(expected)
  }

  private func errorAtEnd(_ expected: String) -> FirewallError {
    source.error(at: tokens.last?.end ?? 0, expected: expected, found: "the end of the rule")
  }

  private mutating func word(_ expected: String) throws(FirewallError) -> String {
    guard index < tokens.count else { throw errorAtEnd(expected) }
    index += 1
    return source.text(tokens[index - 1])
  }

  private mutating func value(_ attached: String?, _ expected: String) throws(FirewallError)
    -> String
  {
    if let attached { return attached }
    return try word(expected)
  }

  private func isBang(_ at: Int) -> Bool {
    guard at < tokens.count else { return false }
    let token = tokens[at]
    return token.end - token.start == 1 && source.bytes[token.start] == UInt8(ascii: "!")
  }

  private func isOption(_ at: Int) -> Bool {
    let token = tokens[at]
    return !token.isText && token.end - token.start > 1
      && source.bytes[token.start] == UInt8(ascii: "-")
  }

  // MARK: commands

  private mutating func command(at start: Int) throws(FirewallError) -> RuleCommand {
    let wanted = "-A, -I, -N, -P or -F with a chain"
    guard index < tokens.count else {
      throw source.error(at: start, expected: wanted, found: "the end of the line")
    }
    guard isOption(0) else { throw error(wanted) }
    var name = source.text(tokens[0])
    var attached: String?
    if name.hasPrefix("--") {
      if let equals = name.firstIndex(of: "=") {
        attached = String(name[name.index(after: equals)...])
        name = String(name[..<equals])
      }
    } else if name.utf8.count > 2 {
      attached = String(name.dropFirst(2))
      name = String(name.prefix(2))
    }
    guard let letter = BaseOptions.commands[name] else { throw error(wanted) }
    index = 1
    func chain() throws(FirewallError) -> String {
      let name = try value(attached, "a chain")
      guard !name.isEmpty, name.utf8.count <= 28 else {
        throw source.error(at: tokens[index - 1], expected: "a chain name of 1 to 28 bytes")
      }
      // A save prints names without quotes, so a blank in one would begin another word (facts H3).
      guard !name.utf8.contains(where: { $0 == 0x20 || (0x09...0x0D).contains($0) }) else {
        throw source.error(at: tokens[index - 1], expected: "a chain name without blanks")
      }
      return name
    }
    switch letter {
    case UInt8(ascii: "A"): return .append(chain: try chain())
    case UInt8(ascii: "N"):
      let name = try chain()
      guard let first = name.utf8.first, first != UInt8(ascii: "-"), first != UInt8(ascii: "!")
      else {
        throw source.error(
          at: tokens[index - 1], expected: "a chain name that does not begin with - or !")
      }
      return .newChain(name)
    case UInt8(ascii: "F"):
      return .flush(chain: attached == nil && index == tokens.count ? nil : try chain())
    case UInt8(ascii: "P"):
      let name = try chain()
      let policy = try word("ACCEPT or DROP")
      guard policy == "ACCEPT" || policy == "DROP" else {
        index -= 1
        throw error("ACCEPT or DROP")
      }
      return .policy(chain: name, policy)
    default:
      let name = try chain()
      var position = 1
      if index < tokens.count, let first = source.text(tokens[index]).utf8.first,
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first)
      {
        guard let number = Int(source.text(tokens[index])), number > 0 else {
          throw error("a position from 1")
        }
        position = number
        index += 1
      }
      return .insert(chain: name, position: position)
    }
  }

  private mutating func policyCounters(_ line: inout ParsedLine) throws(FirewallError) {
    guard source.text(tokens[index]) == "-c" else { throw error("-c or the end of the line") }
    index += 1
    line.counters = try counters(attached: nil)
  }

  // MARK: options

  private mutating func option(_ line: inout ParsedLine, isChain: (String) -> Bool)
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

  private mutating func base(
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

  private mutating func header(
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
    if letter == UInt8(ascii: "p"), !isInverted { implicit = value }
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

  private mutating func counters(attached: String?) throws(FirewallError) -> RuleCounters {
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

  // MARK: options of extensions

  private mutating func extensionOption(
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
  private mutating func extensionOption(
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

  private mutating func take(
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
    if clause < 0 {
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
