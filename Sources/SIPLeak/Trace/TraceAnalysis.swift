import Addressing
import Firewall

/// Works out from markers' counts where packets left; pure.
struct TraceAnalysis {
  let plan: TracePlan
  let readings: TraceReadings

  /// The answer for one subject.
  func answer(_ index: Int) -> TraceResult.OfSubject {
    let subject = plan.subjects[index]
    var own = Dictionary(grouping: plan.markers.filter { $0.subject == index }) { marker in
      [marker.backend.rawValue, marker.table, marker.chain]
    }
    let stops = TracePath.stops(subject.path)
    var placed: [(tally: ChainTally, order: [Int])] = []
    for ruleset in plan.rulesets(of: subject) {
      for table in ruleset.tables {
        let bases = stops.enumerated().filter { $0.element.table == table.name }
        guard own.keys.contains(where: { $0[0] == ruleset.backend.rawValue && $0[1] == table.name })
        else { continue }
        let reached = bases.map { ($0.offset, table.reached(from: $0.element.chain)) }
        let marked = Set(
          own.keys.filter { $0[0] == ruleset.backend.rawValue && $0[1] == table.name }.map { $0[2] }
        )
        for (place, chain) in table.chains.enumerated() {
          guard
            let markers = own.removeValue(
              forKey: [ruleset.backend.rawValue, table.name, chain.name])
          else { continue }
          let tally = ChainTally(
            chain, table, ruleset.backend, markers.sorted { $0.before < $1.before },
            marked: marked, readings)
          // In the path's order: each base chain, and after it the chains it leads to.
          let stop = reached.first { $0.1.contains(chain.name) }?.0 ?? stops.count
          placed.append(
            (tally, [stop, ruleset.backend == .nft ? 0 : 1, tally.isBase ? 0 : 1, place]))
        }
      }
    }
    var chains = placed.sorted { $0.order.lexicographicallyPrecedes($1.order) }.map(\.tally)
    addPolicies(&chains)
    let hooks = hooks(chains, stops)
    let packets = hooks.map(\.came).max() ?? 0
    let exits = final(chains, hooks)
    let gaps = gaps(hooks)
    return TraceResult.OfSubject(
      subject: subject, packets: packets,
      answer: judge(subject, exits, gaps, chains, isSilent: packets == 0), exits: exits,
      gaps: gaps, passages: chains.map { $0.passage(landmarks: landmarks(subject)) })
  }

  private func landmarks(_ subject: TraceSubject) -> Set<RuleReference> {
    Set(subject.landmarks + subject.allCourses.flatMap { $0.walk.outcomes.compactMap(\.rule) })
  }

  /// What reaches a policy besides those that fall off the end: those that came back by a chain
  /// gone to, and those a RETURN in the base chain sends there.
  private func addPolicies(_ chains: inout [ChainTally]) {
    for index in chains.indices where chains[index].isBase {
      var extra: UInt64 = 0
      for part in chains[index].parts {
        switch part.effect {
        case .return: extra += part.left
        case .goto(let target):
          let within = chains[index].table.reached(from: target)
          let decided = chains.filter {
            $0.backend == chains[index].backend && $0.table.name == chains[index].table.name
              && within.contains($0.chain.name)
          }.flatMap(\.parts).filter(\.isFinal).reduce(UInt64(0)) { $0 + $1.left }
          extra += part.left > decided ? part.left - decided : 0
        default: break
        }
      }
      chains[index].policyPackets += extra
    }
  }

  // MARK: Hooks

  /// All chains of one hook, of both backends.
  struct Hook {
    var name: String
    var table: String
    /// Packets that came to it.
    var came: UInt64 = 0
    var least: UInt64 = 0
    var most: UInt64 = 0
    /// The most that may have been refused in it.
    var refused: UInt64 = 0
  }

  private func hooks(_ chains: [ChainTally], _ stops: [TracePath.Stop]) -> [Hook] {
    stops.compactMap { stop -> Hook? in
      let bases = chains.filter { $0.table.name == stop.table && $0.chain.name == stop.chain }
      guard !bases.isEmpty else { return nil }
      var hook = Hook(name: "\(stop.table) \(stop.chain)", table: stop.table)
      for base in bases {
        guard let head = base.markers.first else { continue }
        hook.came = max(hook.came, readings.came(head))
        hook.least = max(hook.least, readings.least(head))
        hook.most = max(hook.most, readings.most(head))
        let within = base.table.reached(from: base.chain.name)
        let inner = chains.filter {
          $0.backend == base.backend && $0.table.name == stop.table
            && within.contains($0.chain.name)
        }
        hook.refused += inner.flatMap(\.parts).filter(\.mayRefuse).reduce(0) { $0 + $1.mostLeft }
        if base.chain.policy == "DROP" { hook.refused += base.policyPackets }
      }
      return hook
    }
  }

  /// The nat table sees the first packet of a flow only, so it proves no gap.
  private func gaps(_ hooks: [Hook]) -> [TraceResult.Gap] {
    let seen = hooks.filter { $0.table != "nat" }
    return zip(seen, seen.dropFirst()).compactMap { earlier, later in
      let passed = earlier.least > earlier.refused ? earlier.least - earlier.refused : 0
      guard passed > later.most else { return nil }
      return TraceResult.Gap(
        after: earlier.name, before: later.name, packets: passed - later.most)
    }
  }

  // MARK: Exits

  /// Where packets left for good: refused anywhere, or let through by the filter table.
  private func final(_ chains: [ChainTally], _ hooks: [Hook]) -> [TraceResult.Exit] {
    var exits: [TraceResult.Exit] = []
    let deciding =
      hooks.contains { $0.table == "filter" }
      ? "filter" : hooks.last { $0.table != "nat" }?.table ?? hooks.last?.table
    var accepted: [(backend: Backend, exit: TraceResult.Exit)] = []
    for chain in chains {
      for exit in chain.exits where exit.packets > 0 {
        if exit.verdict != .accept {
          exits.append(exit)
        } else if chain.table.name == deciding {
          accepted.append((chain.backend, exit))
        }
      }
    }
    // Of two backends the one whose rules say more than a policy, as the walk has it.
    let speaking = accepted.last { $0.exit.rule.index > 0 }?.backend ?? accepted.last?.backend
    accepted.removeAll { $0.backend != speaking }
    // What the filter table let through, a later table or the other backend may have refused.
    let through = accepted.reduce(UInt64(0)) { $0 + $1.exit.packets }
    let refusedElsewhere = exits.filter {
      $0.verdict.isRefused && !($0.rule.table == deciding && $0.rule.backend == speaking)
        && isAfter($0.rule, deciding)
    }.reduce(UInt64(0)) { $0 + $1.packets }
    if through > refusedElsewhere { exits += accepted.map(\.exit) }
    return exits.sorted { $0.packets > $1.packets }
  }

  private func isAfter(_ rule: RuleReference, _ deciding: String?) -> Bool {
    rule.table == deciding || rule.table == "security"
      || (rule.table == "mangle" && rule.chain == "POSTROUTING")
  }

  // MARK: The answer

  private func judge(
    _ subject: TraceSubject, _ exits: [TraceResult.Exit], _ gaps: [TraceResult.Gap],
    _ chains: [ChainTally], isSilent: Bool
  ) -> TraceResult.Answer {
    guard !isSilent, !exits.isEmpty || !gaps.isEmpty else { return .noPackets }
    func agree(_ courses: [TraceSubject.Course]) -> Bool {
      exits.allSatisfy { exit in
        courses.contains { course in
          course.walk.outcomes.contains { self.fits(exit, $0, chains) }
        }
      }
    }
    let isExplained =
      gaps.isEmpty
      || subject.courses.contains { $0.walk.unknowns.contains { $0.kind == .outside } }
    guard isExplained else { return .disagrees }
    if agree(subject.courses) {
      return gaps.isEmpty && subject.courses.allSatisfy(\.walk.isCertain) ? .proven : .measured
    }
    return agree(subject.allCourses) ? .otherState : .disagrees
  }

  /// Whether an exit is what one outcome of a walk says.
  private func fits(
    _ exit: TraceResult.Exit, _ outcome: Outcome, _ chains: [ChainTally]
  ) -> Bool {
    guard let rule = outcome.rule, rule.backend == exit.rule.backend,
      rule.table == exit.rule.table
    else { return false }
    if rule.chain == exit.rule.chain, rule.index == exit.rule.index, exit.through == rule.index {
      return outcome.verdict == exit.verdict || outcome.verdict == .unknown
        || (outcome.verdict.isRefused && exit.verdict.isRefused)
    }
    // Left into a chain without markers (ours): that it is decided in there is all that shows.
    guard exit.verdict == .unknown, exit.rule.index == exit.through,
      let tally = chains.first(where: {
        $0.backend == rule.backend && $0.table.name == rule.table
          && $0.chain.name == exit.rule.chain
      }), tally.chain.rules.indices.contains(exit.rule.index - 1),
      let target = tally.chain.rules[exit.rule.index - 1].target?.name
    else { return false }
    return tally.table.chain(target) != nil
      && tally.table.reached(from: target).contains(rule.chain)
  }
}
