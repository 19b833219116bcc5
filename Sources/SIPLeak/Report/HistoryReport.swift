/// The text and the JSON of `sipleak history`.
public struct HistoryReport: Sendable {
  private let sightings: [Sighting]
  private let blocks: [BlockRecord]
  private let time: Double

  /// Makes a report.
  ///
  /// - Parameters:
  ///   - sightings: Findings over time, in the order to print them.
  ///   - blocks: Blocks over time, in the order to print them.
  ///   - time: Now, in seconds since 1970 UTC.
  public init(sightings: [Sighting], blocks: [BlockRecord], at time: Double) {
    self.sightings = sightings
    self.blocks = blocks
    self.time = time
  }

  /// A line a record, `key=value`, stable for `grep`; ends in a newline unless empty.
  public func text() -> String {
    let seen = sightings.map { sighting in
      "finding src=\(sighting.peer) proto=\(sighting.transport) dport=\(sighting.port) "
        + "cause=\(sighting.cause.rawValue) level=\(sighting.level.rawValue) "
        + "grade=\(sighting.grade?.rawValue ?? "none") "
        + "first=\(Quantity.rfc3339(sighting.firstSeen)) "
        + "last=\(Quantity.rfc3339(sighting.lastSeen)) times=\(sighting.times)\n"
    }
    let blocked = blocks.map { block in
      "block src=\(block.peer) proto=\(block.transport) dport=\(block.port) "
        + "place=\(block.place.rawValue) reason=\(EscapedText.word(block.reason)) "
        + "begun=\(Quantity.rfc3339(block.begun)) "
        + "until=\(block.until.map(Quantity.rfc3339) ?? "never") "
        + "outcome=\(EscapedText.word(block.outcome)) ended=\(state(of: block))"
        + (block.holder == .rules ? " holder=rules\n" : "\n")
    }
    return (seen + blocked).joined()
  }

  private func state(of block: BlockRecord) -> String {
    guard let end = block.end(at: time) else { return "no" }
    return "\(Quantity.rfc3339(end)) by=\(block.endedBy?.rawValue ?? "timeout")"
  }

  private struct Document: Encodable {
    var schema = "sipleak.history"
    var version = 1
    var time: String
    var findings: [FindingRow]
    var blocks: [BlockRow]
  }
  private struct FindingRow: Encodable {
    var peer: String
    var transport: String
    var port: UInt16
    var cause: String
    var level: String
    var grade: String?
    var first_seen: String
    var last_seen: String
    var times: Int
  }
  private struct BlockRow: Encodable {
    var peer: String
    var transport: String
    var port: UInt16
    var place: String
    var reason: String
    var begun: String
    var until: String?
    var outcome: String
    var ended: String?
    var ended_by: String?
    var holder: OwnBlock.Holder?
  }

  /// The report as one line of JSON with a newline; schema `sipleak.history`, version 1.
  public func line() throws -> String {
    try JSONLine.text(
      Document(
        time: Quantity.rfc3339(time),
        findings: sightings.map {
          FindingRow(
            peer: "\($0.peer)", transport: "\($0.transport)", port: $0.port,
            cause: $0.cause.rawValue, level: $0.level.rawValue, grade: $0.grade?.rawValue,
            first_seen: Quantity.rfc3339($0.firstSeen), last_seen: Quantity.rfc3339($0.lastSeen),
            times: $0.times)
        },
        blocks: blocks.map {
          BlockRow(
            peer: "\($0.peer)", transport: "\($0.transport)", port: $0.port,
            place: $0.place.rawValue, reason: $0.reason, begun: Quantity.rfc3339($0.begun),
            until: $0.until.map(Quantity.rfc3339), outcome: $0.outcome,
            ended: $0.end(at: time).map(Quantity.rfc3339),
            ended_by: $0.end(at: time) == nil ? nil : $0.endedBy?.rawValue ?? "timeout",
            holder: $0.holder)
        }))
  }
}
