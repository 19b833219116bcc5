public import Addressing
import HostNetwork

/// Who is never blocked on a host, and whether one address could be: as text or JSON.
///
/// Schema `sipleak.protect`, version 1.
public struct ProtectReport: Encodable, Sendable {
  /// Whether one address could be blocked.
  public struct Answer: Encodable, Sendable, Hashable {
    /// The address.
    public var address: IPAddress
    /// Why not, or `nil` when it could be.
    public var why: String?
    /// What keeps a run that nobody watches from it all the same.
    public var objections: [String]
  }

  private let set: ProtectedSet
  private let host: HostIdentity
  private let time: Double
  private let problems: [String]
  /// The answer for the address that was asked about.
  public let answer: Answer?

  /// Computes the report; pure.
  ///
  /// - Parameters:
  ///   - observation: The host.
  ///   - policy: Whom the operator named.
  ///   - address: An address to judge, or `nil` to list the protected ones.
  public init(_ observation: Observation, policy: AuditPolicy, address: IPAddress? = nil) {
    set = ProtectedSet(observation, policy: policy)
    host = observation.host
    time = observation.sample.time
    problems = observation.problems
    let objections = set.objections(areNamed: false)
    answer = address.map { address in
      Answer(
        address: address, why: Self.why(address, observation, policy), objections: objections)
    }
  }

  private static func why(
    _ address: IPAddress, _ observation: Observation, _ policy: AuditPolicy
  ) -> String? {
    var blockability = Blockability(observation, policy: policy)
    if let why = blockability.protection(of: address) { return why }
    if let problem = observation.problems.first { return "not everything was read: \(problem)" }
    let own = observation.network.addresses.first {
      $0.address.family == address.family && !$0.address.isLoopback
    }
    guard let own else {
      return "this host has no \(address.family == .ipv4 ? "IPv4" : "IPv6") address"
    }
    return blockability.answer(
      for: address, wire: Endpoint(own.address, observation.endpoints.ports.min() ?? 5060),
      cause: .establishedBypass)
  }

  /// 0; 1 when the address asked about could not be blocked; 3 when something is not known.
  public var exitStatus: Int32 {
    if answer?.why != nil { return 1 }
    return set.gaps.isEmpty && problems.isEmpty ? 0 : 3
  }

  /// The report for a person.
  public func text() -> String {
    var lines: [String] = []
    if let answer {
      if let why = answer.why {
        lines.append("\(answer.address) could not be blocked: \(why)")
      } else {
        lines.append(
          "\(answer.address) could be blocked: the rules refuse it as new from every port, to every "
            + "address of this host, by every way it may come")
        lines += answer.objections.map { "  but not unattended: \($0)" }
      }
    } else {
      lines.append("Never blocked on \(host.name), whatever its rules say:")
      let width = set.sources.map { $0.prefix.description.utf8.count }.max() ?? 0
      lines += set.sources.map { source in
        "  \(source.prefix.description.padded(width))  \(source.sentence)"
      }
      lines.append(
        "Nor is any address that the rules admit as new: sipleak protect ADDRESS\(host.option)")
    }
    if !set.gaps.isEmpty { lines.append("Not known:") }
    lines += set.gaps.map { "  \($0.text)" }
    return lines.map { EscapedText.terminal($0) + "\n" }.joined()
  }

  /// The report as one line of JSON with a newline.
  public func line() throws -> String { try JSONLine.text(self) }

  enum Key: String, CodingKey {
    case schema, version, time, host, protected, gaps, notes, answer
  }
  private struct Source: Encodable {
    var prefix: String
    var reason: String
    var origin: String?
  }
  private struct Gap: Encodable {
    var subject: String
    var why: String
    var stops_everything: Bool
  }
  private struct Judged: Encodable {
    var address: String
    var blockable: Bool
    var why: String?
    var not_unattended: [String]
  }

  /// Writes the document.
  public func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode("sipleak.protect", forKey: .schema)
    try object.encode(1, forKey: .version)
    try object.encode(Quantity.rfc3339(time), forKey: .time)
    try object.encode(host.name, forKey: .host)
    try object.encode(
      set.sources.map {
        Source(
          prefix: $0.prefix.description, reason: $0.reason.rawValue,
          origin: $0.origin.isEmpty ? nil : $0.origin)
      }, forKey: .protected)
    try object.encode(
      set.gaps.map { Gap(subject: $0.subject, why: $0.why, stops_everything: $0.stopsEverything) },
      forKey: .gaps)
    try object.encode(set.notes, forKey: .notes)
    try object.encodeIfPresent(
      answer.map {
        Judged(
          address: "\($0.address)", blockable: $0.why == nil, why: $0.why,
          not_unattended: $0.objections)
      }, forKey: .answer)
  }
}
