/// One `;name=value` of a header or URI.
public struct Parameter: Sendable, Hashable {
  /// The name as written.
  public var name: String
  /// The value without quotes, or `nil` when there is none.
  public var value: String?

  /// The most that are read of one value.
  static let most = 64

  /// Reads what stands behind the first `;`.
  ///
  /// - Parameter bytes: Everything between parameters, without the leading `;`.
  /// - Returns: The parameters, and whether some were malformed or too many.
  static func list(_ bytes: Bytes) -> (parameters: [Parameter], problems: Set<Fault>) {
    var parameters: [Parameter] = []
    var problems: Set<Fault> = []
    let parts = bytes.split(at: 0x3b, heedingBrackets: false, most: most + 1)
    if parts.count > most { problems.insert(.tooMany) }
    for part in parts.prefix(most) {
      let part = part.trimmed
      let equals = part.firstIndex(of: 0x3d)
      let name = part[..<(equals ?? part.endIndex)].trimmed
      guard !name.isEmpty else {
        problems.insert(.malformed)
        continue
      }
      if name.contains(where: { $0.isBlank || $0 == 0x22 || $0 == 0x3c || $0 == 0x3e }) {
        problems.insert(.malformed)
      }
      var value: String?
      if let equals {
        let bytes = part[(equals + 1)...].trimmed
        value = bytes.unquoted.text
        let isQuoted = bytes.count >= 2 && bytes.first == 0x22 && bytes.last == 0x22
        if bytes.isEmpty || !isQuoted && bytes.contains(where: { $0.isBlank || $0 == 0x22 }) {
          problems.insert(.malformed)
        }
      }
      parameters.append(Parameter(name: name.text, value: value))
    }
    return (parameters, problems)
  }

  /// What was wrong with a list.
  enum Fault {
    case malformed
    case tooMany

    func problem(in place: String) -> Problem {
      self == .malformed ? .malformedParameters(in: place) : .tooMuch
    }
  }
}

extension [Parameter] {
  /// The first parameter of a name, whatever its case.
  func first(named name: String) -> Parameter? {
    first { $0.name.lowercased() == name }
  }
}
