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

  var index = 0
  /// The extensions the line has loaded; the newest is asked first, as `xtables_merge_options` has
  /// it.
  var loaded: [Loaded] = []
  /// Slot 0 is the clause `ip`.
  var matches: [MatchClause] = []
  var target: TargetClause?
  /// The base options met, a bit a letter.
  var seen: UInt64 = 0
  var implicit: String?

  struct Loaded {
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
    try checkRequirements()
    if matches[0].options.isEmpty { matches.removeFirst() }
    line.matches = matches
    line.target = target
    matches = []
    return line
  }

  /// Whether the extensions have what they need.
  private func checkRequirements() throws(FirewallError) {
    guard !loaded.isEmpty else { return }
    let hasProtocol = matches[0].options.contains { $0.name == "-p" }
    for extent in loaded {
      guard let spec = extent.spec, let requirements = spec.requirements else { continue }
      let options = extent.clause < 0 ? target?.options ?? [] : matches[extent.clause].options
      if let expected = requirements.fault(
        options, of: spec, hasProtocol: hasProtocol, family: family)
      {
        throw errorAtEnd(expected)
      }
    }
  }

  // MARK: words

  func error(_ expected: String) -> FirewallError {
    index < tokens.count
      ? source.error(at: tokens[index], expected: expected) : errorAtEnd(expected)
  }

  func errorAtEnd(_ expected: String) -> FirewallError {
    source.error(at: tokens.last?.end ?? 0, expected: expected, found: "the end of the rule")
  }

  mutating func word(_ expected: String) throws(FirewallError) -> String {
    guard index < tokens.count else { throw errorAtEnd(expected) }
    index += 1
    return source.text(tokens[index - 1])
  }

  mutating func value(_ attached: String?, _ expected: String) throws(FirewallError)
    -> String
  {
    if let attached { return attached }
    return try word(expected)
  }

  func isBang(_ at: Int) -> Bool {
    guard at < tokens.count else { return false }
    let token = tokens[at]
    return token.end - token.start == 1 && source.bytes[token.start] == UInt8(ascii: "!")
  }

  func isOption(_ at: Int) -> Bool {
    let token = tokens[at]
    return !token.isText && token.end - token.start > 1
      && source.bytes[token.start] == UInt8(ascii: "-")
  }
}
