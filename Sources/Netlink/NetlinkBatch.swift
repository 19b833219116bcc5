import CNetfilter
public import SystemPackage

/// What the kernel said to one of many requests sent together.
public struct NetlinkRefusal: Sendable, Hashable {
  /// Which request, counted from 0.
  public var index: Int
  /// The kernel's error number.
  public var errno: Errno

  /// Makes a refusal.
  public init(index: Int, errno: Errno) {
    self.index = index
    self.errno = errno
  }
}

extension NetlinkSocket {
  /// So many refusals fit the default receive buffer, even if every request is refused.
  public static let refusalsAtOnce = 128
  /// So many answers of some hundred bytes each do: the kernel counts what it keeps them in.
  public static let answersAtOnce = 32
  /// The default send buffer holds three times as much.
  private static let batchSize = 64 * 1024

  /// Sends many requests, many a call, and waits until the kernel has done them all.
  ///
  /// The kernel carries them out in order and each by itself: one that is refused doesn't keep the
  /// others from being done. Corresponds to `mnl_nlmsg_batch`.
  ///
  /// - Parameters:
  ///   - requests: The requests; `NLM_F_REQUEST` is added.
  ///   - atOnce: How many are sent with one call; what they all return has to fit the receive
  ///     buffer.
  ///   - operation: What is being done, for error messages.
  ///   - body: Called for every message that a request returns, with the request's number from 0.
  /// - Returns: Those that were refused, in order.
  /// - Throws: ``NetlinkError``; some may have been done by then.
  public mutating func batch(
    _ requests: some Sequence<NetlinkRequest>, atOnce: Int = refusalsAtOnce, operation: String,
    _ body: (Int, NetlinkMessage, RawSpan) -> Void = { _, _, _ in }
  ) throws(NetlinkError) -> [NetlinkRefusal] {
    guard !isBusy else { throw NetlinkError(.busy, operation: operation) }
    var refusals: [NetlinkRefusal] = []
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.batchSize)
    var waiting: NetlinkRequest?
    var done = 0
    var count = 0
    for request in requests {
      guard !request.isOversized else { throw NetlinkError(.invalidRequest, operation: operation) }
      if let last = waiting {
        let isFull =
          count - done == atOnce
          || bytes.count + last.bytes.count + request.bytes.count > Self.batchSize
        append(last, isLast: isFull, to: &bytes)
        if isFull {
          try exchange(bytes, from: done, count: count - done, operation, &refusals, body)
          bytes.removeAll(keepingCapacity: true)
          done = count
        }
      }
      waiting = request
      count += 1
    }
    if let last = waiting {
      append(last, isLast: true, to: &bytes)
      try exchange(bytes, from: done, count: count - done, operation, &refusals, body)
    }
    return refusals
  }

  private mutating func append(_ request: NetlinkRequest, isLast: Bool, to bytes: inout [UInt8]) {
    sequence &+= 1
    // The last one's acknowledgement tells that all before it are done.
    let flags = isLast ? NLM_F_REQUEST | NLM_F_ACK : NLM_F_REQUEST
    bytes += request.finished(flags: UInt16(flags), sequence: sequence, portID: portID)
    while bytes.count % 4 != 0 { bytes.append(0) }
  }

  private mutating func exchange(
    _ bytes: [UInt8], from start: Int, count: Int, _ operation: String,
    _ refusals: inout [NetlinkRefusal], _ body: (Int, NetlinkMessage, RawSpan) -> Void
  ) throws(NetlinkError) {
    // Stays set when this is left by an error: answers may be on their way still.
    isBusy = true
    try send(bytes, operation: operation)
    let first = sequence &- UInt32(count - 1)
    var buffer = takeBuffer()
    defer { self.buffer = buffer }
    while true {
      let length = try receiveDatagram(into: &buffer, operation: operation)
      let datagram = unsafe buffer.span.bytes.extracting(0..<length)
      var cursor = MessageCursor()
      while true {
        let next: NetlinkMessage?
        do { next = try cursor.next(in: datagram) } catch {
          throw NetlinkError(.malformed, operation: operation)
        }
        guard let message = next else { break }
        let index = Int(message.sequence &- first)
        guard index < count, message.portID == portID else { continue }
        switch Self.step(message, datagram, isDump: false) {
        case .failed(let errno, _):
          refusals.append(NetlinkRefusal(index: start + index, errno: errno))
          if index == count - 1 {
            isBusy = false
            return
          }
        case .done where index == count - 1:
          isBusy = false
          return
        case .broken(let code):
          throw NetlinkError(code, operation: operation)
        case .data: body(start + index, message, datagram.extracting(message.payload))
        default:
          continue
        }
      }
    }
  }
}
