public import Addressing
import Netlink

/// A flow that a helper expects: its first packet will be RELATED, whatever the rules say of NEW.
///
/// Corresponds to `nf_conntrack_expect` (facts A4).
public struct Expectation: Sendable, Hashable, Codable {
  /// Flags of an expectation; unknown bits survive.
  public struct Flags: OptionSet, Sendable, Hashable, Codable {
    /// The bits as the kernel gives them in `CTA_EXPECT_FLAGS`, host order.
    public var rawValue: UInt32
    /// Makes flags of their bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Stays after the first flow it admits.
    ///
    /// `NF_CT_EXPECT_PERMANENT`.
    public static let permanent = Flags(rawValue: 1)
    /// Admits nothing as yet.
    ///
    /// `NF_CT_EXPECT_INACTIVE`.
    public static let inactive = Flags(rawValue: 2)
    /// Made by a program.
    ///
    /// `NF_CT_EXPECT_USERSPACE`.
    public static let userspace = Flags(rawValue: 4)
  }

  /// What the expected packet carries, where the mask has bits.
  ///
  /// `CTA_EXPECT_TUPLE`.
  public var tuple: FlowTuple
  /// Which bits of the tuple count: source address and source port; the destination counts wholly.
  ///
  /// `CTA_EXPECT_MASK`.
  public var mask: FlowTuple
  /// The original tuple of the flow whose helper expects it.
  ///
  /// `CTA_EXPECT_MASTER`.
  public var master: FlowTuple
  /// Seconds until it goes.
  ///
  /// `CTA_EXPECT_TIMEOUT`.
  public var timeout: UInt32?
  /// The helper's name, such as `sip`.
  ///
  /// `CTA_EXPECT_HELP_NAME`.
  public var helper: String?
  /// The flags.
  ///
  /// `CTA_EXPECT_FLAGS`.
  public var flags: Flags
  /// The zone; 0 unless a rule set one.
  ///
  /// `CTA_EXPECT_ZONE`.
  public var zone: UInt16
  /// The helper's own number of the kind: 0 signalling, 1 audio, 2 video for `sip`.
  ///
  /// `CTA_EXPECT_CLASS`.
  public var expectationClass: UInt32?
  /// Where the helper has the expected packets sent on to, when its flow is translated; `nil`: they
  /// stay addressed as ``tuple`` says.
  ///
  /// `CTA_EXPECT_NAT_TUPLE`, whose source holds it.
  public var translatedDestination: Endpoint?
  /// The kernel's id: stable while it lives, not unique over time.
  ///
  /// `CTA_EXPECT_ID`.
  public var id: UInt32

  /// Makes an expectation of what every one has.
  public init(tuple: FlowTuple, mask: FlowTuple, master: FlowTuple, id: UInt32) {
    self.tuple = tuple
    self.mask = mask
    self.master = master
    self.id = id
    flags = []
    zone = 0
  }

  /// Whether any source address is admitted.
  public var admitsAnySource: Bool { mask.source.isUnspecified }

  /// Whether a packet of this tuple would be admitted, were the expectation active and in its zone.
  public func admits(_ packet: FlowTuple) -> Bool {
    packet.family == tuple.family && packet.transport == tuple.transport
      && packet.destination == tuple.destination
      && packet.destinationPort == tuple.destinationPort
      && packet.source.bits & mask.source.bits == tuple.source.bits & mask.source.bits
      && packet.sourcePort & mask.sourcePort == tuple.sourcePort & mask.sourcePort
  }
}

extension Expectation {
  /// Reads one message of an expectation dump.
  ///
  /// - Parameter payload: The message behind its netlink header, `nfgenmsg` first.
  /// - Throws: `MalformedNetlink` if lengths contradict each other or something required is missing.
  init(message payload: RawSpan) throws(MalformedNetlink) {
    guard payload.byteCount >= ConntrackMessage.headerLength else {
      throw MalformedNetlink(offset: 0)
    }
    var tuple: FlowTuple?
    var mask: FlowTuple?
    var master: FlowTuple?
    var id: UInt32?
    var timeout: UInt32?
    var helper: String?
    var flags: UInt32 = 0
    var zone: UInt16 = 0
    var kind: UInt32?
    var translated: Endpoint?
    var cursor = AttributeCursor(ConntrackMessage.headerLength..<payload.byteCount)
    while let attribute = try cursor.next(in: payload) {
      switch attribute.type {
      case ConntrackAttribute.Expect.tuple: tuple = try ZonedTuple(attribute, in: payload).tuple
      case ConntrackAttribute.Expect.mask: mask = try ZonedTuple(attribute, in: payload).tuple
      case ConntrackAttribute.Expect.master: master = try ZonedTuple(attribute, in: payload).tuple
      case ConntrackAttribute.Expect.id: id = try attribute.bigEndian(UInt32.self, in: payload)
      case ConntrackAttribute.Expect.timeout:
        timeout = try attribute.bigEndian(UInt32.self, in: payload)
      case ConntrackAttribute.Expect.helper: helper = attribute.string(in: payload)
      case ConntrackAttribute.Expect.flags:
        flags = try attribute.bigEndian(UInt32.self, in: payload)
      case ConntrackAttribute.Expect.zone:
        zone = try attribute.bigEndian(UInt16.self, in: payload)
      case ConntrackAttribute.Expect.expectationClass:
        kind = try attribute.bigEndian(UInt32.self, in: payload)
      case ConntrackAttribute.Expect.translation:
        var inner = AttributeCursor(attribute.payload)
        while let part = try inner.next(in: payload) {
          guard part.type == ConntrackAttribute.Expect.translatedTuple else { continue }
          translated = try ZonedTuple(part, in: payload).tuple.sourceEndpoint
        }
      default: break
      }
    }
    guard let tuple, let mask, let master, let id else {
      throw MalformedNetlink(offset: ConntrackMessage.headerLength)
    }
    self.init(tuple: tuple, mask: mask, master: master, id: id)
    self.timeout = timeout
    self.helper = helper
    self.flags = Flags(rawValue: flags)
    self.zone = zone
    expectationClass = kind
    translatedDestination = translated
  }
}
