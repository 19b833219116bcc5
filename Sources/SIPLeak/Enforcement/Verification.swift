import Addressing
import Conntrack
import Firewall
import HostNetwork

/// The proof that a block works: rules and flows read again and judged again.
public struct Verification: Sendable {
  /// What can be said.
  public enum Answer: String, Sendable, Hashable, Codable {
    /// The peer's next packet is certainly refused, nobody else's fate changed, the flow is gone.
    case verified
    /// The rules are right, but the flow is still there and may be on its way out.
    case notYetSeen = "not yet seen"
    /// The peer's next packet is not certainly refused, or somebody else's fate changed.
    case failed
  }

  /// One thing that was checked.
  public struct Line: Sendable, Hashable {
    /// What came of it.
    public var answer: Answer
    /// What was seen; not escaped for terminals.
    public var text: String
  }

  /// What was checked.
  public var lines: [Line]

  /// The worst of the answers.
  public var answer: Answer {
    if lines.contains(where: { $0.answer == .failed }) { return .failed }
    return lines.contains { $0.answer == .notYetSeen } ? .notYetSeen : .verified
  }

  private init(checked lines: [Line]) { self.lines = lines }

  /// Reads the host again, at once and after an interval, and judges.
  static func run(
    _ plan: BlockPlan, before: Observation, policy: AuditPolicy, access: HostAccess, after: Double
  ) async throws(SIPLeakError) -> Verification {
    // The second reading is what counts: between the two a live flow would have shown itself.
    let now: Observation
    do throws(SIPLeakError) {
      now = try await Observation.live(before.endpoints, interval: after, access: access)
    } catch {
      return Verification(checked: [
        Line(answer: .notYetSeen, text: "the host could not be read again: \(error.message)")
      ])
    }
    return Verification(plan, before: before, now: now, policy: policy)
  }

  /// Whether the block has to be taken back: it does not hold, or it cuts somebody who may come in.
  public private(set) var mustBeTakenBack = false

  /// Judges what was read after an apply; pure.
  init(_ plan: BlockPlan, before: Observation, now: Observation, policy: AuditPolicy) {
    lines = []
    var was = RepeatedEvaluation(Evaluation(before.sample.firewall.snapshot))
    var rules = RepeatedEvaluation(Evaluation(now.sample.firewall.snapshot))
    let counts = Counts(now)
    for entry in plan.entries {
      check(entry, plan: plan, before: before, now: now, counts: counts, rules: &rules)
    }
    checkAdmission(plan, now: now, policy: policy)
    checkOthers(plan, before: before, was: &was, rules: &rules)
    checkMembers(plan, before: before, was: &was, rules: &rules)
    mustBeTakenBack = lines.contains { $0.answer == .failed }
    // A partial reading proves nothing gone.
    for problem in now.problems {
      lines.append(Line(answer: .notYetSeen, text: "not read: \(problem)"))
    }
  }

  /// The first planned peer whose packets the rules do not certainly refuse, or `nil`.
  static func firstNotRefused(
    _ plan: BlockPlan, before: Observation, now: Observation
  ) -> IPAddress? {
    var rules = RepeatedEvaluation(Evaluation(now.sample.firewall.snapshot))
    return plan.entries.first { entry in
      packets(of: entry, plan: plan, in: before).contains { packet, path in
        let walk = rules.walk(packet, to: path, byAnyOf: before.ways)
        return !(walk.isCertain && walk.verdict.isRefused)
      }
    }?.address
  }

  /// A peer that the rules underneath admit now was blocked on a half-loaded firewall.
  private mutating func checkAdmission(
    _ plan: BlockPlan, now: Observation, policy: AuditPolicy
  ) {
    var blockability = Blockability(now, policy: policy)
    for entry in plan.entries {
      guard let local = now.localAddress(entry.address.family),
        let why = blockability.answer(
          for: entry.address, wire: Endpoint(local, entry.port), cause: .hostOpened)
      else { continue }
      lines.append(Line(answer: .failed, text: "\(entry.address) may come in now: \(why)"))
    }
  }

  /// Whoever was blocked before still is.
  private mutating func checkMembers(
    _ plan: BlockPlan, before: Observation, was: inout RepeatedEvaluation,
    rules: inout RepeatedEvaluation
  ) {
    let planned = Set(plan.entries.map(\.element))
    let blocks = before.sample.firewall.snapshot.ownBlocks(at: before.sample.time)
    for block in blocks where !planned.contains(block.element) && !block.isOver {
      guard let local = before.localAddress(block.family) else { continue }
      let packet = Packet(
        transport: block.transport, source: block.prefix.address, destination: local,
        sourcePort: nil, destinationPort: block.port, inInterface: nil,
        connection: ConnectionFacts(state: .established, direction: .original))
      let first = was.walk(packet, to: .input, byAnyOf: before.ways)
      guard first.isCertain, first.verdict.isRefused else { continue }
      let second = rules.walk(packet, to: .input, byAnyOf: before.ways)
      if !(second.isCertain && second.verdict.isRefused) {
        lines.append(
          Line(answer: .failed, text: "\(block.prefix.address) was blocked and is not now"))
      }
    }
  }

  private mutating func check(
    _ entry: BlockPlan.Entry, plan: BlockPlan, before: Observation, now: Observation,
    counts: Counts, rules: inout RepeatedEvaluation
  ) {
    var decided: RuleReference?
    for (packet, path) in Self.packets(of: entry, plan: plan, in: before) {
      let walk = rules.walk(packet, to: path, byAnyOf: before.ways)
      guard walk.isCertain, walk.verdict.isRefused else {
        let by = walk.decidingRule.map { " by \($0.place)" } ?? ""
        lines.append(
          Line(answer: .failed, text: "\(entry.address): not certainly refused\(by)"))
        return
      }
      decided = decided ?? walk.decidingRule
    }
    let place = decided.map { "at \($0.place)" } ?? "by the rules"
    let count = counts.text(of: entry)
    let left = BlockPlan.flows(
      of: [entry], observation: now, place: plan.request.place)
    if left.isEmpty {
      lines.append(
        Line(
          answer: .verified,
          text: "\(entry.address): its packets are refused \(place), "
            + (plan.deletions.isEmpty ? "no flow" : "flow gone") + count))
    } else if plan.request.place == .beforeStateRule {
      lines.append(
        Line(
          answer: .verified,
          text: "\(entry.address): its packets are refused \(place); conntrack still holds "
            + "\(left.count) flow(s), as they reach it first\(count)"))
    } else {
      let doubts = left.compactMap { key -> String? in
        switch now.stillness(of: key) {
        case .still: nil
        case .moving: "packets still move in it"
        case .unknown(let why): why
        }
      }
      let held = "\(left.count) flow(s) are still in the table"
      if let doubt = doubts.first {
        lines.append(
          Line(
            answer: .notYetSeen,
            text: "\(entry.address): its packets are refused \(place), but \(held): \(doubt)"
              + count))
      } else {
        lines.append(
          Line(
            answer: .verified,
            text: "\(entry.address): its packets are refused \(place); \(held), and no packet "
              + "moves in them any more\(count)"))
      }
    }
  }

  /// What our blocks have stopped, by element: in all, and between the two readings.
  private struct Counts {
    private let all: [String: UInt64]
    private let earlier: [String: UInt64]

    init(_ now: Observation) {
      all = Self.packets(now.sample)
      earlier = now.earlier.map(Self.packets) ?? [:]
    }

    private static func packets(_ sample: Observation.Sample) -> [String: UInt64] {
      Dictionary(
        sample.firewall.snapshot.ownBlocks(at: sample.time).compactMap { block in
          block.packets.map { (block.element, $0) }
        }, uniquingKeysWith: &+)
    }

    func text(of entry: BlockPlan.Entry) -> String {
      guard let all = all[entry.element] else { return "" }
      let recent = earlier[entry.element].map { all >= $0 ? all - $0 : 0 } ?? 0
      return ", \(all) packets counted by its block" + (recent > 0 ? ", \(recent) just now" : "")
    }
  }

  /// The packets the peer would send next, as the block meets them.
  private static func packets(
    of entry: BlockPlan.Entry, plan: BlockPlan, in observation: Observation
  ) -> [(Packet, PacketPath)] {
    let judge = FlowJudge(observation, policy: AuditPolicy())
    let keys = Set(
      BlockPlan.flows(of: [entry], observation: observation, place: plan.request.place))
    var result: [(Packet, PacketPath)] = []
    for flow in observation.sample.flows where keys.contains(flow.key) {
      guard let sides = judge.sides(of: flow) else { continue }
      let packet = judge.packet(of: flow, sides)
      result.append((packet.asHeld, judge.path(to: sides)))
    }
    if !result.isEmpty { return result }
    // Named without a flow: any packet to any address of ours.
    for local in observation.network.addresses
    where local.address.family == entry.address.family && !local.address.isLoopback {
      result.append(
        (
          Packet(
            transport: entry.transport, source: entry.address, destination: local.address,
            sourcePort: nil, destinationPort: entry.port, inInterface: nil,
            connection: .new), .input
        ))
    }
    return result
  }

  /// Whoever got in before and is not blocked still gets in.
  private mutating func checkOthers(
    _ plan: BlockPlan, before: Observation, was: inout RepeatedEvaluation,
    rules: inout RepeatedEvaluation
  ) {
    let blocked = PrefixSet(plan.entries.map(\.prefix))
    let judge = FlowJudge(before, policy: AuditPolicy())
    var kept: Set<IPAddress> = []
    for flow in before.sample.flows {
      guard let sides = judge.sides(of: flow), !blocked.contains(sides.peer.address) else {
        continue
      }
      let packet = judge.packet(of: flow, sides)
      let path = judge.path(to: sides)
      for question in [packet.asNew, packet.asHeld] {
        // Also where the interface or a match leaves the answer open: whoever may have got in must
        // not be certainly refused now.
        let first = was.walk(question, to: path, byAnyOf: before.ways)
        guard first.mayAccept else { continue }
        let second = rules.walk(question, to: path, byAnyOf: before.ways)
        guard second.mayAccept else {
          lines.append(
            Line(
              answer: .failed,
              text: "\(sides.peer.address) was accepted before and is not any more"))
          return
        }
        if question == packet.asNew, second.isCertain { kept.insert(sides.peer.address) }
      }
    }
    guard let example = kept.min() else { return }
    let others = kept.count > 1 ? " and \(kept.count - 1) more" : ""
    lines.append(Line(answer: .verified, text: "\(example)\(others) still accepted"))
  }
}
