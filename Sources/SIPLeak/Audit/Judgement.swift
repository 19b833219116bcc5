import Addressing
import Conntrack
import Firewall

/// The cause of a flow's finding and the sentence that says so.
struct Judgement {
  var cause: Cause
  var why: String

  /// Decides the cause from both walks, the first that fits; `nil` when there is nothing to say.
  static func of(
    _ flow: Flow, sides: FlowSides, asNew: Walk, asHeld: Walk, hasTrust: Bool,
    mayBeAdmittedAgain: () -> Bool
  ) -> Judgement? {
    // Refused as it stands: it does not get in, whatever opened it.
    if asHeld.isCertain, asHeld.verdict.isRefused { return nil }
    if flow.status.contains(.expected) || flow.master != nil {
      return Judgement(
        cause: .undecided,
        why: "a helper's expectation let it in; whose call it belongs to is not judged yet")
    }
    if sides.isTranslated || flow.status.contains(.sourceNAT)
      || flow.status.contains(.destinationNAT)
    {
      return Judgement(
        cause: .undecided, why: "its addresses are translated; that is not judged yet")
    }
    guard asHeld.isCertain else {
      return Judgement(
        cause: .undecided, why: "as held it hangs on: " + reasons(asHeld.unknowns))
    }
    if sides.origin == .host {
      if asNew.isCertain, asNew.verdict == .accept, !hasTrust { return nil }
      return Judgement(
        cause: .hostOpened,
        why: "this host sent first: a trunk it registers to, a lure, or an answer from another "
          + "local address")
    }
    guard asNew.isCertain else { return uncertain(asNew) }
    if asNew.verdict.isRefused {
      if !asNew.dependsOnMemory.isEmpty, mayBeAdmittedAgain() {
        return Judgement(
          cause: .lapsed,
          why: "refused now, but another state of this would admit it: "
            + reasons(asNew.dependsOnMemory))
      }
      return Judgement(
        cause: .establishedBypass,
        why: "opened while the rules let it in; its own packets have kept it alive since")
    }
    guard let rule = asNew.decidingRule, rule.index > 0 else {
      let tool = flow.family == .ipv4 ? "iptables" : "ip6tables"
      return Judgement(
        cause: .unfiltered,
        why: asNew.decidingRule == nil
          ? "no \(tool) rule: everything is accepted"
          : "no \(tool) rule decides who reaches it: the policy is ACCEPT")
    }
    guard hasTrust else { return nil }
    return Judgement(
      cause: .admitted,
      why: "a rule accepts it as NEW although it is not among the trusted sources")
  }

  private static func uncertain(_ walk: Walk) -> Judgement {
    let kinds = Set(walk.unknowns.map(\.kind))
    if !kinds.isEmpty, kinds.isSubset(of: [.memory]) {
      return Judgement(
        cause: .lapsed, why: "whether it is admitted hangs on: " + reasons(walk.unknowns))
    }
    if !kinds.isEmpty, kinds.isSubset(of: [.payload, .rate, .geography, .memory]) {
      return Judgement(
        cause: .conditional, why: "whether it is admitted hangs on: " + reasons(walk.unknowns))
    }
    return Judgement(cause: .undecided, why: "as NEW it hangs on: " + reasons(walk.unknowns))
  }

  private static func reasons(_ list: [UnknownReason]) -> String {
    var seen: Set<String> = []
    let texts = list.map(\.text).filter { seen.insert($0).inserted }
    guard !texts.isEmpty else { return "something the rules do not show" }
    let shown = texts.prefix(3).joined(separator: "; ")
    return texts.count > 3 ? shown + "; and \(texts.count - 3) more" : shown
  }
}

extension Cause {
  /// The level a finding of this cause has.
  func level(_ flow: Flow, _ sides: FlowSides) -> Level {
    switch self {
    case .establishedBypass: .leak
    case .expected: flow.master?.source == sides.peer.address ? .look : .leak
    default: .look
    }
  }
}
