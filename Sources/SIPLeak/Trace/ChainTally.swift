import Addressing
import Firewall

/// The counts of one chain's markers, stretch by stretch.
struct ChainTally {
  /// What lies between two markers.
  struct Part {
    /// The first and last rule, 1-based.
    var rules: ClosedRange<Int>
    /// The effect, where it is one rule; `outside` for several or for a chain without markers.
    var effect: TraceEffect
    /// Packets that came.
    var came: UInt64
    /// Packets that certainly left, and the most that may have.
    var left: UInt64
    var mostLeft: UInt64

    /// Whether those who leave are decided here.
    var isFinal: Bool {
      switch effect {
      case .accept, .refuse, .translate, .outside: true
      default: false
      }
    }

    var mayRefuse: Bool {
      switch effect {
      case .refuse, .outside: true
      default: false
      }
    }

    var verdict: Verdict {
      switch effect {
      case .accept, .translate: .accept
      case .refuse(let verdict): verdict
      default: .unknown
      }
    }
  }

  let chain: Chain
  let table: Table
  let backend: Backend
  let markers: [TracePlan.Marker]
  let parts: [Part]
  /// Packets that reached the policy.
  var policyPackets: UInt64
  private let came: UInt64

  var isBase: Bool { chain.policy != nil }

  /// Tallies a chain; the markers stand in order, the first before rule 1, the last at the end;
  /// `marked` names the chains of its table that have some.
  init(
    _ chain: Chain, _ table: Table, _ backend: Backend, _ markers: [TracePlan.Marker],
    marked: Set<String>, _ readings: TraceReadings
  ) {
    self.chain = chain
    self.table = table
    self.backend = backend
    self.markers = markers
    parts = zip(markers, markers.dropFirst()).map { marker, next in
      let rules = marker.before...(next.before - 1)
      var effect = TraceEffect.outside
      if rules.count == 1, chain.rules.indices.contains(rules.lowerBound - 1) {
        effect = TraceEffect(chain.rules[rules.lowerBound - 1], in: table)
        switch effect {
        case .jump(let name) where !marked.contains(name): effect = .outside
        case .goto(let name) where !marked.contains(name): effect = .outside
        // Nobody leaves at a rule that decides nothing; whoever does is not understood.
        case .none: effect = .outside
        default: break
        }
      }
      return Part(
        rules: rules, effect: effect, came: readings.came(marker),
        left: readings.left(between: marker, and: next),
        mostLeft: readings.mostLeft(between: marker, and: next))
    }
    came = markers.first.map(readings.came) ?? 0
    policyPackets = chain.policy == nil ? 0 : markers.last.map(readings.came) ?? 0
  }

  private func reference(_ index: Int) -> RuleReference {
    guard index > 0 else {
      return RuleReference(
        backend: backend, table: table.name, chain: chain.name, index: 0,
        text: "policy \(chain.policy ?? "ACCEPT")", counters: chain.counters)
    }
    let rule = chain.rules[index - 1]
    return RuleReference(
      backend: backend, table: table.name, chain: chain.name, index: index, text: rule.text,
      counters: rule.counters)
  }

  /// Where packets left for good in this chain.
  var exits: [TraceResult.Exit] {
    var exits = parts.filter(\.isFinal).map { part in
      TraceResult.Exit(
        rule: reference(part.rules.lowerBound), through: part.rules.upperBound,
        verdict: part.verdict, packets: part.left)
    }
    if isBase {
      exits.append(
        TraceResult.Exit(
          rule: reference(0), through: 0,
          verdict: chain.policy == "DROP" ? .drop : .accept, packets: policyPackets))
    }
    return exits
  }

  func passage(landmarks: Set<RuleReference>) -> TraceResult.Passage {
    func isLandmark(_ rule: RuleReference) -> Bool {
      landmarks.contains {
        $0.backend == rule.backend && $0.table == rule.table && $0.chain == rule.chain
          && $0.index == rule.index
      }
    }
    var steps = parts.map { part in
      let rule = reference(part.rules.lowerBound)
      return TraceResult.Passage.Step(
        rule: rule, through: part.rules.upperBound, came: part.came, left: part.left,
        isMarkedByWalk: isLandmark(rule))
    }
    if isBase {
      let rule = reference(0)
      steps.append(
        TraceResult.Passage.Step(
          rule: rule, through: 0, came: policyPackets, left: policyPackets,
          isMarkedByWalk: isLandmark(rule)))
    }
    return TraceResult.Passage(
      backend: backend, table: table.name, chain: chain.name, came: came, steps: steps)
  }
}
