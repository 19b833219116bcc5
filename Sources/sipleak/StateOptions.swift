import ArgumentParser
import SIPLeak
import SystemPackage

/// Where the history is.
struct StateOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      The folder of the history. (default: /var/lib/sipleak where it exists; `make install` makes \
      it)
      """, valueName: "dir"))
  var state: String?

  @Flag(name: .customLong("no-history"), help: "Neither read nor write the history.")
  var isOff = false

  func validate() throws {
    if isOff, state != nil { throw ValidationError("--state and --no-history exclude each other.") }
    if state?.isEmpty == true { throw ValidationError("--state takes a folder.") }
  }

  /// The options as they would be typed again.
  var words: [String] {
    if isOff { return ["--no-history"] }
    return state.map { ["--state", EscapedText.shellWord($0)] } ?? []
  }

  /// The folder to use, or `nil` for none.
  var folder: FilePath? {
    if isOff { return nil }
    if let state { return FilePath(state) }
    return Self.usualFolder
  }

  /// The usual folder, where it was set up: looking at a host must not leave files on it.
  static var usualFolder: FilePath? {
    guard let status = try? History.usualFolder.stat(), status.type == .directory else {
      return nil
    }
    return History.usualFolder
  }

  /// Opens the history; what stands against it is said, and everything goes on without.
  ///
  /// - Parameter namespace: Where the flows are; the usual folder is the host's own history.
  /// - Returns: The history, or `nil` for none.
  func open(for namespace: NamespaceOptions) -> History? {
    guard let folder, isKept(for: namespace) else { return nil }
    do throws(SIPLeakError) { return try History.open(in: folder) } catch {
      Console.report(error, isVerbose: false)
      // What a full or read-only disk keeps can still be read.
      return try? History.openForReading(in: folder)
    }
  }

  /// Whether there is a folder for a history of what is looked at.
  func isKept(for namespace: NamespaceOptions) -> Bool {
    folder != nil && (namespace.name == nil || state != nil)
  }

  /// What a history says at the time of an audit, after writing down what the audit saw.
  ///
  /// - Parameters:
  ///   - history: The history.
  ///   - audit: The audit of this host.
  ///   - time: When the host was read, in seconds since 1970 UTC.
  /// - Returns: The notes as they were before the audit, or `nil` when they cannot be read.
  static func exchange(_ history: History, _ audit: Audit, at time: Double) -> HistoryNotes? {
    let notes = notes(of: history, at: time)
    record(audit, in: history, at: time)
    return notes
  }

  /// What a history says, or `nil` when it cannot be read.
  static func notes(of history: History, at time: Double) -> HistoryNotes? {
    var notes: HistoryNotes?
    attempt { () throws(SIPLeakError) in notes = try history.notes(at: time) }
    return notes
  }

  /// Writes down what an audit saw, if it saw all.
  static func record(_ audit: Audit, in history: History, at time: Double) {
    // What was read in part may be wrong, and would be remembered.
    guard audit.isComplete, history.isWritable else { return }
    attempt { () throws(SIPLeakError) in
      try history.record(audit.findings, admitted: audit.admitted, at: time)
      try history.note(audit.blocks, at: time)
    }
  }

  /// Why it is not known who was welcome, where no notes of a history could be had.
  func gap(for namespace: NamespaceOptions) -> String {
    if folder == nil {
      return "there is no history; --state DIR keeps one, `make install` makes the usual folder"
    }
    return isKept(for: namespace)
      ? "the history cannot be read"
      : "the host's history knows nothing of another namespace; --state DIR keeps one for it"
  }

  /// Opens it for reading only, for verbs that need it.
  func openForReading() throws(SIPLeakError) -> History? {
    guard let folder else { return nil }
    return try History.openForReading(in: folder)
  }

  /// Does something with the history; a failure is said and is none of the command.
  static func attempt(_ body: () throws(SIPLeakError) -> Void) {
    do throws(SIPLeakError) { try body() } catch { Console.report(error, isVerbose: false) }
  }
}
