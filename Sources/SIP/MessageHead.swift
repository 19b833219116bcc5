/// The head of a SIP message as it was found, with everything that is wrong about it.
///
/// A reader for evidence, not for a telephone system: it takes what attackers write (leading line
/// breaks, bare LF, missing headers, lower-case methods) and says what is wrong instead of refusing.
/// Memory is bounded by the input: at most 256 headers, 64 values of a header, 64 parameters of a
/// value are read. RFC 3261; tested on RFC 4475.
public struct MessageHead: Sendable, Hashable {
  /// The start line.
  public enum Start: Sendable, Hashable {
    /// A request: the method as written and the Request-URI.
    case request(method: String, uri: URI)
    /// A response: the status and its phrase.
    case response(status: Int, phrase: String)
  }

  /// The start line, read.
  public var start: Start
  /// The start line as written.
  public var startLine: String
  /// The headers in order.
  public var fields: [HeaderField]
  /// The first From.
  public var from: NameAddress?
  /// The first To.
  public var to: NameAddress?
  /// All values of Contact.
  public var contacts: [NameAddress]
  /// All values of Via, the sender's own first.
  public var vias: [ViaHop]
  /// The number of CSeq.
  public var sequence: UInt32?
  /// The method of CSeq.
  public var sequenceMethod: String?
  /// Line breaks before the start line: allowed, and a known way around filters that look at the
  /// first bytes.
  public var leadingBreaks: Int
  /// How many bytes the head has, the blank line included.
  public var length: Int
  /// What is wrong; empty for a message that RFC 3261 allows.
  public var problems: [Problem]

  /// Whether RFC 3261 allows it, messages as RFC 2543 wrote them included.
  public var isValid: Bool { problems.allSatisfy(\.isOldStyle) }

  /// The method, or `nil` for a response.
  public var method: String? {
    if case .request(let method, _) = start { method } else { nil }
  }

  /// The Request-URI, or `nil` for a response.
  public var requestURI: URI? {
    if case .request(_, let uri) = start { uri } else { nil }
  }

  /// The status, or `nil` for a request.
  public var status: Int? {
    if case .response(let status, _) = start { status } else { nil }
  }

  /// The first header of a name, given in full and in its usual case.
  public func field(_ name: String) -> HeaderField? { fields.first { $0.name == name } }

  /// The text of the first header of a name.
  public func text(_ name: String) -> String? { field(name)?.text }

  /// What the sender calls itself: User-Agent, or Server in a response.
  public var agent: String? { text("User-Agent") ?? text("Server") }
}

extension MessageHead {
  /// Reads the head of a message.
  ///
  /// - Parameters:
  ///   - bytes: A datagram's payload, or a stream from a message's first byte on.
  ///   - isWhole: Whether the body is there to its end; else its length is not checked.
  /// - Returns: The head, or `nil` for what does not begin as a SIP message at all.
  public static func parse(_ bytes: [UInt8], isWhole: Bool = true) -> MessageHead? {
    let lines = HeadLines(bytes[...])
    guard let first = lines.lines.first?[...] else { return nil }
    var problems: [Problem] = []
    guard let start = startLine(first, &problems) else { return nil }
    var head = MessageHead(
      start: start, startLine: first.text, fields: [], from: nil, to: nil, contacts: [], vias: [],
      sequence: nil, sequenceMethod: nil, leadingBreaks: lines.leadingBreaks,
      length: lines.length, problems: [])
    for line in lines.lines.dropFirst() { head.read(line[...], &problems) }
    head.readParties(&problems)
    head.check(bodyLength: isWhole ? bytes.count - lines.length : nil, &problems)
    var seen: Set<Problem> = []
    let all = lines.problems.sorted { $0.description < $1.description } + problems
    head.problems = all.filter { seen.insert($0).inserted }
    return head
  }

  /// The methods with a name: RFC 3261, 3262, 3265, 3311, 3428, 3515, 3903, 6086.
  static let methods: Set<String> = [
    "ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "PRACK", "PUBLISH",
    "REFER", "REGISTER", "SUBSCRIBE", "UPDATE",
  ]

  /// Reads a start line; `nil` for a line of something else than SIP.
  private static func startLine(_ line: Bytes, _ problems: inout [Problem]) -> Start? {
    line.begins(with: "SIP/") ? statusLine(line, &problems) : requestLine(line, &problems)
  }

  private static func statusLine(_ line: Bytes, _ problems: inout [Problem]) -> Start? {
    let parts = line.split(separator: 0x20, maxSplits: 2, omittingEmptySubsequences: false)
    if !parts[0].isSame(as: "SIP/2.0") { problems.append(.unsupportedVersion) }
    guard parts.count >= 2 else { return nil }
    var rest = line[parts[0].endIndex...].trimmed
    let digits = rest.prefix { $0.isDigit }
    guard !digits.isEmpty else { return nil }
    if parts.count < 3 || parts[1].count != digits.count { problems.append(.startLineSpacing) }
    rest = rest[digits.endIndex...]
    let status = digits.number.flatMap(Int.init(exactly:)) ?? .max
    if digits.count != 3 || !(100...699).contains(status) { problems.append(.statusOutOfRange) }
    return .response(status: status, phrase: rest.trimmed.text)
  }

  private static func requestLine(_ line: Bytes, _ problems: inout [Problem]) -> Start? {
    var rest = line.trimmed
    var isSpaced = rest.count == line.count
    let method = rest.prefix { !$0.isBlank }
    rest = rest[method.endIndex...]
    let isKnown = methods.contains(method.text.uppercased())
    var version: Bytes?
    if let blank = rest.lastIndex(where: \.isBlank), rest[(blank + 1)...].begins(with: "SIP/") {
      version = rest[(blank + 1)...]
      rest = rest[..<blank]
    }
    // Something else than SIP may begin with a word and blanks; a version or a method tells.
    guard version != nil || isKnown, !rest.trimmed.isEmpty || version != nil else { return nil }
    if let version {
      if !version.isSame(as: "SIP/2.0") { problems.append(.unsupportedVersion) }
    } else {
      problems.append(.missingVersion)
    }
    if rest.count != rest.trimmed.count + 1 || rest.first != 0x20 { isSpaced = false }
    if !isSpaced { problems.append(.startLineSpacing) }
    if !method.allSatisfy(\.isToken) { problems.append(.malformedMethod) }
    if isKnown, !methods.contains(method.text) { problems.append(.methodCase) }
    return .request(method: method.text, uri: requestURI(rest.trimmed, &problems))
  }

  private static func requestURI(_ bytes: Bytes, _ problems: inout [Problem]) -> URI {
    var inside = bytes
    if bytes.first == 0x3c, bytes.last == 0x3e, bytes.count >= 2 {
      inside = bytes.dropFirst().dropLast()
    }
    let uri = URI(inside)
    if !uri.isWellFormed || inside.count != bytes.count {
      problems.append(.malformedURI(in: "the Request-URI"))
    }
    if uri.headers != nil { problems.append(.misplacedURI(in: "the Request-URI")) }
    return uri
  }

  private mutating func read(_ line: Bytes, _ problems: inout [Problem]) {
    guard let colon = line.firstIndex(of: 0x3a) else {
      problems.append(.malformedLine)
      return
    }
    let name = line[..<colon].trimmed
    guard !name.isEmpty, name.allSatisfy(\.isToken) else {
      problems.append(.malformedLine)
      return
    }
    let value = line[(colon + 1)...].trimmed
    // A quoted string may hold any byte behind a backslash, so NUL alone proves nothing (RFC 4475
    // §3.1.1.2); outside of quotes it is wrong.
    if value.contains(where: { $0 < 0x20 && $0 != 0x09 || $0 == 0x7f }), !value.contains(0x5c) {
      problems.append(.controlCharacter)
    }
    let written = name.text
    fields.append(
      HeaderField(
        name: HeaderField.canonical(written), writtenName: written, value: Array(value)))
  }

  /// The most values that are read of a header that may have several.
  private static let mostValues = 64

  private mutating func readParties(_ problems: inout [Problem]) {
    for field in fields {
      let value = field.value[...]
      switch field.name {
      case "From" where from == nil:
        from = NameAddress(value, of: "From", problems: &problems)
      case "To" where to == nil:
        to = NameAddress(value, of: "To", problems: &problems)
      case "Contact":
        for part in Self.values(value, room: Self.mostValues - contacts.count, &problems) {
          if let contact = NameAddress(part, of: "Contact", problems: &problems) {
            contacts.append(contact)
          }
        }
      case "Via":
        for part in Self.values(value, room: Self.mostValues - vias.count, &problems) {
          if let via = ViaHop(part, problems: &problems) { vias.append(via) }
        }
      default: break
      }
    }
  }

  private static func values(
    _ value: Bytes, room: Int, _ problems: inout [Problem]
  ) -> ArraySlice<Bytes> {
    guard room > 0 else {
      problems.append(.tooMuch)
      return []
    }
    let parts = value.split(at: 0x2c, most: room + 1)
    if parts.count > room { problems.append(.tooMuch) }
    return parts.prefix(room)
  }
}
