import Conntrack
import Firewall

/// Flows that a flowtable forwards: their packets meet no rule, whatever the walk says.
extension FlowJudge {
  /// The walk as held, undecided where the rules would refuse packets that may not meet them.
  func unlessOffloaded(_ asHeld: Walk, _ flow: Flow) -> Walk {
    guard flow.status.contains(.offload), !(asHeld.isCertain && asHeld.verdict == .accept) else {
      return asHeld
    }
    var changed = asHeld
    changed.outcomes.append(Outcome(.unknown, rule: nil))
    changed.unknowns.append(
      UnknownReason(.outside, "the flow is in a flowtable, whose packets pass by the rules"))
    return changed
  }
}

extension BlindSpot {
  /// What a flowtable forwards is decided when the flow is put into it, and by no rule afterwards.
  static func flowtables(_ observation: Observation) -> [BlindSpot] {
    let count = observation.sample.flows.count { $0.status.contains(.offload) }
    let isNamed =
      observation.sample.firewall.files["nft.json"]?.firstRange(of: Array("\"flowtable\"".utf8))
      != nil
    guard count > 0 || isNamed else { return [] }
    let what =
      count == 0
      ? "the nft ruleset has a flowtable" : count == 1 ? "a flow is" : "\(count) flows are"
    return [
      BlindSpot(
        "flowtable",
        what + (count == 0 ? "" : " in a flowtable")
          + ": packets of such flows meet no rule, no block and no counter until they are deleted")
    ]
  }
}
