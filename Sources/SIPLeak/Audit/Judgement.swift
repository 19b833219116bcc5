import Addressing
import Conntrack
import Firewall

/// The cause of a flow's finding, its level and the sentence that says so.
struct Judgement {
  var cause: Cause
  var level: Level = .look
  var why: String

  /// Whose call a flow that a helper expected belongs to.
  enum Expected {
    /// No helper expected it.
    case no
    /// The flow that expected it is between this host and the same peer.
    case byItsOwn(FlowTuple)
    /// The flow that expected it is somebody else's.
    case byAnother(FlowTuple)
    /// What was read does not say which flow expected it.
    case byUnknown
  }

  /// Decides the cause from both walks, the first that fits; `nil` when there is nothing to say.
  static func of(
    _ flow: Flow, sides: FlowSides, expected: Expected, asNew: Walk, asHeld: Walk, hasTrust: Bool,
    mayBeAdmittedAgain: () -> Bool
  ) -> Judgement? {
    // Refused as it stands: it does not get in, whatever opened it.
    if asHeld.isCertain, asHeld.verdict.isRefused { return nil }
    guard asHeld.isCertain else {
      return Judgement(
        cause: .undecided, why: "as held it hangs on: " + reasons(asHeld.unknowns))
    }
    let isAdmitted = asNew.isCertain && asNew.verdict == .accept
    // Whom the rules admit anyway needed no helper.
    if !isAdmitted, let judged = ofExpected(expected, sides: sides, asNew: asNew) { return judged }
    if sides.origin == .host {
      if isAdmitted, !hasTrust { return nil }
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
        cause: .establishedBypass, level: .leak,
        why: "opened while the rules let it in; its own packets have kept it alive since"
          + elsewhere(asNew, sides))
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

  private static func ofExpected(
    _ expected: Expected, sides: FlowSides, asNew: Walk
  ) -> Judgement? {
    let start = "a helper expected it"
    switch expected {
    case .no: return nil
    case .byUnknown:
      return Judgement(
        cause: .undecided,
        why: "\(start), but whose call it belongs to is not in what was read")
    case .byItsOwn(let master):
      guard asNew.isCertain else { return uncertain(asNew) }
      return Judgement(
        cause: .expected,
        why: "\(start) for the same peer's flow \(words(master)): a registrar's or a phone's own "
          + "call, whichever port it comes from")
    case .byAnother(let master):
      guard asNew.isCertain else { return uncertain(asNew) }
      // What our side sent first is not the peer's doing, helper or not.
      if sides.origin == .host {
        return Judgement(
          cause: .expected, why: "\(start) for the flow \(words(master)), and this host sent first")
      }
      return Judgement(
        cause: .expected, level: .leak,
        why: "\(start) for the flow \(words(master)), which is not this peer's: the rules would "
          + "refuse it" + elsewhere(asNew, sides))
    }
  }

  /// A flow as its first packet went.
  static func words(_ tuple: FlowTuple) -> String {
    "\(tuple.sourceEndpoint) -> \(tuple.destinationEndpoint)"
  }

  /// Where the nat table would send a new packet, if not to where the flow goes.
  private static func elsewhere(_ asNew: Walk, _ sides: FlowSides) -> String {
    guard case .elsewhere(let end) = asNew.translation else { return "" }
    let place = end.map { "to \($0)" } ?? "elsewhere"
    return "; a new packet to \(sides.wire) would go \(place), not to \(sides.delivered)"
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

  static func reasons(_ list: [UnknownReason]) -> String {
    var seen: Set<String> = []
    let texts = list.map(\.text).filter { seen.insert($0).inserted }
    guard !texts.isEmpty else { return "something the rules do not show" }
    let shown = texts.prefix(3).joined(separator: "; ")
    return texts.count > 3 ? shown + "; and \(texts.count - 3) more" : shown
  }
}
