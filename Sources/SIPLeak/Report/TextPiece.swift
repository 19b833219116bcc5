/// Text on its way out, handed on whenever enough of it has come together: a write a line would be
/// slow, all of it at once large.
struct TextPiece {
  private static let size = 32 * 1024

  private var text = ""
  private let sink: (String) -> Void

  init(_ sink: @escaping (String) -> Void) {
    self.sink = sink
  }

  /// Adds to the text.
  mutating func append(_ more: String) {
    text += more
    if text.utf8.count >= Self.size { finish() }
  }

  /// Hands on what is left.
  mutating func finish() {
    if !text.isEmpty { sink(text) }
    text.removeAll(keepingCapacity: true)
  }
}
