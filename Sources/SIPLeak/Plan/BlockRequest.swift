public import Addressing
public import Firewall

/// What a person or cron asks to be blocked.
public struct BlockRequest: Sendable, Hashable {
  /// Where in the firewall blocks stand.
  public enum Place: String, Sendable, Hashable, Codable, CaseIterable {
    /// In the raw table, ahead of connection tracking: the flow dies.
    case raw
    /// Just before the state rule that lets the peer in: the flow is kept alive but not delivered
    /// (facts C1), and the block goes with the next reload of the filter table (facts E7).
    case beforeStateRule = "before-state-rule"
  }

  /// Addresses named on the command line; empty: every leak.
  public var named: [IPAddress]
  /// Where.
  public var place: Place
  /// Seconds until the kernel lifts a block by itself; 0 for never.
  ///
  /// At most 2147483 (facts E8).
  public var seconds: UInt32

  /// Whether a block that stands for longer is made as short as asked.
  ///
  /// Only who says a time means to shorten one.
  public var shortens = true

  /// How much may be blocked, and whom without being named.
  public var limits: BlockLimits
  /// Which backend a block before the state rule goes into, where both hold rules.
  public var backend: Backend?

  /// How many leading bits of an IPv6 peer's address are blocked, such as 64; `nil`: all of them.
  public var prefix6: Int?

  /// Whether blocks are rules of their own also where there are sets.
  public var isPlain: Bool

  /// Makes a request; one day ahead of connection tracking unless told otherwise.
  public init(
    named: [IPAddress] = [], place: Place = .raw, seconds: UInt32 = 86400,
    limits: BlockLimits = BlockLimits(), backend: Backend? = nil,
    prefix6: Int? = nil, isPlain: Bool = false
  ) {
    self.named = named
    self.place = place
    self.seconds = seconds
    self.limits = limits
    self.backend = backend
    self.prefix6 = prefix6
    self.isPlain = isPlain
  }
}
