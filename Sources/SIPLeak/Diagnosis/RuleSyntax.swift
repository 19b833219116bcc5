import Addressing
import Firewall

/// A rule with its place.
struct PlacedRule {
  var family: AddressFamily
  var reference: RuleReference
  var rule: Rule
}

extension FirewallSnapshot {
  /// The rules that fit, in the order of the rulesets.
  func rules(
    family: AddressFamily? = nil, table: String? = nil, where fits: (Rule) -> Bool
  ) -> [PlacedRule] {
    var result: [PlacedRule] = []
    for ruleset in rulesets where family == nil || ruleset.family == family {
      for held in ruleset.tables where table == nil || held.name == table {
        for chain in held.chains {
          for (position, rule) in chain.rules.enumerated() where fits(rule) {
            result.append(
              PlacedRule(
                family: ruleset.family,
                reference: RuleReference(
                  backend: ruleset.backend, table: held.name, chain: chain.name,
                  index: position + 1, text: rule.text, counters: rule.counters),
                rule: rule))
          }
        }
      }
    }
    return result
  }

  /// The syntax of a rule, or `nil` for a policy.
  func rule(_ reference: RuleReference) -> Rule? {
    guard reference.index > 0 else { return nil }
    for ruleset in rulesets where ruleset.backend == reference.backend {
      guard let chain = ruleset.table(reference.table)?.chain(reference.chain),
        chain.rules.indices.contains(reference.index - 1)
      else { continue }
      let found = chain.rules[reference.index - 1]
      if found.text == reference.text { return found }
    }
    return nil
  }
}

extension Rule {
  /// Whether the rule has a match of the name.
  func asks(_ match: String) -> Bool { matches.contains { $0.name == match } }

  /// The options of a name that are not negated, in all matches.
  func options(_ name: String) -> [RuleOption] {
    matches.flatMap(\.options).filter { $0.name == name && !$0.isInverted }
  }

  /// Whether the rule may concern the transport, as far as it names one.
  func mayConcern(_ transport: IPProtocol) -> Bool {
    options("-p").allSatisfy { option in
      option.arguments.first.map { word in
        word == "all" || word == "0" || IPProtocol(word: word) == transport
      } ?? true
    }
  }

  /// Whether the rule may concern a destination port, as far as it names ports.
  func mayConcern(port: UInt16) -> Bool {
    let named = destinationPorts
    return named.isEmpty || named.contains { $0.contains(port) }
  }

  /// The destination ports it names: ranges, or one port each.
  var destinationPorts: [ClosedRange<UInt16>] {
    ["--dport", "--dports", "--ports"].flatMap { options($0) }.flatMap(\.arguments)
      .flatMap(PortRanges.read)
  }
}

/// Ports as iptables writes them.
enum PortRanges {
  /// Reads `5000:5070,6000`, with `:` or `-`; what is no port is left out.
  static func read(_ text: String) -> [ClosedRange<UInt16>] {
    text.split(separator: ",").compactMap { part in
      let separator: Character = part.contains(":") ? ":" : "-"
      let ends = part.split(separator: separator, maxSplits: 1, omittingEmptySubsequences: false)
      guard let first = ends.first else { return nil }
      let low = first.isEmpty ? 0 : UInt16(first)
      let high = ends.count == 2 ? (ends[1].isEmpty ? UInt16.max : UInt16(ends[1])) : low
      guard let low, let high, low <= high else { return nil }
      return low...high
    }
  }

  /// The range as iptables writes it.
  static func text(_ range: ClosedRange<UInt16>) -> String {
    range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound):\(range.upperBound)"
  }
}

extension RuleReference {
  /// The place and, if it has one, the comment; not escaped for terminals.
  var named: String {
    guard index > 0 else { return "the policy of \(table) \(chain)" }
    return comment.map { "\(place) \"\($0)\"" } ?? place
  }

  /// Place without the number.
  var chainPlace: String { "\(table) \(chain)" }
}

/// Lists within a sentence.
enum Listing {
  /// Places as a person says them: `filter INPUT 10, 11`.
  static func places(_ rules: [RuleReference], limit: Int = Differential.listed) -> String {
    var groups: [(chain: String, numbers: [String])] = []
    for rule in rules.prefix(limit) {
      let number = rule.index == 0 ? "policy" : "\(rule.index)"
      if let last = groups.indices.last, groups[last].chain == rule.chainPlace {
        if !groups[last].numbers.contains(number) { groups[last].numbers.append(number) }
      } else {
        groups.append((rule.chainPlace, [number]))
      }
    }
    let text = groups.map { "\($0.chain) \($0.numbers.joined(separator: ", "))" }
      .joined(separator: ", ")
    return rules.count > limit ? "\(text) and \(rules.count - limit) more" : text
  }

  /// Words with commas, cut where they are many.
  static func words(_ words: [String], limit: Int = Differential.listed) -> String {
    let shown = words.prefix(limit).joined(separator: ", ")
    return words.count > limit ? "\(shown) and \(words.count - limit) more" : shown
  }

  /// The sources of a set, or those left out where they are fewer.
  static func sources(_ set: PrefixSet, _ family: AddressFamily) -> String {
    let inside = set.prefixes.filter { $0.family == family }
    let all = IPPrefix(IPAddress(family: family, bits: 0), length: 0).map { PrefixSet([$0]) }
    let outside = (all ?? PrefixSet()).subtracting(set).prefixes
    guard outside.count < inside.count else { return words(inside.map(\.description)) }
    return outside.isEmpty
      ? "everybody" : "everybody but \(words(outside.map(\.description)))"
  }

  /// `1 flow`, `3 flows`.
  static func count(_ number: Int, _ name: String) -> String {
    "\(Quantity.grouped(number)) \(name)\(number == 1 ? "" : "s")"
  }

  /// The texts of reasons, each once.
  static func reasons(_ reasons: [UnknownReason]) -> String {
    var seen: Set<String> = []
    let texts = reasons.map(\.text).filter { seen.insert($0).inserted }
    return texts.isEmpty
      ? "something the rules do not show" : words(texts, limit: 2)
  }
}

extension Differential {
  /// The tool that shows and changes a rule where it stands.
  func tool(_ rule: RuleReference, _ family: AddressFamily) -> String {
    let name = family == .ipv4 ? "iptables" : "ip6tables"
    let backends = Set(snapshot.rulesets.map(\.backend))
    return backends.count > 1 ? "\(name)-\(rule.backend.rawValue)" : name
  }
}
