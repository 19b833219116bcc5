public import Addressing
import GRDB
import SystemPackage

/// A finding over time: one peer at one port for one cause.
public struct Sighting: Sendable, Hashable {
  /// The peer's address.
  public var peer: IPAddress
  /// The transport protocol.
  public var transport: IPProtocol
  /// The port on the wire side.
  public var port: UInt16
  /// The cause.
  public var cause: Cause
  /// The level it had last.
  public var level: Level
  /// The grade it had last; `nil` when no flow stood behind it.
  public var grade: Grade?
  /// Seconds since 1970 UTC of the first audit that saw it.
  public var firstSeen: Double
  /// Seconds since 1970 UTC of the last audit that saw it.
  public var lastSeen: Double
  /// How many audits saw it.
  public var times: Int
}

extension Sighting {
  /// Reads a row; `nil` for one that a later sipleak's words are in.
  init?(row: Row) {
    guard let peer = IPAddress(row["peer"] as String),
      let transport = IPProtocol(word: row["transport"]),
      let port = UInt16(exactly: row["port"] as Int64), let cause = Cause(rawValue: row["cause"]),
      let level = Level(rawValue: row["level"])
    else { return nil }
    self.init(
      peer: peer, transport: transport, port: port, cause: cause, level: level,
      grade: (row["grade"] as String?).flatMap(Grade.init), firstSeen: row["firstSeen"],
      lastSeen: row["lastSeen"], times: row["times"])
  }
}

extension History {
  /// Writes down what an audit saw, in one transaction.
  ///
  /// A finding that is known keeps its first sight. Findings about the whole host have no peer and
  /// are not kept. What has not been seen for 400 days goes.
  ///
  /// - Parameters:
  ///   - findings: The audit's findings.
  ///   - admitted: Peers of SIP flows that the rules admit as NEW.
  ///   - time: Seconds since 1970 UTC.
  /// - Throws: ``SIPLeakError`` with the code `history`; then nothing of it is kept.
  public func record(
    _ findings: [Finding], admitted: Set<IPAddress>, at time: Double
  ) throws(SIPLeakError) {
    try write { db in
      let sight = try db.makeStatement(
        sql: """
          INSERT INTO sighting
            (peer, transport, port, cause, level, grade, firstSeen, lastSeen, times)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)
          ON CONFLICT DO UPDATE SET
            level = excluded.level, grade = excluded.grade,
            times = times + (excluded.lastSeen > lastSeen),
            lastSeen = max(lastSeen, excluded.lastSeen)
          """)
      for finding in findings {
        guard let peer = finding.peer?.address else { continue }
        try sight.execute(arguments: [
          peer.description, finding.transport.description, Int64(finding.wire.port),
          finding.cause.rawValue, finding.level.rawValue, finding.grade?.rawValue, time, time,
        ])
      }
      let admit = try db.makeStatement(
        sql: """
          INSERT INTO admission (peer, lastSeen) VALUES (?, ?)
          ON CONFLICT DO UPDATE SET lastSeen = max(lastSeen, excluded.lastSeen)
          """)
      for peer in admitted { try admit.execute(arguments: [peer.description, time]) }
      let oldest = time - Self.retention
      try db.execute(sql: "DELETE FROM sighting WHERE lastSeen < ?", arguments: [oldest])
      try db.execute(sql: "DELETE FROM admission WHERE lastSeen < ?", arguments: [oldest])
    }
  }

  /// The sightings of a time and later, the latest first.
  ///
  /// - Parameters:
  ///   - time: Seconds since 1970 UTC; those last seen before are left out.
  ///   - peer: Only this address, if given.
  /// - Returns: The sightings.
  /// - Throws: ``SIPLeakError`` with the code `history`.
  public func sightings(
    since time: Double, of peer: IPAddress? = nil
  ) throws(SIPLeakError) -> [Sighting] {
    try read { db in
      try Row.fetchAll(
        db,
        sql: """
          SELECT * FROM sighting WHERE lastSeen >= ? AND (? IS NULL OR peer = ?)
          ORDER BY lastSeen DESC, peer, port
          """, arguments: [time, peer?.description, peer?.description]
      ).compactMap(Sighting.init)
    }
  }

  /// Peers that were admitted as NEW, or whose flow this host opened, at a time or later.
  ///
  /// The unattended guard blocks none of them: a firewall caught in the middle of a reload makes
  /// every trunk look like a leak.
  ///
  /// - Parameter time: Seconds since 1970 UTC.
  /// - Returns: The addresses.
  /// - Throws: ``SIPLeakError`` with the code `history`.
  public func welcomed(since time: Double) throws(SIPLeakError) -> Set<IPAddress> {
    try read { db in
      let texts = try String.fetchAll(
        db,
        sql: """
          SELECT peer FROM admission WHERE lastSeen >= ?
          UNION SELECT peer FROM sighting WHERE lastSeen >= ? AND cause IN (?, ?, ?)
          """,
        arguments: [
          time, time, Cause.hostOpened.rawValue, Cause.admitted.rawValue,
          Cause.conditional.rawValue,
        ])
      return Set(texts.compactMap { IPAddress($0) })
    }
  }

  func read<T>(_ body: (Database) throws -> T) throws(SIPLeakError) -> T {
    do { return try database.read(body) } catch {
      throw SIPLeakError(history: error, file: FilePath(database.path))
    }
  }

  func write(_ body: (Database) throws -> Void) throws(SIPLeakError) {
    do { try database.write(body) } catch {
      throw SIPLeakError(history: error, file: FilePath(database.path))
    }
  }
}
