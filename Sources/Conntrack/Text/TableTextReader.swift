/// Reads flows and expectations as text: what `conntrack -L` and `-E` print and what
/// `/proc/net/nf_conntrack` holds, as people paste it into tickets.
///
/// Every form may stand in one text beside every other: plain, `-o extended`, `id`, `timestamp`,
/// `ktimestamp`, `labels`, `save`, `xml`, zones, expectations. Quoting (`> `), shell prompts, code fences,
/// the tool's own last line, CRLF and non-breaking blanks are understood. Every other line that
/// isn't a whole entry is a ``TextComplaint``, and the rest is read. Takes time and memory in
/// proportion to the text.
public struct TableTextReader {
  private let query: FlowQuery?
  private var reading = TableTextReading()
  private var line = 0
  private var lineStart = 0
  /// Where each flow stands in the reading.
  private var places: [EntryKey: Int] = [:]
  private var isGone: Set<Int> = []

  /// What no two entries of a table share while they live.
  private struct EntryKey: Hashable {
    var tuple: FlowTuple
    var zone: UInt16
  }

  private init(query: FlowQuery?) { self.query = query }

  /// Reads a text.
  ///
  /// - Parameters:
  ///   - bytes: The text.
  ///   - query: Which flows to keep; all unless given. The others are counted.
  /// - Returns: What it says, and what could not be read.
  public static func read(_ bytes: [UInt8], query: FlowQuery? = nil) -> TableTextReading {
    var reader = TableTextReader(query: query)
    if bytes.hasNonBreakingBlanks {
      let plain = bytes.withPlainBlanks
      reader.readLines(plain.span)
    } else {
      reader.readLines(bytes.span)
    }
    return reader.finish()
  }

  private mutating func readLines(_ text: Span<UInt8>) {
    var start = 0
    // A byte order mark is no part of the first word.
    if text.count >= 3, text[0] == 0xef, text[1] == 0xbb, text[2] == 0xbf { start = 3 }
    if text.count >= 2, text[0] ^ text[1] == 0xff ^ 0xfe, text[0] >= 0xfe {
      line = 1
      complain(TextFault(offset: 0, expected: "UTF-8 text, not UTF-16"), text, 0..<2)
      return
    }
    while start < text.count {
      var end = start
      while end < text.count, text[end] != 0x0a { end += 1 }
      line += 1
      lineStart = line == 1 ? 0 : start
      readLine(start..<end, text)
      start = end + 1
    }
  }

  private mutating func readLine(_ range: Range<Int>, _ text: Span<UInt8>) {
    var start = range.lowerBound
    // Quoting of mails and tickets, however deep.
    while start < range.upperBound,
      TextWords.isBlank(text[start]) || text[start] == 0x3e || text[start] == 0x7c
    {
      start += 1
    }
    let words = TextWords(start..<range.upperBound, in: text)
    guard words.end > start else { return }
    do throws(TextFault) {
      try readEntry(words, text)
    } catch {
      complain(error, text, start..<words.end)
    }
  }

  private mutating func readEntry(
    _ line: TextWords, _ text: Span<UInt8>
  ) throws(TextFault) {
    var words = line
    var event: FlowLine.Event?
    var body = words
    // The time of an event, then what it is.
    while let word = words.next(in: text), text[word.lowerBound] == 0x5b {
      if let kind = Self.event(word, text) {
        event = kind
        reading.hasEvents = true
      } else if word.count > 1, (0x30...0x39).contains(text[word.lowerBound + 1]) {
        words.back(to: word)
        guard words.skip(through: 0x5d, in: text) else {
          throw TextFault(offset: words.end, expected: "\"]\"")
        }
      } else {
        break
      }
      body = words
    }
    var look = body
    guard let first = look.next(in: text) else {
      throw TextFault(offset: line.end, expected: "an entry behind the event's kind")
    }
    if text[first.lowerBound] == 0x3c {
      if XMLLine.isFrame(first, in: text) { return }
      if XMLLine.isFlow(first, in: text) {
        let (flow, event) = try XMLLine.read(first.lowerBound..<line.end, in: text)
        if event != nil { reading.hasEvents = true }
        return keep(flow, event: event)
      }
    }
    let second = look.next(in: text)
    if text.holds(first, "-A") || text.holds(first, "-I") {
      keep(try SaveLine.read(body, in: text), event: nil)
    } else if Self.isNumber(first, text) || text.holds(first, "-"), let second,
      text.starts(second, with: "proto=") || text.holds(second, "l3proto")
    {
      let expectation = try ExpectationLine.read(body, in: text)
      if event != .destroy { reading.expectations.append(expectation) }
    } else if Self.isName(first, text), let second, Self.isNumber(second, text) {
      keep(try FlowLine.read(body, isEvent: event != nil, in: text), event: event)
    } else {
      try readAround(line, text)
    }
  }

  // MARK: entries

  private mutating func keep(_ flow: Flow, event: FlowLine.Event?) {
    if event != .destroy { reading.flowCount += 1 }
    reading.commonAddresses.insert(flow)
    guard query?.matches(flow) ?? true else { return }
    // Several searches in one ticket find one flow again, and events tell more of it.
    let key = EntryKey(tuple: flow.original, zone: flow.originalZone ?? flow.zone)
    if let place = places[key] {
      reading.flows[place] = flow
      if event == .destroy {
        isGone.insert(place)
        places[key] = nil
      }
    } else if event != .destroy {
      places[key] = reading.flows.count
      reading.flows.append(flow)
    }
  }

  private mutating func finish() -> TableTextReading {
    if !isGone.isEmpty {
      var left: [Flow] = []
      for (index, flow) in reading.flows.enumerated() where !isGone.contains(index) {
        left.append(flow)
      }
      reading.flows = left
    }
    return reading
  }

  private static func event(_ word: Range<Int>, _ text: Span<UInt8>) -> FlowLine.Event? {
    if text.holds(word, "[NEW]") { return .new }
    if text.holds(word, "[UPDATE]") { return .update }
    return text.holds(word, "[DESTROY]") ? .destroy : nil
  }

  private static func isNumber(_ word: Range<Int>, _ text: Span<UInt8>) -> Bool {
    for index in word where !(0x30...0x39).contains(text[index]) { return false }
    return true
  }

  /// A protocol's name: `udp`, `icmpv6`, `unknown`.
  private static func isName(_ word: Range<Int>, _ text: Span<UInt8>) -> Bool {
    for index in word {
      let byte = text[index]
      guard (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x2d else {
        return false
      }
    }
    return (0x61...0x7a).contains(text[word.lowerBound])
  }

  // MARK: what stands around entries

  private mutating func readAround(
    _ line: TextWords, _ text: Span<UInt8>
  ) throws(TextFault) {
    var words = line
    guard let first = words.next(in: text) else { return }
    if text.starts(first, with: "```") { return }
    if text.holds(first, "conntrack"), try readAnnouncement(words, text) { return }
    if isPrompt(first, text) || text.holds(first, "conntrack") || text.holds(first, "cat") {
      return note(command: line, text)
    }
    // "[root@pbx ~]# conntrack -L", "root@pbx /root # cat …"
    while let word = words.next(in: text) {
      if isPrompt(word, text) { return note(command: line, text) }
    }
    throw TextFault(
      offset: first.lowerBound,
      expected: "a line of `conntrack -L` or /proc/net/nf_conntrack")
  }

  /// Whether a word ends as a shell's prompt does.
  private func isPrompt(_ word: Range<Int>, _ text: Span<UInt8>) -> Bool {
    let last = text[word.upperBound - 1]
    return last == 0x23 || last == 0x24
  }

  private mutating func note(command line: TextWords, _ text: Span<UInt8>) {
    var words = line
    guard let first = words.next(in: text), reading.commands.count < 100 else { return }
    let whole = first.lowerBound..<min(line.end, first.lowerBound + 200)
    reading.commands.append(text.string(whole))
  }

  /// Reads the tool's own last line, such as "conntrack v1.4.7 (conntrack-tools): 47 flow entries have
  /// been shown.".
  ///
  /// - Returns: Whether it is one.
  private mutating func readAnnouncement(
    _ line: TextWords, _ text: Span<UInt8>
  ) throws(TextFault) -> Bool {
    var words = line
    guard let version = words.next(in: text), text[version.lowerBound] == 0x76,
      version.count > 1, (0x30...0x39).contains(text[version.lowerBound + 1]),
      let tool = words.next(in: text), text[tool.upperBound - 1] == 0x3a
    else { return false }
    guard let number = words.next(in: text), let count: UInt64 = text.decimal(number),
      let what = words.next(in: text)
    else {
      // The tool's own complaint: what it printed may be nothing, or half.
      throw TextFault(
        offset: min(tool.upperBound + 1, line.end),
        expected: "\"flow entries have been shown\": conntrack itself failed")
    }
    if text.holds(what, "flow") {
      reading.announcedFlows = (reading.announcedFlows ?? 0).adding(count)
    } else if text.holds(what, "expectations") {
      reading.announcedExpectations = (reading.announcedExpectations ?? 0).adding(count)
    }
    return true
  }

  private mutating func complain(_ fault: TextFault, _ text: Span<UInt8>, _ line: Range<Int>) {
    reading.complaintCount += 1
    guard reading.complaints.count < TableTextReading.complaintLimit else { return }
    let end = min(line.upperBound, fault.offset + 40)
    let found = fault.offset < end ? text.string(fault.offset..<end) : ""
    reading.complaints.append(
      TextComplaint(
        line: self.line, column: fault.offset - lineStart + 1, expected: fault.expected,
        found: found))
  }
}

extension UInt64 {
  fileprivate func adding(_ other: UInt64) -> UInt64 {
    let (sum, isLarge) = addingReportingOverflow(other)
    return isLarge ? .max : sum
  }
}

extension [UInt8] {
  /// Whether there is a U+00A0, which pages put for the second of two blanks.
  fileprivate var hasNonBreakingBlanks: Bool {
    guard let first = firstIndex(of: 0xc2) else { return false }
    var index = first
    while index + 1 < count {
      if self[index] == 0xc2, self[index + 1] == 0xa0 { return true }
      index += 1
    }
    return false
  }

  /// Each of them as two blanks, so that columns stay.
  fileprivate var withPlainBlanks: [UInt8] {
    var result = self
    var index = 0
    while index + 1 < count {
      if result[index] == 0xc2, result[index + 1] == 0xa0 {
        result[index] = 0x20
        result[index + 1] = 0x20
        index += 1
      }
      index += 1
    }
    return result
  }
}
