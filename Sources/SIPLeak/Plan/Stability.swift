import Addressing
import Firewall

/// Whether a firewall stood still between two readings, and which findings were there both times.
///
/// A half-loaded firewall makes every trunk look like a leak: the state rule stands, the allow rules
/// do not yet. So what two readings show, and only while no rule and no set changed between them, is
/// what may be blocked unattended.
struct Stability {
  /// Why the two readings cannot be trusted together, or `nil`.
  let objection: String?
  private let peersBefore: Set<IPAddress>

  /// Compares the readings of an observation; with one reading there is nothing to compare.
  init?(_ observation: Observation, policy: AuditPolicy) {
    guard let earlier = observation.earlier else { return nil }
    var past = observation
    past.sample = earlier
    past.earlier = nil
    // They are read once, so none is known to have been there before.
    past.expectations = []
    objection =
      Self.isSame(earlier.firewall.snapshot, observation.sample.firewall.snapshot)
      ? nil : "the firewall changed between the two readings; wait until it has stood still"
    peersBefore = Set(Audit(past, policy: policy).findings.compactMap(\.peer?.address))
  }

  /// Whether a peer was found in the first reading too.
  func sawBefore(_ peer: IPAddress) -> Bool { peersBefore.contains(peer) }

  /// Whether two readings of a firewall decide alike, whatever they have counted.
  ///
  /// Probes of ours decide nothing, and come and go while others work.
  static func isSame(_ first: FirewallSnapshot, _ second: FirewallSnapshot) -> Bool {
    isSameByPosition(first.withoutProbes, second.withoutProbes)
  }

  /// Whether every rule stands where it stood, probes of ours too.
  static func isSameByPosition(_ first: FirewallSnapshot, _ second: FirewallSnapshot) -> Bool {
    shape(first) == shape(second) && areSame(first.sets ?? [], second.sets ?? [])
  }

  /// Whether two readings of sets hold the same.
  private static func areSame(_ first: [AddressSet], _ second: [AddressSet]) -> Bool {
    struct Member: Hashable {
      var element: String
      var isException: Bool
    }
    guard first.count == second.count else { return false }
    return zip(first, second).allSatisfy { one, other in
      guard one.name == other.name, one.type == other.type else { return false }
      // Those of others' timed sets come and go with every offender (fail2ban, `-j SET`): whom they
      // admit is never blocked, and whom they refuse is judged without them
      // (``FirewallSnapshot/atAnyTime``). Ours count: another sipleak may have been here.
      if one.createOptions.contains("timeout"), !OwnObjects.owns(one) { return true }
      guard one.entries.count == other.entries.count else { return false }
      let isInOrder = zip(one.entries, other.entries).allSatisfy {
        $0.element == $1.element && $0.isException == $1.isException
      }
      if isInOrder { return true }
      // The kernel's hash order is not stable.
      func members(_ set: AddressSet) -> Set<Member> {
        Set(set.entries.map { Member(element: $0.element, isException: $0.isException) })
      }
      return members(one) == members(other)
    }
  }

  /// Everything of a firewall that decides but its sets, without what only counts or runs down.
  private static func shape(_ snapshot: FirewallSnapshot) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    for ruleset in snapshot.rulesets {
      for table in ruleset.tables {
        for chain in table.chains {
          let name = [ruleset.backend.rawValue, ruleset.family.rawValue, table.name, chain.name]
          lines.append(Array((name + [chain.policy ?? "-"]).joined(separator: " ").utf8))
          lines += chain.rules.map(\.bytes)
        }
      }
    }
    lines += snapshot.unseen.map { Array("\($0)".utf8) }
    return lines
  }
}
