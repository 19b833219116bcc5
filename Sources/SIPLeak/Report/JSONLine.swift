import FoundationEssentials

/// One document on one line.
public enum JSONLine {
  /// The document with sorted keys and a newline.
  ///
  /// - Parameter value: The document.
  /// - Returns: One line.
  /// - Throws: What the encoder throws; our own documents never make it.
  public static func text(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
  }
}
