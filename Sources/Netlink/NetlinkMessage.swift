/// The header of one netlink message.
///
/// Corresponds to `nlmsghdr`.
public struct NetlinkMessage: Sendable, Hashable {
  /// The message's type: `NLMSG_*` below 16, else the protocol's own.
  public let type: UInt16
  /// `NLM_F_*` bits.
  public let flags: UInt16
  /// The sequence number of the request it answers.
  public let sequence: UInt32
  /// The port of the socket it is for.
  public let portID: UInt32
  /// Where the payload stands in the datagram.
  public let payload: Range<Int>

  /// Makes a header of its parts.
  public init(
    type: UInt16, flags: UInt16, sequence: UInt32, portID: UInt32, payload: Range<Int>
  ) {
    self.type = type
    self.flags = flags
    self.sequence = sequence
    self.portID = portID
    self.payload = payload
  }
}

/// Goes through the messages of one datagram.
public struct MessageCursor: Sendable {
  private var offset = 0

  /// Starts at the first message.
  public init() {}

  /// The next message, or `nil` at the end.
  ///
  /// - Parameter bytes: The datagram.
  /// - Returns: The message's header, or `nil` if there is none left.
  /// - Throws: ``MalformedNetlink`` if a length contradicts the bytes; the cursor then stands at the end.
  public mutating func next(in bytes: RawSpan) throws(MalformedNetlink) -> NetlinkMessage? {
    let start = offset
    if start == bytes.byteCount { return nil }
    guard let length = bytes.number(UInt32.self, at: start).map(Int.init),
      let type = bytes.number(UInt16.self, at: start + 4),
      let flags = bytes.number(UInt16.self, at: start + 6),
      let sequence = bytes.number(UInt32.self, at: start + 8),
      let portID = bytes.number(UInt32.self, at: start + 12),
      length >= 16, length <= bytes.byteCount - start
    else {
      offset = bytes.byteCount
      throw MalformedNetlink(offset: start)
    }
    offset = min(bytes.byteCount, start + (length + 3) & ~3)
    return NetlinkMessage(
      type: type, flags: flags, sequence: sequence, portID: portID,
      payload: (start + 16)..<(start + length))
  }
}
