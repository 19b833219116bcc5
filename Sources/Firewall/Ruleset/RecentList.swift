public import Addressing

/// The addresses that a list of `-m recent` held, as the kernel shows them.
public struct RecentList: Sendable, Hashable, Codable {
  /// One address of a list.
  public struct Entry: Sendable, Hashable, Codable {
    /// The address, with the list's mask applied by the kernel.
    public var address: IPAddress
    /// The TTL or hop limit of the packet that was last noted; 0 matches any.
    public var ttl: UInt8
    /// When it was last noted, in jiffies of the running kernel.
    public var lastSeen: UInt64
    /// When it was noted, in jiffies.
    ///
    /// A ring: not in order of time once it is full (facts F10).
    public var stamps: [UInt64]

    /// Makes an entry.
    public init(address: IPAddress, ttl: UInt8, lastSeen: UInt64, stamps: [UInt64]) {
      self.address = address
      self.ttl = ttl
      self.lastSeen = lastSeen
      self.stamps = stamps
    }
  }

  /// The list's name, as `--name` gives it; not escaped for terminals.
  public var name: String
  /// Its addresses, of both families.
  ///
  /// Rules with `--rttl` can put an address in more than once.
  public var entries: [Entry]

  /// Makes a list.
  public init(name: String, entries: [Entry] = []) {
    self.name = name
    self.entries = entries
  }
}
