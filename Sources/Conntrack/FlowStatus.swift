/// Status bits of a flow.
///
/// Corresponds to `enum ip_conntrack_status` (`IPS_*`); unknown bits survive.
public struct FlowStatus: OptionSet, Sendable, Hashable, Codable {
  /// The bits as the kernel gives them in `CTA_STATUS`, host order.
  public var rawValue: UInt32
  /// Makes a status of its bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The flow was expected by a helper.
  ///
  /// `IPS_EXPECTED`.
  public static let expected = FlowStatus(rawValue: 1 << 0)
  /// Packets were seen in both directions.
  ///
  /// `IPS_SEEN_REPLY`.
  public static let seenReply = FlowStatus(rawValue: 1 << 1)
  /// Not evicted early; for UDP, both ways and older than two seconds (facts B2).
  ///
  /// `IPS_ASSURED`.
  public static let assured = FlowStatus(rawValue: 1 << 2)
  /// The first packet left the host or was delivered.
  ///
  /// `IPS_CONFIRMED`.
  public static let confirmed = FlowStatus(rawValue: 1 << 3)
  /// The source is translated in the original direction.
  ///
  /// `IPS_SRC_NAT`.
  public static let sourceNAT = FlowStatus(rawValue: 1 << 4)
  /// The destination is translated in the original direction.
  ///
  /// `IPS_DST_NAT`.
  public static let destinationNAT = FlowStatus(rawValue: 1 << 5)
  /// Sequence numbers are adjusted.
  ///
  /// `IPS_SEQ_ADJUST`.
  public static let sequenceAdjusted = FlowStatus(rawValue: 1 << 6)
  /// The nat table's source side was consulted; says nothing of a translation.
  ///
  /// `IPS_SRC_NAT_DONE`.
  public static let sourceNATDone = FlowStatus(rawValue: 1 << 7)
  /// The nat table's destination side was consulted.
  ///
  /// `IPS_DST_NAT_DONE`.
  public static let destinationNATDone = FlowStatus(rawValue: 1 << 8)
  /// The entry is being removed.
  ///
  /// `IPS_DYING`.
  public static let dying = FlowStatus(rawValue: 1 << 9)
  /// Packets do not refresh the timeout.
  ///
  /// `IPS_FIXED_TIMEOUT`.
  public static let fixedTimeout = FlowStatus(rawValue: 1 << 10)
  /// A template, not a flow.
  ///
  /// `IPS_TEMPLATE`.
  public static let template = FlowStatus(rawValue: 1 << 11)
  /// The flow got its helper from a `CT` rule.
  ///
  /// `IPS_HELPER`.
  public static let helper = FlowStatus(rawValue: 1 << 13)
  /// The flow is in a software flowtable and by-passes the rules.
  ///
  /// `IPS_OFFLOAD`.
  public static let offload = FlowStatus(rawValue: 1 << 14)
  /// The flow is in a hardware flowtable.
  ///
  /// `IPS_HW_OFFLOAD`.
  public static let hardwareOffload = FlowStatus(rawValue: 1 << 15)
}
