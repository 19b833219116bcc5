import Addressing
public import Firewall

/// Packets in bulk: one JSON object a line in, one a line out, in order.
///
/// In: `proto`, `src`, `dst`, `sport`, `dport`, `state`, `in`, `out`, `path`, `local`, and rarer
/// fields. Out: `verdict`, `certain`, `rule`, `path`, `unknowns`; for a line that cannot be read,
/// `error`.
public struct PacketRecords {
  private let evaluation: Evaluation
  private let asked: AskedAssumptions

  /// Makes a reader that answers from a snapshot.
  public init(_ snapshot: FirewallSnapshot) {
    evaluation = Evaluation(snapshot)
    asked = AskedAssumptions(snapshot)
  }

  /// Answers one line.
  ///
  /// - Parameters:
  ///   - line: The JSON object.
  ///   - place: The file and line, for the error.
  /// - Returns: The answer as one line with a newline, and whether the line could be read.
  public func answer(_ line: [UInt8], at place: String) -> (text: String, isGood: Bool) {
    func text(_ value: some Encodable) -> String { (try? JSONLine.text(value)) ?? "{}\n" }
    do throws(SIPLeakError) {
      let question = try PacketRecord(line, at: place).question()
      let answer = answer(question)
      return (text(WalkJSON(answer.walk, assumed: answer.assumed)), true)
    } catch {
      return (text(["error": error.message]), false)
    }
  }

  /// Walks one packet.
  ///
  /// - Parameter question: The packet and its way.
  /// - Returns: All that may become of it, and what its verdict hangs on of what was not said.
  public func answer(
    _ question: PacketQuestion
  ) -> (walk: Walk, assumed: [PacketAssumption]) {
    let question = asked.completed(question)
    var host = evaluation
    if let local = question.localAddresses { host = Evaluation(host, localAddresses: local) }
    let walk = host.walkAsRouted(question.packet, to: question.path).walk
    return (walk, asked.decisive(of: question, walk, host))
  }
}

/// A walk as JSON.
public struct WalkJSON: Encodable, Sendable {
  private let walk: Walk
  private let assumed: [PacketAssumption]

  /// Makes the document of a walk and of what its verdict takes for granted.
  public init(_ walk: Walk, assumed: [PacketAssumption] = []) {
    self.walk = walk
    self.assumed = assumed
  }

  enum Key: String, CodingKey {
    case verdict, certain, rule, path, unknowns, outcomes, translation, assumed
  }

  private struct Hit: Encodable {
    var hit: RuleHit
    enum Key: String, CodingKey { case backend, table, chain, index, text, certain }

    func encode(to encoder: any Encoder) throws {
      var object = encoder.container(keyedBy: Key.self)
      try object.encode(hit.rule.backend, forKey: .backend)
      try object.encode(hit.rule.table, forKey: .table)
      try object.encode(hit.rule.chain, forKey: .chain)
      try object.encode(hit.rule.index, forKey: .index)
      try object.encode(hit.rule.text, forKey: .text)
      try object.encode(hit.isCertain, forKey: .certain)
    }
  }

  private struct Possible: Encodable {
    var outcome: Outcome
    enum Key: String, CodingKey { case verdict, rule }

    func encode(to encoder: any Encoder) throws {
      var object = encoder.container(keyedBy: Key.self)
      try object.encode(outcome.verdict, forKey: .verdict)
      try object.encode(outcome.rule.map(RuleJSON.init), forKey: .rule)
    }
  }

  /// Writes the document.
  public func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(walk.verdict, forKey: .verdict)
    try object.encode(walk.isCertain, forKey: .certain)
    try object.encode(walk.decidingRule.map(RuleJSON.init), forKey: .rule)
    try object.encode(walk.path.map { Hit(hit: $0) }, forKey: .path)
    try object.encode(walk.unknowns.map(\.text), forKey: .unknowns)
    try object.encode(assumed.map(\.rawValue), forKey: .assumed)
    try object.encode(walk.outcomes.map { Possible(outcome: $0) }, forKey: .outcomes)
    switch walk.translation {
    case .asAsked: try object.encodeNil(forKey: .translation)
    case .elsewhere(let end): try object.encode(end?.description ?? "several", forKey: .translation)
    case .uncertain: try object.encode("uncertain", forKey: .translation)
    }
  }
}
