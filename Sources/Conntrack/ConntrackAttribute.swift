import CNetfilter

/// The numbers of ctnetlink's attributes and messages, by their C names.
///
/// Computed, not stored: the compiler folds them into the `switch` statements of the decoder.
enum ConntrackAttribute {
  static var originalTuple: UInt16 { UInt16(CTA_TUPLE_ORIG.rawValue) }
  static var replyTuple: UInt16 { UInt16(CTA_TUPLE_REPLY.rawValue) }
  static var status: UInt16 { UInt16(CTA_STATUS.rawValue) }
  static var protocolInfo: UInt16 { UInt16(CTA_PROTOINFO.rawValue) }
  static var help: UInt16 { UInt16(CTA_HELP.rawValue) }
  static var timeout: UInt16 { UInt16(CTA_TIMEOUT.rawValue) }
  static var mark: UInt16 { UInt16(CTA_MARK.rawValue) }
  static var originalCounters: UInt16 { UInt16(CTA_COUNTERS_ORIG.rawValue) }
  static var replyCounters: UInt16 { UInt16(CTA_COUNTERS_REPLY.rawValue) }
  static var id: UInt16 { UInt16(CTA_ID.rawValue) }
  static var masterTuple: UInt16 { UInt16(CTA_TUPLE_MASTER.rawValue) }
  static var zone: UInt16 { UInt16(CTA_ZONE.rawValue) }
  static var timestamp: UInt16 { UInt16(CTA_TIMESTAMP.rawValue) }
  static var filter: UInt16 { UInt16(CTA_FILTER.rawValue) }

  /// Inside a tuple.
  enum Tuple {
    static var addresses: UInt16 { UInt16(CTA_TUPLE_IP.rawValue) }
    static var transport: UInt16 { UInt16(CTA_TUPLE_PROTO.rawValue) }
    static var zone: UInt16 { UInt16(CTA_TUPLE_ZONE.rawValue) }
  }

  /// Inside `CTA_TUPLE_IP`.
  enum Address {
    static var ipv4Source: UInt16 { UInt16(CTA_IP_V4_SRC.rawValue) }
    static var ipv4Destination: UInt16 { UInt16(CTA_IP_V4_DST.rawValue) }
    static var ipv6Source: UInt16 { UInt16(CTA_IP_V6_SRC.rawValue) }
    static var ipv6Destination: UInt16 { UInt16(CTA_IP_V6_DST.rawValue) }
  }

  /// Inside `CTA_TUPLE_PROTO`.
  enum Transport {
    static var number: UInt16 { UInt16(CTA_PROTO_NUM.rawValue) }
    static var sourcePort: UInt16 { UInt16(CTA_PROTO_SRC_PORT.rawValue) }
    static var destinationPort: UInt16 { UInt16(CTA_PROTO_DST_PORT.rawValue) }
  }

  /// Inside `CTA_FILTER`.
  enum Filter {
    static var originalFlags: UInt16 { UInt16(CTA_FILTER_ORIG_FLAGS.rawValue) }
    static var replyFlags: UInt16 { UInt16(CTA_FILTER_REPLY_FLAGS.rawValue) }
  }

  /// Inside an expectation.
  enum Expect {
    static var master: UInt16 { UInt16(CTA_EXPECT_MASTER.rawValue) }
    static var tuple: UInt16 { UInt16(CTA_EXPECT_TUPLE.rawValue) }
    static var mask: UInt16 { UInt16(CTA_EXPECT_MASK.rawValue) }
    static var timeout: UInt16 { UInt16(CTA_EXPECT_TIMEOUT.rawValue) }
    static var id: UInt16 { UInt16(CTA_EXPECT_ID.rawValue) }
    static var helper: UInt16 { UInt16(CTA_EXPECT_HELP_NAME.rawValue) }
    static var zone: UInt16 { UInt16(CTA_EXPECT_ZONE.rawValue) }
    static var flags: UInt16 { UInt16(CTA_EXPECT_FLAGS.rawValue) }
    static var expectationClass: UInt16 { UInt16(CTA_EXPECT_CLASS.rawValue) }
    static var translation: UInt16 { UInt16(CTA_EXPECT_NAT.rawValue) }
    static var translatedTuple: UInt16 { UInt16(CTA_EXPECT_NAT_TUPLE.rawValue) }
  }

  static var helperName: UInt16 { UInt16(CTA_HELP_NAME.rawValue) }
  static var packets: UInt16 { UInt16(CTA_COUNTERS_PACKETS.rawValue) }
  static var bytes: UInt16 { UInt16(CTA_COUNTERS_BYTES.rawValue) }
  static var tcp: UInt16 { UInt16(CTA_PROTOINFO_TCP.rawValue) }
  static var tcpState: UInt16 { UInt16(CTA_PROTOINFO_TCP_STATE.rawValue) }
  static var timestampStart: UInt16 { UInt16(CTA_TIMESTAMP_START.rawValue) }
}

/// The numbers of ctnetlink's messages: subsystem in the high byte, command in the low one.
enum ConntrackMessage {
  static var getFlow: UInt16 {
    UInt16(NFNL_SUBSYS_CTNETLINK) << 8 | UInt16(IPCTNL_MSG_CT_GET.rawValue)
  }
  static var newFlow: UInt16 {
    UInt16(NFNL_SUBSYS_CTNETLINK) << 8 | UInt16(IPCTNL_MSG_CT_NEW.rawValue)
  }
  static var deleteFlow: UInt16 {
    UInt16(NFNL_SUBSYS_CTNETLINK) << 8 | UInt16(IPCTNL_MSG_CT_DELETE.rawValue)
  }
  static var getExpectation: UInt16 {
    UInt16(NFNL_SUBSYS_CTNETLINK_EXP) << 8 | UInt16(IPCTNL_MSG_EXP_GET.rawValue)
  }
  static var newExpectation: UInt16 {
    UInt16(NFNL_SUBSYS_CTNETLINK_EXP) << 8 | UInt16(IPCTNL_MSG_EXP_NEW.rawValue)
  }
  static var deleteExpectation: UInt16 {
    UInt16(NFNL_SUBSYS_CTNETLINK_EXP) << 8 | UInt16(IPCTNL_MSG_EXP_DELETE.rawValue)
  }
  /// Length of `nfgenmsg`: family, version, resource id.
  static var headerLength: Int { 4 }
}
