import Addressing
import Firewall

/// What was read, in a few lines.
public enum ObservationText {
  /// The text for standard output.
  ///
  /// - Parameters:
  ///   - observation: What was read.
  ///   - folder: Where it was saved, if it was.
  /// - Returns: Lines, each ending in a newline.
  public static func text(_ observation: Observation, savedTo folder: String?) -> String {
    let snapshot = observation.sample.firewall.snapshot
    var lines = [
      "host       \(observation.host.name), kernel \(observation.host.kernel)",
      "flows      \(Quantity.grouped(observation.sample.flows.count)) with a SIP port"
        + (observation.host.flowCount.map { " of \(Quantity.grouped($0))" } ?? ""),
    ]
    if let namespace = observation.host.namespace { lines.append("netns      \(namespace)") }
    for ruleset in snapshot.rulesets {
      let rules = ruleset.tables.flatMap(\.chains).map(\.rules.count).reduce(0, +)
      lines.append(
        "rules      \(Quantity.grouped(rules)) in \(ruleset.family.rawValue) "
          + "\(ruleset.backend.rawValue)")
    }
    if snapshot.rulesets.isEmpty { lines.append("rules      none") }
    lines.append("sets       " + (snapshot.sets.map { "\($0.count)" } ?? "not readable"))
    lines.append("addresses  \(observation.network.addresses.count)")
    lines += snapshot.unseen.map { "not seen   \($0.table): \($0.why)" }
    lines += observation.problems.map { "not read   \($0)" }
    if let folder { lines.append("saved      \(folder)") }
    return lines.map { EscapedText.terminal($0) + "\n" }.joined()
  }
}
