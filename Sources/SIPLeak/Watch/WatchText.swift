/// The lines of `sipleak watch`: those of `audit`, and the same with `gone` before the cause when a
/// finding is none any more.
public enum WatchText {
  /// One line with a newline.
  ///
  /// - Parameters:
  ///   - news: What happened.
  ///   - time: When, in seconds since 1970.
  /// - Returns: The line for standard output.
  public static func line(_ news: WatchNews, time: Double) -> String {
    let line = AuditLines.line(news.finding, time: Quantity.rfc3339(time), now: time)
    guard case .gone(let finding, let end) = news else { return line + "\n" }
    // "TIME leak cause=…" becomes "TIME gone cause=… was=leak because=…".
    let words = line.split(separator: " ", maxSplits: 2)
    guard words.count == 3 else { return line + "\n" }
    return "\(words[0]) gone \(words[2]) was=\(finding.level.rawValue) because=\(end.rawValue)\n"
  }
}

/// The JSON of `sipleak watch --format jsonl`, one document a line.
///
/// Schema `sipleak.watch`, version 1; `finding` is that of `sipleak.audit`.
public struct WatchJSON: Encodable, Sendable {
  private let news: WatchNews
  private let time: Double

  /// Makes the document.
  public init(_ news: WatchNews, time: Double) {
    self.news = news
    self.time = time
  }

  /// The document as one line of JSON with a newline.
  public func line() throws -> String { try JSONLine.text(self) }

  enum Key: String, CodingKey { case schema, version, time, event, because, finding }

  /// Writes the document.
  public func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode("sipleak.watch", forKey: .schema)
    try object.encode(1, forKey: .version)
    try object.encode(Quantity.rfc3339(time), forKey: .time)
    var end: WatchNews.End?
    switch news {
    case .appeared: try object.encode("appeared", forKey: .event)
    case .changed: try object.encode("changed", forKey: .event)
    case .gone(_, let because):
      try object.encode("gone", forKey: .event)
      end = because
    }
    try object.encode(end, forKey: .because)
    try object.encode(FindingJSON(news.finding), forKey: .finding)
  }
}
