import Addressing
import Firewall

/// A packet as a person writes it: `udp 203.0.113.66:24376 -> 192.0.2.5:5060 in eth0 state new`.
///
/// After the ends come pairs in any order: `in INTERFACE`, `out INTERFACE`, `state STATE`,
/// `path input|forward`, `type TYPE/CODE` (ICMP), `mark N`, `ttl N`, `length N`. Ports may be left
/// out: then every port is meant, and the answer is certain only if it is the same for all.
public enum PacketWords {
  /// Reads the words.
  ///
  /// - Parameter text: The packet.
  /// - Returns: The question.
  /// - Throws: ``SIPLeakError`` that gives the column and what was expected.
  public static func read(_ text: String) throws(SIPLeakError) -> PacketQuestion {
    var words = Words(text)
    let name = try words.next("a protocol: udp, tcp, icmp, ipv6-icmp, sctp or a number")
    guard var transport = IPProtocol(word: name.text) else {
      throw words.bad(name, "a protocol: udp, tcp, icmp, ipv6-icmp, sctp or a number")
    }
    let source = try words.end("the source: ADDRESS or ADDRESS:PORT")
    let arrow = try words.next("->")
    guard arrow.text == "->" || arrow.text == "→" else { throw words.bad(arrow, "->") }
    let destination = try words.end("the destination: ADDRESS or ADDRESS:PORT")
    guard source.address.family == destination.address.family else {
      throw words.bad(destination.word, "an address of the source's family")
    }
    // The name people give to both.
    if transport == .icmp, source.address.family == .ipv6 { transport = .icmpv6 }
    var pairs = Pairs()
    while let key = words.nextIfAny() { try pairs.read(key, &words) }
    var question = PacketQuestion(
      transport: transport, source: source.address, sourcePort: source.port,
      destination: destination.address, destinationPort: destination.port, state: pairs.state,
      inInterface: pairs.inInterface, outInterface: pairs.outInterface, path: pairs.path)
    if let icmp = pairs.icmp {
      question.packet.icmp = icmp
      question.assumptions.remove(.echo)
    }
    if let mark = pairs.mark { question.packet.mark = mark }
    question.packet.ttl = pairs.ttl
    question.packet.length = pairs.length
    return question
  }

  private struct Pairs {
    var inInterface: String?
    var outInterface: String?
    var state = PacketState.new
    var path = PacketPath.input
    var icmp: (type: UInt8, code: UInt8)?
    var mark: UInt32?
    var ttl: UInt8?
    var length: UInt32?

    mutating func read(_ key: Word, _ words: inout Words) throws(SIPLeakError) {
      switch key.text.lowercased() {
      case "in": inInterface = try words.next("an interface").text
      case "out": outInterface = try words.next("an interface").text
      case "state":
        let names = PacketState.allCases.map(\.rawValue).joined(separator: ", ")
        state = try words.value("a state: \(names)") { PacketState(word: $0) }
      case "path":
        path = try words.value("input or forward") { PacketPath(rawValue: $0.uppercased()) }
      case "type":
        icmp = try words.value("an ICMP type and code, such as 8/0") { text in
          let parts = text.split(separator: "/", omittingEmptySubsequences: false)
          guard parts.count <= 2, let type = UInt8(parts[0]) else { return nil }
          guard let code = parts.count == 2 ? UInt8(parts[1]) : 0 else { return nil }
          return (type, code)
        }
      case "mark": mark = try words.value("a number") { UInt32(anyBase: $0) }
      case "ttl": ttl = try words.value("a number up to 255") { UInt8($0) }
      case "length": length = try words.value("a number") { UInt32($0) }
      default:
        throw words.bad(key, "in, out, state, path, type, mark, ttl or length")
      }
    }
  }

  struct Word {
    var text: String
    var column: Int
  }

  private struct Words {
    private let words: [Word]
    private let length: Int
    private var position = 0

    init(_ text: String) {
      var words: [Word] = []
      var column = 1
      for part in text.split(separator: " ", omittingEmptySubsequences: false) {
        if !part.isEmpty { words.append(Word(text: String(part), column: column)) }
        column += part.count + 1
      }
      self.words = words
      length = text.count
    }

    mutating func nextIfAny() -> Word? {
      guard position < words.count else { return nil }
      position += 1
      return words[position - 1]
    }

    mutating func next(_ expected: String) throws(SIPLeakError) -> Word {
      guard let word = nextIfAny() else {
        throw bad(Word(text: "", column: length + 1), expected)
      }
      return word
    }

    mutating func value<T>(
      _ expected: String, _ read: (String) -> T?
    ) throws(SIPLeakError) -> T {
      let word = try next(expected)
      guard let value = read(word.text) else { throw bad(word, expected) }
      return value
    }

    mutating func end(
      _ expected: String
    ) throws(SIPLeakError) -> (address: IPAddress, port: UInt16?, word: Word) {
      let word = try next(expected)
      if let address = IPAddress(word.text) { return (address, nil, word) }
      if let end = Endpoint(word.text) { return (end.address, end.port, word) }
      throw bad(word, expected)
    }

    func bad(_ word: Word, _ expected: String) -> SIPLeakError {
      let found = word.text.isEmpty ? "the end" : "\"\(word.text)\""
      return SIPLeakError(
        .badFile, "column \(word.column): expected \(expected), found \(found)",
        advice: "Write it as: udp 203.0.113.66:24376 -> 192.0.2.5:5060 in eth0 state new")
    }
  }
}

extension IPProtocol {
  /// Reads a name as iptables knows it, or a number.
  init?(word: String) {
    switch word.lowercased() {
    case "udp": self = .udp
    case "tcp": self = .tcp
    case "icmp": self = .icmp
    case "icmpv6", "icmp6", "ipv6-icmp": self = .icmpv6
    case "sctp": self = .sctp
    case "dccp": self = .dccp
    case "udplite": self = .udplite
    case "igmp": self.init(rawValue: 2)
    case "ipip", "ipencap": self.init(rawValue: 4)
    case "ipv6": self.init(rawValue: 41)
    case "gre": self.init(rawValue: 47)
    case "esp": self.init(rawValue: 50)
    case "ah": self.init(rawValue: 51)
    case "ospf": self.init(rawValue: 89)
    case "pim": self.init(rawValue: 103)
    case "vrrp": self.init(rawValue: 112)
    case "l2tp": self.init(rawValue: 115)
    default:
      guard let number = UInt8(word) else { return nil }
      self.init(rawValue: number)
    }
  }
}

extension UInt32 {
  /// Reads a number, hexadecimal after `0x`.
  fileprivate init?(anyBase text: String) {
    if text.hasPrefix("0x") {
      self.init(text.dropFirst(2), radix: 16)
    } else {
      self.init(text)
    }
  }
}
