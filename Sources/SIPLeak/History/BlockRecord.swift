public import Addressing
import GRDB

/// A block over time: when it was made, whether it worked, how it ended.
public struct BlockRecord: Sendable, Hashable {
  /// How a block came to its end.
  public enum End: String, Sendable, Hashable {
    /// `sipleak unblock` lifted it.
    case unblocked
    /// `sipleak purge` removed everything.
    case purged
    /// A new block of the same peer and port took its place.
    case renewed
    /// It was not right, and the apply that made it took it back.
    case takenBack = "taken-back"
    /// Its time was over, and the next `sipleak block --apply` lifted it: only rules stand so long.
    case lifted
    /// Its time was over, and its rules were found gone: a flush or a reboot took them.
    case gone

    /// Whether the block had run its time.
    public var isOverdue: Bool { self == .lifted || self == .gone }
  }

  /// The peer's address.
  public var peer: IPAddress
  /// The transport protocol.
  public var transport: IPProtocol
  /// The port it is kept from.
  public var port: UInt16
  /// Where the block stands.
  public var place: BlockRequest.Place
  /// The cause it was made for, or `named`.
  public var reason: String
  /// Seconds since 1970 UTC when it was made.
  public var begun: Double
  /// Seconds since 1970 UTC when its time is over; `nil` for never.
  ///
  /// The kernel lifts a member of our set then; rules stand until the next run.
  public var until: Double?
  /// What the check after it said: `verified`, `not yet seen` or `failed`.
  public var outcome: String
  /// Seconds since 1970 UTC when something ended it; `nil` where the kernel did, or it stands.
  public var ended: Double?
  /// What ended it.
  public var endedBy: End?
  /// What holds it; `nil` in records of older versions.
  public var holder: OwnBlock.Holder?

  /// Makes a record of a block that stands.
  public init(
    peer: IPAddress, transport: IPProtocol, port: UInt16, place: BlockRequest.Place,
    reason: String, begun: Double, until: Double?, outcome: String,
    holder: OwnBlock.Holder? = nil
  ) {
    self.peer = peer
    self.transport = transport
    self.port = port
    self.place = place
    self.reason = reason
    self.begun = begun
    self.until = until
    self.outcome = outcome
    self.holder = holder
  }

  /// When it was over, or `nil` while it stands at a time.
  public func end(at time: Double) -> Double? {
    if let ended { return ended }
    guard holder != .rules, let until, until <= time else { return nil }
    return until
  }
}

extension BlockRecord {
  init?(row: Row) {
    guard let peer = IPAddress(row["peer"] as String),
      let transport = IPProtocol(word: row["transport"]),
      let port = UInt16(exactly: row["port"] as Int64),
      let place = BlockRequest.Place(rawValue: row["place"])
    else { return nil }
    self.init(
      peer: peer, transport: transport, port: port, place: place, reason: row["reason"],
      begun: row["begun"], until: row["until"], outcome: row["outcome"])
    ended = row["ended"]
    endedBy = (row["endedBy"] as String?).flatMap(End.init)
    holder = (row["holder"] as String?).flatMap(OwnBlock.Holder.init)
  }
}

extension History {
  /// What is true of the record of a block that stands at a time, the one argument.
  static let standing = "ended IS NULL AND (until IS NULL OR until > ? OR holder = 'rules')"

  /// Writes down blocks that have been made, in one transaction.
  ///
  /// A standing block of the same peer and port ends as renewed.
  ///
  /// - Parameter blocks: The blocks.
  /// - Throws: ``SIPLeakError`` with the code `history`; then none of them is kept.
  public func record(_ blocks: [BlockRecord]) throws(SIPLeakError) {
    try write { db in
      let renew = try db.makeStatement(
        sql: """
          UPDATE block SET ended = ?, endedBy = ? WHERE peer = ? AND transport = ? AND port = ?
            AND \(Self.standing)
          """)
      let insert = try db.makeStatement(
        sql: """
          INSERT INTO block
            (peer, transport, port, place, reason, begun, until, outcome, ended, endedBy, holder)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
          """)
      for block in blocks {
        let place: [(any DatabaseValueConvertible)?] = [
          block.peer.description, block.transport.description, Int64(block.port),
        ]
        try renew.execute(
          arguments: StatementArguments(
            [block.begun, BlockRecord.End.renewed.rawValue] + place + [block.begun]))
        try insert.execute(
          arguments: StatementArguments(
            place + [
              block.place.rawValue, block.reason, block.begun, block.until, block.outcome,
              block.ended, block.endedBy?.rawValue, block.holder?.rawValue,
            ]))
      }
    }
  }

  /// Writes down that standing blocks have ended.
  ///
  /// - Parameters:
  ///   - peers: Whose blocks; `nil` means all.
  ///   - end: How.
  ///   - time: Seconds since 1970 UTC.
  /// - Throws: ``SIPLeakError`` with the code `history`.
  public func end(
    blocksOf peers: [IPAddress]?, by end: BlockRecord.End, at time: Double
  ) throws(SIPLeakError) {
    try write { db in
      let standing = Self.standing
      guard let peers else {
        try db.execute(
          sql: "UPDATE block SET ended = ?, endedBy = ? WHERE \(standing)",
          arguments: [time, end.rawValue, time])
        return
      }
      for peer in peers {
        try db.execute(
          sql: "UPDATE block SET ended = ?, endedBy = ? WHERE \(standing) AND peer = ?",
          arguments: [time, end.rawValue, time, peer.description])
      }
    }
  }

  /// The blocks, the latest first.
  ///
  /// - Parameters:
  ///   - time: Seconds since 1970 UTC; blocks over before are left out.
  ///   - peer: Only this address, if given.
  /// - Returns: The records.
  /// - Throws: ``SIPLeakError`` with the code `history`.
  public func blocks(
    since time: Double, of peer: IPAddress? = nil
  ) throws(SIPLeakError) -> [BlockRecord] {
    try read { db in
      try Row.fetchAll(
        db,
        sql: """
          SELECT * FROM block
          WHERE coalesce(ended, CASE WHEN holder = 'rules' THEN NULL ELSE until END, 9e99) >= ?
            AND (? IS NULL OR peer = ?)
          ORDER BY begun DESC, id DESC
          """, arguments: [time, peer?.description, peer?.description]
      ).compactMap(BlockRecord.init)
    }
  }
}
