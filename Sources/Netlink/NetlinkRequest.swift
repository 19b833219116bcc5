/// A request under construction: header, the protocol's fixed part, attributes.
///
/// Numbers stand in host order unless a call says otherwise. Lengths are kept right as it grows; a
/// request that outgrows netlink's 16-bit attribute lengths is refused when it is sent.
public struct NetlinkRequest: Sendable {
  /// The whole message; sequence number and port are filled in by the socket.
  public private(set) var bytes: [UInt8]
  /// Whether an attribute outgrew its length field, so that the request can't be sent.
  public private(set) var isOversized = false

  /// Starts a request.
  ///
  /// - Parameters:
  ///   - type: The message's type.
  ///   - flags: `NLM_F_*` bits besides those the socket's `request` or `dump` sets.
  public init(type: UInt16, flags: UInt16 = 0) {
    bytes = []
    bytes.reserveCapacity(128)
    append(UInt32(16))
    append(type)
    append(flags)
    append(UInt32(0))
    append(UInt32(0))
  }

  /// Appends a number in host order; call it for the fixed part only, before any attribute.
  public mutating func append<Number: FixedWidthInteger>(_ number: Number) {
    unsafe withUnsafeBytes(of: number) { unsafe bytes.append(contentsOf: $0) }
    setLength()
  }

  /// Appends bytes as they are; call it for the fixed part only, before any attribute.
  public mutating func append(bytes more: [UInt8]) {
    bytes.append(contentsOf: more)
    setLength()
  }

  /// Appends an attribute of raw bytes.
  public mutating func attribute(_ type: UInt16, bytes payload: [UInt8]) {
    let start = open(type)
    bytes.append(contentsOf: payload)
    close(start)
  }

  /// Appends an attribute that holds one number in network order.
  public mutating func attribute<Number: FixedWidthInteger>(
    _ type: UInt16, bigEndian number: Number
  ) {
    let start = open(type)
    append(number.bigEndian)
    close(start)
  }

  /// Appends an attribute that holds one number in host order.
  public mutating func attribute<Number: FixedWidthInteger>(_ type: UInt16, host number: Number) {
    let start = open(type)
    append(number)
    close(start)
  }

  /// Appends an attribute that holds text with a NUL behind it.
  public mutating func attribute(_ type: UInt16, text: String) {
    attribute(type, bytes: Array(text.utf8) + [0])
  }

  /// Appends an attribute that holds attributes, with `NLA_F_NESTED` set.
  public mutating func nest(_ type: UInt16, _ body: (inout NetlinkRequest) -> Void) {
    let start = open(type | 0x8000)
    body(&self)
    close(start)
  }

  private mutating func open(_ type: UInt16) -> Int {
    let start = bytes.count
    append(UInt16(0))
    append(type)
    return start
  }

  private mutating func close(_ start: Int) {
    let length = bytes.count - start
    if let short = UInt16(exactly: length) {
      put(short, at: start)
    } else {
      isOversized = true
    }
    while bytes.count % 4 != 0 { bytes.append(0) }
    setLength()
  }

  private mutating func setLength() {
    // While the header itself is being written there is nothing to correct yet.
    guard bytes.count >= 16 else { return }
    if let length = UInt32(exactly: bytes.count) { put(length, at: 0) } else { isOversized = true }
  }

  /// Writes a number in host order over bytes that are there already.
  mutating func put<Number: FixedWidthInteger>(_ number: Number, at offset: Int) {
    unsafe withUnsafeBytes(of: number) { source in
      for index in source.indices { unsafe bytes[offset + index] = source[index] }
    }
  }

  /// The message as it goes out.
  ///
  /// - Parameters:
  ///   - flags: Bits to add to the header's flags.
  ///   - sequence: The sequence number.
  ///   - portID: The sending socket's port.
  /// - Returns: The bytes.
  func finished(flags: UInt16, sequence: UInt32, portID: UInt32) -> [UInt8] {
    var result = self
    let own = UInt16(result.bytes[6]) | UInt16(result.bytes[7]) << 8
    result.put(UInt16(littleEndian: own) | flags, at: 6)
    result.put(sequence, at: 8)
    result.put(portID, at: 12)
    return result.bytes
  }
}
