import Addressing
import Conntrack
public import Firewall

/// What moved between two samples, beside one finding.
public struct Increments: Sendable, Hashable, Codable {
  /// One rule's growth.
  public struct OfRule: Sendable, Hashable, Codable {
    /// The rule.
    public var rule: RuleReference
    /// Packets counted in between; `nil` when the counter shrank or the rule moved.
    public var packets: UInt64?

    /// Makes an entry.
    public init(rule: RuleReference, packets: UInt64?) {
      self.rule = rule
      self.packets = packets
    }
  }

  /// Seconds between the samples.
  public var seconds: Double
  /// Packets of the peer that conntrack counted; `nil` without accounting.
  ///
  /// Conntrack counts packets that are dropped later too (facts D5), so this is traffic, not
  /// delivery.
  public var flowPackets: UInt64?
  /// Whether packets of either direction passed: by accounting, else by the refreshed timeout, which
  /// needs none (facts A2).
  ///
  /// `nil` when the interval is too short to tell.
  public var isAlive: Bool?
  /// The growth at the rule that lets the flow in.
  public var stateRule: OfRule?
  /// The growth at the rules that accept SIP by its port.
  public var sipRules: [OfRule]
  /// The growth at the rule that would refuse the peer as NEW.
  public var refusingRule: OfRule?
}

/// Compares two samples of one host.
struct SampleComparison {
  let seconds: Double
  private let before: Observation.Sample
  private let after: Observation.Sample
  private let flowsBefore: [FlowKey: Flow]

  init(before: Observation.Sample, after: Observation.Sample) {
    self.before = before
    self.after = after
    seconds = after.time - before.time
    flowsBefore = Dictionary(
      before.flows.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
  }

  /// The growth of a rule's counter, matched by place and text.
  func growth(_ rule: RuleReference, family: AddressFamily) -> Increments.OfRule {
    guard rule.index > 0, let now = rule.counters,
      let old = before.firewall.snapshot.reference(like: rule, family: family)?.counters,
      now.packets >= old.packets
    else { return Increments.OfRule(rule: rule, packets: nil) }
    return Increments.OfRule(rule: rule, packets: now.packets - old.packets)
  }

  /// Whether packets of either direction passed, as far as that can be told.
  private func isAlive(was: Flow, now: Flow) -> Bool? {
    func total(_ flow: Flow) -> UInt64? {
      guard let original = flow.originalCounters, let reply = flow.replyCounters else { return nil }
      return original.packets &+ reply.packets
    }
    if let before = total(was), let after = total(now) { return after != before }
    guard let then = was.timeout, let left = now.timeout else { return nil }
    // Undisturbed, a timeout falls by the time that passed; both readings are cut to whole seconds.
    if Double(left) >= Double(then) - seconds + 1 { return true }
    // In a short interval a refresh at its beginning would look the same.
    return seconds >= 3 ? false : nil
  }

  /// What moved beside one flow.
  func increments(
    flow: Flow, origin: FlowSides.Origin, held: RuleReference?, new: RuleReference?,
    sipRules: [RuleReference]
  ) -> Increments {
    let old = flowsBefore[flow.key]
    let now = origin == .peer ? flow.originalCounters : flow.replyCounters
    let past = origin == .peer ? old?.originalCounters : old?.replyCounters
    var packets: UInt64?
    if let now {
      // A flow that was not there before has counted from nothing.
      let base = old == nil ? 0 : past?.packets
      packets = base.flatMap { now.packets >= $0 ? now.packets - $0 : nil }
    }
    let alive = old.map { isAlive(was: $0, now: flow) } ?? true
    return Increments(
      seconds: seconds, flowPackets: packets, isAlive: alive,
      stateRule: held.map { growth($0, family: flow.family) },
      sipRules: sipRules.map { growth($0, family: flow.family) },
      refusingRule: new.map { growth($0, family: flow.family) })
  }
}

extension FirewallSnapshot {
  /// The rule that stands where the given one does and reads the same.
  func reference(like rule: RuleReference, family: AddressFamily) -> RuleReference? {
    for ruleset in rulesets where ruleset.backend == rule.backend && ruleset.family == family {
      guard let chain = ruleset.table(rule.table)?.chain(rule.chain),
        chain.rules.indices.contains(rule.index - 1)
      else { continue }
      let found = chain.rules[rule.index - 1]
      guard found.text == rule.text else { continue }
      return RuleReference(
        backend: rule.backend, table: rule.table, chain: rule.chain, index: rule.index,
        text: found.text, counters: found.counters)
    }
    return nil
  }
}
