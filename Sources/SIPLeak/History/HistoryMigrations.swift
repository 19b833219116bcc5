import GRDB

/// The forms the history's tables have had, each made of the one before.
///
/// A migration that has been released is never changed: a new one is added.
enum HistoryMigrations {
  static var all: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("1 findings, admissions, blocks") { db in
      try db.create(table: "sighting") { table in
        table.column("peer", .text).notNull()
        table.column("transport", .text).notNull()
        table.column("port", .integer).notNull()
        table.column("cause", .text).notNull()
        table.column("level", .text).notNull()
        table.column("grade", .text)
        table.column("firstSeen", .double).notNull()
        table.column("lastSeen", .double).notNull()
        table.column("times", .integer).notNull()
        table.primaryKey(["peer", "transport", "port", "cause"])
      }
      try db.create(
        index: "sightingByTime", on: "sighting", columns: ["lastSeen"])
      // Peers of SIP flows that the rules admit: no findings, and never to be blocked unattended
      // because a reload makes them look refused for a moment.
      try db.create(table: "admission") { table in
        table.column("peer", .text).notNull().primaryKey()
        table.column("lastSeen", .double).notNull()
      }
      try db.create(table: "block") { table in
        table.autoIncrementedPrimaryKey("id")
        table.column("peer", .text).notNull()
        table.column("transport", .text).notNull()
        table.column("port", .integer).notNull()
        table.column("place", .text).notNull()
        table.column("reason", .text).notNull()
        table.column("begun", .double).notNull()
        table.column("until", .double)
        table.column("outcome", .text).notNull()
        table.column("ended", .double)
        table.column("endedBy", .text)
      }
      try db.create(index: "blockByPeer", on: "block", columns: ["peer", "begun"])
    }
    migrator.registerMigration("2 what holds a block") { db in
      // `set` or `rules`; unknown of older blocks, which sets held.
      try db.alter(table: "block") { table in table.add(column: "holder", .text) }
    }
    return migrator
  }
}
