import Addressing
public import Firewall
import FoundationEssentials

/// Packets in bulk: one JSON object a line in, one a line out, in order.
///
/// In: `proto`, `src`, `dst`, `sport`, `dport`, `state`, `in`, `out`, `path`, `local`. Out:
/// `verdict`, `certain`, `rule`, `path`, `unknowns`; for a line that cannot be read, `error`.
public struct PacketRecords {
  private let snapshot: FirewallSnapshot
  private var evaluations: [[IPAddress]?: Evaluation] = [:]

  /// Makes a reader that answers from a snapshot.
  public init(_ snapshot: FirewallSnapshot) { self.snapshot = snapshot }

  /// Answers one line.
  ///
  /// - Parameters:
  ///   - line: The JSON object.
  ///   - place: The file and line, for the error.
  /// - Returns: The answer as one line with a newline, and whether the line could be read.
  public mutating func answer(_ line: [UInt8], at place: String) -> (text: String, isGood: Bool) {
    func text(_ value: some Encodable) -> String { (try? JSONLine.text(value)) ?? "{}\n" }
    do throws(SIPLeakError) {
      let question = try Self.question(line, at: place)
      return (text(WalkJSON(walk(question))), true)
    } catch {
      return (text(["error": error.message]), false)
    }
  }

  /// Walks one packet.
  ///
  /// - Parameter question: The packet and its way.
  /// - Returns: All that may become of it.
  public mutating func walk(_ question: PacketQuestion) -> Walk {
    let local = question.localAddresses
    if let known = evaluations[local] { return known.walk(question.packet, to: question.path) }
    var told = snapshot
    if let local { told.localAddresses = local }
    let evaluation = Evaluation(told)
    evaluations[local] = evaluation
    return evaluation.walk(question.packet, to: question.path)
  }

  private struct Record: Decodable {
    var proto: String
    var src: String
    var dst: String
    var sport: Int?
    var dport: Int?
    var state: String?
    var `in`: String?
    var out: String?
    var path: String?
    var local: [String]?
    var type: Int?
    var code: Int?
  }

  private static func question(
    _ line: [UInt8], at place: String
  ) throws(SIPLeakError) -> PacketQuestion {
    let record: Record
    do { record = try JSONDecoder().decode(Record.self, from: Data(line)) } catch {
      throw SIPLeakError(.badFile, "\(place): expected a JSON object with proto, src and dst")
    }
    func need<T>(_ value: T?, _ expected: String) throws(SIPLeakError) -> T {
      guard let value else { throw SIPLeakError(.badFile, "\(place): expected \(expected)") }
      return value
    }
    func port(_ number: Int?, _ key: String) throws(SIPLeakError) -> UInt16? {
      guard let number else { return nil }
      return try need(UInt16(exactly: number), "\(key) to be a port")
    }
    let source = try need(IPAddress(record.src), "src to be an address")
    let destination = try need(IPAddress(record.dst), "dst to be an address")
    guard source.family == destination.family else {
      throw SIPLeakError(.badFile, "\(place): expected src and dst of one family")
    }
    var question = PacketQuestion(
      transport: try need(IPProtocol(word: record.proto), "proto to be a protocol"),
      source: source, sourcePort: try port(record.sport, "sport"), destination: destination,
      destinationPort: try port(record.dport, "dport"),
      state: try need(
        PacketState(word: record.state ?? "NEW"),
        "state to be one of " + PacketState.allCases.map(\.rawValue).joined(separator: ", ")),
      inInterface: record.in, outInterface: record.out,
      path: try need(
        PacketPath(rawValue: (record.path ?? "INPUT").uppercased()), "path to be INPUT or FORWARD"))
    if let local = record.local {
      var addresses: [IPAddress] = []
      for text in local { addresses.append(try need(IPAddress(text), "local to be addresses")) }
      question.localAddresses = addresses
    }
    if let type = record.type {
      question.packet.icmp = (
        try need(UInt8(exactly: type), "type to be an ICMP type"),
        try need(UInt8(exactly: record.code ?? 0), "code to be an ICMP code")
      )
    }
    return question
  }
}

/// A walk as JSON.
public struct WalkJSON: Encodable, Sendable {
  private let walk: Walk

  /// Makes the document of a walk.
  public init(_ walk: Walk) { self.walk = walk }

  enum Key: String, CodingKey { case verdict, certain, rule, path, unknowns, outcomes, translation }

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
    try object.encode(walk.outcomes.map { Possible(outcome: $0) }, forKey: .outcomes)
    switch walk.translation {
    case .asAsked: try object.encodeNil(forKey: .translation)
    case .elsewhere(let end): try object.encode(end?.description ?? "several", forKey: .translation)
    case .uncertain: try object.encode("uncertain", forKey: .translation)
    }
  }
}
