import Addressing

extension TrustList {
  /// Reads what `pjsip show contacts` prints.
  ///
  /// A line is `Contact:  AOR/URI HASH STATUS RTT`, the first two in a field of fixed width: a URI
  /// that fills it may have been cut, and its host is only known where something follows it.
  mutating func readContacts(_ lines: [Line]) throws(Problem) {
    for (index, line) in lines.enumerated() {
      guard line.words.first?.text == "Contact:" else { continue }
      let number = index + 1
      let rest = line.bytes.dropFirst(line.words[0].column - 1 + "Contact:".utf8.count)
        .drop(while: { $0 == 0x20 })
      let text = String(decoding: rest, as: UTF8.self)
      if text.hasPrefix("<Aor/ContactUri") { continue }
      guard let scheme = text.ranges(of: "sip:").first ?? text.ranges(of: "sips:").first else {
        throw Problem(
          line: number, column: line.words[0].column, what: "a contact without a SIP URI",
          expected: "AOR/sip:USER@HOST:PORT")
      }
      let tail = text[scheme.upperBound...]
      let end = tail.firstIndex(of: " ") ?? tail.endIndex
      let uri = tail[..<end]
      let gap = tail[end...].prefix { $0 == " " }.count
      guard let host = Self.host(of: uri) else {
        cutOff.append(number)
        continue
      }
      // One blank only: the field is full.
      if gap < 2, !host.isDelimited {
        cutOff.append(number)
        continue
      }
      entries.append(
        Entry(
          subject: try Self.contact(host.text, line: number, column: line.words[0].column),
          isContact: true, line: number))
    }
  }

  /// Reads what `sip show peers` prints: the host stands under its heading.
  mutating func readPeers(
    _ lines: [Line], after heading: Int, _ column: Int
  ) throws(Problem) {
    for (index, line) in lines.enumerated() where index > heading {
      guard line.words.count > 1, !line.text.contains(" sip peers [") else { continue }
      // The name before it is cut to its column, and may hold blanks.
      guard let word = line.words.first(where: { $0.column == column }) else {
        throw Problem(
          line: index + 1, column: min(column, line.bytes.count + 1), what: "no host in its column",
          expected: "an address, a host name or (Unspecified) under \"Host\"")
      }
      if word.text == "(Unspecified)" || word.text == "(null)" { continue }
      // The column is 39 wide.
      if word.text.utf8.count >= 39, IPAddress(word.text) == nil {
        cutOff.append(index + 1)
        continue
      }
      entries.append(
        Entry(
          subject: try Self.contact(word.text, line: index + 1, column: column), isContact: true,
          line: index + 1))
    }
  }

  private static func contact(
    _ host: String, line: Int, column: Int
  ) throws(Problem) -> Entry.Subject {
    if let address = IPAddress(host) { return .prefix(IPPrefix(address.unmapped)) }
    guard let name = TrunkName(host) else {
      throw Problem(
        line: line, column: column, what: "\"\(host)\" is no host",
        expected: "an address or a host name")
    }
    return .name(name)
  }

  /// The host of a SIP URI without its scheme, and whether something that ends it stands behind it.
  private static func host(of uri: Substring) -> (text: String, isDelimited: Bool)? {
    // Parameters may hold an @ as well; the user part ends before them.
    let head = uri.firstIndex(of: ";").map { uri[..<$0] } ?? uri
    var host = head.lastIndex(of: "@").map { uri[uri.index(after: $0)...] } ?? uri
    if !head.contains("@"), let at = uri.firstIndex(of: "@") {
      // A user part with parameters of its own.
      host = uri[uri.index(after: at)...]
    }
    if host.first == "[" {
      guard let close = host.firstIndex(of: "]") else { return nil }
      return (String(host[host.index(after: host.startIndex)..<close]), true)
    }
    let end = host.firstIndex { ":;>?".contains($0) }
    let text = host[..<(end ?? host.endIndex)]
    return text.isEmpty ? nil : (String(text), end != nil)
  }
}
