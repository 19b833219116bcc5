public import Addressing

/// A trunk as it is configured: a host name or an address, with a port or without.
public struct TrunkName: Sendable, Hashable {
  /// The host name in lower case without the dot at its end, or the address.
  public var host: String
  /// The port; with one, SRV records are not asked for (RFC 3263, 4.2).
  public var port: UInt16?
  /// The address, where it is one.
  public var address: IPAddress? { IPAddress(host)?.unmapped }
}

extension TrunkName: LosslessStringConvertible {
  /// Reads `sip.example.net`, `sip.example.net:5061`, `192.0.2.5`, `2001:db8::5` or `[2001:db8::5]:5060`.
  public init?(_ description: String) {
    if let address = IPAddress(description) {
      self.init(host: address.unmapped.description, port: nil)
      return
    }
    if let end = Endpoint(description), end.port > 0 {
      self.init(host: end.address.unmapped.description, port: end.port)
      return
    }
    if description.hasPrefix("["), description.hasSuffix("]"),
      let address = IPAddress(String(description.dropFirst().dropLast())), address.family == .ipv6
    {
      self.init(host: address.unmapped.description, port: nil)
      return
    }
    let parts = description.split(separator: ":", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count) else { return nil }
    var port: UInt16?
    if parts.count == 2 {
      guard parts[1].utf8.allSatisfy({ (48...57).contains($0) }), let number = UInt16(parts[1]),
        number > 0
      else { return nil }
      port = number
    }
    guard let host = Self.hostName(String(parts[0])) else { return nil }
    self.init(host: host, port: port)
  }

  /// The host with its port, if it has one.
  public var description: String {
    guard let port else { return host }
    return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }

  /// A host name as DNS compares it, or `nil` when it is none.
  ///
  /// Letters, digits, hyphens and underscores; the last label is no number, so that a mistyped
  /// address is no name.
  static func hostName(_ text: String) -> String? {
    var name = text.lowercased()
    if name.hasSuffix(".") { name.removeLast() }
    let labels = name.split(separator: ".", omittingEmptySubsequences: false)
    guard name.utf8.count <= 253, let last = labels.last, !last.utf8.allSatisfy(Self.isDigit),
      labels.allSatisfy({ label in
        (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
          && label.utf8.allSatisfy { Self.isDigit($0) || $0 == 0x2d || $0 == 0x5f || isLetter($0) }
      })
    else { return nil }
    return name
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) }
  private static func isLetter(_ byte: UInt8) -> Bool { (97...122).contains(byte) }
}
