public import Addressing
import Conntrack
import Firewall

/// What the growth of flows and rules between two readings says together.
///
/// Conntrack counts packets that are dropped later too (facts D5), so a flow's packets are what came
/// of the peer and never what was delivered. An allow rule counts the first packet of each flow only
/// (facts D3).
public struct Correlation: Sendable, Hashable {
  /// A state rule, and whose packets it grew by.
  public struct OfStateRule: Sendable, Hashable {
    /// The family of its ruleset.
    public var family: AddressFamily
    /// The rule and its growth.
    public var growth: Increments.OfRule
    /// Findings whose flows it lets in.
    public var findings: Int
    /// Of them, those whose flow carries counters.
    public var countedFindings: Int
    /// Of them, those with signs of life: packets, or a refreshed timeout (facts A2).
    public var aliveFindings: Int
    /// What came of the peers of those findings that are counted; `nil` when none is.
    public var findingPackets: UInt64?
    /// Findings among them that are leaks.
    public var leaks: Int
    /// What came of the peers of those leaks that are counted; `nil` when none is.
    public var leakPackets: UInt64?
    /// What came in other flows to SIP that it lets in; `nil` when none is counted.
    public var otherPackets: UInt64?

    /// The part of the growth that the findings' flows explain, from 0 to 1; `nil` when it is not
    /// known, or nothing grew.
    public var share: Double? {
      guard let growth = growth.packets, growth > 0, let packets = findingPackets,
        countedFindings == findings
      else { return nil }
      return min(1, Double(packets) / Double(growth))
    }
  }

  /// A rule that accepts SIP by its port.
  public struct OfSIPRule: Sendable, Hashable {
    /// The family of its ruleset.
    public var family: AddressFamily
    /// The rule and its growth.
    public var growth: Increments.OfRule
  }

  /// Seconds between the readings.
  public var seconds: Double
  /// Whether any rule came, went or changed in between.
  public var rulesChanged: Bool
  /// The chains whose counters shrank, such as `filter INPUT`.
  public var resetChains: [String]
  /// The state rules that findings are let in by.
  public var stateRules: [OfStateRule]
  /// The rules that accept a SIP port that findings arrive at.
  public var sipRules: [OfSIPRule]
  /// Flows to SIP that began in between.
  public var newFlows: Int
  /// Flows to SIP with signs of life in between, and those of which that cannot be told.
  public var aliveFlows: Int
  /// Flows to SIP of which it cannot be told whether they live.
  public var silentUnknown: Int

  /// Correlates two readings, or `nil` when there is only one; pure.
  init?(_ findings: [Finding], judge: FlowJudge) {
    guard let comparison = judge.comparison else { return nil }
    seconds = comparison.seconds
    rulesChanged = comparison.counters.rulesChanged
    resetChains = comparison.counters.resetChains
    stateRules = []
    sipRules = []
    newFlows = 0
    aliveFlows = 0
    silentUnknown = 0
    var order: [Key] = []
    var byRule: [Key: OfStateRule] = [:]
    var found: Set<FlowKey> = []
    var sipSeen: Set<Key> = []
    for finding in findings {
      guard let increments = finding.increments, let flow = finding.flow else { continue }
      found.insert(flow.key)
      for growth in increments.sipRules {
        guard sipSeen.insert(Key(family: finding.family, rule: growth.rule)).inserted else {
          continue
        }
        sipRules.append(OfSIPRule(family: finding.family, growth: growth))
      }
      guard let growth = increments.stateRule, finding.asHeld.verdict == .accept else { continue }
      let key = Key(family: finding.family, rule: growth.rule)
      if byRule[key] == nil { order.append(key) }
      var entry =
        byRule[key]
        ?? OfStateRule(
          family: finding.family, growth: growth, findings: 0, countedFindings: 0,
          aliveFindings: 0, leaks: 0)
      entry.findings += 1
      if increments.isAlive == true { entry.aliveFindings += 1 }
      if let packets = increments.flowPackets {
        entry.countedFindings += 1
        entry.findingPackets = (entry.findingPackets ?? 0) &+ packets
        if finding.level == .leak { entry.leakPackets = (entry.leakPackets ?? 0) &+ packets }
      }
      if finding.level == .leak { entry.leaks += 1 }
      byRule[key] = entry
    }
    var others: [AddressFamily: UInt64] = [:]
    for flow in judge.observation.sample.flows {
      guard let sides = judge.sides(of: flow) else { continue }
      if comparison.isNew(flow) { newFlows += 1 }
      switch comparison.isAlive(flow) {
      case true?: aliveFlows += 1
      case nil: silentUnknown += 1
      default: break
      }
      guard !found.contains(flow.key), let packets = comparison.peerPackets(flow, sides.origin)
      else { continue }
      others[flow.family, default: 0] &+= packets
    }
    stateRules = order.compactMap { byRule[$0] }.map { entry in
      var entry = entry
      // With several state rules it is not known which of them the other flows pass.
      if order.filter({ $0.family == entry.family }).count == 1 {
        entry.otherPackets = others[entry.family]
      }
      return entry
    }
  }

  private struct Key: Hashable {
    var family: AddressFamily
    var rule: RuleReference
  }
}
