/// One header of a message, unfolded.
public struct HeaderField: Sendable, Hashable {
  /// The header's full name in its usual case: `v` is `Via`; an unknown one as written.
  public var name: String
  /// The name as written.
  public var writtenName: String
  /// The value without blanks at its ends, a fold read as one blank.
  public var value: [UInt8]

  /// The value as text; invalid UTF-8 is replaced, control characters are not escaped.
  public var text: String { String(decoding: value, as: UTF8.self) }
}

extension HeaderField {
  /// The compact forms: RFC 3261 §7.3.3, 3265, 3515, 3841, 3892, 4028, 4474.
  private static let compact: [String: String] = [
    "a": "Accept-Contact", "b": "Referred-By", "c": "Content-Type", "d": "Request-Disposition",
    "e": "Content-Encoding", "f": "From", "i": "Call-ID", "j": "Reject-Contact",
    "k": "Supported", "l": "Content-Length", "m": "Contact", "n": "Identity-Info", "o": "Event",
    "r": "Refer-To", "s": "Subject", "t": "To", "u": "Allow-Events", "v": "Via",
    "x": "Session-Expires", "y": "Identity",
  ]

  /// Names whose usual case is not that of each word capitalised, or that are looked up here.
  private static let known: [String: String] = Dictionary(
    uniqueKeysWithValues: (compact.values + [
      "Accept", "Allow", "Authorization", "CSeq", "Date", "Expires", "Max-Forwards",
      "Proxy-Authorization", "Record-Route", "Retry-After", "Route", "Server", "User-Agent",
      "Warning", "WWW-Authenticate",
    ]).map { ($0.lowercased(), $0) })

  /// The usual name for a written one.
  static func canonical(_ written: String) -> String {
    let name = written.lowercased()
    return compact[name] ?? known[name] ?? written
  }
}

/// Lines of a head: ends found, folds joined.
struct HeadLines {
  /// The start line and the headers, unfolded.
  var lines: [[UInt8]] = []
  /// How many bytes stand before the body.
  var length = 0
  /// Line breaks before the start line; RFC 3261 §7.5 wants them ignored.
  var leadingBreaks = 0
  var problems: Set<Problem> = []

  /// The most lines that are read; real messages have some dozens.
  static let most = 256

  init(_ bytes: Bytes) {
    var at = bytes.startIndex
    while at < bytes.endIndex, bytes[at] == 0x0d || bytes[at] == 0x0a || bytes[at].isBlank {
      if bytes[at] == 0x0a { leadingBreaks += 1 }
      if bytes[at].isBlank { problems.insert(.leadingBytes) }
      at += 1
    }
    var isEnded = false
    while at < bytes.endIndex, !isEnded {
      let feed = bytes[at...].firstIndex(of: 0x0a)
      var line = bytes[at..<(feed ?? bytes.endIndex)]
      at = feed.map { $0 + 1 } ?? bytes.endIndex
      if line.last == 0x0d {
        line.removeLast()
      } else if feed != nil {
        problems.insert(.bareLineFeed)
      }
      if line.isEmpty {
        isEnded = true
      } else if line.first?.isBlank == true, !lines.isEmpty {
        fold(line)
      } else if lines.count < Self.most {
        lines.append(Array(line))
      } else {
        problems.insert(.tooMuch)
      }
    }
    if !isEnded { problems.insert(.unendedHead) }
    length = at - bytes.startIndex
  }

  /// Adds a continuation to the last line, the break read as one blank.
  private mutating func fold(_ line: Bytes) {
    // Beyond the last line that is read a fold belongs to a line that is not.
    guard !problems.contains(.tooMuch) else { return }
    // In place: a head of nothing but folds has to stay linear.
    let last = lines.count - 1
    while lines[last].last?.isBlank == true { lines[last].removeLast() }
    lines[last].append(0x20)
    lines[last].append(contentsOf: line.trimmed)
  }
}
