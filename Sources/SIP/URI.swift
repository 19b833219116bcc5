public import Addressing

/// A URI of a SIP message: `sip:`, `sips:`, `tel:`, or any other scheme.
///
/// What attackers write is read as far as it goes; ``isWellFormed`` says whether RFC 3261 §25.1 (for
/// `tel:` RFC 3966) allows it. Nothing is unescaped except where a name says so.
public struct URI: Sendable, Hashable {
  /// As it stands in the message, without brackets; invalid UTF-8 is replaced.
  public var text: String
  /// The scheme in lower case; empty when there is none.
  public var scheme: String
  /// The user, or the number of a `tel:` URI, as written.
  public var user: String?
  /// The password behind the user, as written.
  public var password: String?
  /// The host without brackets.
  public var host: String?
  /// The host as an address, if it is one.
  public var address: IPAddress?
  /// The port.
  public var port: UInt16?
  /// The parameters in order.
  public var parameters: [Parameter]
  /// What stands behind `?`, as written.
  public var headers: String?
  /// Whether the RFC allows it as it is written.
  public var isWellFormed: Bool

  /// The user with its percent escapes resolved.
  public var decodedUser: String? {
    user.map { String(decoding: Array($0.utf8)[...].percentDecoded, as: UTF8.self) }
  }

  /// Whether it is a `sip:` or `sips:` URI.
  public var isSIP: Bool { scheme == "sip" || scheme == "sips" }

  /// The port requests go to: the one named, else the scheme's.
  public var effectivePort: UInt16? {
    guard isSIP else { return nil }
    return port ?? (scheme == "sips" ? 5061 : 5060)
  }
}

extension URI {
  /// Reads a URI.
  ///
  /// - Parameter bytes: All of it, without brackets.
  init(_ bytes: Bytes) {
    text = bytes.text
    scheme = ""
    parameters = []
    isWellFormed = false
    guard let colon = bytes.firstIndex(of: 0x3a), Self.isScheme(bytes[..<colon]) else { return }
    scheme = bytes[..<colon].text.lowercased()
    let rest = bytes[(colon + 1)...]
    isWellFormed = !rest.isEmpty && rest.allSatisfy { (0x21...0x7e).contains($0) }
    switch scheme {
    case "sip", "sips": readSIP(rest)
    case "tel": readTelephone(rest)
    default:
      if rest.contains(where: { "<>\"".utf8.contains($0) }) { isWellFormed = false }
    }
  }

  private static func isScheme(_ name: Bytes) -> Bool {
    guard let first = name.first, first.isLetter else { return false }
    return name.allSatisfy { $0.isLetter || $0.isDigit || "+-.".utf8.contains($0) }
  }

  private mutating func readSIP(_ rest: Bytes) {
    var place = rest
    // A user may hold `;`, `?` and `/` but never `@`.
    if let at = rest.lastIndex(of: 0x40) {
      let info = rest[..<at]
      place = rest[(at + 1)...]
      let colon = info.firstIndex(of: 0x3a)
      let name = info[..<(colon ?? info.endIndex)]
      user = name.text
      check(name, allowing: "&=+$,;?/")
      if name.isEmpty { isWellFormed = false }
      if let colon {
        let secret = info[(colon + 1)...]
        password = secret.text
        check(secret, allowing: "&=+$,")
      }
    }
    if let mark = place.firstIndex(of: 0x3f) {
      let fields = place[(mark + 1)...]
      headers = fields.text
      check(fields, allowing: "[]/?:+$&=")
      place = place[..<mark]
    }
    let end = place.firstIndex(of: 0x3b) ?? place.endIndex
    readHost(place[..<end])
    if end < place.endIndex { readParameters(place[(end + 1)...]) }
  }

  private mutating func readTelephone(_ rest: Bytes) {
    let end = rest.firstIndex(of: 0x3b) ?? rest.endIndex
    let digits = rest[..<end]
    user = digits.text
    let known = "+-.()*#".utf8
    if digits.isEmpty || !digits.allSatisfy({ $0.hexValue != nil || known.contains($0) }) {
      isWellFormed = false
    }
    if end < rest.endIndex { readParameters(rest[(end + 1)...]) }
  }

  private mutating func readHost(_ bytes: Bytes) {
    guard let place = HostPort(bytes) else {
      host = bytes.isEmpty ? nil : bytes.text
      isWellFormed = false
      return
    }
    host = place.host
    address = place.address
    port = place.port
    if !place.isWellFormed { isWellFormed = false }
  }

  private mutating func readParameters(_ bytes: Bytes) {
    let list = Parameter.list(bytes)
    parameters = list.parameters
    if !list.problems.isEmpty { isWellFormed = false }
    check(bytes, allowing: "[]/:&+$;=")
  }

  /// Whether a part holds nothing but unreserved characters, escapes and some others.
  private mutating func check(_ part: Bytes, allowing others: String) {
    let isFine = part.allSatisfy {
      $0.isLetter || $0.isDigit || "-_.!~*'()%".utf8.contains($0) || others.utf8.contains($0)
    }
    if !isFine || !part.hasOnlyWholeEscapes { isWellFormed = false }
  }
}

/// A host with an optional port, as in URIs and Via.
struct HostPort {
  var host: String
  var address: IPAddress?
  var port: UInt16?
  var isWellFormed = true

  /// Reads `host`, `host:port`, `192.0.2.5:5060` or `[2001:db8::5]:5060`; `nil` when there is none.
  init?(_ bytes: Bytes) {
    let bytes = bytes.trimmed
    guard !bytes.isEmpty else { return nil }
    var rest: Bytes
    if bytes.first == 0x5b, let end = bytes.firstIndex(of: 0x5d) {
      host = bytes[(bytes.startIndex + 1)..<end].text
      rest = bytes[(end + 1)...]
      address = IPAddress(host)
      if address?.family != .ipv6 {
        address = nil
        isWellFormed = false
      }
    } else {
      let end = bytes.firstIndex(of: 0x3a) ?? bytes.endIndex
      let name = bytes[..<end].trimmed
      guard !name.isEmpty else { return nil }
      host = name.text
      rest = bytes[end...]
      address = IPAddress(host)
      // An underscore is no part of a host name and common in private ones.
      if !name.allSatisfy({ $0.isLetter || $0.isDigit || "-._".utf8.contains($0) }) {
        isWellFormed = false
      }
    }
    rest = rest.trimmed
    guard !rest.isEmpty else { return }
    let digits = rest.dropFirst().trimmed
    port = digits.count <= 5 ? digits.number.flatMap(UInt16.init(exactly:)) : nil
    if rest.first != 0x3a || port == nil { isWellFormed = false }
  }
}
