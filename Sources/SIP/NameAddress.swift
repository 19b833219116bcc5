/// A party: an optional display name, a URI and parameters, as in From, To and Contact.
public struct NameAddress: Sendable, Hashable {
  /// The display name without quotes, or `nil` when there is none.
  public var displayName: String?
  /// The URI; `nil` for the `*` of a Contact.
  public var uri: URI?
  /// The header's parameters in order.
  public var parameters: [Parameter]
  /// The whole value as written, unfolded.
  public var text: String

  /// The `tag` parameter.
  public var tag: String? { parameters.first(named: "tag")?.value }
}

extension NameAddress {
  /// Reads one value.
  ///
  /// - Parameters:
  ///   - bytes: The value.
  ///   - header: The header it is of.
  ///   - problems: What is wrong with it is added here.
  init?(_ bytes: Bytes, of header: String, problems: inout [Problem]) {
    let bytes = bytes.trimmed
    text = bytes.text
    parameters = []
    guard !bytes.isEmpty else {
      problems.append(.malformedHeader(header))
      return nil
    }
    if header == "Contact", bytes.elementsEqual([0x2a]) { return }
    var rest: Bytes
    if let open = Self.bracket(in: bytes, header, &problems) {
      readName(bytes[..<open].trimmed, header, &problems)
      let close = bytes[open...].firstIndex(of: 0x3e)
      let inside = bytes[(open + 1)..<(close ?? bytes.endIndex)]
      if close == nil { problems.append(.malformedURI(in: header)) }
      if inside.trimmed.count != inside.count { problems.append(.malformedURI(in: header)) }
      setURI(inside.trimmed, header, &problems)
      rest = close.map { bytes[($0 + 1)...] } ?? []
    } else {
      // Without brackets everything behind `;` belongs to the header (RFC 3261 §20.10).
      let end = bytes.firstIndex(of: 0x3b) ?? bytes.endIndex
      setURI(bytes[..<end].trimmed, header, &problems)
      if let uri, uri.headers != nil || bytes[..<end].contains(0x2c) {
        problems.append(.misplacedURI(in: header))
      }
      rest = bytes[end...]
    }
    rest = rest.trimmed
    guard !rest.isEmpty else { return }
    if rest.first == 0x3b {
      rest.removeFirst()
    } else {
      problems.append(.malformedParameters(in: header))
    }
    let list = Parameter.list(rest)
    parameters = list.parameters
    problems += list.problems.map { $0.problem(in: header) }
  }

  /// Where the bracket of the URI opens; one inside a quoted name is none.
  private static func bracket(
    in bytes: Bytes, _ header: String, _ problems: inout [Problem]
  ) -> Int? {
    var from = bytes.startIndex
    if bytes.first == 0x22 {
      if let end = bytes.closingQuote(from: from) {
        from = end
      } else {
        problems.append(.unbalancedQuote(in: header))
      }
    }
    return bytes[from...].firstIndex(of: 0x3c)
  }

  private mutating func readName(_ name: Bytes, _ header: String, _ problems: inout [Problem]) {
    guard !name.isEmpty else { return }
    displayName = name.unquoted.text
    if name.first == 0x22 {
      if let end = name.closingQuote(from: name.startIndex), end + 1 != name.endIndex {
        problems.append(.malformedDisplayName(in: header))
      }
    } else if !name.allSatisfy({ $0.isToken || $0.isBlank }) {
      problems.append(.malformedDisplayName(in: header))
    }
  }

  private mutating func setURI(_ bytes: Bytes, _ header: String, _ problems: inout [Problem]) {
    let uri = URI(bytes)
    if !uri.isWellFormed { problems.append(.malformedURI(in: header)) }
    self.uri = uri
  }
}
