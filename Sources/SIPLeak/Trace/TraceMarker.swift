import Addressing
public import Firewall

/// Rules that `trace` puts into a firewall for a moment: they match one peer's packets and have no
/// target, so they count and decide nothing (facts D4).
///
/// A killed trace leaves them standing. They harm nobody, and the next trace, `trace --clean` and
/// `purge` take them away; until then every answer gives positions as if they were not there.
public enum TraceMarker {
  /// What the comment of every marker begins with.
  public static let label = "\(OwnObjects.label)trace"

  /// The matches a marker of ours may have; none of them remembers anything.
  private static let matches: Set<String> = [
    "ip", "udp", "tcp", "sctp", "dccp", "icmp", "icmp6", "comment", "limit",
  ]

  /// Whether a rule is a marker of ours.
  ///
  /// The comment alone proves nothing: a rule that decides, or that does something when it matches,
  /// is somebody else's whatever it says.
  public static func isMarker(_ rule: Rule) -> Bool {
    // First what tells nearly all rules apart: this is asked of every rule of every reading.
    guard rule.target == nil || rule.target?.name == "TRACE" else { return false }
    guard let comment = rule.comment, comment.hasPrefix(label + " ") else { return false }
    return rule.matches.allSatisfy { matches.contains($0.name) }
  }
}

extension Chain {
  /// The chain as it is without markers.
  var withoutTraceMarkers: Chain {
    guard rules.contains(where: TraceMarker.isMarker) else { return self }
    var copy = self
    copy.rules.removeAll(where: TraceMarker.isMarker)
    return copy
  }
}

extension Table {
  /// The markers of one run, or of any.
  func traceMarkers(of id: String? = nil) -> [(chain: String, rule: Rule)] {
    chains.flatMap { chain in
      chain.rules.filter { rule in
        TraceMarker.isMarker(rule)
          && (id == nil || rule.comment?.hasPrefix("\(TraceMarker.label) \(id ?? "") ") == true)
      }.map { (chain.name, $0) }
    }
  }
}

extension FirewallSnapshot {
  /// How many markers stand.
  public var traceMarkerCount: Int {
    rulesets.flatMap(\.tables).reduce(0) { $0 + $1.traceMarkers().count }
  }

  /// The firewall as it is without markers: its positions are those an operator knows.
  public var withoutTraceMarkers: FirewallSnapshot {
    guard traceMarkerCount > 0 else { return self }
    var copy = self
    for ruleset in copy.rulesets.indices {
      for table in copy.rulesets[ruleset].tables.indices
      where !copy.rulesets[ruleset].tables[table].traceMarkers().isEmpty {
        copy.rulesets[ruleset].tables[table].chains = copy.rulesets[ruleset].tables[table].chains
          .map(\.withoutTraceMarkers)
      }
    }
    return copy
  }
}

extension Observation {
  /// The observation with its rules as they are without markers.
  var withoutTraceMarkers: Observation {
    var copy = self
    copy.sample.firewall.snapshot = sample.firewall.snapshot.withoutTraceMarkers
    copy.earlier?.firewall.snapshot =
      earlier?.firewall.snapshot.withoutTraceMarkers ?? FirewallSnapshot(rulesets: [])
    return copy
  }
}

extension BlindSpot {
  /// Says that markers stand, so that nobody wonders at rules or positions.
  static func traceMarkers(_ count: Int) -> [BlindSpot] {
    guard count > 0 else { return [] }
    return [
      BlindSpot(
        "trace-markers",
        "\(count) rules of a trace stand that count and decide nothing; positions here are those "
          + "without them. Unless a trace is running: sipleak trace --clean")
    ]
  }
}
