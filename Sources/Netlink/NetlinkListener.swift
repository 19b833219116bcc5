import CNetfilter
import Glibc
import SystemPackage

/// A netlink socket that only hears what the kernel sends to multicast groups.
///
/// Losses are told: when the receive buffer was full, ``receive(_:_:)`` says so once
/// (`ENOBUFS`; `NETLINK_NO_ENOBUFS` is never set), and until the buffer has been emptied the kernel
/// drops everything more without another word. Blocks; belongs on a thread of its own.
package struct NetlinkListener: ~Copyable, Sendable {
  private let descriptor: Int32

  private init(owning descriptor: Int32) {
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  /// Opens a socket and joins the groups.
  ///
  /// The filter is in place before the first group is joined, so that nothing passes without it.
  ///
  /// - Parameters:
  ///   - protocol: Whose groups they are.
  ///   - groups: The groups' numbers.
  ///   - filter: What to drop in the kernel.
  ///   - receiveBuffer: Bytes of the receive buffer, as ``setReceiveBuffer(_:)`` takes them.
  ///   - namespace: The network namespace to listen in.
  /// - Returns: The socket.
  /// - Throws: ``NetlinkError``.
  package static func open(
    _ protocol: NetlinkProtocol, groups: [UInt32], filter: SocketFilter?, receiveBuffer: Int,
    in namespace: NetworkNamespace
  ) throws(NetlinkError) -> NetlinkListener {
    let number = `protocol`.rawValue
    let opened = try namespace.enter { () -> Result<Int32, Errno> in
      let kind = Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
      let descriptor = socket(AF_NETLINK, kind, number)
      return descriptor >= 0 ? .success(descriptor) : .failure(Errno(rawValue: errno))
    }
    switch opened {
    case .failure(let error):
      throw NetlinkError(.open, operation: "open a netlink socket", errno: error)
    case .success(let descriptor):
      let listener = NetlinkListener(owning: descriptor)
      listener.setReceiveBuffer(receiveBuffer)
      do {
        try filter?.attach(to: descriptor)
      } catch {
        throw NetlinkError(.open, operation: "attach a filter to a netlink socket", errno: error)
      }
      guard bindAnywhere(descriptor) else {
        throw NetlinkError(
          .open, operation: "bind a netlink socket", errno: Errno(rawValue: errno))
      }
      for group in groups {
        var group = group
        guard
          unsafe setsockopt(descriptor, SOL_NETLINK, Int32(NETLINK_ADD_MEMBERSHIP), &group, 4) == 0
        else {
          throw NetlinkError(
            .open, operation: "listen to netlink events", errno: Errno(rawValue: errno))
        }
      }
      return listener
    }
  }

  /// Gives the socket a port of its own: one without is taken for the kernel, who sends, and hears
  /// nothing.
  private static func bindAnywhere(_ descriptor: Int32) -> Bool {
    var address = sockaddr_nl()
    address.nl_family = UInt16(AF_NETLINK)
    let length = socklen_t(MemoryLayout<sockaddr_nl>.size)
    return unsafe withUnsafeMutablePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { plain in
        unsafe bind(descriptor, plain, length) == 0
      }
    }
  }

  /// Asks for a receive buffer, beyond `net.core.rmem_max` where that is allowed.
  ///
  /// - Parameter bytes: Its size; the kernel counts its own overhead in and doubles it for that.
  /// - Returns: What the kernel made of it (`SO_RCVBUF` as read back).
  @discardableResult
  package borrowing func setReceiveBuffer(_ bytes: Int) -> Int {
    var size = Int32(clamping: bytes)
    let length = socklen_t(MemoryLayout<Int32>.size)
    if unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, length) != 0 {
      _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, length)
    }
    var actual: Int32 = 0
    var actualLength = length
    _ = unsafe getsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &actual, &actualLength)
    return Int(actual)
  }

  /// Waits for a datagram.
  ///
  /// - Parameter wakeUp: Ends the wait early.
  /// - Returns: Whether there may be something to receive; `false` when woken.
  package borrowing func wait(_ wakeUp: WakeUp) -> Bool {
    var entries = [
      pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: wakeUp.descriptor, events: Int16(POLLIN), revents: 0),
    ]
    _ = unsafe poll(&entries, 2, -1)
    return entries[1].revents == 0
  }

  /// What one call of ``receive(_:_:)`` met.
  package enum Reception: Sendable, Hashable {
    /// As many datagrams as fit a batch: there may be more.
    case full
    /// Some datagrams, fewer than a batch holds.
    case some
    /// Nothing: the buffer is empty.
    case empty
    /// The receive buffer was full and datagrams were lost.
    case overrun
  }

  /// Receives what is there, without waiting.
  ///
  /// - Parameters:
  ///   - batch: Room for it.
  ///   - body: Called for each message from the kernel; the header is `nil` for a datagram that
  ///     was cut short or makes no sense.
  /// - Returns: Whether there may be more, or something was lost.
  /// - Throws: ``NetlinkError`` with code `receive`.
  package borrowing func receive(
    _ batch: borrowing ReceiveBatch, _ body: (NetlinkMessage?, RawSpan) -> Void
  ) throws(NetlinkError) -> Reception {
    let count = batch.receive(from: descriptor)
    if count <= 0 {
      switch Errno(rawValue: errno) {
      case _ where count == 0, .wouldBlock: return .empty
      case .interrupted: return .full
      case .noBufferSpace: return .overrun
      case let error:
        throw NetlinkError(.receive, operation: "receive netlink events", errno: error)
      }
    }
    for index in 0..<count { batch.read(index, body) }
    return count == ReceiveBatch.count ? .full : .some
  }
}

/// Room for many datagrams, received in one call.
///
/// Corresponds to the arguments of `recvmmsg(2)`.
@safe
package struct ReceiveBatch: ~Copyable {
  /// How many datagrams it holds.
  static let count = 128
  /// Bytes a datagram may have; an event of ctnetlink has a few hundred.
  private static let size = 4096

  private let bytes: UnsafeMutableRawBufferPointer
  private let senders: UnsafeMutableBufferPointer<sockaddr_nl>
  private let vectors: UnsafeMutableBufferPointer<iovec>
  private let headers: UnsafeMutableBufferPointer<sipleak_mmsghdr>

  /// Allocates it.
  package init() {
    unsafe bytes = .allocate(byteCount: Self.count * Self.size, alignment: 16)
    unsafe senders = .allocate(capacity: Self.count)
    unsafe vectors = .allocate(capacity: Self.count)
    unsafe headers = .allocate(capacity: Self.count)
    unsafe senders.initialize(repeating: sockaddr_nl())
    unsafe vectors.initialize(repeating: iovec())
    unsafe headers.initialize(repeating: sipleak_mmsghdr())
    for index in 0..<Self.count {
      unsafe vectors[index].iov_base = bytes.baseAddress?.advanced(by: index * Self.size)
      unsafe vectors[index].iov_len = Self.size
      unsafe headers[index].msg_hdr.msg_iov = vectors.baseAddress?.advanced(by: index)
      unsafe headers[index].msg_hdr.msg_iovlen = 1
      unsafe headers[index].msg_hdr.msg_name = UnsafeMutableRawPointer(
        senders.baseAddress?.advanced(by: index))
    }
  }

  deinit {
    unsafe bytes.deallocate()
    unsafe senders.deallocate()
    unsafe vectors.deallocate()
    unsafe headers.deallocate()
  }

  /// The number of datagrams received, or -1 with `errno` set.
  fileprivate borrowing func receive(from descriptor: Int32) -> Int {
    for index in 0..<Self.count {
      // The kernel writes the sender's true length here.
      unsafe headers[index].msg_hdr.msg_namelen = socklen_t(MemoryLayout<sockaddr_nl>.size)
      unsafe headers[index].msg_hdr.msg_flags = 0
    }
    return Int(
      unsafe sipleak_recvmmsg(
        descriptor, headers.baseAddress, UInt32(Self.count), Int32(MSG_DONTWAIT), nil))
  }

  /// Hands on the messages of one datagram.
  fileprivate borrowing func read(_ index: Int, _ body: (NetlinkMessage?, RawSpan) -> Void) {
    // Port 0 is the kernel; other processes can address this socket too.
    guard unsafe senders[index].nl_pid == 0 else { return }
    let length = min(Int(unsafe headers[index].msg_len), Self.size)
    let start = index * Self.size
    let whole = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<(start + length)])
    let span = unsafe RawSpan(_unsafeBytes: whole)
    guard unsafe headers[index].msg_hdr.msg_flags & Int32(MSG_TRUNC) == 0 else {
      body(nil, span)
      return
    }
    var cursor = MessageCursor()
    do {
      while let message = try cursor.next(in: span) {
        body(message, span.extracting(message.payload))
      }
    } catch {
      body(nil, span)
    }
  }
}
