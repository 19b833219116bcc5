/// The flows a query found, and whether they can be all there were.
public struct FlowDump: Sendable, Hashable, Codable {
  /// How the kernel was asked.
  public enum Strategy: String, Sendable, Hashable, Codable {
    /// One walk that gives every entry, of both families if both are asked for.
    case everything
    /// One walk a family and transport.
    case transports
    /// One walk a family, transport, port and place of the port.
    case portPlaces
  }

  /// The flows, each once.
  public var flows: [Flow]
  /// Number of entries the kernel gave, before they were tested.
  public var walked: UInt64
  /// Whether nothing is known to be missing.
  public var isComplete: Bool
  /// Why it isn't complete, a sentence each.
  public var reasons: [String]
  /// How it was read: what a person who doubts the answer, or its speed, wants to see.
  public var reading: FlowDump.Account

  /// Makes a dump of its parts.
  public init(
    flows: [Flow], walked: UInt64 = 0, isComplete: Bool = true, reasons: [String] = [],
    reading: FlowDump.Account = FlowDump.Account()
  ) {
    self.flows = flows
    self.walked = walked
    self.isComplete = isComplete
    self.reasons = reasons
    self.reading = reading
  }

  /// How the kernel was asked; where the families differ, the strategy that asks for more.
  public var strategy: Strategy {
    let taken = Set(reading.families.map(\.strategy))
    return [.everything, .transports].first(where: taken.contains) ?? .portPlaces
  }
}

/// How one streamed walk of a family went.
public struct FlowWalk: Sendable, Hashable {
  /// Number of entries the kernel gave, before they were tested.
  public var walked: UInt64 = 0
  /// Number of entries whose bytes made no sense; they are missing.
  public var malformed: UInt64 = 0
  /// Whether the kernel said that entries may be missing.
  public var isInterrupted = false
  /// Whether the closure ended it early.
  public var isStopped = false
  /// How the kernel was asked.
  public var strategy = FlowDump.Strategy.everything

  /// Makes the account of a walk that hasn't begun.
  public init() {}
}
