extension AuditJSON {
  /// Hands on what ``line()`` gives a piece at a time: ten thousand findings as one document take a
  /// hundred times the memory of one.
  ///
  /// - Parameter sink: Takes each piece.
  /// - Throws: What the encoder throws; our own documents never make it.
  public func write(to sink: @escaping (String) -> Void) throws {
    var frame = self
    frame.leavesFindingsOut = true
    let text = try frame.line()
    // Inside of a string the quotes would be escaped: this can only be the document's own key.
    let key = "\"findings\":["
    guard let place = text.firstRange(of: key + "]") else { return sink(try line()) }
    var piece = TextPiece(sink)
    piece.append(text[..<place.lowerBound] + key)
    var isFirst = true
    for finding in audit.findings {
      piece.append((isFirst ? "" : ",") + (try JSONLine.text(FindingJSON(finding)).dropLast()))
      isFirst = false
    }
    piece.append("]" + text[place.upperBound...])
    piece.finish()
  }
}
