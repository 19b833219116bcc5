/// A JSON value, as far as reading `nft -j` and packets in bulk needs it.
package enum JSONValue: Sendable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  package subscript(key: String) -> JSONValue? {
    if case .object(let members) = self { return members[key] }
    return nil
  }

  package var string: String? {
    if case .string(let text) = self { return text }
    return nil
  }

  package var number: Double? {
    if case .number(let value) = self { return value }
    return nil
  }

  package var array: [JSONValue]? {
    if case .array(let values) = self { return values }
    return nil
  }

  var isScalar: Bool {
    switch self {
    case .null, .array, .object: false
    case .bool, .number, .string: true
    }
  }
}

/// Reads JSON without trusting it: bounded depth, an error with its place for anything odd.
package struct JSONReader {
  private let source: SourceText
  private var index = 0
  private static let deepest = 64

  package init(_ bytes: [UInt8], name: String, operation: String) {
    source = SourceText(bytes: bytes, name: name, operation: operation)
  }

  /// Reads `{"<key>": [ ... ]}` and hands over one element at a time, so that a large ruleset is
  /// never held whole.
  mutating func elements(of key: String, _ body: (JSONValue) -> Void) throws(FirewallError) {
    try expect(UInt8(ascii: "{"), "an object")
    skip()
    let name = try text()
    guard name == key else { throw error("\"\(key)\"") }
    try expect(UInt8(ascii: ":"), "a colon")
    try expect(UInt8(ascii: "["), "an array")
    skip()
    if peek() == UInt8(ascii: "]") {
      index += 1
    } else {
      while true {
        body(try value(depth: 0))
        skip()
        if peek() == UInt8(ascii: ",") {
          index += 1
          continue
        }
        try expect(UInt8(ascii: "]"), "a comma or the end of the array")
        break
      }
    }
    try expect(UInt8(ascii: "}"), "the end of the object")
    skip()
    if index < source.bytes.count { throw error("the end of the text") }
  }

  /// Reads one object that is the whole text: its members in order, each with the column (in bytes)
  /// at which its value begins.
  package mutating func members() throws(FirewallError) -> [(
    key: String, value: JSONValue, column: Int
  )] {
    var members: [(key: String, value: JSONValue, column: Int)] = []
    try expect(UInt8(ascii: "{"), "an object")
    skip()
    if peek() == UInt8(ascii: "}") {
      index += 1
    } else {
      while true {
        skip()
        let key = try text()
        try expect(UInt8(ascii: ":"), "a colon")
        skip()
        let column = index + 1
        members.append((key, try value(depth: 0), column))
        skip()
        if peek() == UInt8(ascii: ",") {
          index += 1
          continue
        }
        try expect(UInt8(ascii: "}"), "a comma or the end of the object")
        break
      }
    }
    skip()
    if index < source.bytes.count { throw error("the end of the line") }
    return members
  }

  private func error(_ expected: String) -> FirewallError {
    source.error(at: index, expected: expected)
  }

  private func peek() -> UInt8? { index < source.bytes.count ? source.bytes[index] : nil }

  private mutating func skip() {
    while let byte = peek(), byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
      index += 1
    }
  }

  private mutating func expect(_ byte: UInt8, _ expected: String) throws(FirewallError) {
    skip()
    guard peek() == byte else { throw error(expected) }
    index += 1
  }

  private mutating func value(depth: Int) throws(FirewallError) -> JSONValue {
    guard depth < Self.deepest else { throw error("values nested at most \(Self.deepest) deep") }
    skip()
    switch peek() {
    case UInt8(ascii: "{"):
      index += 1
      var members: [String: JSONValue] = [:]
      skip()
      if peek() == UInt8(ascii: "}") {
        index += 1
        return .object(members)
      }
      while true {
        skip()
        let key = try text()
        try expect(UInt8(ascii: ":"), "a colon")
        members[key] = try value(depth: depth + 1)
        skip()
        if peek() == UInt8(ascii: ",") {
          index += 1
          continue
        }
        try expect(UInt8(ascii: "}"), "a comma or the end of the object")
        return .object(members)
      }
    case UInt8(ascii: "["):
      index += 1
      var values: [JSONValue] = []
      skip()
      if peek() == UInt8(ascii: "]") {
        index += 1
        return .array(values)
      }
      while true {
        values.append(try value(depth: depth + 1))
        skip()
        if peek() == UInt8(ascii: ",") {
          index += 1
          continue
        }
        try expect(UInt8(ascii: "]"), "a comma or the end of the array")
        return .array(values)
      }
    case UInt8(ascii: "\""): return .string(try text())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    default: return .number(try number())
    }
  }

  private mutating func word(_ text: String, _ value: JSONValue) throws(FirewallError) -> JSONValue
  {
    guard source.bytes[index...].starts(with: text.utf8) else { throw error("a value") }
    index += text.utf8.count
    return value
  }

  private mutating func number() throws(FirewallError) -> Double {
    let start = index
    while let byte = peek(), "+-.eE0123456789".utf8.contains(byte) { index += 1 }
    guard index > start, index - start < 64, let value = Double(source.string(start..<index)) else {
      index = start
      throw error("a value")
    }
    return value
  }

  private mutating func text() throws(FirewallError) -> String {
    guard peek() == UInt8(ascii: "\"") else { throw error("a string") }
    index += 1
    let start = index
    while let byte = peek(), byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") { index += 1 }
    if peek() == UInt8(ascii: "\"") {
      index += 1
      return source.string(start..<(index - 1))
    }
    var result = Array(source.bytes[start..<index])
    while let byte = peek() {
      index += 1
      if byte == UInt8(ascii: "\"") { return String(decoding: result, as: UTF8.self) }
      guard byte == UInt8(ascii: "\\") else {
        result.append(byte)
        continue
      }
      guard let escape = peek() else { break }
      index += 1
      switch escape {
      case UInt8(ascii: "n"): result.append(0x0A)
      case UInt8(ascii: "t"): result.append(0x09)
      case UInt8(ascii: "r"): result.append(0x0D)
      case UInt8(ascii: "b"): result.append(0x08)
      case UInt8(ascii: "f"): result.append(0x0C)
      case UInt8(ascii: "u"):
        guard index + 4 <= source.bytes.count,
          let unit = UInt32(source.string(index..<(index + 4)), radix: 16)
        else { throw error("four hexadecimal digits") }
        index += 4
        // Halves of a pair become replacement characters: names only need to be told apart.
        result += String(UnicodeScalar(unit) ?? "\u{FFFD}").utf8
      default: result.append(escape)
      }
    }
    throw error("the end of the string")
  }
}
