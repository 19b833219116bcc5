import Addressing
import FoundationEssentials
import Firewall
import Glibc
public import SystemPackage

/// A block that takes itself back unless somebody confirms it in time.
///
/// For the operator who blocks over the very network he works on. What has to be undone stands in a
/// file of its own under `/run`; a process that belongs to no terminal waits for the time and carries
/// it out (``revert(access:)``). Confirming removes the file. The file outlives that process, so that
/// the next run of sipleak finds what was never confirmed nor taken back.
public struct PendingBlock: Sendable, Hashable, Codable {
  /// A random word that names it.
  public var token: String
  /// Seconds of `CLOCK_BOOTTIME` when it is taken back: no change of the hour moves it.
  public var deadline: Double
  /// The blocked sources, for people.
  public var sources: [String]
  /// The folder of the history and of the blocks for the next boot, if they are kept.
  var state: String?
  /// The network namespace it stands in, as the operator named it; `nil`: the host's own.
  var namespace: String?
  /// Input for `ipset restore` that puts our sets back, one text a set.
  var setUndo: [String]
  /// What becomes of plain blocks; a file of an older sipleak has none.
  var plainUndo: [PlainUndo]?
  /// Whether nothing of ours stood before: then nothing is left afterwards.
  var leavesNothing: Bool

  /// Makes one of an applied plan.
  ///
  /// - Parameters:
  ///   - plan: The plan.
  ///   - before: What was read before it was applied.
  ///   - seconds: How long to wait for a confirmation.
  ///   - state: The folder of the history and of the blocks for the next boot, if they are kept.
  public init(
    _ plan: BlockPlan, before: Observation, seconds: Double, state: FilePath? = nil
  ) {
    self.state = state?.string
    namespace = before.host.namespace
    var generator = SystemRandomNumberGenerator()
    token = String(generator.next() as UInt64, radix: 16)
    deadline = Self.now + seconds
    sources = Set(plan.entries.map(\.address)).sorted().map(\.description)
    let snapshot = before.sample.firewall.snapshot
    leavesNothing = RemovalPlan(.purge, snapshot: snapshot).isEmpty
    let standing = Dictionary(
      snapshot.ownBlocks(at: before.sample.time).filter { $0.holder == .rules }.map {
        ($0.element, $0.comment)
      }, uniquingKeysWith: { first, _ in first })
    // A plain block that the plan renews as a member of a set goes on there with its old end.
    let undos = plan.entries.map {
      PlainUndo(element: $0.element, note: standing[$0.element] ?? nil)
    }
    let plain = undos.filter { plan.isPlain || $0.note != nil }
    plainUndo = plain
    // A set that is new is emptied, not destroyed: rules ask it as long as any block stands.
    let elements = Set(plain.map(\.element))
    var members = plan
    members.entries.removeAll { elements.contains($0.element) }
    setUndo = members.setFamilies.map { members.memberUndo($0, before: snapshot) }
  }

  /// A plain block, and the comment it had before, if it stood.
  struct PlainUndo: Sendable, Hashable, Codable {
    var element: String
    var note: String?
  }

  /// Seconds since boot, suspended time included.
  public static var now: Double {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_BOOTTIME, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  private static let folder = FilePath("/run")
  private static let prefix = "sipleak-pending-"

  private var file: FilePath { Self.folder.appending(Self.prefix + token) }

  /// Writes it down.
  ///
  /// - Throws: ``SIPLeakError`` with the code `unchanged` when it can't.
  public func save() throws(SIPLeakError) {
    do {
      try WholeFile.write(JSONEncoder().encode(self), to: file)
    } catch {
      throw SIPLeakError(
        .unchanged, "cannot write \(file): \(error)",
        advice: "Without it nothing would take the block back. Nothing was changed.")
    }
  }

  /// Sets the time again, from now on: what an apply took is no part of it.
  ///
  /// - Parameter seconds: How long to wait for a confirmation.
  /// - Returns: Whether it still waited; else it has been confirmed or taken back meanwhile.
  /// - Throws: ``SIPLeakError`` when it cannot be written; the old time holds then.
  public func rearm(seconds: Double) throws(SIPLeakError) -> Bool {
    let lock = try Self.settling()
    var waiting = Self.load(token)
    waiting?.deadline = Self.now + seconds
    try waiting?.save()
    _ = consume lock
    return waiting != nil
  }

  /// Keeps one block from being confirmed and taken back at the same time.
  private static func settling() throws(SIPLeakError) -> RunLock {
    try RunLock.take(
      folder.appending("sipleak-confirm.lock"),
      holder: "a block is being taken back at this moment")
  }

  /// Whether blocks wait that another user made, so that this one can neither see nor confirm them.
  public static var areOthers: Bool {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.string)) ?? []
    return names.contains { name in
      var status = Glibc.stat()
      guard name.hasPrefix(prefix), unsafe lstat(folder.appending(name).string, &status) == 0
      else { return false }
      return status.st_uid != geteuid()
    }
  }

  /// The blocks that wait for a confirmation, those overdue included.
  ///
  /// A file that is not whole or not ours is passed over.
  public static func all() -> [PendingBlock] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.string)) ?? []
    return names.filter { $0.hasPrefix(prefix) }.sorted().compactMap { name in
      load(String(name.dropFirst(prefix.count)))
    }
  }

  /// The pending block of a token, or `nil` when it was confirmed or taken back.
  public static func load(_ token: String) -> PendingBlock? {
    guard token.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }) else {
      return nil
    }
    let path = folder.appending(prefix + token)
    var status = Glibc.stat()
    guard unsafe lstat(path.string, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      status.st_uid == geteuid(), status.st_size < 1 << 24,
      let bytes = FileManager.default.contents(atPath: path.string),
      let block = try? JSONDecoder().decode(PendingBlock.self, from: bytes), block.token == token
    else { return nil }
    return block
  }

  /// Seconds that a change may take on a loaded host.
  public static let longestChange: Double = 30

  /// Whether nobody waits for it any more: its time is over by more than a change takes.
  public var isOverdue: Bool { Self.now > deadline + Self.longestChange }

  /// Takes back what nobody has confirmed in time and whose timer is gone, in one namespace.
  ///
  /// - Parameter access: How the host is reached.
  /// - Returns: The blocks that were taken back.
  /// - Throws: ``SIPLeakError``; then they stay on the list.
  public static func revertOverdue(
    access: HostAccess
  ) async throws(SIPLeakError) -> [PendingBlock] {
    var reverted: [PendingBlock] = []
    for block in all() where block.isOverdue && block.namespace == access.name {
      try await block.revert(access: access)
      reverted.append(block)
    }
    return reverted
  }

  /// Keeps the block: nobody takes it back any more.
  ///
  /// - Returns: Whether it still waited.
  /// - Throws: ``SIPLeakError`` with the code `locked` while a block is being taken back.
  public func confirm() throws(SIPLeakError) -> Bool {
    let lock = try Self.settling()
    let didWait = forget()
    _ = consume lock
    return didWait
  }

  /// Takes it off the list.
  ///
  /// - Returns: Whether it still was on it.
  @discardableResult
  public func forget() -> Bool { unsafe unlink(file.string) == 0 }

  /// Takes the block back and off the list, unless it was confirmed meanwhile.
  ///
  /// What is to be undone is derived from what the firewall holds now, so that a reload in between
  /// hurts nothing.
  ///
  /// - Parameter access: How the host is reached.
  /// - Throws: ``SIPLeakError``; then it stays on the list.
  public func revert(access: HostAccess) async throws(SIPLeakError) {
    let lock = try Self.settling()
    if Self.load(token) != nil { try await undo(access) }
    _ = consume lock
  }

  /// Takes the block back although it is no longer on the list: its timer has struck, and may have
  /// done so before an apply that was kept waiting had written anything.
  ///
  /// - Parameter access: How the host is reached.
  /// - Throws: ``SIPLeakError``.
  public func revertLate(access: HostAccess) async throws(SIPLeakError) {
    let lock = try Self.settling()
    try await undo(access)
    _ = consume lock
  }

  private func undo(_ access: HostAccess) async throws(SIPLeakError) {
    let enforcement = Enforcement(access: access)
    let now = Date().timeIntervalSince1970
    let snapshot = try await Self.read(access)
    let names = AddressFamily.allCases.compactMap { family -> String? in
      snapshot.ownSet(family).flatMap { OwnObjects.owns($0) ? $0.name : nil }
    }
    // A set that is gone (`purge`, a reboot) has nothing to be undone in.
    let texts = setUndo + movedUndo(snapshot, at: now)
    try await enforcement.revert(
      sets: texts.filter { text in names.contains { text.contains(" \($0)") } },
      plain: changes, at: now)
    // Blocks that others made meanwhile stay, and with them what holds them.
    if leavesNothing {
      let left = try await Self.read(access)
      if left.ownBlocks(at: now).isEmpty, !RemovalPlan(.purge, snapshot: left).isEmpty {
        let purge = try await RemovalPlan.live(.purge, access: access)
        if !purge.isEmpty { try await enforcement.apply(purge) { _ in } }
      }
    }
    if !changes.isEmpty,
      let table = try await Self.read(access).spoiltTables.first(where: { !$0.standing.isEmpty })
    {
      throw SIPLeakError(
        .notUndone, "\(table.objection), so the blocks of that table stay",
        advice: "To set it right, \(table.remedy); the next sipleak that changes something takes "
          + "the block back.")
    }
    if let state {
      // The history stops nothing, here as elsewhere.
      try? History.open(in: FilePath(state)).end(
        blocksOf: sources.compactMap { IPAddress($0) }, by: .takenBack,
        at: Date().timeIntervalSince1970)
    }
    var unsaved: SIPLeakError?
    if let state, namespace == nil {
      do throws(SIPLeakError) { try await saveForBoot(in: FilePath(state), access) } catch {
        unsaved = error
      }
    }
    forget()
    if let unsaved {
      throw SIPLeakError(
        .undone,
        "the block is taken back, and may come again with the next boot: \(unsaved.message)",
        advice: "`sipleak persist save` writes down what stands.")
    }
  }

  /// Brings the file for the next boot, where there is one, into line with what stands: what was taken
  /// back must not come with it.
  private func saveForBoot(
    in folder: FilePath, _ access: HostAccess
  ) async throws(SIPLeakError) {
    guard let earlier = try SavedBlocks.load(from: folder) else { return }
    let reading: FirewallReading
    do throws(FirewallError) { reading = try await FirewallHost.snapshot(access.tools) } catch {
      throw SIPLeakError(reading: error)
    }
    if let problem = reading.problems.first { throw SIPLeakError(.unreadable, problem) }
    var blocks = SavedBlocks(reading.snapshot, at: Date().timeIntervalSince1970)
    blocks.keepLeftOut(of: earlier)
    try blocks.save(in: folder)
  }

  /// What becomes of plain blocks, by element.
  private var changes: [String: PlainBlock?] {
    Dictionary(
      (plainUndo ?? []).map { undo in
        (undo.element, undo.note.flatMap { PlainBlock(element: undo.element, note: $0) })
      }, uniquingKeysWith: { first, _ in first })
  }

  /// Input for `ipset restore` where plain blocks have moved into our sets meanwhile.
  private func movedUndo(_ snapshot: FirewallSnapshot, at time: Double) -> [String] {
    AddressFamily.allCases.map { family in
      let members = Set(snapshot.ownSet(family)?.entries.map(\.element) ?? [])
      return changes.sorted { $0.key < $1.key }.compactMap { element, former -> String? in
        guard members.contains(element) else { return nil }
        let name = OwnObjects.setName(family)
        guard let former, !former.isOver(at: time) else {
          return "del -exist \(name) \(element)\n"
        }
        let left = former.until.map { max(1, Double($0) - time) } ?? 0
        return "add -exist \(name) \(element) timeout \(UInt32(clamping: Quantity.whole(left))) "
          + "comment \"\(former.memberComment)\"\n"
      }.joined()
    }
  }

  private static func read(
    _ access: HostAccess
  ) async throws(SIPLeakError) -> FirewallSnapshot {
    do throws(FirewallError) {
      return try await FirewallHost.snapshot(access.tools).snapshot
    } catch {
      throw SIPLeakError(reading: error)
    }
  }
}

extension Enforcement {
  /// Puts our blocks back as they were.
  ///
  /// - Parameters:
  ///   - texts: Inputs for `ipset restore`; one that fails does not keep the others back.
  ///   - changes: What becomes of plain blocks, by element.
  ///   - time: Now, in seconds since 1970 UTC.
  /// - Throws: ``SIPLeakError`` with the code `notUndone` when something failed.
  func revert(
    sets texts: [String], plain changes: [String: PlainBlock?], at time: Double
  ) async throws(SIPLeakError) {
    let lock = try RunLock.take()
    var failure: FirewallError?
    for text in texts where !text.isEmpty {
      do throws(FirewallError) {
        try await FirewallHost.restoreSets(Array(text.utf8), access.tools)
      } catch {
        failure = error
      }
    }
    if !changes.isEmpty {
      do throws(FirewallError) {
        let reading = try await FirewallHost.snapshot(access.tools)
        if let problem = reading.problems.first {
          throw FirewallError(
            .toolFailed, operation: "read all of the firewall", found: problem)
        }
        let standing = StandingRules(
          reading.snapshot, at: time, isPlain: true, changes: changes)
        for rules in Placement(reverting: reading.snapshot, standing: standing).rules {
          try await FirewallHost.restore(
            Array(rules.text.utf8), backend: rules.backend, family: rules.family,
            testOnly: false, waitSeconds: 5, access.tools)
        }
      } catch {
        failure = error
      }
    }
    _ = consume lock
    if let failure {
      throw SIPLeakError(
        .notUndone, "our blocks could not be put back as they were: \(failure)",
        advice: "`sipleak purge` removes everything of ours.", detail: failure.standardError ?? "")
    }
  }
}
