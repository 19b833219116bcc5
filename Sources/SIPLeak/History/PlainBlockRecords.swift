import Addressing
import GRDB

/// The records of blocks that rules hold: nothing in the kernel ends these.
extension History {
  /// Writes down what an applied plan did to blocks that rules held: those it lifted have ended, those
  /// it moved into our sets end there by themselves.
  ///
  /// - Parameters:
  ///   - plan: The plan.
  ///   - time: When it was applied, in seconds since 1970 UTC.
  /// - Throws: ``SIPLeakError`` with the code `history`.
  func settle(_ plan: BlockPlan, at time: Double) throws(SIPLeakError) {
    guard !plan.lifted.isEmpty || !plan.moved.isEmpty else { return }
    try write { db in
      for block in plan.lifted {
        try db.execute(
          sql: """
            UPDATE block SET ended = ?, endedBy = ? WHERE peer = ? AND transport = ? AND port = ?
              AND \(Self.standing)
            """,
          arguments: [
            time, BlockRecord.End.lifted.rawValue, block.prefix.address.description,
            block.transport.description, Int64(block.port), time,
          ])
      }
      for block in plan.moved { try Self.set(.set, of: BlockPlace(block), db) }
    }
  }

  /// Brings records into line with the blocks that were found standing.
  ///
  /// Blocks come back from a file as rules where ipset is missing at boot, and a flush takes them
  /// without a word. What is not found and not over yet is left: it may stand elsewhere.
  ///
  /// - Parameters:
  ///   - standing: The blocks of an audit that read everything.
  ///   - time: When they were read, in seconds since 1970 UTC.
  /// - Throws: ``SIPLeakError`` with the code `history`.
  public func note(_ standing: [StandingBlock], at time: Double) throws(SIPLeakError) {
    let open = try read { db in
      try Row.fetchAll(
        db,
        sql: """
          SELECT id, peer, transport, port, until FROM block WHERE ended IS NULL AND holder = 'rules'
          """
      ).compactMap(OpenRecord.init)
    }
    let plain = standing.filter { $0.holder == .rules }
    guard !open.isEmpty || !plain.isEmpty else { return }
    let known = Set(open.map(\.place))
    let rules = Set(plain.compactMap(BlockPlace.init))
    let members = Set(
      open.isEmpty ? [] : standing.filter { $0.holder == .set }.compactMap(BlockPlace.init))
    let moved = known.subtracting(rules).intersection(members)
    let gone = open.filter { record in
      !rules.contains(record.place) && !members.contains(record.place)
        && record.until.map { $0 <= time } ?? false
    }
    let found = rules.subtracting(known)
    guard !moved.isEmpty || !gone.isEmpty || !found.isEmpty else { return }
    try write { db in
      for place in moved { try Self.set(.set, of: place, db) }
      for place in found { try Self.set(.rules, of: place, db) }
      for record in gone {
        try db.execute(
          sql: "UPDATE block SET ended = ?, endedBy = ? WHERE id = ?",
          arguments: [time, BlockRecord.End.gone.rawValue, record.id])
      }
    }
  }

  /// Says what holds the latest block of a place, unless that has ended.
  private static func set(
    _ holder: OwnBlock.Holder, of place: BlockPlace, _ db: Database
  ) throws {
    try db.execute(
      sql: """
        UPDATE block SET holder = ? WHERE ended IS NULL AND id =
          (SELECT max(id) FROM block WHERE peer = ? AND transport = ? AND port = ?)
        """,
      arguments: [holder.rawValue, place.peer, place.transport, place.port])
  }

  private struct OpenRecord {
    var id: Int64
    var place: BlockPlace
    var until: Double?

    init(_ row: Row) {
      id = row["id"]
      place = BlockPlace(peer: row["peer"], transport: row["transport"], port: row["port"])
      until = row["until"]
    }
  }
}

/// What tells the blocks of a host apart, as the history writes it.
private struct BlockPlace: Hashable {
  var peer: String
  var transport: String
  var port: Int64

  init(peer: String, transport: String, port: Int64) {
    self.peer = peer
    self.transport = transport
    self.port = port
  }

  init(_ block: OwnBlock) {
    self.init(
      peer: block.prefix.address.description, transport: block.transport.description,
      port: Int64(block.port))
  }

  init?(_ block: StandingBlock) {
    guard let target = OwnObjects.parse(block.element) else { return nil }
    self.init(
      peer: target.prefix.address.description, transport: target.transport.description,
      port: Int64(target.port))
  }
}
