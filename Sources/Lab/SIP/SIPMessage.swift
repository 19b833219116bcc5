import Addressing

/// As much of a SIP message as the lab's endpoints need.
struct SIPMessage: Sendable {
  /// The first line.
  var start: String
  /// Header lines with their names in lower case and unabbreviated, in order.
  var headers: [(name: String, value: String)]

  /// Reads a message; `nil` unless the first line is a request's or a response's.
  init?(_ bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    var lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)[...]
    guard let first = lines.popFirst(), first.contains("SIP/2.0") else { return nil }
    start = String(first)
    headers = lines.prefix { !$0.isEmpty }.compactMap { line in
      guard let colon = line.firstIndex(of: ":") else { return nil }
      let name = line[..<colon].lowercased()
      let value = line[line.index(after: colon)...].drop { $0 == " " }
      return (Self.longNames[name] ?? name, String(value))
    }
  }

  private static let longNames = [
    "v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact",
  ]

  /// The method of a request, or `nil`.
  var method: String? {
    start.hasPrefix("SIP/2.0 ") ? nil : start.split(separator: " ").first.map(String.init)
  }

  /// The status of a response, or `nil`.
  var status: Int? {
    guard start.hasPrefix("SIP/2.0 ") else { return nil }
    return Int(start.dropFirst(8).prefix(3))
  }

  /// The first header of a name.
  func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

  /// Where the first Via wants the answer sent, whoever sent the request.
  var sentBy: Endpoint? {
    let words = header("via")?.split(separator: " ", maxSplits: 1) ?? []
    guard words.count == 2 else { return nil }
    let place = String(words[1].prefix { $0 != ";" })
    return Endpoint(place) ?? Endpoint(place + ":5060")
  }

  /// A request as a telephone or a scanner sends it.
  static func request(
    _ method: String, from local: Endpoint, to peer: Endpoint, callID: String,
    sentBy: Endpoint? = nil
  ) -> [UInt8] {
    let expires = method == "REGISTER" ? "\r\nExpires: 600" : ""
    let host = peer.address.family == .ipv4 ? "\(peer.address)" : "[\(peer.address)]"
    return Array(
      """
      \(method) sip:100@\(host) SIP/2.0\r
      Via: SIP/2.0/UDP \(sentBy ?? local);branch=z9hG4bK\(callID);rport\r
      Max-Forwards: 70\r
      From: <sip:lab@\(host)>;tag=\(callID)\r
      To: <sip:100@\(host)>\r
      Call-ID: \(callID)\r
      CSeq: 1 \(method)\r
      Contact: <sip:lab@\(local)>\(expires)\r
      Content-Length: 0\r
      \r

      """.utf8)
  }

  /// The answer to this request.
  func answer(_ status: Int, _ phrase: String) -> [UInt8] {
    var lines = ["SIP/2.0 \(status) \(phrase)"]
    for header in headers {
      switch header.name {
      case "via": lines.append("Via: \(header.value)")
      case "from": lines.append("From: \(header.value)")
      case "to":
        lines.append("To: \(header.value)\(header.value.contains(";tag=") ? "" : ";tag=pbx")")
      case "call-id": lines.append("Call-ID: \(header.value)")
      case "cseq": lines.append("CSeq: \(header.value)")
      // A registrar says for how long it keeps the binding.
      case "contact" where method == "REGISTER":
        lines.append("Contact: \(header.value);expires=600")
      default: break
      }
    }
    lines += ["Content-Length: 0", "", ""]
    return Array(lines.joined(separator: "\r\n").utf8)
  }
}
