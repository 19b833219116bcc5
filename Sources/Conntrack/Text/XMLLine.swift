import Addressing

/// Reads one line of `conntrack -L -o xml`, which prints a `<flow>` a line.
///
/// No XML in general: what the tool prints has neither entities nor comments nor nesting of its own.
struct XMLLine {
  private enum Part { case outside, original, reply, independent }

  private var part = Part.outside
  private var original = TupleText()
  private var reply = TupleText()
  private var transport: IPProtocol?
  private var status: FlowStatus = [.confirmed, .seenReply]
  private var stateName: Range<Int>?
  private var timeout: UInt32?
  private var mark: UInt32?
  private var zone: UInt16 = 0
  private var originalZone: UInt16?
  private var replyZone: UInt16?
  private var helper: String?
  private var id: UInt32 = 0
  private var isClosed = false

  private init() {}

  /// Whether a word opens or closes what stands around flows.
  static func isFrame(_ word: Range<Int>, in text: Span<UInt8>) -> Bool {
    text.starts(word, with: "<?xml") || text.starts(word, with: "<conntrack>")
      || text.starts(word, with: "</conntrack>")
  }

  /// Whether a word begins a flow.
  static func isFlow(_ word: Range<Int>, in text: Span<UInt8>) -> Bool {
    text.holds(word, "<flow") || text.starts(word, with: "<flow>")
  }

  /// Reads a line.
  ///
  /// - Parameters:
  ///   - line: The line without blanks around it.
  ///   - text: The whole text.
  /// - Returns: The flow, and what an event says became of it.
  /// - Throws: What was expected, and where.
  static func read(
    _ line: Range<Int>, in text: Span<UInt8>
  ) throws(TextFault) -> (flow: Flow, event: FlowLine.Event?) {
    var reader = XMLLine()
    var event: FlowLine.Event?
    var position = line.lowerBound
    while position < line.upperBound {
      guard text[position] == 0x3c, !reader.isClosed else {
        throw TextFault(
          offset: position, expected: reader.isClosed ? "the end of the line" : "\"<\"")
      }
      let start = position + 1
      var end = start
      while end < line.upperBound, text[end] != 0x3e { end += 1 }
      guard end < line.upperBound else {
        throw TextFault(offset: line.upperBound, expected: "\">\": was the line cut?")
      }
      var next = end + 1
      while next < line.upperBound, text[next] != 0x3c { next += 1 }
      if text.starts(start..<end, with: "flow type=") {
        event = try Self.event(start..<end, text)
      } else {
        try reader.take(start..<end, content: end + 1..<next, text)
      }
      position = next
    }
    return (try reader.flow(end: line.upperBound, text), event)
  }

  private static func event(
    _ tag: Range<Int>, _ text: Span<UInt8>
  ) throws(TextFault) -> FlowLine.Event {
    if text.holds(tag, "flow type=\"new\"") { return .new }
    if text.holds(tag, "flow type=\"update\"") { return .update }
    if text.holds(tag, "flow type=\"destroy\"") { return .destroy }
    throw TextFault(offset: tag.lowerBound, expected: "an event: new, update or destroy")
  }

  private mutating func take(
    _ tag: Range<Int>, content: Range<Int>, _ text: Span<UInt8>
  ) throws(TextFault) {
    if text.holds(tag, "/flow") {
      isClosed = true
    } else if text.starts(tag, with: "meta ") {
      try takePart(tag, text)
    } else if text.starts(tag, with: "layer4 ") {
      try takeTransport(tag, text)
    } else if text.holds(tag, "unreplied/") {
      status.remove(.seenReply)
    } else if text.holds(tag, "assured/") {
      status.insert(.assured)
    } else if text.holds(tag, "state") {
      stateName = content
    } else if text.holds(tag, "timeout") {
      timeout = try text.number(content, UInt32.self, "seconds")
    } else if !tag.isEmpty, text[tag.lowerBound] != 0x2f {
      try takeField(tag, content, text)
    }
  }

  private mutating func takePart(_ tag: Range<Int>, _ text: Span<UInt8>) throws(TextFault) {
    if text.holds(tag, "meta direction=\"original\"") {
      part = .original
    } else if text.holds(tag, "meta direction=\"reply\"") {
      part = .reply
    } else if text.holds(tag, "meta direction=\"independent\"") {
      part = .independent
    } else {
      throw TextFault(
        offset: tag.lowerBound, expected: "a direction: original, reply or independent")
    }
  }

  private mutating func takeTransport(_ tag: Range<Int>, _ text: Span<UInt8>) throws(TextFault) {
    let expected = "protonum=\"17\" or another number"
    guard let quote = tag.first(where: { text[$0] == 0x22 }) else {
      throw TextFault(offset: tag.lowerBound, expected: expected)
    }
    var end = quote + 1
    while end < tag.upperBound, text[end] != 0x22 { end += 1 }
    guard text.starts(tag, with: "layer4 protonum=\"") else {
      throw TextFault(offset: tag.lowerBound, expected: expected)
    }
    let number = IPProtocol(
      rawValue: try text.number(quote + 1..<end, UInt8.self, expected))
    guard transport == nil || transport == number else {
      throw TextFault(offset: quote + 1, expected: "the same protocol both ways")
    }
    transport = number
  }

  private mutating func takeField(
    _ tag: Range<Int>, _ content: Range<Int>, _ text: Span<UInt8>
  ) throws(TextFault) {
    var key: UInt64 = 0
    for index in tag.prefix(8) { key = key << 8 | UInt64(text[index]) }
    let field = TextField(key: key, value: content)
    switch part {
    case .original where key != TextKey.zone: _ = try original.take(field, key: key, in: text)
    case .reply where key != TextKey.zone: _ = try reply.take(field, key: key, in: text)
    default:
      switch key {
      case TextKey.zone:
        let number: UInt16 = try text.number(content, UInt16.self, "a zone from 0 to 65535")
        switch part {
        case .original: originalZone = number
        case .reply: replyZone = number
        default: zone = number
        }
      case TextKey.mark: mark = try text.number(content, UInt32.self, "a mark")
      case TextKey.id: id = try text.number(content, UInt32.self, "the entry's id")
      case TextKey.helper: helper = text.string(content)
      default: break
      }
    }
  }

  private func flow(end: Int, _ text: Span<UInt8>) throws(TextFault) -> Flow {
    guard isClosed else { throw TextFault(offset: end, expected: "\"</flow>\": was the line cut?") }
    guard let transport else { throw TextFault(offset: end, expected: "a protocol's number") }
    let first = try original.tuple(transport, end: end)
    let second = try reply.tuple(transport, end: end)
    guard first.family == second.family else {
      throw TextFault(offset: end, expected: "two tuples of one family")
    }
    var flow = Flow(
      original: first, reply: second,
      status: status.union(FlowText.translation(original: first, reply: second)), id: id)
    if transport == .tcp, let stateName {
      guard let state = TCPStateName.number(stateName, in: text) else {
        throw TextFault(
          offset: stateName.lowerBound, expected: "a TCP state such as ESTABLISHED")
      }
      flow.tcpState = state
    }
    flow.timeout = timeout
    flow.mark = mark
    flow.zone = zone
    flow.originalZone = originalZone
    flow.replyZone = replyZone
    flow.helper = helper
    flow.originalCounters = try original.counters(end: end)
    flow.replyCounters = try reply.counters(end: end)
    return flow
  }
}
