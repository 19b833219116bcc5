public import Addressing

/// What is asked of a name server.
public struct DNSQuestion: Sendable, Hashable {
  /// A kind of record.
  public enum Kind: UInt16, Sendable, Hashable, CaseIterable {
    /// An IPv4 address.
    case a = 1
    /// An IPv6 address.
    case aaaa = 28
    /// A service's host and port (RFC 2782).
    case srv = 33
    /// A rule that leads to services (RFC 3403).
    case naptr = 35
  }

  /// The name, in lower case, without the dot at its end.
  public var name: String
  /// The kind of record.
  public var kind: Kind

  /// Makes a question.
  public init(_ name: String, _ kind: Kind) {
    self.name = name
    self.kind = kind
  }
}

/// What a name server answered.
public struct DNSAnswer: Sendable, Hashable {
  /// A record that was asked for.
  public enum Record: Sendable, Hashable {
    /// An address.
    case address(IPAddress)
    /// A service's host and port; the empty host says that there is no such service.
    case service(host: String, port: UInt16)
    /// A rule of the given flags (`s`, `a`, `u`) and service, such as `SIP+D2U`.
    case rule(flags: String, service: String, replacement: String)
  }

  /// The records, in the order they came.
  public var records: [Record]
  /// Whether the answer was cut off at a datagram's size; then it must be asked again by TCP.
  public var isTruncated: Bool
  /// The server's code: 0 there is such a name, 3 there is none, others are failures.
  public var code: UInt8

  /// Makes an answer.
  public init(records: [Record], isTruncated: Bool = false, code: UInt8 = 0) {
    self.records = records
    self.isTruncated = isTruncated
    self.code = code
  }

  /// Whether the server knows: it has the name, or it has none.
  public var isKnown: Bool { code == 0 || code == 3 }
}

/// DNS messages as bytes (RFC 1035), with hostile answers in mind.
package enum DNSMessage {
  /// The most records of an answer that are looked at.
  static let mostRecords = 256
  /// The most labels and pointers of one name.
  static let mostSteps = 128

  /// The query for one question, recursion wanted.
  package static func query(_ question: DNSQuestion, id: UInt16) -> [UInt8] {
    var bytes: [UInt8] = big(id) + [0x01, 0x00] + big(1) + big(0) + big(0) + big(0)
    for label in question.name.utf8.split(separator: 0x2e) {
      bytes.append(UInt8(truncatingIfNeeded: min(label.count, 63)))
      bytes += label.prefix(63)
    }
    return bytes + [0] + big(question.kind.rawValue) + big(1)
  }

  private static func big(_ value: UInt16) -> [UInt8] {
    [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)]
  }

  /// Reads an answer to a question.
  ///
  /// - Returns: The answer, or `nil` for bytes that are none to this question: another id, another
  ///   question, a name that leads nowhere, a record that runs over the end.
  package static func answer(
    _ bytes: [UInt8], to question: DNSQuestion, id: UInt16
  ) -> DNSAnswer? {
    var reader = Reader(bytes: bytes)
    guard reader.number() == id, let flags = reader.number(), flags & 0x8000 != 0,
      flags & 0x7800 == 0, reader.number() == 1, let count = reader.number(),
      reader.number() != nil, reader.number() != nil, let name = reader.name(),
      name == question.name, reader.number() == question.kind.rawValue, reader.number() == 1
    else { return nil }
    var answer = DNSAnswer(
      records: [], isTruncated: flags & 0x0200 != 0, code: UInt8(flags & 0x000f))
    // What was cut off is asked for again; its rest may be no whole record.
    if answer.isTruncated { return answer }
    guard Int(count) <= mostRecords else { return nil }
    var aliases: [String: String] = [:]
    var found: [(owner: String, record: DNSAnswer.Record)] = []
    for _ in 0..<count {
      guard let owner = reader.name(), let kind = reader.number(), let group = reader.number(),
        reader.number() != nil, reader.number() != nil, let length = reader.number(),
        reader.position + Int(length) <= bytes.count
      else { return nil }
      let end = reader.position + Int(length)
      defer { reader.position = end }
      guard group == 1 else { continue }
      // CNAME
      if kind == 5 {
        guard let alias = reader.name(), reader.position == end else { return nil }
        aliases[owner] = alias
        continue
      }
      guard kind == question.kind.rawValue else { continue }
      guard let record = reader.record(question.kind, until: end) else { return nil }
      found.append((owner, record))
    }
    // Only what belongs to the name that was asked for, by way of its aliases.
    var owners: Set<String> = [question.name]
    var current = question.name
    while let next = aliases[current], owners.insert(next).inserted { current = next }
    answer.records = found.filter { owners.contains($0.owner) }.map(\.record)
    return answer
  }

  private struct Reader {
    let bytes: [UInt8]
    var position = 0

    mutating func byte() -> UInt8? {
      guard bytes.indices.contains(position) else { return nil }
      defer { position += 1 }
      return bytes[position]
    }

    mutating func number() -> UInt16? {
      guard let high = byte(), let low = byte() else { return nil }
      return UInt16(high) << 8 | UInt16(low)
    }

    mutating func text() -> String? {
      guard let count = byte(), position + Int(count) <= bytes.count else { return nil }
      defer { position += Int(count) }
      return String(decoding: bytes[position..<position + Int(count)], as: UTF8.self)
    }

    /// A name, in lower case, `.` between its labels; pointers only lead back, so they end.
    mutating func name() -> String? {
      var labels: [String] = []
      var length = 0
      var at = position
      var after: Int?
      for _ in 0..<DNSMessage.mostSteps {
        guard bytes.indices.contains(at) else { return nil }
        let count = Int(bytes[at])
        switch count & 0xc0 {
        case 0xc0:
          guard bytes.indices.contains(at + 1) else { return nil }
          let target = (count & 0x3f) << 8 | Int(bytes[at + 1])
          if after == nil { after = at + 2 }
          guard target < at else { return nil }
          at = target
        case 0:
          if count == 0 {
            position = after ?? at + 1
            return labels.joined(separator: ".")
          }
          guard at + 1 + count <= bytes.count else { return nil }
          length += count + 1
          guard length <= 254 else { return nil }
          let label = bytes[at + 1..<at + 1 + count]
          // A dot or anything unprintable within a label would make another name of it.
          guard label.allSatisfy({ (0x21..<0x7f).contains($0) && $0 != 0x2e }) else { return nil }
          labels.append(String(decoding: label, as: UTF8.self).lowercased())
          at += 1 + count
        default: return nil
        }
      }
      return nil
    }

    mutating func record(_ kind: DNSQuestion.Kind, until end: Int) -> DNSAnswer.Record? {
      switch kind {
      case .a, .aaaa:
        guard end - position == (kind == .a ? 4 : 16),
          let address = IPAddress(networkBytes: bytes[position..<end])
        else { return nil }
        return .address(address.unmapped)
      case .srv:
        guard number() != nil, number() != nil, let port = number(), let host = name(),
          position == end
        else { return nil }
        return .service(host: host, port: port)
      case .naptr:
        guard number() != nil, number() != nil, let flags = text(), let service = text(),
          text() != nil, let replacement = name(), position == end
        else { return nil }
        return .rule(flags: flags.lowercased(), service: service, replacement: replacement)
      }
    }
  }
}
