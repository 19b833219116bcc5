public import Addressing

/// Accept rules that let a SIP port in without naming it: an RTP range that covers it, or no port.
public struct PortRangeRules: Sendable {
  /// One such rule.
  public struct Entry: Sendable {
    /// How the rule comes to cover the port.
    public enum Coverage: Sendable, Hashable {
      /// A range of ports, or what the negation of others leaves.
      case range(ClosedRange<UInt16>)
      /// The transport is named, and no port.
      case everyPort
      /// Neither transport nor port is named.
      case everything
    }

    /// The rule.
    public var rule: RuleReference
    /// How it covers the port, the jumps that lead to it included.
    public var coverage: Coverage
    /// The jumps from the base chain to it, on the first way found.
    public var through: [RuleReference]
    /// The sources it may let in to the port in fact; empty where earlier rules take them all.
    public var sources: PrefixSet
  }

  /// The rules in the order packets meet them.
  public let entries: [Entry]

  /// Searches the filter tables of a question's path.
  ///
  /// Rules that cannot match the first packet of a flow, or match on lo only, are not listed, nor
  /// those that look the port up in a set.
  ///
  /// - Parameters:
  ///   - answer: The sources accepted to the port in question.
  ///   - evaluation: The rules it was asked of.
  public init(_ answer: AcceptedSources, in evaluation: Evaluation) {
    var search = Search(answer, evaluation)
    search.run()
    entries = search.entries
  }
}

extension PortRangeRules {
  private struct Search {
    /// What the jumps on the way have asked.
    struct Way: Hashable {
      var chain: Int
      var ports: ClosedRange<UInt16>?
      var namesTransport = false

      var coverage: Entry.Coverage {
        if let ports { return .range(ports) }
        return namesTransport ? .everyPort : .everything
      }
    }

    let question: AcceptedSources.Question
    let evaluation: Evaluation
    private let admitted: [RuleReference: PrefixSet]
    private let port: UInt16
    var entries: [Entry] = []

    init(_ answer: AcceptedSources, _ evaluation: Evaluation) {
      question = answer.question
      port =
        (answer.question.delivered?.port ?? answer.question.destinationPort) ?? 5060
      self.evaluation = evaluation
      admitted = Dictionary(
        answer.admissions.compactMap { one in one.rule.map { ($0, one.possibly) } },
        uniquingKeysWith: { $0.union($1) })
    }

    mutating func run() {
      for ruleset in evaluation.rulesets where ruleset.source.family == question.family {
        var seen: Set<Way> = []
        var listed: Set<Int> = []
        guard let base = ruleset.chain(question.path.rawValue, table: "filter") else { continue }
        // The stack is explicit: chains nest as deep as a file says.
        var stack: [(way: Way, next: Int, through: [RuleReference])] = [(Way(chain: base), 0, [])]
        while let top = stack.indices.last {
          let (way, next, through) = stack[top]
          let rules = ruleset.chains[way.chain].rules
          guard next < rules.count else {
            stack.removeLast()
            continue
          }
          stack[top].next += 1
          let position = rules.lowerBound + next
          let rule = ruleset.rules[position]
          guard rule.action.leadsOn, let here = step(way, rule, ruleset) else { continue }
          let reference = ruleset.reference(chain: way.chain, index: next + 1)
          switch rule.action {
          case .accept:
            guard listed.insert(position).inserted else { continue }
            entries.append(
              Entry(
                rule: reference, coverage: here.coverage, through: through,
                sources: admitted[reference] ?? PrefixSet()))
          case .jump(let target), .goto(let target):
            var on = here
            on.chain = target
            if seen.insert(on).inserted { stack.append((on, 0, through + [reference])) }
          default:
            break
          }
        }
      }
    }

    /// What is asked once a rule has matched; `nil` where it names the port or cannot match.
    private func step(_ way: Way, _ rule: CompiledRule, _ ruleset: CompiledRuleset) -> Way? {
      var box = RuleBox(question.family)
      for index in rule.conditions {
        let condition = ruleset.conditions[index]
        box.add(condition, nil, RuleBox.Surroundings())
        if case .other(let other) = condition {
          if let list = other as? PortList, list.place == .either { return nil }
          if let set = other as? SetCondition,
            ([set.table] + set.members).contains(where: { $0?.dimensions.contains(.port) == true })
          {
            return nil
          }
        }
      }
      guard !box.isEmpty, !box.namedPorts.contains(port), box.states.contains(.new),
        box.transport.map({ $0 == question.transport.rawValue }) ?? true,
        !box.inInterfaces.contains(where: {
          !$0.isInverted && $0.mask == .max && $0.name == InterfaceName("lo").bytes
        })
      else { return nil }
      var result = way
      if box.transport != nil { result.namesTransport = true }
      if let ports = box.destinationPorts {
        guard let range = ports.first(where: { $0.contains(port) }) else { return nil }
        result.ports = way.ports.map { $0.clamped(to: range) } ?? range
      }
      return result
    }
  }
}

extension TargetAction {
  fileprivate var leadsOn: Bool {
    switch self {
    case .accept, .jump, .goto: true
    default: false
    }
  }
}
