import Addressing
import Conntrack
public import Firewall
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
    _ plan: BlockPlan, _ packets: BlockedPackets, before: Observation, policy: AuditPolicy,
    access: HostAccess, after: Double
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
    return Verification(plan, packets, before: before, now: now, policy: policy)
  }

  /// The firewall that was judged, with our blocks in it; `nil` when not all could be read.
  public private(set) var snapshot: FirewallSnapshot?

  /// Whether the block has to be taken back: it does not hold, or it cuts somebody who may come in.
  public private(set) var mustBeTakenBack = false

  /// Judges what was read after an apply; pure.
  init(
    _ plan: BlockPlan, _ packets: BlockedPackets, before: Observation, now: Observation,
    policy: AuditPolicy
  ) {
    lines = []
    snapshot = now.problems.isEmpty ? now.sample.firewall.snapshot : nil
    var was = RepeatedEvaluation(Evaluation(before.sample.firewall.snapshot))
    var rules = RepeatedEvaluation(Evaluation(now.sample.firewall.snapshot))
    checkEntries(plan, packets, now: now, rules: rules)
    checkAdmission(plan, now: now, policy: policy)
    checkOthers(plan, packets.judge, was: &was, rules: &rules)
    checkMembers(plan, before: before, was: &was, rules: &rules)
    mustBeTakenBack = lines.contains { $0.answer == .failed }
    // A partial reading proves nothing gone.
    for problem in now.problems {
      lines.append(Line(answer: .notYetSeen, text: "not read: \(problem)"))
    }
  }

  /// The first planned peer whose packets the rules do not certainly refuse, or `nil`.
  static func firstNotRefused(
    _ plan: BlockPlan, _ packets: BlockedPackets, now: Observation
  ) -> IPAddress? {
    var walks = RefusalWalks(
      packets,
      rules: RepeatedEvaluation(Evaluation(now.sample.firewall.snapshot)))
    return plan.entries.indices.first { number in
      if case .letIn = walks.answer(of: number) { true } else { false }
    }.map { plan.entries[$0].address }
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
    let ways = before.ways
    let blocks = before.sample.firewall.snapshot.ownBlocks(at: before.sample.time)
    for block in blocks where !planned.contains(block.element) && !block.isOver {
      guard let local = before.localAddress(block.family) else { continue }
      let packet = Packet(
        transport: block.transport, source: block.prefix.address, destination: local,
        sourcePort: nil, destinationPort: block.port, inInterface: nil,
        connection: ConnectionFacts(state: .established, direction: .original))
      let first = was.walk(packet, to: .input, byAnyOf: ways)
      guard first.isCertain, first.verdict.isRefused else { continue }
      let second = rules.walk(packet, to: .input, byAnyOf: ways)
      if !(second.isCertain && second.verdict.isRefused) {
        lines.append(
          Line(answer: .failed, text: "\(block.prefix.address) was blocked and is not now"))
      }
    }
  }

  /// The peers that are to be blocked are, and their flows are gone or still.
  private mutating func checkEntries(
    _ plan: BlockPlan, _ packets: BlockedPackets, now: Observation, rules: RepeatedEvaluation
  ) {
    var walks = RefusalWalks(packets, rules: rules)
    let left = plan.flowsByEntry(in: now)
    let counters = BlockCounters(now)
    let earlier = FlowsByKey(left.isEmpty ? [] : now.earlier?.flows ?? [])
    for (number, entry) in plan.entries.enumerated() {
      let decided: RuleReference?
      switch walks.answer(of: number) {
      case .refused(let rule): decided = rule
      case .letIn(let rule):
        let by = rule.map { " by \($0.place)" } ?? ""
        lines.append(
          Line(answer: .failed, text: "\(entry.address): not certainly refused\(by)"))
        continue
      }
      let place = decided.map { "at \($0.place)" } ?? "by the rules"
      lines.append(
        Self.line(
          "\(entry.address): its packets are refused \(place)", counters.text(of: entry), plan,
          left: (left[number] ?? []).map { now.sample.flows[$0] }, earlier: earlier, in: now))
    }
  }

  /// What is to be said of a peer whose packets are refused, by what is left of its flows.
  private static func line(
    _ refused: String, _ count: String, _ plan: BlockPlan, left: [Flow], earlier: FlowsByKey,
    in now: Observation
  ) -> Line {
    if left.isEmpty, !now.problems.isEmpty {
      // A flow that was not read is not gone.
      return Line(
        answer: .notYetSeen,
        text: "\(refused); not everything could be read, so its flow may be there still\(count)")
    }
    if left.isEmpty {
      return Line(
        answer: .verified,
        text: refused + ", " + (plan.deletions.isEmpty ? "no flow" : "flow gone") + count)
    }
    if plan.request.place == .beforeStateRule {
      return Line(
        answer: .verified,
        text: "\(refused); conntrack still holds \(left.count) flow(s), as they reach it first"
          + count)
    }
    let doubts = left.lazy.compactMap { flow -> String? in
      switch now.stillness(of: flow, earlier: earlier) {
      case .still: nil
      case .moving: "packets still move in it"
      case .unknown(let why): why
      }
    }
    let held = "\(left.count) flow(s) are still in the table"
    if let doubt = doubts.first {
      return Line(answer: .notYetSeen, text: "\(refused), but \(held): \(doubt)\(count)")
    }
    return Line(
      answer: .verified,
      text: "\(refused); \(held), and no packet moves in them any more\(count)")
  }

  /// Whoever got in before and is not blocked still gets in.
  private mutating func checkOthers(
    _ plan: BlockPlan, _ judge: FlowJudge, was: inout RepeatedEvaluation,
    rules: inout RepeatedEvaluation
  ) {
    let before = judge.observation
    let ways = judge.ways
    let blocked = PrefixSet(plan.entries.map(\.prefix))
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
        let first = was.walk(question, to: path, byAnyOf: ways)
        guard first.mayAccept else { continue }
        let second = rules.walk(question, to: path, byAnyOf: ways)
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

/// What our blocks have stopped: in all, and between two readings.
private struct BlockCounters {
  private let all: [String: UInt64]
  private let before: [String: UInt64]

  init(_ now: Observation) {
    all = Self.packets(now.sample)
    before = Self.packets(now.earlier)
  }

  private static func packets(_ sample: Observation.Sample?) -> [String: UInt64] {
    guard let sample else { return [:] }
    return Dictionary(
      sample.firewall.snapshot.ownBlocks(at: sample.time).compactMap { block in
        block.packets.map { (block.element, $0) }
      }, uniquingKeysWith: &+)
  }

  func text(of entry: BlockPlan.Entry) -> String {
    let element = entry.element
    guard let all = all[element] else { return "" }
    let recent = before[element].map { all >= $0 ? all - $0 : 0 } ?? 0
    return ", \(all) packets counted by its block" + (recent > 0 ? ", \(recent) just now" : "")
  }
}
