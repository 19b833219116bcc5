import FoundationEssentials

/// One document on one line.
public enum JSONLine {
  /// The document with sorted keys and a newline.
  ///
  /// JSON itself lets DEL, C1 controls and bidirectional overrides through; here they are written
  /// as `\uXXXX`, which reads back the same and is safe on a terminal.
  ///
  /// - Parameter value: The document.
  /// - Returns: One line.
  /// - Throws: What the encoder throws; our own documents never make it.
  public static func text(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return escaped(try encoder.encode(value)) + "\n"
  }

  /// Encoded JSON with everything that is not plain text escaped.
  private static func escaped(_ json: Data) -> String {
    let text = String(decoding: json, as: UTF8.self)
    // Nearly always there is nothing to do; the encoder escapes what is below a blank itself.
    if json.allSatisfy({ $0 < 0x7f }) { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      // Outside of strings JSON is ASCII, and what stands inside raw is no part of an escape.
      guard !EscapedText.isPlain(scalar) else {
        result.append(scalar)
        continue
      }
      for unit in String(scalar).utf16 {
        let hex = String(unit, radix: 16)
        result.append(
          contentsOf: ("\\u" + String(repeating: "0", count: 4 - hex.count) + hex).unicodeScalars)
      }
    }
    return String(result)
  }
}
