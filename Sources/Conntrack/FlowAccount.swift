public import Addressing

extension FlowDump {
  /// How a dump was read: the size of the table, the strategy, the walks and what they cost.
  public struct Account: Sendable, Hashable, Codable {
    /// The walks over one family.
    public struct Family: Sendable, Hashable, Codable {
      /// The family.
      public var family: AddressFamily
      /// How the kernel was asked.
      public var strategy: FlowDump.Strategy
      /// Whether the kernel refused its filter, so that it was asked for everything.
      public var isFallback = false
      /// How often the table was walked.
      public var walks = 0
      /// How many entries the kernel gave, before they were tested.
      public var walked: UInt64 = 0
      /// How many of them made no sense; they are missing.
      public var malformed: UInt64 = 0
      /// How many were handed on, doubles left out.
      public var flows = 0
      /// Seconds the walks took together; those of two threads overlap.
      public var seconds = 0.0

      /// Makes the account of a family not walked yet.
      public init(family: AddressFamily, strategy: FlowDump.Strategy) {
        self.family = family
        self.strategy = strategy
      }
    }

    /// Entries in the table of this namespace beforehand, if it could be read.
    public var entries: UInt32?
    /// Buckets of the table, which all namespaces share, if it could be read.
    public var buckets: UInt32?
    /// Whether one walk read both families, so that its time counts once.
    public var isTogether = false
    /// How many threads walked.
    public var threads = 0
    /// How often the table was read: more than once if its size changed meanwhile.
    public var readings = 1
    /// Seconds the last reading took.
    public var seconds = 0.0
    /// The families that were asked for.
    public var families: [Family] = []

    /// Makes the account of nothing.
    public init() {}
  }
}
