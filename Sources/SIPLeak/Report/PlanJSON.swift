import Firewall
import Addressing

/// The JSON of a block's plan and of what came of applying it.
///
/// Schema `sipleak.block`, version 1.
public struct PlanJSON: Encodable, Sendable {
  private let plan: BlockPlan
  private let time: Double
  private let outcome: Enforcement.Outcome?

  /// Makes the document.
  ///
  /// - Parameters:
  ///   - plan: The plan.
  ///   - time: When the host was read, in seconds since 1970.
  ///   - outcome: What came of it, if it was applied.
  public init(_ plan: BlockPlan, time: Double, outcome: Enforcement.Outcome? = nil) {
    self.plan = plan
    self.time = time
    self.outcome = outcome
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
    case deleted, answer, checks, holder, moved, lifted, notes
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
    try object.encode(Quantity.rfc3339(time), forKey: .time)
    try object.encode(plan.request.place, forKey: .place)
    try object.encode(plan.request.seconds, forKey: .seconds)
    try object.encode(outcome != nil, forKey: .applied)
    try object.encode(
      plan.entries.map {
        Blocked(
          address: "\($0.address)", transport: "\($0.transport)", port: $0.port,
          reason: $0.reason, grade: $0.grade?.rawValue, seconds: $0.seconds,
          behind: $0.inner?.description,
          prefix: $0.prefixLength == nil ? nil : $0.prefix.description)
      }, forKey: .blocked)
    try object.encode(
      plan.omissions.map {
        Omitted(address: "\($0.address)", why: $0.why, on_request: $0.isOnRequest)
      }, forKey: .omitted)
    try object.encode(plan.obstacles, forKey: .obstacles)
    try object.encode(plan.isPlain ? OwnBlock.Holder.rules : .set, forKey: .holder)
    try object.encode(plan.moved.map(\.element), forKey: .moved)
    try object.encode(plan.lifted.map(\.element), forKey: .lifted)
    try object.encode(
      plan.plainBecause.map { plan.entries.isEmpty ? [] : [$0, BlockPlan.plainNote] } ?? [],
      forKey: .notes)
    try object.encode(plan.setText, forKey: .setText)
    try object.encode(
      plan.rules.map {
        let family = $0.family == .ipv4 ? "iptables" : "ip6tables"
        return Rules(
          tool: "\(family)-\($0.backend.rawValue)-restore", table: $0.table, input: $0.text,
          undo: $0.undo)
      }, forKey: .rules)
    try object.encode(plan.deletions.count, forKey: .deletions)
    try object.encode(outcome?.deleted, forKey: .deleted)
    try object.encode(outcome?.answer, forKey: .answer)
    try object.encode(
      outcome?.verification.lines.map { Check(answer: $0.answer.rawValue, text: $0.text) },
      forKey: .checks)
  }
}
