import Addressing
import Firewall

/// One line of packets in bulk: a JSON object, read field by field so that an error has its column.
///
/// Keys that are not known are passed over.
struct PacketRecord {
  private var values: [String: (value: JSONValue, column: Int)] = [:]
  private let place: String

  /// Reads the object; `place` is its file and line.
  init(_ line: [UInt8], at place: String) throws(SIPLeakError) {
    self.place = place
    var reader = JSONReader(line, name: "", operation: "read")
    do throws(FirewallError) {
      for member in try reader.members() { values[member.key] = (member.value, member.column) }
    } catch {
      throw SIPLeakError(
        .badFile,
        "\(place):\(error.column ?? 1): expected \(error.expected ?? "a JSON object")"
          + (error.found.map { ", found \($0)" } ?? ""),
        advice: "Write it as: " + Self.example)
    }
  }

  private static let example =
    #"{"proto":"udp","src":"203.0.113.66","dst":"192.0.2.5","sport":24376,"dport":5060}"#

  /// The question the line asks.
  func question() throws(SIPLeakError) -> PacketQuestion {
    let source = try need("src", "an address") { $0.string.flatMap { IPAddress($0) } }
    let destination = try need("dst", "an address of src's family") {
      $0.string.flatMap { IPAddress($0) }.flatMap { $0.family == source.family ? $0 : nil }
    }
    var transport = try need("proto", "a protocol: udp, tcp, icmp, sctp, … or its number") {
      Self.transport($0)
    }
    // The name people give to both.
    if transport == .icmp, source.family == .ipv6 { transport = .icmpv6 }
    let states = PacketState.allCases.map(\.rawValue).joined(separator: ", ")
    var question = PacketQuestion(
      transport: transport, source: source, sourcePort: try port("sport"),
      destination: destination, destinationPort: try port("dport"),
      state: try optional("state", "a state: \(states)") {
        $0.string.flatMap { PacketState(word: $0) }
      } ?? .new,
      inInterface: try optional("in", "an interface's name") { $0.string },
      outInterface: try optional("out", "an interface's name") { $0.string },
      path: try optional("path", "INPUT or FORWARD") {
        $0.string.flatMap { PacketPath(rawValue: $0.uppercased()) }
      } ?? .input,
      localAddresses: try optional("local", "a list of addresses") { Self.addresses($0) })
    try readHeaders(&question)
    try readFacts(&question)
    return question
  }

  // MARK: Rarer fields

  private func readHeaders(_ question: inout PacketQuestion) throws(SIPLeakError) {
    if let type = try number("type", upTo: 255) {
      let code = try number("code", upTo: 255) ?? 0
      question.packet.icmp = (type: UInt8(type), code: UInt8(code))
      question.assumptions.remove(.echo)
    }
    if let flags = try optional(
      "tcp_flags", "TCP flags such as SYN,ACK", { Self.flags($0) })
    {
      question.packet.tcpFlags = flags
      question.packet.knownTCPFlags = .max
      question.assumptions.remove(.usualFlags)
    }
    question.packet.length = try number("length", upTo: 65_575).map { UInt32($0) }
    question.packet.ttl = try number("ttl", upTo: 255).map { UInt8($0) }
    question.packet.typeOfService = try number("tos", upTo: 255).map { UInt8($0) }
    if let mark = try number("mark", upTo: Int(UInt32.max)) {
      question.packet.mark = UInt32(mark)
    }
    if let payload = try optional("payload", "a text", { $0.string }) {
      question.packet.payload = Array(payload.utf8)
    }
    if let payload = try optional("payload_hex", "pairs of hexadecimal digits", { Self.hex($0) }) {
      question.packet.payload = payload
    }
  }

  private func readFacts(_ question: inout PacketQuestion) throws(SIPLeakError) {
    question.packet.sourceHardwareAddress = try optional("mac", "a MAC address") {
      $0.string.flatMap { text in
        let bytes = text.split(separator: ":").compactMap { UInt8($0, radix: 16) }
        return bytes.count == 6 ? bytes : nil
      }
    }
    if let port = try optional("physin", "a bridge port's name", { $0.string }) {
      question.packet.bridgePort = .port(port)
      question.assumptions.remove(.noBridge)
    }
    if let isSecure = try truth("ipsec") {
      question.packet.isDecapsulated = isSecure
      question.assumptions.remove(.noSecurity)
    }
    if let has = try truth("extension_headers") {
      question.packet.hasExtensionHeaders = has
      question.assumptions.remove(.noExtensionHeaders)
    }
    question.packet.passesReversePath = try truth("rpfilter")
    if let mark = try number("connmark", upTo: Int(UInt32.max)) {
      question.packet.connection.mark = UInt32(mark)
    }
    if let helper = try optional("helper", "a helper's name", { $0.string }) {
      question.packet.connection.helper = helper
      // One that expected the flow.
      if !helper.isEmpty {
        question.packet.connection.status = (question.packet.connection.status ?? 0) | 1
      }
      question.assumptions.remove(.notExpected)
    }
  }

  // MARK: Values

  private func optional<T>(
    _ key: String, _ expected: String, _ read: (JSONValue) -> T?
  ) throws(SIPLeakError) -> T? {
    guard let (value, column) = values[key] else { return nil }
    if case .null = value { return nil }
    guard let result = read(value) else {
      throw SIPLeakError(.badFile, "\(place):\(column): expected \(expected) as \(key)")
    }
    return result
  }

  private func need<T>(
    _ key: String, _ expected: String, _ read: (JSONValue) -> T?
  ) throws(SIPLeakError) -> T {
    guard let result = try optional(key, expected, read) else {
      throw SIPLeakError(
        .badFile, "\(place):1: expected \(expected) as \(key), which is missing",
        advice: "Write it as: " + Self.example)
    }
    return result
  }

  private func number(_ key: String, upTo most: Int) throws(SIPLeakError) -> Int? {
    try optional(key, "a number from 0 to \(most)") {
      Self.integer($0).flatMap { (0...most).contains($0) ? $0 : nil }
    }
  }

  private func port(_ key: String) throws(SIPLeakError) -> UInt16? {
    try optional(key, "a port, 0 to 65535,") { Self.integer($0).flatMap { UInt16(exactly: $0) } }
  }

  private func truth(_ key: String) throws(SIPLeakError) -> Bool? {
    try optional(key, "true or false") { if case .bool(let value) = $0 { value } else { nil } }
  }

  /// A whole number, also one in quotes.
  private static func integer(_ value: JSONValue) -> Int? {
    value.number.flatMap { Int(exactly: $0) } ?? value.string.flatMap { Int($0) }
  }

  private static func transport(_ value: JSONValue) -> IPProtocol? {
    if let text = value.string { return IPProtocol(word: text) }
    return integer(value).flatMap { UInt8(exactly: $0) }.map { IPProtocol(rawValue: $0) }
  }

  /// A list of addresses, or one; what follows a `/` is the link's and not the host's.
  private static func addresses(_ value: JSONValue) -> [IPAddress]? {
    let texts = value.string.map { [$0] } ?? value.array?.compactMap(\.string)
    guard let texts, value.array.map({ $0.count == texts.count }) ?? true else { return nil }
    let addresses = texts.compactMap { text in
      text.split(separator: "/", omittingEmptySubsequences: false).first.flatMap {
        IPAddress(String($0))
      }
    }
    return addresses.count == texts.count ? addresses : nil
  }

  private static func flags(_ value: JSONValue) -> UInt8? {
    if let number = integer(value) { return UInt8(exactly: number).map { $0 & 0x3f } }
    let bits: [Substring: UInt8] = [
      "FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "NONE": 0,
    ]
    guard let text = value.string?.uppercased() else { return nil }
    var result: UInt8 = 0
    for word in text.split(separator: ",") {
      guard let bit = bits[word] else { return nil }
      result |= bit
    }
    return result
  }

  private static func hex(_ value: JSONValue) -> [UInt8]? {
    guard let digits = value.string.map({ Array($0.utf8) }), digits.count % 2 == 0 else {
      return nil
    }
    let bytes = stride(from: 0, to: digits.count, by: 2).compactMap { place in
      UInt8(String(decoding: digits[place..<place + 2], as: UTF8.self), radix: 16)
    }
    return bytes.count * 2 == digits.count ? bytes : nil
  }
}
