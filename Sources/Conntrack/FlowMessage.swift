import Addressing
public import Netlink

/// One entry of a dump, still as the bytes the kernel sent.
///
/// Reading happens in two steps so that an entry nobody wants costs no allocation: first transport and
/// ports, then, if they are wanted, the whole flow.
public enum FlowMessage {
  /// The transport and the four port places of an entry.
  public struct Ports: Sendable, Hashable {
    /// The IP protocol's number.
    public var transport: UInt8
    /// Source port of the original tuple; 0 for protocols without ports, as in all four.
    public var originalSource: UInt16
    /// Destination port of the original tuple.
    public var originalDestination: UInt16
    /// Source port of the reply tuple.
    public var replySource: UInt16
    /// Destination port of the reply tuple.
    public var replyDestination: UInt16
  }

  /// Reads transport and ports of an entry.
  ///
  /// - Parameter payload: The message behind its netlink header, `nfgenmsg` first.
  /// - Returns: The ports.
  /// - Throws: ``MalformedNetlink`` if lengths contradict each other or a tuple is missing.
  public static func ports(_ payload: RawSpan) throws(MalformedNetlink) -> Ports {
    guard payload.byteCount >= ConntrackMessage.headerLength else {
      throw MalformedNetlink(offset: 0)
    }
    var cursor = AttributeCursor(ConntrackMessage.headerLength..<payload.byteCount)
    var original: TuplePorts?
    var reply: TuplePorts?
    // The tuples come first; what follows them is not looked at here.
    while original == nil || reply == nil, let attribute = try cursor.next(in: payload) {
      switch attribute.type {
      case ConntrackAttribute.originalTuple:
        original = try TuplePorts(tuple: attribute, in: payload)
      case ConntrackAttribute.replyTuple:
        reply = try TuplePorts(tuple: attribute, in: payload)
      default: break
      }
    }
    guard let original, let reply, let transport = original.transport else {
      throw MalformedNetlink(offset: ConntrackMessage.headerLength)
    }
    return Ports(
      transport: transport, originalSource: original.source,
      originalDestination: original.destination, replySource: reply.source,
      replyDestination: reply.destination)
  }

  /// Reads a whole entry.
  ///
  /// Attributes that aren't known are passed over. Tuples, status and id are required.
  ///
  /// - Parameter payload: The message behind its netlink header, `nfgenmsg` first.
  /// - Returns: The flow.
  /// - Throws: ``MalformedNetlink`` if lengths contradict each other or something required is missing.
  public static func flow(_ payload: RawSpan) throws(MalformedNetlink) -> Flow {
    guard payload.byteCount >= ConntrackMessage.headerLength else {
      throw MalformedNetlink(offset: 0)
    }
    var cursor = AttributeCursor(ConntrackMessage.headerLength..<payload.byteCount)
    var original: ZonedTuple?
    var reply: ZonedTuple?
    var status: UInt32?
    var id: UInt32?
    var rest = Rest()
    while let attribute = try cursor.next(in: payload) {
      switch attribute.type {
      case ConntrackAttribute.originalTuple: original = try ZonedTuple(attribute, in: payload)
      case ConntrackAttribute.replyTuple: reply = try ZonedTuple(attribute, in: payload)
      case ConntrackAttribute.status: status = try attribute.bigEndian(UInt32.self, in: payload)
      case ConntrackAttribute.id: id = try attribute.bigEndian(UInt32.self, in: payload)
      default: try rest.read(attribute, in: payload)
      }
    }
    guard let original, let reply, let status, let id,
      original.tuple.family == reply.tuple.family
    else { throw MalformedNetlink(offset: ConntrackMessage.headerLength) }
    var flow = Flow(
      original: original.tuple, reply: reply.tuple, status: FlowStatus(rawValue: status), id: id)
    flow.originalZone = original.zone
    flow.replyZone = reply.zone
    rest.complete(&flow)
    return flow
  }

  /// The attributes an entry may have or not.
  private struct Rest {
    var zone: UInt16 = 0
    var mark: UInt32?
    var timeout: UInt32?
    var tcpState: UInt8?
    var helper: String?
    var master: FlowTuple?
    var originalCounters: Flow.Counters?
    var replyCounters: Flow.Counters?
    var start: UInt64?

    mutating func read(
      _ attribute: NetlinkAttribute, in bytes: RawSpan
    ) throws(MalformedNetlink) {
      switch attribute.type {
      case ConntrackAttribute.zone: zone = try attribute.bigEndian(UInt16.self, in: bytes)
      case ConntrackAttribute.mark: mark = try attribute.bigEndian(UInt32.self, in: bytes)
      case ConntrackAttribute.timeout: timeout = try attribute.bigEndian(UInt32.self, in: bytes)
      case ConntrackAttribute.masterTuple: master = try ZonedTuple(attribute, in: bytes).tuple
      case ConntrackAttribute.originalCounters:
        originalCounters = try Rest.counters(attribute, in: bytes)
      case ConntrackAttribute.replyCounters:
        replyCounters = try Rest.counters(attribute, in: bytes)
      case ConntrackAttribute.help:
        helper = try Rest.child(ConntrackAttribute.helperName, of: attribute, in: bytes)?
          .string(in: bytes)
      case ConntrackAttribute.protocolInfo:
        if let tcp = try Rest.child(ConntrackAttribute.tcp, of: attribute, in: bytes) {
          tcpState = try Rest.child(ConntrackAttribute.tcpState, of: tcp, in: bytes)
            .map { (state) throws(MalformedNetlink) in try state.bigEndian(UInt8.self, in: bytes) }
        }
      case ConntrackAttribute.timestamp:
        start = try Rest.child(ConntrackAttribute.timestampStart, of: attribute, in: bytes)
          .map { (start) throws(MalformedNetlink) in try start.bigEndian(UInt64.self, in: bytes) }
      default: break
      }
    }

    func complete(_ flow: inout Flow) {
      flow.zone = zone
      flow.mark = mark
      flow.timeout = timeout
      flow.tcpState = tcpState
      flow.helper = helper
      flow.master = master
      flow.originalCounters = originalCounters
      flow.replyCounters = replyCounters
      flow.start = start
    }

    private static func child(
      _ type: UInt16, of nest: NetlinkAttribute, in bytes: RawSpan
    ) throws(MalformedNetlink) -> NetlinkAttribute? {
      var cursor = nest.children
      var found: NetlinkAttribute?
      while let attribute = try cursor.next(in: bytes) {
        if attribute.type == type { found = attribute }
      }
      return found
    }

    private static func counters(
      _ nest: NetlinkAttribute, in bytes: RawSpan
    ) throws(MalformedNetlink) -> Flow.Counters? {
      var packets: UInt64?
      var total: UInt64?
      var cursor = nest.children
      while let attribute = try cursor.next(in: bytes) {
        switch attribute.type {
        case ConntrackAttribute.packets:
          packets = try attribute.bigEndian(UInt64.self, in: bytes)
        case ConntrackAttribute.bytes: total = try attribute.bigEndian(UInt64.self, in: bytes)
        default: break
        }
      }
      guard let packets, let total else { return nil }
      return Flow.Counters(packets: packets, bytes: total)
    }
  }
}
