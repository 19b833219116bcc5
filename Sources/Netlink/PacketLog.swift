import CNetfilter
import Glibc
import Synchronization
import SystemPackage

/// A log group of this process: what `-j NFLOG --nflog-group N` rules send it.
///
/// Corresponds to libnetfilter_log's `nflog_bind_group` with `NFULNL_COPY_PACKET`. The kernel keeps
/// a group apart for each network namespace and gives it to one socket alone. Needs CAP_NET_ADMIN
/// in the namespace's user namespace. When this object goes, the group is free again, and packets
/// that rules log to it are dropped from the log, not from the network.
public final class PacketLog: Sendable {
  /// The group's number, for `--nflog-group`.
  public let group: UInt16
  private let state: Mutex<State>

  private struct State: ~Copyable {
    let socket: NetlinkSocket
    var buffer = [UInt8](repeating: 0, count: 128 * 1024)
    var nextSequence: UInt32?
  }

  /// What came of one look.
  public struct Receipt: Sendable, Hashable {
    /// Packets handed on.
    public var packets = 0
    /// Times that the socket's buffer was full (`ENOBUFS`).
    public var overruns = 0
    /// Packets that the kernel numbered and that never came.
    public var lost: UInt64 = 0
  }

  private init(group: UInt16, socket: consuming sending NetlinkSocket) {
    self.group = group
    state = Mutex(State(socket: socket))
  }

  /// Takes the first free group of some.
  ///
  /// - Parameters:
  ///   - namespace: The network namespace whose packets are logged.
  ///   - groups: The numbers to try; one that another socket holds is passed over.
  ///   - copying: How many bytes of a packet are copied, from the network header on.
  /// - Returns: The bound group; packets come once rules name it.
  /// - Throws: ``NetlinkError``: with `errno` `EPERM` when all are held or the capability is lacking,
  ///   another when the kernel has no `nfnetlink_log` or refuses.
  public static func open(
    in namespace: NetworkNamespace = .current, groups: ClosedRange<UInt16> = 56060...56091,
    copying: UInt32 = 16384
  ) throws(NetlinkError) -> PacketLog {
    var last = NetlinkError(.busy, operation: "take a log group")
    for group in groups {
      // A new socket for each: one that failed to bind may hold part of another's state.
      var socket = try NetlinkSocket.open(.netfilter, in: namespace)
      do {
        try socket.request(
          configuration(group) { request in
            request.attribute(
              UInt16(NFULA_CFG_CMD.rawValue), bytes: [UInt8(NFULNL_CFG_CMD_BIND.rawValue)])
          }, operation: "take log group \(group)")
      } catch {
        // The kernel says EPERM to everybody but the socket that holds the group, and to everybody
        // without the capability: then it says so for each.
        guard error.code == .refused,
          error.errno == .resourceBusy || error.errno == .notPermitted
        else { throw error }
        last = error
        continue
      }
      try socket.request(
        configuration(group) { request in
          // nfulnl_msg_config_mode: the range in network order, the mode, a byte of padding.
          let range = (0..<4).map { UInt8(truncatingIfNeeded: copying >> (24 - 8 * $0)) }
          request.attribute(
            UInt16(NFULA_CFG_MODE.rawValue), bytes: range + [UInt8(NFULNL_COPY_PACKET), 0])
          // Few packets come, and they are wanted soon: after 16 or after a tenth of a second.
          request.attribute(UInt16(NFULA_CFG_QTHRESH.rawValue), bigEndian: UInt32(16))
          request.attribute(UInt16(NFULA_CFG_TIMEOUT.rawValue), bigEndian: UInt32(10))
          request.attribute(
            UInt16(NFULA_CFG_FLAGS.rawValue), bigEndian: UInt16(NFULNL_CFG_F_SEQ))
        }, operation: "set up log group \(group)")
      socket.growReceiveBuffer(to: 8 << 20)
      return PacketLog(group: group, socket: socket)
    }
    throw last
  }

  private static func configuration(
    _ group: UInt16, _ body: (inout NetlinkRequest) -> Void
  ) -> NetlinkRequest {
    var request = NetlinkRequest(
      type: UInt16(NFNL_SUBSYS_ULOG) << 8 | UInt16(NFULNL_MSG_CONFIG.rawValue))
    // nfgenmsg: any family, version 0, the group in network order.
    request.append(UInt8(0))
    request.append(UInt8(0))
    request.append(group.bigEndian)
    body(&request)
    return request
  }

  /// Waits for packets and hands on those that are there.
  ///
  /// Blocks; don't call it on a thread of the concurrency pool.
  ///
  /// - Parameters:
  ///   - milliseconds: How long to wait for the first.
  ///   - most: How many datagrams of the kernel to take at once; each holds up to 16 packets.
  ///   - body: Called for every packet.
  /// - Returns: How many came and how many were lost.
  /// - Throws: ``NetlinkError`` when the socket fails or the kernel's bytes contradict themselves.
  public func receive(
    waiting milliseconds: Int32, most: Int = 256, _ body: (LoggedPacket) -> Void
  ) throws(NetlinkError) -> Receipt {
    try state.withLock { state throws(NetlinkError) in
      var receipt = Receipt()
      guard try state.socket.waitForDatagram(milliseconds) else { return receipt }
      for _ in 0..<most {
        switch try state.socket.takeDatagram(&state.buffer) {
        case .none: return receipt
        case .overrun: receipt.overruns += 1
        case .datagram(let count):
          var next = state.nextSequence
          try Self.read(state.buffer, count, &next, &receipt, body)
          state.nextSequence = next
        }
      }
      return receipt
    }
  }

  /// Hands on the packets of one datagram.
  private static func read(
    _ buffer: [UInt8], _ count: Int, _ next: inout UInt32?, _ receipt: inout Receipt,
    _ body: (LoggedPacket) -> Void
  ) throws(NetlinkError) {
    let bytes = unsafe buffer.span.bytes.extracting(0..<count)
    var cursor = MessageCursor()
    do throws(MalformedNetlink) {
      while let message = try cursor.next(in: bytes) {
        guard let packet = try LoggedPacket(message, in: bytes) else { continue }
        if let number = packet.sequence {
          if let expected = next { receipt.lost += UInt64(number &- expected) }
          next = number &+ 1
        }
        receipt.packets += 1
        body(packet)
      }
    } catch {
      throw NetlinkError(.malformed, operation: "read logged packets")
    }
  }
}

/// A packet that a rule logged.
public struct LoggedPacket: Sendable, Hashable {
  /// The kernel's number of the family: 2 for IPv4, 10 for IPv6.
  public var family: UInt8
  /// The rule's `--nflog-prefix`.
  public var prefix: String
  /// The interface it came by, or `nil`.
  public var interfaceIndex: UInt32?
  /// Seconds and microseconds since 1970 UTC, if the kernel stamped the packet.
  public var seconds: UInt64?
  /// See ``seconds``.
  public var microseconds: UInt64?
  /// The kernel's number of it within the group; consecutive unless some were lost.
  public var sequence: UInt32?
  /// The packet from its network header on, cut at the size that the rule and the group allow.
  public var bytes: [UInt8]

  /// Reads one message of the log; `nil` for one that is no packet.
  ///
  /// - Parameters:
  ///   - message: The header.
  ///   - bytes: The datagram.
  /// - Throws: ``MalformedNetlink`` if lengths contradict the bytes.
  public init?(_ message: NetlinkMessage, in bytes: RawSpan) throws(MalformedNetlink) {
    let type = UInt16(NFNL_SUBSYS_ULOG) << 8 | UInt16(NFULNL_MSG_PACKET.rawValue)
    guard message.type == type else { return nil }
    guard message.payload.count >= 4,
      let family = bytes.number(UInt8.self, at: message.payload.lowerBound)
    else { throw MalformedNetlink(offset: message.payload.lowerBound) }
    self.family = family
    prefix = ""
    self.bytes = []
    var cursor = AttributeCursor(
      (message.payload.lowerBound + 4)..<message.payload.upperBound)
    while let attribute = try cursor.next(in: bytes) {
      switch Int(attribute.type) {
      case Int(NFULA_PREFIX.rawValue): prefix = attribute.string(in: bytes)
      case Int(NFULA_IFINDEX_INDEV.rawValue):
        interfaceIndex = try attribute.bigEndian(UInt32.self, in: bytes)
      case Int(NFULA_SEQ.rawValue): sequence = try attribute.bigEndian(UInt32.self, in: bytes)
      case Int(NFULA_TIMESTAMP.rawValue):
        guard attribute.payload.count == 16,
          let first = bytes.number(UInt64.self, at: attribute.payload.lowerBound),
          let second = bytes.number(UInt64.self, at: attribute.payload.lowerBound + 8)
        else { throw MalformedNetlink(offset: attribute.payload.lowerBound) }
        seconds = UInt64(bigEndian: first)
        microseconds = UInt64(bigEndian: second)
      case Int(NFULA_PAYLOAD.rawValue):
        self.bytes.reserveCapacity(attribute.payload.count)
        for offset in attribute.payload {
          if let byte = bytes.number(UInt8.self, at: offset) { self.bytes.append(byte) }
        }
      default: break
      }
    }
  }
}
