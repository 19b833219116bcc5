import Addressing
import Conntrack
public import Firewall

/// What moved between two samples, beside one finding.
public struct Increments: Sendable, Hashable, Codable {
  /// One rule's growth.
  public struct OfRule: Sendable, Hashable, Codable {
    /// Why a growth is not known.
    public enum Unknown: String, Sendable, Hashable, Codable {
      /// A counter of its chain shrank: counters were reset, or the rules loaded anew.
      case reset
      /// The rule was not there in the first reading.
      case notThere = "not-there"
      /// It carries no counter.
      case notCounted = "not-counted"
    }

    /// The rule.
    public var rule: RuleReference
    /// Packets counted in between; `nil` when that is not known.
    public var packets: UInt64?
    /// Why it is not known.
    public var unknown: Unknown?

    /// Makes an entry.
    public init(rule: RuleReference, packets: UInt64?, unknown: Unknown? = nil) {
      self.rule = rule
      self.packets = packets
      self.unknown = unknown
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
  /// The rules' counters.
  let counters: CounterComparison
  private let flowsBefore: [FlowKey: Flow]

  init(before: Observation.Sample, after: Observation.Sample) {
    counters = CounterComparison(before.firewall.snapshot, after.firewall.snapshot)
    seconds = after.seconds(since: before)
    flowsBefore = Dictionary(
      before.flows.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
  }

  /// The growth of a rule's counter.
  func growth(_ rule: RuleReference, family: AddressFamily) -> Increments.OfRule {
    counters.growth(rule, family: family)
  }

  /// A flow in the first reading; `nil` when it was not there, also where one that ended had its id.
  private func before(_ flow: Flow) -> Flow? {
    guard let old = flowsBefore[flow.key], !flow.isSuccessor(of: old) else { return nil }
    return old
  }

  /// Whether a flow was not there in the first reading.
  func isNew(_ flow: Flow) -> Bool { before(flow) == nil }

  /// Packets that conntrack counted of the peer; `nil` without accounting, or when it was reset.
  func peerPackets(_ flow: Flow, _ origin: FlowSides.Origin) -> UInt64? {
    let old = before(flow)
    guard let now = origin == .peer ? flow.originalCounters : flow.replyCounters else { return nil }
    // A flow that was not there before has counted from nothing.
    guard let old else { return now.packets }
    guard let past = origin == .peer ? old.originalCounters : old.replyCounters,
      now.packets >= past.packets
    else { return nil }
    return now.packets - past.packets
  }

  /// Whether packets of either direction passed; `nil` when the interval is too short to tell.
  func isAlive(_ flow: Flow) -> Bool? {
    before(flow).map { isAlive(was: $0, now: flow) } ?? true
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
    Increments(
      seconds: seconds, flowPackets: peerPackets(flow, origin), isAlive: isAlive(flow),
      stateRule: held.map { growth($0, family: flow.family) },
      sipRules: sipRules.map { growth($0, family: flow.family) },
      refusingRule: new.map { growth($0, family: flow.family) })
  }
}
