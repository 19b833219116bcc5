import Addressing
import Firewall

/// The JSON of a trace's plan or of what came of it.
///
/// Schema `sipleak.trace`, version 1.
public struct TraceJSON: Encodable, Sendable {
  private enum Content: Sendable {
    case plan(TracePlan)
    case result(TraceResult)
    case kernel(KernelTrace)
  }
  private let content: Content

  /// Makes the document of a plan.
  public init(_ plan: TracePlan) {
    content = .plan(plan)
  }

  /// Makes the document of a result.
  public init(_ result: TraceResult) { content = .result(result) }

  /// Makes the document of the kernel's own trace.
  public init(_ trace: KernelTrace) { content = .kernel(trace) }

  /// The document as one line of JSON with a newline.
  public func line() throws -> String { try JSONLine.text(self) }

  enum Key: String, CodingKey {
    case schema, version, applied, subjects, notes, obstacles, leftovers, seconds, interrupted
    case restore = "iptables_restore"
    case kernel = "kernel_trace"
  }

  private struct Transaction: Encodable {
    var tool: String
    var table: String
    var input: String
    var undo: String
  }
  private struct Traced: Encodable {
    var packet: String
    var verdict: Verdict
    var predicted: Bool
    var rule: RuleJSON?
    var path: [RuleJSON]

    enum Key: String, CodingKey { case packet, verdict, predicted, rule, path }

    func encode(to encoder: any Encoder) throws {
      var object = encoder.container(keyedBy: Key.self)
      try object.encode(packet, forKey: .packet)
      try object.encode(verdict, forKey: .verdict)
      try object.encode(predicted, forKey: .predicted)
      try object.encode(rule, forKey: .rule)
      try object.encode(path, forKey: .path)
    }
  }
  private struct Course: Encodable {
    var state: String
    var outcomes: [Way]
  }
  private struct Way: Encodable {
    var verdict: Verdict
    var rule: RuleJSON?

    enum Key: String, CodingKey { case verdict, rule }

    func encode(to encoder: any Encoder) throws {
      var object = encoder.container(keyedBy: Key.self)
      try object.encode(verdict, forKey: .verdict)
      try object.encode(rule, forKey: .rule)
    }
  }
  private struct Subject: Encodable {
    var packet: String
    var note: String
    var predicted: [Course]
    var packets: UInt64?
    var answer: TraceResult.Answer?
    var exits: [Exit]?
    var gaps: [Gap]?
    var chains: [Passage]?

    enum Key: String, CodingKey {
      case packet, note, predicted, packets, answer, exits, gaps, chains
    }

    func encode(to encoder: any Encoder) throws {
      var object = encoder.container(keyedBy: Key.self)
      try object.encode(packet, forKey: .packet)
      try object.encode(note, forKey: .note)
      try object.encode(predicted, forKey: .predicted)
      try object.encode(packets, forKey: .packets)
      try object.encode(answer, forKey: .answer)
      try object.encode(exits, forKey: .exits)
      try object.encode(gaps, forKey: .gaps)
      try object.encode(chains, forKey: .chains)
    }
  }
  private struct Exit: Encodable {
    var verdict: Verdict
    var rule: RuleJSON
    var through: Int
    var left: UInt64
  }
  private struct Gap: Encodable {
    var after: String
    var before: String
    var packets: UInt64
  }
  private struct Passage: Encodable {
    var backend: Backend
    var table: String
    var chain: String
    var came: UInt64
    var rules: [Step]
  }
  private struct Step: Encodable {
    var rule: RuleJSON
    var through: Int
    var came: UInt64
    var left: UInt64
  }

  /// Writes the document; what a plan or a result does not have is `null`.
  public func encode(to encoder: any Encoder) throws {
    var plan: TracePlan?
    var result: TraceResult?
    var kernel: KernelTrace?
    switch content {
    case .plan(let content): plan = content
    case .result(let content): result = content
    case .kernel(let content): kernel = content
    }
    var object = encoder.container(keyedBy: Key.self)
    try object.encode("sipleak.trace", forKey: .schema)
    try object.encode(1, forKey: .version)
    try object.encode(plan == nil, forKey: .applied)
    let subjects =
      plan?.subjects.map(Self.subject) ?? result?.subjects.map(Self.subject)
      ?? kernel.map { [Self.subject($0.subject)] }
    try object.encode(subjects ?? [], forKey: .subjects)
    try object.encode(plan?.notes ?? result?.notes ?? kernel?.notes ?? [], forKey: .notes)
    try object.encode(plan?.obstacles ?? [], forKey: .obstacles)
    try object.encode(plan?.leftovers, forKey: .leftovers)
    try object.encode(
      plan?.transactions.map {
        let family = $0.family == .ipv4 ? "iptables" : "ip6tables"
        return Transaction(
          tool: "\(family)-\($0.backend.rawValue)-restore", table: $0.table, input: $0.insert,
          undo: $0.remove)
      }, forKey: .restore)
    try object.encode(result?.seconds ?? kernel?.seconds, forKey: .seconds)
    try object.encode(result?.isInterrupted, forKey: .interrupted)
    try object.encode(
      kernel?.packets.map {
        Traced(
          packet: $0.id, verdict: $0.verdict, predicted: $0.isPredicted,
          rule: $0.rule.map(RuleJSON.init), path: $0.path.map(RuleJSON.init))
      }, forKey: .kernel)
  }

  private static func subject(_ subject: TraceSubject) -> Subject {
    Subject(
      packet: subject.title, note: subject.note,
      predicted: subject.courses.map { course in
        Course(
          state: course.state,
          outcomes: course.walk.outcomes.map {
            Way(verdict: $0.verdict, rule: $0.rule.map(RuleJSON.init))
          })
      })
  }

  private static func subject(_ answer: TraceResult.OfSubject) -> Subject {
    var subject = subject(answer.subject)
    subject.packets = answer.packets
    subject.answer = answer.answer
    subject.exits = answer.exits.map {
      Exit(verdict: $0.verdict, rule: RuleJSON($0.rule), through: $0.through, left: $0.packets)
    }
    subject.gaps = answer.gaps.map {
      Gap(after: $0.after, before: $0.before, packets: $0.packets)
    }
    subject.chains = answer.passages.map { passage in
      Passage(
        backend: passage.backend, table: passage.table, chain: passage.chain, came: passage.came,
        rules: passage.steps.map {
          Step(rule: RuleJSON($0.rule), through: $0.through, came: $0.came, left: $0.left)
        })
    }
    return subject
  }
}
