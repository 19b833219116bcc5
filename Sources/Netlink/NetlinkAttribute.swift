/// One attribute of a netlink message, as offsets into the bytes it was read from.
///
/// Corresponds to `nlattr`. Offsets instead of a view keep it `Sendable` and free of lifetimes; every
/// read checks its bounds against the bytes it is given.
public struct NetlinkAttribute: Sendable, Hashable {
  /// The attribute's number, without the two flag bits.
  public let type: UInt16
  /// Whether `NLA_F_NESTED` was set.
  ///
  /// Old kernel code doesn't set it on nests, so it proves nothing when false.
  public let isNested: Bool
  /// Where the payload stands, padding excluded.
  public let payload: Range<Int>

  /// Makes an attribute of its parts.
  @inlinable
  public init(type: UInt16, isNested: Bool, payload: Range<Int>) {
    self.type = type
    self.isNested = isNested
    self.payload = payload
  }

  /// The attributes inside this one.
  @inlinable
  public var children: AttributeCursor { AttributeCursor(payload) }

  /// Reads the payload as one number in network order.
  ///
  /// - Parameters:
  ///   - type: The number's type; the payload must be just as long.
  ///   - bytes: The bytes the attribute was read from.
  /// - Returns: The number in host order.
  /// - Throws: ``MalformedNetlink`` if the payload has another length.
  @inlinable
  public func bigEndian<Number: FixedWidthInteger & BitwiseCopyable>(
    _ type: Number.Type, in bytes: RawSpan
  ) throws(MalformedNetlink) -> Number {
    Number(bigEndian: try host(type, in: bytes))
  }

  /// Reads the payload as one number in host order.
  ///
  /// - Parameters:
  ///   - type: The number's type; the payload must be just as long.
  ///   - bytes: The bytes the attribute was read from.
  /// - Returns: The number.
  /// - Throws: ``MalformedNetlink`` if the payload has another length.
  @inlinable
  public func host<Number: FixedWidthInteger & BitwiseCopyable>(
    _ type: Number.Type, in bytes: RawSpan
  ) throws(MalformedNetlink) -> Number {
    guard payload.count == MemoryLayout<Number>.size,
      let value = bytes.number(type, at: payload.lowerBound)
    else { throw MalformedNetlink(offset: payload.lowerBound) }
    return value
  }

  /// Reads the payload as text up to its first NUL; invalid UTF-8 is replaced.
  ///
  /// - Parameter bytes: The bytes the attribute was read from.
  /// - Returns: The text.
  public func string(in bytes: RawSpan) -> String {
    var text: [UInt8] = []
    for offset in payload {
      guard let byte = bytes.number(UInt8.self, at: offset), byte != 0 else { break }
      text.append(byte)
    }
    return String(decoding: text, as: UTF8.self)
  }
}

/// Goes through the attributes of a message or a nest, one call an attribute.
///
/// It always moves forward: a zero or too small length throws instead of standing still, a length past
/// the end throws instead of reading on.
public struct AttributeCursor: Sendable {
  @usableFromInline var offset: Int
  @usableFromInline let end: Int

  /// Starts at the beginning of a range of the bytes.
  @inlinable
  public init(_ range: Range<Int>) {
    offset = range.lowerBound
    end = range.upperBound
  }

  /// The next attribute, or `nil` at the end.
  ///
  /// After an error the cursor stands at its end.
  ///
  /// - Parameter bytes: The bytes the cursor was made for.
  /// - Returns: The attribute, or `nil` if there is none left.
  /// - Throws: ``MalformedNetlink`` if a length contradicts the bytes.
  @inlinable
  public mutating func next(in bytes: RawSpan) throws(MalformedNetlink) -> NetlinkAttribute? {
    if offset == end { return nil }
    let start = offset
    guard end <= bytes.byteCount,
      let length = bytes.number(UInt16.self, at: start).map(Int.init),
      let type = bytes.number(UInt16.self, at: start + 2),
      length >= 4, length <= end - start
    else {
      offset = end
      throw MalformedNetlink(offset: start)
    }
    // The padding of the last attribute may be missing.
    offset = min(end, start + (length + 3) & ~3)
    // NLA_F_NESTED is the top bit, NLA_F_NET_BYTEORDER the one below.
    return NetlinkAttribute(
      type: type & 0x3fff, isNested: type & 0x8000 != 0, payload: (start + 4)..<(start + length))
  }
}

extension RawSpan {
  /// Reads a number in host order wherever it stands, or `nil` if it doesn't fit.
  @inlinable
  public func number<Number: FixedWidthInteger & BitwiseCopyable>(
    _ type: Number.Type, at offset: Int
  ) -> Number? {
    guard offset >= 0, offset <= byteCount, byteCount - offset >= MemoryLayout<Number>.size
    else { return nil }
    return unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: type)
  }
}
