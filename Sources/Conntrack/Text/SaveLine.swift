import Addressing

/// Reads one line of `conntrack -L -o save`: the options that would add the entry again.
struct SaveLine {
  private var words: TextWords
  private var addresses: [UInt8: IPAddress] = [:]
  private var ports: [String: UInt16] = [:]
  private var transport: IPProtocol?
  private var timeout: UInt32?
  private var tcpState: UInt8?
  private var status: FlowStatus = .confirmed
  private var zones: [String: UInt16] = [:]
  private var mark: UInt32?

  private init(_ words: TextWords) { self.words = words }

  /// Reads a line that begins with `-A` or `-I`.
  static func read(_ words: TextWords, in text: Span<UInt8>) throws(TextFault) -> Flow {
    var line = SaveLine(words)
    _ = line.words.next(in: text)
    while let option = line.words.next(in: text) {
      guard text[option.lowerBound] == 0x2d else {
        throw TextFault(offset: option.lowerBound, expected: "an option such as -s or --sport")
      }
      guard let value = line.words.next(in: text) else {
        throw TextFault(offset: line.words.end, expected: "a value: was the line cut?")
      }
      try line.take(text.string(option), value, text)
    }
    return try line.flow()
  }

  private mutating func take(
    _ option: String, _ value: Range<Int>, _ text: Span<UInt8>
  ) throws(TextFault) {
    switch option {
    case "-s", "-d": try take(value, as: option.utf8.last ?? 0, text)
    // Translated, the reply's two are named by what was done: -g is a DNAT's, -n an SNAT's.
    case "-r", "-g": try take(value, as: UInt8(ascii: "r"), text)
    case "-q", "-n": try take(value, as: UInt8(ascii: "q"), text)
    case "-p": transport = try Self.transport(value, text)
    case "-t": timeout = try text.number(value, UInt32.self, "seconds")
    case "-m", "--mark": mark = try text.number(value, UInt32.self, "a mark")
    case "-w", "--zone", "--orig-zone", "--reply-zone":
      zones[option] = try text.number(value, UInt16.self, "a zone from 0 to 65535")
    case "--sport", "--dport", "--reply-port-src", "--reply-port-dst", "--srckey", "--dstkey",
      "--reply-key-src", "--reply-key-dst":
      guard ports[option] == nil else { throw Self.twice(value) }
      ports[option] = try text.number(value, UInt16.self, "a port from 0 to 65535")
    case "--state":
      if transport == .tcp {
        guard let state = TCPStateName.number(value, in: text) else {
          throw TextFault(offset: value.lowerBound, expected: "a TCP state such as ESTABLISHED")
        }
        tcpState = state
      }
    case "-u": try takeStatus(value, text)
    // Of tags, labels and ICMP's fields nothing is asked.
    default: break
    }
  }

  private mutating func take(
    _ value: Range<Int>, as letter: UInt8, _ text: Span<UInt8>
  ) throws(TextFault) {
    guard addresses[letter] == nil else { throw Self.twice(value) }
    addresses[letter] = try text.address(value)
  }

  private static func twice(_ value: Range<Int>) -> TextFault {
    TextFault(offset: value.lowerBound, expected: "each option once: two lines in one?")
  }

  private mutating func takeStatus(
    _ value: Range<Int>, _ text: Span<UInt8>
  ) throws(TextFault) {
    for name in text.string(value).split(separator: ",") {
      switch name {
      case "UNSET": break
      case "SEEN_REPLY": status.insert(.seenReply)
      case "ASSURED": status.insert(.assured)
      case "FIXED_TIMEOUT": status.insert(.fixedTimeout)
      case "EXPECTED": status.insert(.expected)
      case "CONFIRMED": status.insert(.confirmed)
      case "OFFLOAD": status.insert(.offload)
      case "HW_OFFLOAD": status.insert([.offload, .hardwareOffload])
      case "SRC_NAT": status.insert(.sourceNAT)
      case "DST_NAT": status.insert(.destinationNAT)
      case "SRC_NAT_DONE": status.insert(.sourceNATDone)
      case "DST_NAT_DONE": status.insert(.destinationNATDone)
      default:
        throw TextFault(offset: value.lowerBound, expected: "SEEN_REPLY, ASSURED or another status")
      }
    }
  }

  private static func transport(
    _ value: Range<Int>, _ text: Span<UInt8>
  ) throws(TextFault) -> IPProtocol {
    switch text.string(value) {
    case "tcp": return .tcp
    case "udp": return .udp
    case "udplite": return .udplite
    case "sctp": return .sctp
    case "dccp": return .dccp
    case "icmp": return .icmp
    case "icmpv6": return .icmpv6
    case "gre": return .gre
    default:
      return IPProtocol(rawValue: try text.number(value, UInt8.self, "a protocol"))
    }
  }

  private func flow() throws(TextFault) -> Flow {
    let end = words.end
    func address(_ letter: Unicode.Scalar) throws(TextFault) -> IPAddress {
      guard let address = addresses[UInt8(letter.value)] else {
        throw TextFault(offset: end, expected: "\"-\(letter)\" and an address: was the line cut?")
      }
      return address
    }
    guard let transport else { throw TextFault(offset: end, expected: "\"-p\": was the line cut?") }
    func port(_ name: String, _ key: String) throws(TextFault) -> UInt16 {
      if let port = ports[name] ?? ports[key] { return port }
      // Of protocols that this form has no options for it prints none.
      guard transport == .tcp || transport == .udp else { return 0 }
      throw TextFault(offset: end, expected: "\"\(name)\": was the line cut?")
    }
    let original = FlowTuple(
      source: try address("s"), destination: try address("d"), transport: transport,
      sourcePort: try port("--sport", "--srckey"), destinationPort: try port("--dport", "--dstkey"))
    let reply = FlowTuple(
      source: try address("r"), destination: try address("q"), transport: transport,
      sourcePort: try port("--reply-port-src", "--reply-key-src"),
      destinationPort: try port("--reply-port-dst", "--reply-key-dst"))
    guard Set([original, reply].flatMap { [$0.source.family, $0.destination.family] }).count == 1
    else { throw TextFault(offset: end, expected: "addresses of one family") }
    var flow = Flow(
      original: original, reply: reply,
      status: status.union(FlowText.translation(original: original, reply: reply)), id: 0)
    flow.timeout = timeout
    flow.tcpState = tcpState
    flow.mark = mark
    flow.zone = zones["-w"] ?? zones["--zone"] ?? 0
    flow.originalZone = zones["--orig-zone"]
    flow.replyZone = zones["--reply-zone"]
    return flow
  }
}
