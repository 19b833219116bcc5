import Addressing
import Firewall

/// The answers about a whole ruleset as JSON.
///
/// Schema `sipleak.ruleset`, version 1.
public struct RulesetQuestionsJSON: Encodable, Sendable {
  private let questions: RulesetQuestions

  /// Makes the document.
  public init(_ questions: RulesetQuestions) { self.questions = questions }

  enum Key: String, CodingKey {
    case schema, version, transport, port, families, shadowed, complete
  }

  private struct Family: Encodable {
    var family: AddressFamily
    var certainly: [IPPrefix]
    var possibly: [IPPrefix]
    var reasons: [String]
    var admissions: [Admission]
    var ranges: [Range]
  }
  private struct Admission: Encodable {
    var rule: RuleJSON?
    var certainly: [IPPrefix]
    var possibly: [IPPrefix]
  }
  private struct Range: Encodable {
    var rule: RuleJSON
    var from: UInt16
    var to: UInt16
    var names_transport: Bool
  }
  private struct Shadowed: Encodable {
    var family: AddressFamily
    var rule: RuleJSON
    var taken_by: [RuleJSON]
  }

  /// Writes the document.
  public func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode("sipleak.ruleset", forKey: .schema)
    try object.encode(1, forKey: .version)
    try object.encode(questions.target.transport.description, forKey: .transport)
    try object.encode(questions.target.port, forKey: .port)
    try object.encode(questions.answers.map(Self.family), forKey: .families)
    try object.encode(
      questions.shadowed.entries.map {
        Shadowed(
          family: $0.family, rule: RuleJSON($0.rule), taken_by: $0.takenBy.map(RuleJSON.init))
      }, forKey: .shadowed)
    try object.encode(questions.shadowed.isComplete, forKey: .complete)
  }

  private static func family(_ answer: RulesetQuestions.Answer) -> Family {
    Family(
      family: answer.family, certainly: answer.sources.certainly.prefixes,
      possibly: answer.sources.possibly.prefixes, reasons: answer.sources.reasons.map(\.text),
      admissions: answer.sources.admissions.map {
        Admission(
          rule: $0.rule.map(RuleJSON.init), certainly: $0.certainly.prefixes,
          possibly: $0.possibly.prefixes)
      },
      ranges: answer.ranges.map { entry in
        switch entry.coverage {
        case .range(let range):
          Range(
            rule: RuleJSON(entry.rule), from: range.lowerBound, to: range.upperBound,
            names_transport: true)
        case .everyPort:
          Range(rule: RuleJSON(entry.rule), from: 0, to: .max, names_transport: true)
        case .everything:
          Range(rule: RuleJSON(entry.rule), from: 0, to: .max, names_transport: false)
        }
      })
  }
}
