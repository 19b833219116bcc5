import Addressing

/// A tuple as its words come in: each at most once, and all that the transport needs.
struct TupleText {
  private(set) var source: IPAddress?
  private(set) var destination: IPAddress?
  private var sourcePort: UInt16?
  private var destinationPort: UInt16?
  private(set) var packets: UInt64?
  private(set) var bytes: UInt64?

  /// Takes a field of a tuple.
  ///
  /// - Returns: `false` if it is none.
  mutating func take(
    _ field: TextField, key: UInt64, in text: Span<UInt8>
  ) throws(TextFault) -> Bool {
    let value = field.value
    switch key {
    case TextKey.source:
      try once(source, value)
      source = try text.address(value)
    case TextKey.destination:
      try once(destination, value)
      destination = try text.address(value)
    case TextKey.sourcePort:
      try once(sourcePort, value)
      sourcePort = try text.number(value, UInt16.self, Self.port)
    case TextKey.destinationPort:
      try once(destinationPort, value)
      destinationPort = try text.number(value, UInt16.self, Self.port)
    case TextKey.sourceKey:
      try once(sourcePort, value)
      sourcePort = try text.hexadecimal(value)
    case TextKey.destinationKey:
      try once(destinationPort, value)
      destinationPort = try text.hexadecimal(value)
    case TextKey.packets:
      try once(packets, value)
      packets = try text.number(value, UInt64.self, "a number of packets")
    case TextKey.bytes:
      try once(bytes, value)
      bytes = try text.number(value, UInt64.self, "a number of bytes")
    default: return false
    }
    return true
  }

  private static let port = "a port from 0 to 65535"

  private func once<Value>(_ known: Value?, _ value: Range<Int>) throws(TextFault) {
    guard known == nil else {
      throw TextFault(offset: value.lowerBound, expected: "each field once: two lines in one?")
    }
  }

  /// The tuple, once its line is read.
  ///
  /// - Parameters:
  ///   - transport: The line's protocol.
  ///   - end: Where the line ends, for what is missing.
  ///   - side: What stands before the names of the addresses: `master-` or nothing.
  /// - Returns: The tuple.
  /// - Throws: What is missing, at the line's end.
  func tuple(
    _ transport: IPProtocol, end: Int, side: String = ""
  ) throws(TextFault) -> FlowTuple {
    guard let source else { throw TextFault(offset: end, expected: "\"\(side)src=\"") }
    guard let destination else { throw TextFault(offset: end, expected: "\"\(side)dst=\"") }
    guard source.family == destination.family else {
      throw TextFault(offset: end, expected: "two addresses of one family in a tuple")
    }
    // A kernel that doesn't know a protocol's ports prints none, as `unknown  33`.
    if transport == .udp || transport == .tcp {
      if sourcePort == nil { throw TextFault(offset: end, expected: "\"sport=\"") }
      if destinationPort == nil { throw TextFault(offset: end, expected: "\"dport=\"") }
    }
    return FlowTuple(
      source: source, destination: destination, transport: transport,
      sourcePort: sourcePort ?? 0, destinationPort: destinationPort ?? 0)
  }

  /// The counters, if the line has them.
  func counters(end: Int) throws(TextFault) -> Flow.Counters? {
    guard let packets else { return nil }
    guard let bytes else { throw TextFault(offset: end, expected: "\"bytes=\"") }
    return Flow.Counters(packets: packets, bytes: bytes)
  }
}
