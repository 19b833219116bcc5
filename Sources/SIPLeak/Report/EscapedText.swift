/// Text from outside made safe for a terminal: rule comments, chain names, host names, tool output.
///
/// A comment may hold a newline, ESC or invalid UTF-8 (facts H1) and would otherwise forge lines or
/// drive the terminal.
public enum EscapedText {
  /// The text with every character that is not plain printable replaced by `\n`, `\t`, `\r` or
  /// `\u{…}`; invalid UTF-8 has been replaced by U+FFFD when the text was made.
  public static func terminal(_ text: String) -> String {
    // Nearly all text is plain ASCII, and a report can have ten thousand lines of it.
    if text.utf8.allSatisfy({ (0x20..<0x7f).contains($0) }) { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\n": result.append(contentsOf: "\\n".unicodeScalars)
      case "\r": result.append(contentsOf: "\\r".unicodeScalars)
      case "\t": result.append(contentsOf: "\\t".unicodeScalars)
      default:
        if isPlain(scalar) {
          result.append(scalar)
        } else {
          let hex = String(scalar.value, radix: 16)
          result.append(contentsOf: "\\u{\(hex)}".unicodeScalars)
        }
      }
    }
    return String(result)
  }

  /// The text as one word of a `key=value` line: blanks, quotes and `=` are escaped as well.
  public static func word(_ text: String) -> String {
    // Printable ASCII, without the quote and the equals sign.
    if text.utf8.allSatisfy({ (0x21..<0x7f).contains($0) && $0 != 0x22 && $0 != 0x3d }) {
      return text
    }
    return terminal(text).unicodeScalars.map {
      " \"=".unicodeScalars.contains($0) ? "\\u{\(String($0.value, radix: 16))}" : String($0)
    }.joined()
  }

  /// The text as one word of a shell's command line.
  public static func shellWord(_ text: String) -> String {
    let isPlain =
      !text.isEmpty
      && text.utf8.allSatisfy { byte in
        switch byte {
        // % + - . / 0-9 : = @ A-Z _ a-z
        case 0x25, 0x2b, 0x2d...0x3a, 0x3d, 0x40...0x5a, 0x5f, 0x61...0x7a: true
        default: false
        }
      }
    return isPlain ? text : "'" + text.replacing("'", with: "'\\''") + "'"
  }

  /// Whether a character neither drives a terminal nor hides or turns around what stands beside it.
  static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    // Format characters turn reading direction around or are invisible; both can forge text.
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
      .paragraphSeparator:
      false
    default: true
    }
  }
}
