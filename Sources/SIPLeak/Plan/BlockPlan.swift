public import Addressing
public import Conntrack
public import Firewall

/// What would be changed, as inert data: printed as it stands, or applied.
public struct BlockPlan: Sendable {
  /// One peer to block from one port.
  public struct Entry: Sendable, Hashable {
    /// The peer.
    public var address: IPAddress
    /// The transport protocol.
    public var transport: IPProtocol
    /// The port on the wire side or the one its answers leave by (raw), or on the delivered side
    /// (before the state rule).
    public var port: UInt16
    /// Why.
    public var reason: String
    /// How firmly its flow stands, if there is one.
    public var grade: Grade?
    /// Seconds until the kernel lifts the block; 0 for never.
    public var seconds: UInt32
    /// The inner host behind a forward, when the endpoint is no address of this host.
    public var inner: IPAddress?
    /// How many leading bits of the address are blocked; `nil`: all, the address alone.
    public var prefixLength: Int?

    /// Everybody who is blocked.
    public var prefix: IPPrefix {
      prefixLength.flatMap { IPPrefix(address, length: $0) } ?? IPPrefix(address)
    }

    /// The set element, such as `203.0.113.66,udp:5060`.
    public var element: String { "\(prefix),\(transport):\(port)" }
  }

  /// An address that is not blocked, with the reason.
  public struct Omission: Sendable, Hashable {
    /// The peer.
    public var address: IPAddress
    /// Why not.
    public var why: String
    /// Whether naming the address would block it.
    public var isOnRequest: Bool
  }

  /// Text for one run of `iptables-restore --noflush`: one table, so one transaction (facts E1).
  ///
  /// Many plain blocks of a table take several; each leaves nothing half done that counts.
  public struct RestoreText: Sendable, Hashable {
    /// Which backend's tool reads it.
    public var backend: Backend
    /// Which family's tool reads it.
    public var family: AddressFamily
    /// The table.
    public var table: String
    /// The input, ending in a newline.
    public var text: String
    /// The input that takes it back: chains and jumps as they were.
    public var undo: String
    /// Whether the table is not there before.
    public var makesTable: Bool
  }

  /// What was asked.
  public var request: BlockRequest
  /// Who is blocked.
  public var entries: [Entry]
  /// Who is not, and why.
  public var omissions: [Omission]
  /// Input for `ipset restore`; empty when nothing is blocked.
  public var setText: String
  /// Rules to put in place; empty when they stand already.
  public var rules: [RestoreText]
  /// Flows to delete once the rules stand.
  public var deletions: [FlowKey]
  /// Why blocks are rules of their own and not members of a set; `nil` where they are members.
  public var plainBecause: String?
  /// Plain blocks that stand and move into our sets, with the time they have left.
  public var moved: [OwnBlock]
  /// Plain blocks that stand past their time and are lifted.
  public var lifted: [OwnBlock]
  /// Why nobody can be blocked though somebody should be; the plan then lifts what is over, no more.
  public var obstacles: [String]

  /// Whether applying it would change nothing.
  public var isEmpty: Bool { entries.isEmpty && rules.isEmpty }

  /// Whether it only renews our chains and jumps, moves blocks or lifts what is over.
  public var isRenewal: Bool { entries.isEmpty && !rules.isEmpty }

  /// Whether blocks are rules of their own.
  public var isPlain: Bool { plainBecause != nil }

  /// What has to be known of blocks that the kernel does not lift.
  public static let plainNote =
    "plain blocks stay until the next run of `sipleak block --apply` after their time"

  /// The families that have entries.
  public var families: [AddressFamily] {
    AddressFamily.allCases.filter { family in entries.contains { $0.address.family == family } }
  }

  /// The families whose sets are written.
  var setFamilies: [AddressFamily] {
    guard !isPlain else { return [] }
    return AddressFamily.allCases.filter { family in
      families.contains(family) || moved.contains { $0.family == family }
    }
  }
}
