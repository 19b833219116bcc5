public import SystemPackage
import FoundationEssentials
import GRDB
import Glibc

/// What was found and what was done about it, over time: one SQLite file.
///
/// It makes answers richer (first seen, came back, blocked how often) and never decides whether a
/// block is made: a history that cannot be opened or written is said and worked without. A file that
/// is corrupt, of a newer sipleak or somebody else's is refused and left as it is.
public struct History: Sendable {
  let database: DatabaseQueue

  /// Whether it was opened for writing.
  public var isWritable: Bool { !database.configuration.readonly }

  /// Where the history is unless told otherwise.
  public static let usualFolder = FilePath("/var/lib/sipleak")
  /// The file within the folder.
  public static let fileName = "history.sqlite"
  /// `PRAGMA application_id` of our files: "SIPL".
  static let applicationID: Int32 = 0x5349_504c
  /// Sightings nobody has renewed for this long go, so that the file does not grow for ever.
  static let retention: Double = 400 * 86400

  /// Opens the history of a folder, making both where they are missing.
  ///
  /// The folder is made for its owner alone. Concurrent sipleaks wait for each other up to two
  /// seconds.
  ///
  /// - Parameter folder: The folder, ``usualFolder`` for the host's own.
  /// - Returns: The history, with its tables in the newest form.
  /// - Throws: ``SIPLeakError`` with the code `history`; the file is as it was.
  public static func open(in folder: FilePath) throws(SIPLeakError) -> History {
    let file = folder.appending(fileName)
    do {
      try makeFolder(folder)
      try refuseLink(file)
      return try History(file, isReadOnly: false)
    } catch {
      throw SIPLeakError(history: error, file: file)
    }
  }

  /// Opens the history of a folder for reading only.
  ///
  /// - Parameter folder: The folder.
  /// - Returns: The history, or `nil` when there is none.
  /// - Throws: ``SIPLeakError`` with the code `history`.
  public static func openForReading(in folder: FilePath) throws(SIPLeakError) -> History? {
    let file = folder.appending(fileName)
    do {
      try refuseLink(file)
      guard (try? file.stat()) != nil else {
        // Not there, and not to be looked at, are two things.
        let descriptor = try? FileDescriptor.open(folder, .readOnly, options: .closeOnExec)
        try? descriptor?.close()
        if descriptor == nil, errno == EACCES { throw Errno.permissionDenied }
        return nil
      }
      return try History(file, isReadOnly: true)
    } catch {
      throw SIPLeakError(history: error, file: file)
    }
  }

  private init(_ file: FilePath, isReadOnly: Bool) throws {
    var configuration = Configuration()
    configuration.readonly = isReadOnly
    configuration.busyMode = .timeout(2)
    database = try DatabaseQueue(path: file.string, configuration: configuration)
    let migrator = HistoryMigrations.all
    try database.read { db in
      let id = try Int32.fetchOne(db, sql: "PRAGMA application_id") ?? 0
      let tables = try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master") ?? 0
      guard id == Self.applicationID || (id == 0 && tables == 0) else {
        throw Refusal.foreign
      }
      if try migrator.hasBeenSuperseded(db) { throw Refusal.newer }
      if isReadOnly, try !migrator.hasCompletedMigrations(db) { throw Refusal.older }
    }
    guard !isReadOnly else { return }
    // The mark first, and alone: a migration cut short leaves a file that is still known as ours.
    try database.write { db in
      try db.execute(sql: "PRAGMA application_id = \(Self.applicationID)")
    }
    try migrator.migrate(database)
    _ = unsafe chmod(file.string, 0o600)
  }

  /// Why a file is not taken as a history.
  enum Refusal: Error {
    case foreign
    case newer
    case older
    case link
  }

  private static func makeFolder(_ folder: FilePath) throws {
    guard unsafe mkdir(folder.string, 0o700) != 0 else { return }
    let failure = Errno(rawValue: errno)
    guard failure == .fileExists else { throw failure }
  }

  /// A root's file must not be one that somebody else has put a link to.
  private static func refuseLink(_ file: FilePath) throws {
    var status = Glibc.stat()
    guard unsafe lstat(file.string, &status) == 0 else { return }
    if status.st_mode & S_IFMT != S_IFREG { throw Refusal.link }
  }
}

extension SIPLeakError {
  /// Makes an error of what SQLite, the file system or we object to.
  init(history error: any Error, file: FilePath) {
    if let known = error as? SIPLeakError {
      self = known
      return
    }
    let what = "cannot use the history \(file)"
    let without = "Everything else goes on without it."
    switch error {
    case History.Refusal.foreign:
      self.init(
        .history, "\(what): it is a database that sipleak did not make",
        advice: "It was left as it is. Name another folder with --state.")
    case History.Refusal.newer:
      self.init(
        .history, "\(what): a newer sipleak has written it",
        advice: "It was left as it is. Update this sipleak, or name another folder with --state.")
    case History.Refusal.older:
      self.init(
        .history, "\(what): it is of an older form",
        advice: "The next `sipleak audit` as root brings it up to date.")
    case History.Refusal.link:
      self.init(
        .history, "\(what): it is no regular file", advice: "It was left as it is. \(without)")
    case let error as DatabaseError
    where [.SQLITE_NOTADB, .SQLITE_CORRUPT].contains(error.resultCode):
      self.init(
        .history, "\(what): it is corrupt",
        advice: "It was left as it is. Move it away and a new one is begun. \(without)",
        detail: "\(error)")
    case let error as DatabaseError:
      self.init(
        .history, "\(what): \(error.message ?? "\(error.resultCode)")",
        advice: "Is the disk full, the folder read-only, or not yours? \(without)",
        detail: "\(error)")
    case let error as Errno:
      self.init(.history, "\(what): \(error)", advice: without)
    default:
      self.init(.history, "\(what): \(error)", advice: without)
    }
  }
}
