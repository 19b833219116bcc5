/// What a message gives away about the tool that wrote it.
///
/// Evidence and no proof: every text of a message can be chosen by its sender.
public struct Fingerprint: Sendable, Hashable {
  /// How much it says.
  public enum Kind: String, Sendable, Hashable, Codable, CaseIterable {
    /// A scanner's or password cracker's own mark.
    case scanner
    /// A program for tests and load that has no business with a stranger's server.
    case testTool = "test-tool"
    /// A name that scanners are known to borrow or to be built on; telephones may carry it too.
    case borrowed
    /// A habit, not a name: weak by itself.
    case habit
  }

  /// A stable name: `sipvicious-agent`.
  public var id: String
  /// The tool, as people call it.
  public var tool: String
  /// How much it says.
  public var kind: Kind
  /// What is looked for.
  public var trait: Trait
  /// Where it is documented.
  public var sources: [String]

  /// Something to look for in a head.
  public enum Trait: Sendable, Hashable {
    /// User-Agent (or Server) begins with it, whatever the case.
    case agentBegins(String)
    /// User-Agent is exactly it, whatever the case.
    case agentIs(String)
    /// The display name of From or To is it, whatever the case.
    case displayName(String)
    /// A URI with this user at this host, in the given headers or the Request-URI.
    case uri(user: String?, host: String, in: [String])
    /// The host of any URI or of Via is one of these.
    case host([String])
    /// From's tag is hexadecimal for `TEXT 0x01 DIGITS`, as SIPVicious' `createTag` writes it.
    case hexTag
    /// From's tag is exactly it.
    case tagIs(String)
    /// From's tag contains it.
    case tagContains(String)
    /// A header of this name is exactly it.
    case header(String, is: String)
    /// The way SIPVicious numbers branch, Call-ID and CSeq, whatever it calls itself.
    case sipviciousNumbers
    /// The User-Agent is exactly it, and the branch lacks RFC 3261's cookie or From its tag.
    case agentWithoutCookieOrTag(String)
  }
}

/// A fingerprint found in a message.
public struct FingerprintMatch: Sendable, Hashable {
  /// Which.
  public var fingerprint: Fingerprint
  /// The header it was found in, or `Request-URI`.
  public var place: String
  /// What was found there, as written; not escaped for terminals.
  public var text: String
}

extension Fingerprint {
  /// All fingerprints of the table that a message shows, in the table's order.
  public static func matches(in head: MessageHead) -> [FingerprintMatch] {
    let uris = Trait.uris(head)
    return table.compactMap { entry in
      entry.trait.found(in: head, uris: uris).map {
        FingerprintMatch(fingerprint: entry, place: $0.place, text: $0.text)
      }
    }
  }
}

extension Fingerprint.Trait {
  /// Where a head shows it, and with what.
  func found(
    in head: MessageHead, uris: [(String, URI)]
  ) -> (place: String, text: String)? {
    switch self {
    case .agentBegins(let text): return agent(head) { $0.begins(with: text) }
    case .agentIs(let text): return agent(head) { $0.isSame(as: text) }
    case .displayName(let name):
      for (place, party) in [("From", head.from), ("To", head.to)] {
        if let shown = party?.displayName, shown.lowercased() == name.lowercased() {
          return (place, shown)
        }
      }
      return nil
    case .uri(let user, let host, let places):
      for (place, uri) in uris where places.contains(place) {
        if uri.host?.lowercased() == host, user == nil || uri.user == user {
          return (place, uri.text)
        }
      }
      return nil
    case .host(let hosts):
      for (place, uri) in uris {
        if let host = uri.host?.lowercased(), hosts.contains(host) { return (place, uri.text) }
      }
      return head.vias.first { hosts.contains($0.host.lowercased()) }.map { ("Via", $0.sentBy) }
    case .hexTag: return head.from?.tag.flatMap(Self.unhexed).map { ("From tag", $0) }
    case .tagIs(let text): return tag(head) { $0 == text }
    case .tagContains(let text): return tag(head) { $0.contains(text) }
    case .header(let name, let text):
      guard let value = head.text(name), value == text else { return nil }
      return (name, value)
    case .sipviciousNumbers: return Self.numbers(head)
    case .agentWithoutCookieOrTag(let name):
      guard head.method != nil, let agent = head.text("User-Agent"), agent == name,
        let branch = head.vias.first?.branch
      else { return nil }
      let isOdd = !branch.lowercased().hasPrefix("z9hg4bk") || head.from?.tag == nil
      return isOdd ? ("User-Agent", agent) : nil
    }
  }

  private func agent(
    _ head: MessageHead, _ isIt: (Bytes) -> Bool
  ) -> (place: String, text: String)? {
    for place in ["User-Agent", "Server"] {
      if let field = head.field(place), isIt(field.value[...]) { return (place, field.text) }
    }
    return nil
  }

  private func tag(
    _ head: MessageHead, _ isIt: (String) -> Bool
  ) -> (place: String, text: String)? {
    guard let tag = head.from?.tag, isIt(tag) else { return nil }
    return ("From tag", tag)
  }

  /// Every URI that names somebody, with its place.
  static func uris(_ head: MessageHead) -> [(String, URI)] {
    var result: [(String, URI)] = []
    if let uri = head.requestURI { result.append(("Request-URI", uri)) }
    if let uri = head.from?.uri { result.append(("From", uri)) }
    if let uri = head.to?.uri { result.append(("To", uri)) }
    result += head.contacts.compactMap { contact in contact.uri.map { ("Contact", $0) } }
    return result
  }

  /// What a tag of SIPVicious says: the target it was made for, the extension, or name and password.
  static func unhexed(_ tag: String) -> String? {
    let digits = Array(tag.utf8)
    guard digits.count >= 6, digits.count % 2 == 0, digits.count <= 512 else { return nil }
    var bytes: [UInt8] = []
    for at in stride(from: 0, to: digits.count, by: 2) {
      guard let high = digits[at].hexValue, let low = digits[at + 1].hexValue else { return nil }
      bytes.append(high << 4 | low)
    }
    guard let mark = bytes.firstIndex(of: 1), mark > 0 else { return nil }
    let number = bytes[(mark + 1)...]
    guard (1...10).contains(number.count), number.allSatisfy(\.isDigit) else { return nil }
    let plain = bytes[..<mark].text
    // svmap: four bytes of address and a port, in hexadecimal.
    let target = Array(bytes[..<mark])
    if target.count == 12, let value = UInt64(plain, radix: 16) {
      let parts = [40, 32, 24, 16].map { String(value >> $0 & 0xff) }
      return "made for \(parts.joined(separator: ".")):\(value & 0xffff)"
    }
    return "made for \(plain)"
  }

  private static func numbers(_ head: MessageHead) -> (place: String, text: String)? {
    let cookie = "z9hG4bK-"
    guard let via = head.vias.first, let branch = via.branch, branch.hasPrefix(cookie),
      via.parameters.first(named: "rport") != nil, let call = head.text("Call-ID"),
      let sequence = head.sequence, (1...2).contains(sequence), head.text("Max-Forwards") == "70",
      head.text("Accept") == "application/sdp"
    else { return nil }
    let number = branch.utf8.dropFirst(cookie.utf8.count)
    guard (1...10).contains(number.count), number.allSatisfy(\.isDigit),
      (1...25).contains(call.utf8.count), call.utf8.allSatisfy(\.isDigit)
    else { return nil }
    return ("Via", branch)
  }
}
