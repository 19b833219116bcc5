public import Addressing

/// What the history says that an answer of today can use; a plain value, empty without a history.
public struct HistoryNotes: Sendable, Hashable {
  /// Seconds a peer counts as welcome after it was last admitted or sent to.
  public static let welcomeSeconds: Double = 86400
  /// Seconds a block that ran out counts against a peer: 90 days.
  public static let offenceSeconds: Double = 90 * 86400

  /// Peers admitted as NEW or host-opened within the last 24 hours.
  public var welcome: Set<IPAddress>
  /// How many of each peer's blocks ran out within the last 90 days without being lifted by hand.
  public var offences: [IPAddress: Int]
  /// When each peer's latest block ran out, where none stands now.
  public var ranOut: [IPAddress: Double]
  /// When each peer was first seen with a finding of a cause.
  public var firstSeen: [Seen: Double]

  /// A peer and what it was found for.
  public struct Seen: Sendable, Hashable {
    /// The peer.
    public var peer: IPAddress
    /// The cause.
    public var cause: Cause

    /// Makes one.
    public init(peer: IPAddress, cause: Cause) {
      self.peer = peer
      self.cause = cause
    }
  }

  /// Makes notes; empty unless given.
  public init(
    welcome: Set<IPAddress> = [], offences: [IPAddress: Int] = [:],
    ranOut: [IPAddress: Double] = [:], firstSeen: [Seen: Double] = [:]
  ) {
    self.welcome = welcome
    self.offences = offences
    self.ranOut = ranOut
    self.firstSeen = firstSeen
  }

  /// Makes notes of records; pure.
  ///
  /// - Parameters:
  ///   - welcome: Who was welcome lately.
  ///   - sightings: Findings over time.
  ///   - blocks: Blocks over time.
  ///   - time: Now, in seconds since 1970 UTC.
  public init(
    welcome: Set<IPAddress>, sightings: [Sighting], blocks: [BlockRecord], at time: Double
  ) {
    self.init(welcome: welcome)
    for sighting in sightings {
      let key = Seen(peer: sighting.peer, cause: sighting.cause)
      firstSeen[key] = min(firstSeen[key] ?? sighting.firstSeen, sighting.firstSeen)
    }
    // Two ports of one peer are blocked together and are one offence.
    var counted: Set<Offence> = []
    var standing: Set<IPAddress> = []
    for block in blocks {
      guard let end = block.end(at: time) else {
        standing.insert(block.peer)
        continue
      }
      guard block.ended == nil || block.endedBy?.isOverdue == true else { continue }
      ranOut[block.peer] = max(ranOut[block.peer] ?? end, end)
      if end > time - Self.offenceSeconds,
        counted.insert(Offence(peer: block.peer, begun: block.begun)).inserted
      {
        offences[block.peer, default: 0] += 1
      }
    }
    for peer in standing { ranOut[peer] = nil }
  }

  private struct Offence: Hashable {
    var peer: IPAddress
    var begun: Double
  }
}

extension History {
  /// Reads what an answer of a moment can use.
  ///
  /// A history that cannot be written has not noted who was admitted lately, so everybody it knows
  /// of counts as welcome then.
  ///
  /// - Parameter time: Now, in seconds since 1970 UTC.
  /// - Returns: The notes.
  /// - Throws: ``SIPLeakError`` with the code `history`.
  public func notes(at time: Double) throws(SIPLeakError) -> HistoryNotes {
    HistoryNotes(
      welcome: try welcomed(since: isWritable ? time - HistoryNotes.welcomeSeconds : 0),
      sightings: try sightings(since: time - HistoryNotes.offenceSeconds),
      blocks: try blocks(since: time - HistoryNotes.offenceSeconds), at: time)
  }

  /// Writes down the blocks of a plan that was applied.
  ///
  /// - Parameters:
  ///   - plan: The plan.
  ///   - answer: What the check after it said.
  ///   - time: When it was applied, in seconds since 1970 UTC.
  /// - Throws: ``SIPLeakError`` with the code `history`.
  public func record(
    _ plan: BlockPlan, answer: Verification.Answer, at time: Double
  ) throws(SIPLeakError) {
    try record(
      plan.entries.map { entry in
        BlockRecord(
          peer: entry.address, transport: entry.transport, port: entry.port,
          place: plan.request.place, reason: entry.reason, begun: time,
          until: entry.seconds == 0 ? nil : time + Double(entry.seconds),
          outcome: answer.rawValue, holder: plan.isPlain ? .rules : .set)
      })
    try settle(plan, at: time)
  }
}
