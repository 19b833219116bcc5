import Addressing

/// Reads one line of `conntrack -L`, of `conntrack -E` or of `/proc/net/nf_conntrack`.
///
/// The forms differ in what they print, not in how: what `-o extended`, `id`, `timestamp`,
/// `ktimestamp`, `labels` and zones add stands at places of its own and is taken where it comes.
struct FlowLine {
  /// What an event line says became of the flow.
  enum Event { case new, update, destroy }

  private var words: TextWords
  private var original = TupleText()
  private var reply = TupleText()
  private var isInReply = false
  private var isReplied = true
  private var isAssured = false
  private var offload: FlowStatus = []
  private var transport = IPProtocol(rawValue: 0)
  private var timeout: UInt32?
  private var tcpState: UInt8?
  private var zone: UInt16 = 0
  private var originalZone: UInt16?
  private var replyZone: UInt16?
  private var mark: UInt32?
  private var helper: String?
  private var id: UInt32 = 0
  private var hasUse = false

  private init(_ words: TextWords) { self.words = words }

  /// Reads a line.
  ///
  /// - Parameters:
  ///   - words: The line's words, an event's prefix already taken.
  ///   - isEvent: Whether there was one: events don't print the last field, `use=`.
  ///   - text: The whole text.
  /// - Returns: The flow.
  /// - Throws: What was expected, and where.
  static func read(
    _ words: TextWords, isEvent: Bool, in text: Span<UInt8>
  ) throws(TextFault) -> Flow {
    var line = FlowLine(words)
    try line.readHead(text)
    try line.readFields(text)
    return try line.flow(isEvent: isEvent)
  }

  // MARK: before the first tuple

  private mutating func readHead(_ text: Span<UInt8>) throws(TextFault) {
    var name = try word(text, "a protocol")
    var family: AddressFamily?
    if text.holds(name, "ipv4") || text.holds(name, "ipv6") {
      family = text.holds(name, "ipv4") ? .ipv4 : .ipv6
      let number: UInt8 = try text.number(
        try word(text, "2 or 10"), UInt8.self, "2 or 10")
      guard number == family?.rawNumber else {
        throw TextFault(
          offset: words.rest.lowerBound, expected: "2 after ipv4 or 10 after ipv6")
      }
      name = try word(text, "a protocol")
    }
    let number = try word(text, "the protocol's number")
    transport = IPProtocol(
      rawValue: try text.number(number, UInt8.self, "the protocol's number, 0 to 255"))
    // Both say the same, unless two lines ran into one.
    if text.holds(name, "udp") != (transport == .udp)
      || text.holds(name, "tcp") != (transport == .tcp)
    {
      throw TextFault(offset: number.lowerBound, expected: "the number of the protocol before it")
    }
    try readState(text)
    if let family, let source = original.source, source.family != family {
      throw TextFault(offset: words.rest.lowerBound, expected: "addresses of the named family")
    }
  }

  /// The timeout and the state, through the first `src=`.
  private mutating func readState(_ text: Span<UInt8>) throws(TextFault) {
    while let word = words.next(in: text) {
      if let field = TextField(word, in: text) {
        if field.key == TextKey.source {
          _ = try original.take(field, key: field.key, in: text)
          return
        }
        // GRE prints "timeout=30, stream_timeout=180" there.
        guard text.starts(word, with: "timeout=") || text.starts(word, with: "stream_timeout=")
        else { throw TextFault(offset: word.lowerBound, expected: "\"src=\"") }
        continue
      }
      if let seconds: UInt32 = text.decimal(word), timeout == nil {
        timeout = seconds
        continue
      }
      guard Self.isCapitals(word, text) else {
        throw TextFault(
          offset: word.lowerBound,
          expected: timeout == nil ? "seconds, a state or \"src=\"" : "a state or \"src=\"")
      }
      if transport == .tcp {
        guard tcpState == nil, let state = TCPStateName.number(word, in: text) else {
          throw TextFault(offset: word.lowerBound, expected: "a TCP state such as ESTABLISHED")
        }
        tcpState = state
      }
    }
    throw TextFault(offset: words.end, expected: "\"src=\"")
  }

  private static func isCapitals(_ word: Range<Int>, _ text: Span<UInt8>) -> Bool {
    for index in word {
      switch text[index] {
      case 0x41...0x5a, 0x30...0x39, 0x5f, 0x2d: continue
      default: return false
      }
    }
    return true
  }

  // MARK: from the first tuple on

  private mutating func readFields(_ text: Span<UInt8>) throws(TextFault) {
    while let word = words.next(in: text) {
      if text[word.lowerBound] == 0x5b {
        try readFlag(word, text)
        continue
      }
      guard let field = TextField(word, in: text) else {
        let isLast = word.upperBound == words.end
        throw TextFault(
          offset: word.lowerBound,
          expected: "\"name=value\" or a flag in brackets" + (isLast ? ": was the line cut?" : ""))
      }
      if field.key == TextKey.source, !isInReply {
        isInReply = true
      }
      let isTaken =
        isInReply
        ? try reply.take(field, key: field.key, in: text)
        : try original.take(field, key: field.key, in: text)
      if !isTaken { try readField(field, text) }
    }
  }

  private mutating func readField(
    _ field: TextField, _ text: Span<UInt8>
  ) throws(TextFault) {
    switch field.key {
    case TextKey.zone: zone = try text.number(field.value, UInt16.self, Self.zoneNumber)
    case TextKey.originalZone:
      originalZone = try text.number(field.value, UInt16.self, Self.zoneNumber)
    case TextKey.replyZone:
      replyZone = try text.number(field.value, UInt16.self, Self.zoneNumber)
    case TextKey.mark: mark = try text.number(field.value, UInt32.self, "a mark")
    case TextKey.helper: helper = text.string(field.value)
    case TextKey.use:
      _ = try text.number(field.value, UInt32.self, "a number of users")
      hasUse = true
    // Of ICMP a tuple's own id stands before everything else; the entry's stands behind `use`.
    case TextKey.id where hasUse || !isICMP:
      id = try text.number(field.value, UInt32.self, "the entry's id")
    // Of what is here on newer kernels (labels, secctx, delta-time, synproxy) nothing is asked.
    default: break
    }
  }

  private static let zoneNumber = "a zone from 0 to 65535"

  private var isICMP: Bool { transport == .icmp || transport == .icmpv6 }

  private mutating func readFlag(_ word: Range<Int>, _ text: Span<UInt8>) throws(TextFault) {
    if text.holds(word, "[UNREPLIED]") {
      isReplied = false
    } else if text.holds(word, "[ASSURED]") {
      isAssured = true
    } else if text.holds(word, "[OFFLOAD]") {
      offload.insert(.offload)
    } else if text.holds(word, "[HW_OFFLOAD]") {
      offload.insert([.offload, .hardwareOffload])
    } else if text.starts(word, with: "[start=") || text.starts(word, with: "[stop=") {
      // The time of day in the zone of whoever printed it: no point in time can be made of it.
      words.back(to: word)
      guard words.skip(through: 0x5d, in: text) else {
        throw TextFault(offset: words.end, expected: "\"]\"")
      }
    } else {
      throw TextFault(
        offset: word.lowerBound,
        expected: "[UNREPLIED], [ASSURED], [OFFLOAD], [HW_OFFLOAD] or [start=…]")
    }
  }

  private mutating func word(
    _ text: Span<UInt8>, _ expected: String
  ) throws(TextFault) -> Range<Int> {
    guard let word = words.next(in: text) else {
      throw TextFault(offset: words.end, expected: expected)
    }
    return word
  }

  // MARK: the flow

  private func flow(isEvent: Bool) throws(TextFault) -> Flow {
    let end = words.end
    let first = try original.tuple(transport, end: end)
    guard isInReply else {
      throw TextFault(offset: end, expected: "the reply's \"src=\": was the line cut?")
    }
    let second = try reply.tuple(transport, end: end)
    guard first.family == second.family else {
      throw TextFault(offset: end, expected: "two tuples of one family")
    }
    // Every form but events prints it behind all that an answer hangs on: a cut line has none.
    guard hasUse || isEvent else {
      throw TextFault(offset: end, expected: "\"use=\": was the line cut?")
    }
    var status: FlowStatus = offload.union(.confirmed)
    if isReplied { status.insert(.seenReply) }
    if isAssured { status.insert(.assured) }
    status.formUnion(FlowText.translation(original: first, reply: second))
    var flow = Flow(original: first, reply: second, status: status, id: id)
    flow.zone = zone
    flow.originalZone = originalZone
    flow.replyZone = replyZone
    flow.mark = mark
    flow.timeout = timeout
    flow.tcpState = tcpState
    flow.helper = helper
    flow.originalCounters = try original.counters(end: end)
    flow.replyCounters = try reply.counters(end: end)
    return flow
  }
}

/// The names of TCP's states, numbered as `TCP_CONNTRACK_*`.
enum TCPStateName {
  static let all = [
    "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK",
    "TIME_WAIT", "CLOSE", "SYN_SENT2",
  ]

  static func number(_ word: Range<Int>, in text: Span<UInt8>) -> UInt8? {
    // Most flows of a table are established.
    if text.holds(word, "ESTABLISHED") { return 3 }
    let name = text.string(word)
    // LISTEN is what older tools call the state numbered 9.
    if name == "LISTEN" { return 9 }
    return all.firstIndex(of: name).map(UInt8.init)
  }
}
