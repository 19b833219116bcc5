public import Addressing
import Dispatch
import Firewall
import Glibc
import Netlink
public import SystemPackage

/// Listens to what some peers send, by a rule of our own that logs and decides nothing.
///
/// It changes the firewall for as long as it listens: one rule a peer at the head of raw PREROUTING,
/// put there in one transaction a family and removed the same way. What a run that was killed left
/// is removed by the next one. Needs CAP_NET_ADMIN.
public struct Listening: Sendable {
  /// Whom to listen to.
  public var peers: [IPAddress]
  /// For how long, in seconds.
  public var seconds: Double
  /// Where to save the packets, or `nil`.
  public var capture: FilePath?
  /// How the host is reached.
  public var access: HostAccess

  /// The most peers that are listened to at once.
  public static let mostPeers = 16
  /// The longest it may be, in seconds.
  public static let longest: Double = 600

  /// Makes a plan to listen; nothing is changed before ``run(isInterrupted:)``.
  public init(
    to peers: [IPAddress], seconds: Double, capture: FilePath? = nil,
    access: HostAccess = HostAccess()
  ) {
    var seen: Set<IPAddress> = []
    self.peers = peers.map(\.unmapped).filter { seen.insert($0).inserted }
    self.seconds = seconds
    self.capture = capture
    self.access = access
  }

  /// Listens.
  ///
  /// - Parameter isInterrupted: Asked several times a second; `true` ends it early.
  /// - Returns: What was heard. What went wrong on the way is in its problems, except what kept it
  ///   from beginning.
  /// - Throws: ``SIPLeakError``: `unchanged` or `undone` when it could not begin, `locked` when
  ///   another sipleak listens, `badFile` for the capture, `notUndone` when a rule of ours is left.
  public func run(
    isInterrupted: @escaping @Sendable () -> Bool = { false }
  ) async throws(SIPLeakError) -> SIPEvidence {
    let listened = Array(peers.prefix(Self.mostPeers))
    var evidence = SIPEvidence(
      seconds: seconds, heardSeconds: 0, peers: listened.map(PeerEvidence.init),
      omittedPeers: Array(peers.dropFirst(Self.mostPeers)))
    guard !listened.isEmpty else { return evidence }
    // One listener at a time, so that a rule of this kind that stands now is a leftover. The lock of
    // those who change the firewall is held for moments only: a block must not wait for us.
    let listening = try RunLock.take(
      FilePath("/run/sipleak-listen.lock"), holder: "another sipleak listens now")
    evidence.leftovers = try await removeRules()
    let file = try capture.map { path throws(SIPLeakError) in try PcapFile.create(path) }
    let heard: Heard
    do throws(SIPLeakError) {
      let log = try openLog()
      evidence.group = log.group
      let made = try await insert(listened, log.group)
      evidence.backends = Set(made.map(\.backend.rawValue)).sorted()
      heard = try await listen(listened, log, file, made, isInterrupted)
    } catch {
      file?.discard()
      throw error
    }
    evidence.peers = heard.collector.peers
    evidence.heardSeconds = heard.seconds
    evidence.isInterrupted = heard.isInterrupted
    evidence.lost = heard.lost
    evidence.overruns = heard.overruns
    evidence.problems = heard.problems
    if let file {
      let outcome = file.finish()
      evidence.capture = SIPEvidence.Capture(path: file.path, packets: outcome.packets)
      if let failure = outcome.failure {
        evidence.problems.append(
          "the capture \(file.path) is cut short after \(outcome.packets) packets: \(failure)")
      }
    }
    _ = consume listening
    return evidence
  }

  private func openLog() throws(SIPLeakError) -> PacketLog {
    do {
      return try PacketLog.open(in: access.namespace, copying: UInt32(ListenRules.size))
    } catch {
      var advice = "Is nfnetlink_log in this kernel, or its module loaded? Nothing was changed."
      if error.isPermissionDenied { advice = SIPLeakError.needsRoot }
      throw SIPLeakError(
        error.isPermissionDenied ? .permissionDenied : .unchanged,
        "cannot listen: \(error)", advice: advice, detail: error.message ?? "")
    }
  }

  /// Puts the rules in place, all or none.
  private func insert(
    _ listened: [IPAddress], _ group: UInt16
  ) async throws(SIPLeakError) -> [BlockPlan.RestoreText] {
    let snapshot = try await snapshot()
    let lock = try await Self.changeLock()
    var texts: [BlockPlan.RestoreText] = []
    do throws(FirewallError) {
      for text in ListenRules.insertions(listened, group: group, in: snapshot) {
        try await restore(text, text.text)
        texts.append(text)
      }
    } catch {
      _ = consume lock
      // Nothing of the transaction that failed was applied; the one before it may stand.
      if !texts.isEmpty { _ = try await removeRules(made: texts) }
      throw SIPLeakError(
        .undone, "cannot listen: the kernel or iptables refuses a rule that logs (NFLOG, limit)",
        advice: "The firewall is as it was. \(error.advice ?? "")",
        detail: error.standardError ?? "\(error)")
    }
    _ = consume lock
    return texts
  }

  private struct Heard {
    var collector: EvidenceCollector
    var seconds = 0.0
    var isInterrupted = false
    var lost: UInt64 = 0
    var overruns = 0
    var problems: [String] = []
  }

  /// Hears packets on a thread of its own, and removes the rules however that ends.
  private func listen(
    _ listened: [IPAddress], _ log: PacketLog, _ file: PcapFile?,
    _ made: [BlockPlan.RestoreText], _ isInterrupted: @escaping @Sendable () -> Bool
  ) async throws(SIPLeakError) -> Heard {
    let seconds = seconds
    var heard = await Self.aside {
      Self.hear(Heard(collector: EvidenceCollector(listened)), log, file) { elapsed, _ in
        if isInterrupted() { return .interrupted }
        return elapsed >= seconds ? .over : .goesOn
      }
    }
    _ = try await removeRules(made: made)
    // What the kernel still holds back comes within a tenth of a second; what has come is read to its
    // end, unless a rule of somebody else's fills the same group for ever.
    let rest = heard
    let all = await Self.aside {
      Self.hear(rest, log, file) { elapsed, isQuiet in
        elapsed >= (isQuiet ? 0.3 : 10) ? .over : .goesOn
      }
    }
    let time = (heard.seconds, heard.isInterrupted)
    heard = all
    (heard.seconds, heard.isInterrupted) = time
    return heard
  }

  private enum Progress {
    case goesOn, over, interrupted
  }

  /// Hears packets until `progress` ends it, which is told the seconds so far and whether nothing came
  /// when it was listened last.
  private static func hear(
    _ before: Heard, _ log: PacketLog, _ file: PcapFile?, _ progress: (Double, Bool) -> Progress
  ) -> Heard {
    var heard = before
    let clock = ContinuousClock()
    let start = clock.now
    var isQuiet = false
    while true {
      let elapsed = start.duration(to: clock.now) / .seconds(1)
      heard.seconds = elapsed
      let step = progress(elapsed, isQuiet)
      if step != .goesOn {
        heard.isInterrupted = step == .interrupted
        return heard
      }
      do throws(NetlinkError) {
        let receipt = try log.receive(waiting: 50) { packet in
          // A rule of somebody else's may name the same group.
          guard packet.prefix == ListenRules.label else { return }
          add(packet, to: &heard.collector, file)
        }
        heard.lost += receipt.lost
        heard.overruns += receipt.overruns
        isQuiet = receipt.packets == 0 && receipt.overruns == 0
      } catch {
        heard.problems.append("the log ended early: \(error)")
        return heard
      }
      file?.flush()
    }
  }

  private static func add(
    _ packet: LoggedPacket, to collector: inout EvidenceCollector, _ file: PcapFile?
  ) {
    var now = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    var seconds = UInt64(max(0, now.tv_sec))
    var nanoseconds = UInt32(now.tv_nsec)
    if let stamped = packet.seconds, let micro = packet.microseconds, micro < 1_000_000 {
      (seconds, nanoseconds) = (stamped, UInt32(micro) * 1000)
    }
    let time = Double(seconds) + Double(nanoseconds) / 1e9
    if let length = collector.add(packet.bytes, time: time) {
      file?.add(packet.bytes, length: length, seconds: seconds, nanoseconds: nanoseconds)
    }
  }

  private static func aside<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
    await withCheckedContinuation { continuation in
      DispatchQueue.global().async { @Sendable in continuation.resume(returning: body()) }
    }
  }

  /// Removes every rule of this kind, and a table we made if it is empty then.
  ///
  /// - Parameter made: What this run put in place; empty when leftovers are meant.
  /// - Returns: How many leftovers there were.
  /// - Throws: ``SIPLeakError`` when one is left, or that cannot be told.
  private func removeRules(
    made: [BlockPlan.RestoreText] = []
  ) async throws(SIPLeakError) -> Int {
    var waiting = made
    var removed = 0
    var reason = "they stand again after each removal"
    // Again: a reload of the whole firewall may put a saved copy back meanwhile.
    for _ in 0..<4 {
      let outcome: Removal
      // What a trace holds for minutes must not keep our rules standing: each transaction is whole in
      // itself and names its rules by their text.
      do throws(SIPLeakError) { outcome = try await lockedRemoval(waiting) } catch {
        outcome = await removal(waiting)
      }
      removed += outcome.leftovers
      if outcome.isDone { return removed }
      waiting = outcome.waiting
      reason = outcome.reason ?? reason
    }
    throw SIPLeakError(
      made.isEmpty ? .unchanged : .notUndone,
      "rules that log (\(ListenRules.label), raw PREROUTING) could not be removed",
      advice: "They decide nothing. The next --listen removes them, and so does `sipleak purge`.",
      detail: reason)
  }

  private struct Removal {
    var isDone = false
    var leftovers = 0
    /// What we wrote and may still stand.
    var waiting: [BlockPlan.RestoreText]
    var reason: String?
  }

  private func lockedRemoval(
    _ made: [BlockPlan.RestoreText]
  ) async throws(SIPLeakError) -> Removal {
    let lock = try await Self.changeLock(attempts: 25)
    let outcome = await removal(made)
    _ = consume lock
    return outcome
  }

  /// Removes them once, and says whether none is left.
  private func removal(_ made: [BlockPlan.RestoreText]) async -> Removal {
    var outcome = Removal(waiting: made)
    // First by what we wrote, which needs no reading; a transaction fails if a reload took them.
    var isCertain = true
    for text in made {
      do throws(FirewallError) { try await restore(text, text.undo) } catch { isCertain = false }
    }
    do throws(FirewallError) {
      let reading = try await FirewallHost.snapshot(access.tools)
      let left = ListenRules.removals(in: reading.snapshot)
      for text in left { try await restore(text, text.text) }
      let tables = (made + left).filter(\.makesTable).map {
        RemovalPlan.MadeTable(backend: $0.backend, family: $0.family, name: $0.table)
      }
      await Enforcement(access: access).removeTables(tables)
      outcome.leftovers = reading.snapshot.listenRulesLeft
      outcome.isDone = left.isEmpty && (isCertain || reading.problems.isEmpty)
      if !left.isEmpty { outcome.waiting = [] }
      outcome.reason = reading.problems.first.map { "not all could be read: \($0)" }
    } catch {
      outcome.reason = "\(error)"
    }
    return outcome
  }

  private func restore(
    _ text: BlockPlan.RestoreText, _ input: String
  ) async throws(FirewallError) {
    try await FirewallHost.restore(
      Array(input.utf8), backend: text.backend, family: text.family, testOnly: false,
      waitSeconds: 5, access.tools)
  }

  private func snapshot() async throws(SIPLeakError) -> FirewallSnapshot {
    do throws(FirewallError) {
      return try await FirewallHost.snapshot(access.tools).snapshot
    } catch {
      throw SIPLeakError(reading: error)
    }
  }

  /// The lock of those who change the firewall, waited for: a block holds it for seconds.
  private static func changeLock(attempts: Int = 150) async throws(SIPLeakError) -> RunLock {
    for _ in 0..<attempts {
      do throws(SIPLeakError) {
        return try RunLock.take()
      } catch {
        guard error.code == .locked else { throw error }
      }
      try? await Task.sleep(for: .milliseconds(200))
    }
    return try RunLock.take()
  }
}
