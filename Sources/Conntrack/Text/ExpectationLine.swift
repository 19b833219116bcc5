import Addressing

/// Reads one line of `conntrack -L expect` or of `/proc/net/nf_conntrack_expect`.
struct ExpectationLine {
  private var words: TextWords
  private var tuple = TupleText()
  private var mask = TupleText()
  private var master = TupleText()
  private var place = Place.tuple
  private var transport: IPProtocol?
  private var flags: Expectation.Flags = []
  private var helper: String?
  private var kind: UInt32?
  private var zone: UInt16 = 0
  private var id: UInt32 = 0

  private enum Place { case tuple, mask, master }

  private init(_ words: TextWords) { self.words = words }

  /// Reads a line, an event's prefix already taken.
  static func read(
    _ words: TextWords, in text: Span<UInt8>
  ) throws(TextFault) -> Expectation {
    var line = ExpectationLine(words)
    guard let first = line.words.next(in: text) else {
      throw TextFault(offset: words.end, expected: "seconds")
    }
    let timeout: UInt32? =
      text.holds(first, "-") ? nil : try text.number(first, UInt32.self, "seconds")
    while let word = line.words.next(in: text) { try line.take(word, text) }
    return try line.expectation(timeout: timeout)
  }

  private mutating func take(_ word: Range<Int>, _ text: Span<UInt8>) throws(TextFault) {
    guard let field = TextField(word, in: text) else { return try takeWord(word, text) }
    var key = field.key
    switch key {
    case TextKey.transport:
      transport = IPProtocol(
        rawValue: try text.number(field.value, UInt8.self, "a protocol's number"))
      return
    case TextKey.helper:
      helper = text.string(field.value)
      return
    case TextKey.expectationClass:
      kind = try text.number(field.value, UInt32.self, "a number")
      return
    case TextKey.zone:
      zone = try text.number(field.value, UInt16.self, "a zone from 0 to 65535")
      return
    case TextKey.id:
      id = try text.number(field.value, UInt32.self, "an id")
      return
    case TextKey.maskSource: (place, key) = (.mask, TextKey.source)
    case TextKey.maskDestination: key = TextKey.destination
    case TextKey.masterSource: (place, key) = (.master, TextKey.source)
    case TextKey.masterDestination: key = TextKey.destination
    default: break
    }
    switch place {
    case .tuple: _ = try tuple.take(field, key: key, in: text)
    case .mask: _ = try mask.take(field, key: key, in: text)
    case .master: _ = try master.take(field, key: key, in: text)
    }
  }

  /// `l3proto = 2` of /proc, the flags, and /proc's `helper/class`.
  private mutating func takeWord(_ word: Range<Int>, _ text: Span<UInt8>) throws(TextFault) {
    if text.holds(word, "l3proto") {
      guard let sign = words.next(in: text), text.holds(sign, "="),
        let number = words.next(in: text), let _: UInt8 = text.decimal(number)
      else { throw TextFault(offset: word.upperBound, expected: "\"= 2\" or \"= 10\"") }
      return
    }
    if let slash = (word.first { text[$0] == 0x2f }), slash > word.lowerBound {
      helper = text.string(word.lowerBound..<slash)
      return
    }
    for name in text.string(word).split(separator: ",") {
      switch name {
      case "PERMANENT": flags.insert(.permanent)
      case "INACTIVE": flags.insert(.inactive)
      case "USERSPACE": flags.insert(.userspace)
      default:
        // /proc prints a helper without a policy's name by itself, as the last word.
        guard !Self.isCapitals(name), helper == nil else {
          throw TextFault(
            offset: word.lowerBound, expected: "PERMANENT, INACTIVE, USERSPACE or a helper")
        }
        helper = String(name)
      }
    }
  }

  private static func isCapitals(_ name: Substring) -> Bool {
    name.utf8.allSatisfy { (0x41...0x5a).contains($0) }
  }

  private func expectation(timeout: UInt32?) throws(TextFault) -> Expectation {
    let end = words.end
    guard let transport else { throw TextFault(offset: end, expected: "\"proto=\"") }
    let wanted = try tuple.tuple(transport, end: end)
    let isMasked = mask.source != nil
    let known: (mask: FlowTuple, master: FlowTuple)
    if isMasked {
      known = (
        try mask.tuple(transport, end: end, side: "mask-"),
        try master.tuple(transport, end: end, side: "master-")
      )
    } else {
      known = (Self.maskOfHelper(wanted), Self.hidden(wanted))
    }
    guard known.mask.family == wanted.family, known.master.family == wanted.family else {
      throw TextFault(offset: end, expected: "tuples of one family")
    }
    // The helper's name is the last word of either form.
    guard helper != nil else {
      throw TextFault(offset: end, expected: "the helper's name: was the line cut?")
    }
    var result = Expectation(tuple: wanted, mask: known.mask, master: known.master, id: id)
    result.timeout = timeout
    result.flags = flags
    result.helper = helper
    result.zone = zone
    result.expectationClass = kind
    return result
  }

  /// The mask that /proc doesn't print: what a helper leaves open it sets to zero
  /// (`nf_ct_expect_init`).
  private static func maskOfHelper(_ tuple: FlowTuple) -> FlowTuple {
    let all = IPAddress(family: tuple.family, bits: .max)
    return FlowTuple(
      source: tuple.source.isUnspecified ? IPAddress(family: tuple.family, bits: 0) : all,
      destination: all, transport: tuple.transport, sourcePort: tuple.sourcePort == 0 ? 0 : .max,
      destinationPort: .max)
  }

  /// The master that /proc doesn't print.
  private static func hidden(_ tuple: FlowTuple) -> FlowTuple {
    let none = IPAddress(family: tuple.family, bits: 0)
    return FlowTuple(
      source: none, destination: none, transport: tuple.transport, sourcePort: 0,
      destinationPort: 0)
  }
}
