/// What RFC 3261 demands of a head beyond its grammar.
extension MessageHead {
  /// Headers that may stand once.
  private static let single = [
    "Call-ID", "CSeq", "Content-Length", "From", "Max-Forwards", "To",
  ]

  mutating func check(bodyLength: Int?, _ problems: inout [Problem]) {
    var required = ["Call-ID", "CSeq", "From", "To", "Via"]
    if method != nil { required.append("Max-Forwards") }
    let names = Set(fields.map(\.name))
    problems += required.filter { !names.contains($0) }.map(Problem.missingHeader)
    for name in Self.single where fields.count(where: { $0.name == name }) > 1 {
      problems.append(.repeatedHeader(name))
    }
    checkSequence(&problems)
    checkNumbers(bodyLength: bodyLength, &problems)
    if let from, from.tag == nil { problems.append(.missingParameter("tag", of: "From")) }
    if let via = vias.first {
      // RFC 3261 §8.1.1.7.
      if via.branch == nil { problems.append(.missingParameter("branch", of: "Via")) }
      if via.branch?.lowercased() == "z9hg4bk" { problems.append(.emptyBranch) }
    }
    // RFC 3261 §20.17: the time zone is GMT alone.
    if let date = field("Date")?.value, !date.suffix(4).elementsEqual(" GMT".utf8) {
      problems.append(.malformedHeader("Date"))
    }
    if let warning = field("Warning")?.value, warning.prefix(while: \.isDigit).count != 3 {
      problems.append(.malformedHeader("Warning"))
    }
  }

  private mutating func checkSequence(_ problems: inout [Problem]) {
    guard let value = field("CSeq")?.value[...] else { return }
    let digits = value.prefix { $0.isDigit }
    let name = value[digits.endIndex...].trimmed
    guard !digits.isEmpty, !name.isEmpty, value[digits.endIndex].isBlank,
      name.allSatisfy(\.isToken)
    else {
      problems.append(.malformedHeader("CSeq"))
      return
    }
    // RFC 3261 §8.1.1.5.
    sequence = digits.number.flatMap(UInt32.init(exactly:)).flatMap { $0 < 1 << 31 ? $0 : nil }
    if sequence == nil { problems.append(.numberOutOfRange(in: "CSeq")) }
    sequenceMethod = name.text
    if let method, method != sequenceMethod { problems.append(.methodMismatch) }
  }

  private func checkNumbers(bodyLength: Int?, _ problems: inout [Problem]) {
    let limits: [(String, UInt64)] = [
      ("Max-Forwards", 255), ("Expires", UInt64(UInt32.max)),
      ("Content-Length", UInt64(UInt32.max)),
    ]
    for (name, limit) in limits {
      guard let value = field(name)?.value[...] else { continue }
      if value.isEmpty || !value.allSatisfy(\.isDigit) {
        problems.append(.malformedHeader(name))
      } else if value.number ?? .max > limit {
        problems.append(.numberOutOfRange(in: name))
      }
    }
    if let value = field("Retry-After")?.value[...],
      value.prefix(while: \.isDigit).number ?? .max > limits[1].1
    {
      problems.append(.numberOutOfRange(in: "Retry-After"))
    }
    for contact in contacts {
      if let expires = contact.parameters.first(named: "expires")?.value,
        Array(expires.utf8)[...].number ?? .max > limits[1].1
      {
        problems.append(.numberOutOfRange(in: "Contact"))
      }
    }
    if let bodyLength, let length = field("Content-Length")?.value[...].number,
      length > UInt64(max(0, bodyLength))
    {
      problems.append(.shortBody)
    }
  }
}
