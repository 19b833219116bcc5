public import Addressing

/// One entry of the connection tracking table.
///
/// Corresponds to `nf_conn`.
public struct Flow: Sendable, Hashable, Codable {
  /// Packets and bytes of one direction.
  public struct Counters: Sendable, Hashable, Codable {
    /// Number of packets, including those dropped after conntrack saw them (facts D5).
    public var packets: UInt64
    /// Number of bytes, IP headers included.
    public var bytes: UInt64

    /// Makes counters.
    public init(packets: UInt64, bytes: UInt64) {
      self.packets = packets
      self.bytes = bytes
    }
  }

  /// The tuple of the packet that opened the flow, before translation.
  ///
  /// `CTA_TUPLE_ORIG`.
  public var original: FlowTuple
  /// The tuple that packets of the other direction carry when they arrive.
  ///
  /// `CTA_TUPLE_REPLY`.
  public var reply: FlowTuple
  /// The status bits.
  ///
  /// `CTA_STATUS`.
  public var status: FlowStatus
  /// The conntrack zone both tuples are in, or of the original one; 0 unless a rule set one.
  ///
  /// `CTA_ZONE`.
  public var zone: UInt16
  /// The zone of the original tuple where the zone holds in that direction only.
  ///
  /// `CTA_TUPLE_ZONE`.
  public var originalZone: UInt16?
  /// The zone of the reply tuple where the zone holds in that direction only.
  ///
  /// `CTA_TUPLE_ZONE`.
  public var replyZone: UInt16?
  /// The kernel's id of the entry: stable while it lives; 0 where a text form hides it.
  ///
  /// Not unique over time: a flow that ended and began again may bear it again
  /// (``isSuccessor(of:)``).
  ///
  /// `CTA_ID`.
  public var id: UInt32
  /// The connection mark; `nil` if the kernel gave none.
  ///
  /// `CTA_MARK`.
  public var mark: UInt32?
  /// Seconds until the entry goes unless refreshed; `nil` for offloaded flows.
  ///
  /// `CTA_TIMEOUT`.
  public var timeout: UInt32?
  /// The TCP state's number (`TCP_CONNTRACK_*`), of TCP flows only.
  public var tcpState: UInt8?
  /// The helper's name, such as `sip`.
  ///
  /// `CTA_HELP_NAME`.
  public var helper: String?
  /// The flow whose helper expected this one.
  ///
  /// `CTA_TUPLE_MASTER`.
  public var master: FlowTuple?
  /// Counters of the original direction, if accounting was on when the flow began (facts D1).
  public var originalCounters: Counters?
  /// Counters of the reply direction, under the same condition.
  public var replyCounters: Counters?
  /// Nanoseconds since 1970 at which the flow began, if timestamps were on.
  ///
  /// `CTA_TIMESTAMP_START`.
  public var start: UInt64?

  /// Makes a flow of its tuples; everything else absent.
  public init(original: FlowTuple, reply: FlowTuple, status: FlowStatus, id: UInt32) {
    self.original = original
    self.reply = reply
    self.status = status
    self.id = id
    zone = 0
  }

  /// The address family.
  public var family: AddressFamily { original.family }

  /// What tells this entry from every other one that lives at the same time.
  public var key: FlowKey { FlowKey(original: original, zone: originalZone ?? zone, id: id) }
}

/// What identifies one entry of the table at one time: tuple and zone find it, the id tells it from
/// most of its successors (``Flow/isSuccessor(of:)``).
public struct FlowKey: Sendable, Hashable, Codable {
  /// The original tuple.
  public var original: FlowTuple
  /// The zone of the original tuple.
  public var zone: UInt16
  /// The kernel's id of the entry.
  public var id: UInt32

  /// Makes a key.
  public init(original: FlowTuple, zone: UInt16, id: UInt32) {
    self.original = original
    self.zone = zone
    self.id = id
  }
}
