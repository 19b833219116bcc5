import Addressing

/// Goes through the words of one line without making strings of them.
struct TextWords {
  private var position: Int
  /// Where the line ends: trailing blanks and a carriage return are outside.
  let end: Int

  /// Makes the words of a range of the text.
  init(_ line: Range<Int>, in text: Span<UInt8>) {
    position = line.lowerBound
    var end = line.upperBound
    while end > position, Self.isBlank(text[end - 1]) || text[end - 1] == 0x0d { end -= 1 }
    self.end = end
  }

  /// The next word, or `nil` at the line's end.
  mutating func next(in text: Span<UInt8>) -> Range<Int>? {
    while position < end, Self.isBlank(text[position]) { position += 1 }
    guard position < end else { return nil }
    let start = position
    while position < end, !Self.isBlank(text[position]) { position += 1 }
    return start..<position
  }

  /// Skips what follows through the next byte of a kind.
  ///
  /// - Returns: Whether there was one.
  mutating func skip(through byte: UInt8, in text: Span<UInt8>) -> Bool {
    while position < end {
      position += 1
      if text[position - 1] == byte { return true }
    }
    return false
  }

  /// Goes back to the beginning of a word.
  mutating func back(to word: Range<Int>) { position = word.lowerBound }

  /// What is left of the line.
  var rest: Range<Int> { position..<end }

  static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
}

/// The names of fields: their first eight bytes as one big-endian number, which no two share.
enum TextKey {
  static let source: UInt64 = 0x737263  // src
  static let destination: UInt64 = 0x647374  // dst
  static let sourcePort: UInt64 = 0x73706f7274  // sport
  static let destinationPort: UInt64 = 0x64706f7274  // dport
  static let sourceKey: UInt64 = 0x7372_636b_6579  // srckey
  static let destinationKey: UInt64 = 0x6473_746b_6579  // dstkey
  static let type: UInt64 = 0x74797065  // type
  static let code: UInt64 = 0x636f6465  // code
  static let id: UInt64 = 0x6964  // id
  static let packets: UInt64 = 0x7061_636b_6574_73  // packets
  static let bytes: UInt64 = 0x6279746573  // bytes
  static let mark: UInt64 = 0x6d61726b  // mark
  static let zone: UInt64 = 0x7a6f6e65  // zone
  static let originalZone: UInt64 = 0x7a6f_6e65_2d6f_7269  // zone-orig
  static let replyZone: UInt64 = 0x7a6f_6e65_2d72_6570  // zone-reply
  static let helper: UInt64 = 0x6865_6c70_6572  // helper
  static let use: UInt64 = 0x757365  // use
  static let maskSource: UInt64 = 0x6d61_736b_2d73_7263  // mask-src
  static let maskDestination: UInt64 = 0x6d61_736b_2d64_7374  // mask-dst
  static let masterSource: UInt64 = 0x6d61_7374_6572_2d73  // master-src
  static let masterDestination: UInt64 = 0x6d61_7374_6572_2d64  // master-dst
  static let transport: UInt64 = 0x7072_6f74_6f  // proto
  static let layer3: UInt64 = 0x6c33_7072_6f74_6f  // l3proto
  static let expectationClass: UInt64 = 0x636c617373  // class
}

/// One `key=value` word.
struct TextField {
  /// One of ``TextKey``, or another number.
  var key: UInt64
  /// Where the value stands.
  var value: Range<Int>

  /// Makes a field of its parts.
  init(key: UInt64, value: Range<Int>) {
    self.key = key
    self.value = value
  }

  /// The field a word is, or `nil` without a `=`.
  init?(_ word: Range<Int>, in text: Span<UInt8>) {
    var key: UInt64 = 0
    for index in word {
      let byte = text[index]
      if byte == 0x3d {
        self.key = key
        value = index + 1..<word.upperBound
        return
      }
      if index - word.lowerBound < 8 { key = key << 8 | UInt64(byte) }
    }
    return nil
  }
}

/// Reading of values.
extension Span<UInt8> {
  /// A decimal number without sign.
  func number<Value: FixedWidthInteger>(
    _ range: Range<Int>, _: Value.Type, _ expected: String
  ) throws(TextFault) -> Value {
    guard let value: Value = decimal(range) else {
      throw TextFault(offset: range.lowerBound, expected: expected)
    }
    return value
  }

  /// A decimal number without sign, or `nil`.
  func decimal<Value: FixedWidthInteger>(_ range: Range<Int>) -> Value? {
    guard !range.isEmpty, range.count <= 20 else { return nil }
    var value: UInt64 = 0
    for index in range {
      let digit = self[index] &- 0x30
      guard digit < 10 else { return nil }
      let (product, isLarge) = value.multipliedReportingOverflow(by: 10)
      let (sum, isLarger) = product.addingReportingOverflow(UInt64(digit))
      if isLarge || isLarger { return nil }
      value = sum
    }
    return Value(exactly: value)
  }

  /// A number as `0x1f`.
  func hexadecimal(_ range: Range<Int>) throws(TextFault) -> UInt16 {
    let fault = TextFault(
      offset: range.lowerBound, expected: "a key from 0x0 to 0xffff")
    guard range.count > 2, range.count <= 6, self[range.lowerBound] == 0x30,
      self[range.lowerBound + 1] | 0x20 == 0x78
    else { throw fault }
    var value: UInt16 = 0
    for index in range.dropFirst(2) {
      let byte = self[index]
      switch byte {
      case 0x30...0x39: value = value << 4 | UInt16(byte - 0x30)
      case 0x61...0x66: value = value << 4 | UInt16(byte - 0x61 + 10)
      case 0x41...0x46: value = value << 4 | UInt16(byte - 0x41 + 10)
      default: throw fault
      }
    }
    return value
  }

  /// An address of either family.
  func address(_ range: Range<Int>) throws(TextFault) -> IPAddress {
    if let plain = ipv4(range) { return plain }
    // The longest is 45 bytes; IPv6 is the rarer one and the C library's reader good enough.
    guard range.count <= 45, let address = IPAddress(string(range)) else {
      throw TextFault(offset: range.lowerBound, expected: "an IP address")
    }
    return address
  }

  private func ipv4(_ range: Range<Int>) -> IPAddress? {
    guard range.count >= 7, range.count <= 15 else { return nil }
    var bits: UInt32 = 0
    var part: UInt32 = 0
    var digits = 0
    var dots = 0
    for index in range {
      let byte = self[index]
      if byte == 0x2e {
        guard digits > 0, dots < 3 else { return nil }
        bits = bits << 8 | part
        part = 0
        digits = 0
        dots += 1
        continue
      }
      let digit = byte &- 0x30
      // No leading zero: some readers take it for octal.
      guard digit < 10, !(digits > 0 && part == 0) else { return nil }
      part = part * 10 + UInt32(digit)
      digits += 1
      guard part < 256 else { return nil }
    }
    guard dots == 3, digits > 0 else { return nil }
    return IPAddress(ipv4: bits << 8 | part)
  }

  /// The bytes as text; what isn't UTF-8 is replaced.
  func string(_ range: Range<Int>) -> String {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(range.count)
    for index in range { bytes.append(self[index]) }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Whether a range holds these bytes.
  func holds(_ range: Range<Int>, _ text: StaticString) -> Bool {
    guard range.count == text.utf8CodeUnitCount else { return false }
    return starts(range, with: text)
  }

  /// Whether a range begins with these bytes.
  func starts(_ range: Range<Int>, with text: StaticString) -> Bool {
    guard range.count >= text.utf8CodeUnitCount else { return false }
    // A literal's bytes, `utf8CodeUnitCount` of them; `description` would allocate a string.
    let bytes = unsafe text.utf8Start
    for index in 0..<text.utf8CodeUnitCount {
      if unsafe self[range.lowerBound + index] != bytes[index] { return false }
    }
    return true
  }
}
