import Firewall
import Addressing

/// The JSON of a block's plan and of what came of applying it.
///
/// Schema `sipleak.block`, version 1.
public struct PlanJSON: Encodable, Sendable {
  /// What came of a command, in a word.
  public enum Result: String, Sendable, Hashable, Codable {
    /// Nothing was to be changed, only planned.
    case planned
    /// It was to be changed, and nothing was: there was nothing to do, or something stood against it.
    case unchanged
    /// It was carried out and checked.
    case done
    /// It failed, and what had been done was taken back.
    case undone
    /// It failed, and something of it is still there.
    case left
  }

  private let plan: BlockPlan?
  private let time: Double?
  private let outcome: Enforcement.Outcome?
  private let result: Result
  private let error: SIPLeakError?

  /// Makes the document.
  ///
  /// - Parameters:
  ///   - plan: The plan.
  ///   - time: When the host was read, in seconds since 1970.
  ///   - isApplying: Whether it was to be applied.
  ///   - outcome: What came of it, if it was applied.
  public init(
    _ plan: BlockPlan, time: Double, isApplying: Bool = false,
    outcome: Enforcement.Outcome? = nil
  ) {
    self.plan = plan
    self.time = time
    self.outcome = outcome
    result = outcome != nil ? .done : isApplying ? .unchanged : .planned
    error = nil
  }

  /// Makes the document of a failure.
  ///
  /// - Parameters:
  ///   - error: What failed; its code says what became of the firewall.
  ///   - plan: The plan, if it came to one.
  ///   - time: When the host was read, in seconds since 1970, if it was.
  ///   - outcome: What the check said, if it came to one.
  public init(
    _ error: SIPLeakError, plan: BlockPlan?, time: Double?, outcome: Enforcement.Outcome? = nil
  ) {
    self.plan = plan
    self.time = time
    self.outcome = outcome
    self.error = error
    result =
      switch error.code {
      case .undone: .undone
      case .notUndone: .left
      default: .unchanged
      }
  }

  /// The document as one line of JSON with a newline.
  public func line() throws -> String {
    try JSONLine.text(self)
  }

  enum Key: String, CodingKey {
    case schema, version, time, place, seconds, applied, blocked, omitted, obstacles
    case setText = "ipset_restore"
    case rules = "iptables_restore"
    case deletions = "flows_to_delete"
    case deleted, answer, checks, holder, moved, lifted, notes, result, error
  }
  private struct Failure: Encodable {
    var message: String
    var advice: String
    var detail: String
  }
  private struct Blocked: Encodable {
    var address: String
    var transport: String
    var port: UInt16
    var reason: String
    var grade: String?
    var seconds: UInt32
    var behind: String?
    var prefix: String?
  }
  private struct Omitted: Encodable {
    var address: String
    var why: String
    var on_request: Bool
  }
  private struct Rules: Encodable {
    var tool: String
    var table: String
    var input: String
    var undo: String
  }
  private struct Check: Encodable {
    var answer: String
    var text: String
  }

  /// Writes the document.
  public func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode("sipleak.block", forKey: .schema)
    try object.encode(1, forKey: .version)
    try object.encode(time.map(Quantity.rfc3339), forKey: .time)
    try object.encode(result, forKey: .result)
    try object.encode(
      error.map { Failure(message: $0.message, advice: $0.advice, detail: $0.detail) },
      forKey: .error)
    try object.encode(plan?.request.place, forKey: .place)
    try object.encode(plan?.request.seconds, forKey: .seconds)
    // What a failed check leaves in place was carried out all the same.
    try object.encode(outcome != nil && result != .undone, forKey: .applied)
    try object.encode(
      plan?.entries.map {
        Blocked(
          address: "\($0.address)", transport: "\($0.transport)", port: $0.port,
          reason: $0.reason, grade: $0.grade?.rawValue, seconds: $0.seconds,
          behind: $0.inner?.description,
          prefix: $0.prefixLength == nil ? nil : $0.prefix.description)
      }, forKey: .blocked)
    try object.encode(
      plan?.omissions.map {
        Omitted(address: "\($0.address)", why: $0.why, on_request: $0.isOnRequest)
      }, forKey: .omitted)
    try object.encode(plan?.obstacles, forKey: .obstacles)
    try object.encode(
      plan.map { $0.isPlain ? OwnBlock.Holder.rules : .set }, forKey: .holder)
    try object.encode(plan?.moved.map(\.element), forKey: .moved)
    try object.encode(plan?.lifted.map(\.element), forKey: .lifted)
    try object.encode(plan.map(Self.notes), forKey: .notes)
    try object.encode(plan?.setText, forKey: .setText)
    try object.encode(
      plan?.rules.map {
        let family = $0.family == .ipv4 ? "iptables" : "ip6tables"
        return Rules(
          tool: "\(family)-\($0.backend.rawValue)-restore", table: $0.table, input: $0.text,
          undo: $0.undo)
      }, forKey: .rules)
    try object.encode(plan?.deletions.count, forKey: .deletions)
    try object.encode(outcome?.deleted, forKey: .deleted)
    try object.encode(outcome?.answer, forKey: .answer)
    try object.encode(
      outcome?.verification.lines.map { Check(answer: $0.answer.rawValue, text: $0.text) },
      forKey: .checks)
  }

  private static func notes(_ plan: BlockPlan) -> [String] {
    plan.plainBecause.map { plan.entries.isEmpty ? [] : [$0, BlockPlan.plainNote] } ?? []
  }
}
