/// How text for people is laid out and coloured.
public struct TextStyle: Sendable, Hashable {
  /// Whether colour escapes are written.
  ///
  /// Every colour also has a word, so nothing is lost without.
  public var isColoured: Bool
  /// The width lines are wrapped at.
  public var width: Int

  /// Makes a style; plain and 80 columns wide unless told otherwise.
  public init(isColoured: Bool = false, width: Int = 80) {
    self.isColoured = isColoured
    self.width = max(40, width)
  }

  func red(_ text: String) -> String { isColoured ? "\u{1b}[1;31m\(text)\u{1b}[0m" : text }
  func yellow(_ text: String) -> String { isColoured ? "\u{1b}[1;33m\(text)\u{1b}[0m" : text }
  func green(_ text: String) -> String { isColoured ? "\u{1b}[32m\(text)\u{1b}[0m" : text }
  func bold(_ text: String) -> String { isColoured ? "\u{1b}[1m\(text)\u{1b}[0m" : text }

  /// The text in lines that fit, each indented; words are never cut, so addresses stay whole.
  func wrapped(_ text: String, indent: Int) -> [String] {
    let margin = String(repeating: " ", count: indent)
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty, indent + line.count + 1 + word.count > width {
        lines.append(margin + line)
        line = ""
      }
      line += (line.isEmpty ? "" : " ") + word
    }
    if !line.isEmpty { lines.append(margin + line) }
    return lines
  }
}

extension String {
  /// The text filled up with blanks to a width.
  func padded(_ width: Int) -> String {
    count >= width ? self : self + String(repeating: " ", count: width - count)
  }

  /// The text with blanks before it up to a width.
  func paddedLeft(_ width: Int) -> String {
    count >= width ? self : String(repeating: " ", count: width - count) + self
  }
}
