/// One rule: what must match, and what happens then.
///
/// This is syntax only, lossless and without meaning; ``Evaluation`` gives it one.
public struct Rule: Sendable {
  /// What the rule has counted, if counters were printed.
  public var counters: RuleCounters?
  /// The conditions, in order; all must hold.
  ///
  /// The first is named `ip` when the rule has any of `-s -d -i -o -p -f`; the others carry the
  /// name of their `-m`.
  public var matches: [MatchClause]
  /// The target, or `nil` for a rule that only counts.
  public var target: TargetClause?
  /// The rule as it was printed, from `-A` on: exact bytes, quoting and all, without counters.
  public var bytes: [UInt8]
  /// The line it stands on in its file, 1-based.
  public var line: Int

  /// Makes a rule.
  public init(
    counters: RuleCounters? = nil, matches: [MatchClause], target: TargetClause?, bytes: [UInt8],
    line: Int
  ) {
    self.counters = counters
    self.matches = matches
    self.target = target
    self.bytes = bytes
    self.line = line
  }

  /// The rule as text.
  ///
  /// Invalid UTF-8 is replaced; control characters are NOT escaped here.
  public var text: String { String(decoding: bytes, as: UTF8.self) }

  /// The text of the first `-m comment`, unescaped as to quoting but not for terminals.
  public var comment: String? {
    for clause in matches where clause.name == "comment" {
      if let text = clause.options.first(where: { $0.name == "--comment" })?.arguments.first {
        return text
      }
    }
    return nil
  }
}

/// The options that belong to one match extension, or to the IP header.
public struct MatchClause: Sendable, Hashable {
  /// The extension's name as given after `-m`, or `ip` for the options every rule may have.
  public var name: String
  /// The options in order.
  public var options: [RuleOption]

  /// Makes a clause.
  public init(name: String, options: [RuleOption]) {
    self.name = name
    self.options = options
  }
}

/// One option with its arguments.
public struct RuleOption: Sendable, Hashable {
  /// The name: for the `ip` clause one of `-s -d -i -o -p -f`, else the long form with dashes as
  /// the save format prints it (`--dport`, `--match-set`).
  public var name: String
  /// Whether a `!` stands before it.
  public var isInverted: Bool
  /// The arguments with quoting removed.
  ///
  /// Invalid UTF-8 is replaced.
  public var arguments: [String]

  /// Makes an option.
  public init(name: String, isInverted: Bool = false, arguments: [String] = []) {
    self.name = name
    self.isInverted = isInverted
    self.arguments = arguments
  }
}

/// What happens to a packet that matches.
public struct TargetClause: Sendable, Hashable {
  /// A target's or chain's name.
  public var name: String
  /// Whether it was given by `-g`: a RETURN there goes to the caller's caller.
  public var isGoto: Bool
  /// The target's options, in order.
  public var options: [RuleOption]

  /// Makes a target.
  public init(name: String, isGoto: Bool = false, options: [RuleOption] = []) {
    self.name = name
    self.isGoto = isGoto
    self.options = options
  }
}
