/// When a watch reads the host again, and when it ends.
///
/// A value over times that are passed in.
struct WatchSchedule: Sendable {
  typealias Instant = ContinuousClock.Instant

  /// How often the rules' generation is asked for.
  static let tick = Duration.milliseconds(200)
  /// The shortest time from one reading to the next; after losses on end it doubles.
  static let pause = Duration.seconds(1)
  /// The longest time a firewall that is being changed all the while is waited for.
  static let patience = Duration.seconds(5)
  /// How long a watch whose time is up goes on to make a last loss good.
  static let grace = Duration.seconds(15)

  private let interval: Duration
  private let start: Instant
  private let deadline: Instant?
  private var lastBegin: Instant
  private var lastTick: Instant
  private var isReading = false
  private var isRepairing = false
  private var hasRead = false
  private var hasFailed = false
  private var hasExpectation = false
  private var lossPause = WatchSchedule.pause
  private var known: UInt32?
  private var candidate: UInt32?
  private var changedSince: Instant?
  /// Whether events were lost since the last reading began.
  private(set) var isLossOpen = false

  init(interval: Double, length: Double?, now: Instant) {
    self.interval = .seconds(interval)
    start = now
    lastBegin = now
    lastTick = now
    deadline = length.map { now + .seconds($0) }
  }

  /// Whether a loss is not made good yet.
  var hasLoss: Bool { isLossOpen || isRepairing }

  /// Seconds since the beginning.
  func seconds(at now: Instant) -> Double { (now - start) / .seconds(1) }

  /// Whether the time is up, and nothing is left that a moment would make whole.
  func isOver(at now: Instant) -> Bool {
    guard let deadline, now >= deadline else { return false }
    return !(hasLoss || !hasRead) || now >= deadline + Self.grace
  }

  /// Takes note of a loss.
  ///
  /// - Returns: Whether it is the first since the last one was made good.
  mutating func noteLoss() -> Bool {
    defer { isLossOpen = true }
    return !hasLoss
  }

  /// Takes note of a change of the expectations.
  mutating func noteExpectation() { hasExpectation = true }

  /// Takes note that a reading begins.
  ///
  /// - Returns: Whether it is to make a loss good.
  mutating func begin(at now: Instant) -> Bool {
    isReading = true
    isRepairing = isLossOpen
    isLossOpen = false
    hasExpectation = false
    lastBegin = now
    return isRepairing
  }

  /// Takes note that a reading ended.
  mutating func end(at now: Instant, _ reading: HostReading, isWhole: Bool) {
    // Losses while it was made good: the next one waits longer, or it would never end.
    lossPause = isLossOpen && reading.repairsLoss ? min(lossPause * 2, .seconds(16)) : Self.pause
    if reading.repairsLoss, !isWhole { isLossOpen = true }
    isReading = false
    isRepairing = false
    hasRead = hasRead || isWhole
    hasFailed = !isWhole
    known = reading.generation
    candidate = nil
    changedSince = nil
  }

  /// Whether to begin another reading now.
  ///
  /// - Parameters:
  ///   - now: The time.
  ///   - generation: Asks for the rules' generation; not called more often than every ``tick``.
  /// - Returns: Whether.
  mutating func isDue(at now: Instant, generation: () -> UInt32?) -> Bool {
    guard !isReading else { return false }
    let age = now - lastBegin
    if age >= interval { return true }
    if isLossOpen { return age >= lossPause }
    if hasFailed || hasExpectation, age >= Self.patience { return true }
    guard now - lastTick >= Self.tick, age >= Self.pause else { return false }
    lastTick = now
    let current = generation()
    guard current != known else {
      changedSince = nil
      return false
    }
    // Half a ruleset is no ruleset: wait until two looks in a row see the same.
    let began = changedSince ?? now
    changedSince = began
    defer { candidate = current }
    return candidate == current || now - began >= Self.patience
  }
}
