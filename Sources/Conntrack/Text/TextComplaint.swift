/// A place in a pasted table that isn't what was expected there.
///
/// The line it stands in was left out; every other line was read.
public struct TextComplaint: Sendable, Hashable, Codable {
  /// The line, 1-based.
  public var line: Int
  /// The column in bytes, 1-based.
  public var column: Int
  /// What should have stood there, in words.
  public var expected: String
  /// What stood there, up to 40 bytes and not escaped for terminals; empty at the line's end.
  public var found: String

  /// Makes a complaint.
  public init(line: Int, column: Int, expected: String, found: String) {
    self.line = line
    self.column = column
    self.expected = expected
    self.found = found
  }
}

extension TextComplaint: CustomStringConvertible {
  /// The place and what was expected, as `LINE:COLUMN: expected …, found …`; not escaped.
  public var description: String {
    let seen = found.isEmpty ? "the end of the line" : "\"\(found)\""
    return "\(line):\(column): expected \(expected), found \(seen)"
  }
}

/// What ends the reading of one line; the place is an offset into the whole text.
struct TextFault: Error {
  var offset: Int
  var expected: String
}
