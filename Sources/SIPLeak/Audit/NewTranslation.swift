import Addressing
import Conntrack
import Firewall

extension FlowJudge {
  /// The walk as NEW, undecided where the flow is translated as no iptables rule says any more and
  /// something that iptables does not show may translate it still.
  func unlessTranslatedUnseen(_ asNew: Walk, _ flow: Flow, _ sides: FlowSides) -> Walk {
    guard sides.isTranslated, case .elsewhere = asNew.translation else { return asNew }
    let translators = observation.sample.firewall.snapshot.unseen.filter { filter in
      (filter.family == nil || filter.family == flow.family)
        && (filter.hooks.isEmpty || filter.hooks.contains("prerouting"))
        && filter.mayTouch(flow.original.transport, destinationPort: sides.wire.port)
    }
    var reasons = translators.map { filter in
      let chain = filter.chain.map { " chain \($0)" } ?? ""
      return UnknownReason(
        .outside, "\(filter.backend.rawValue) table \(filter.table)\(chain): \(filter.why)")
    }
    if observation.familiesWithoutNAT.contains(flow.family) {
      reasons.append(
        UnknownReason(
          .outside, "the flow is translated, and the rules that were given hold no nat table"))
    }
    guard !reasons.isEmpty else { return asNew }
    var changed = asNew
    changed.outcomes.append(Outcome(.unknown, rule: nil))
    changed.unknowns += reasons
    return changed
  }
}

extension Walk {
  /// The walk with a packet that the nat table sends elsewhere counted as refused.
  ///
  /// The question is whether it would reach the endpoint of the flow that stands.
  var judgedWhereAsked: Walk {
    if translation == .asAsked || isCertain && verdict.isRefused { return self }
    var changed = self
    if case .elsewhere = translation, !unknowns.contains(where: \.isOutside) {
      // Whatever becomes of it there: it does not come to where it was asked about.
      let rule = path.last { $0.rule.table == "nat" && $0.rule.index > 0 }?.rule
      changed.outcomes = [Outcome(.drop, rule: rule)]
      changed.unknowns = []
      return changed
    }
    changed.outcomes.append(Outcome(.unknown, rule: nil))
    changed.unknowns.append(
      UnknownReason(.fact, "whether the nat table sends it elsewhere is not known"))
    return changed
  }
}

extension UnknownReason {
  /// Whether something that the rulesets do not show decides.
  fileprivate var isOutside: Bool { kind == .outside || kind == .unrecognized }
}
