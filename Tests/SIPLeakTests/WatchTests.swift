import Addressing
import Conntrack
import Firewall
import Testing

@testable import SIPLeak

@Suite("The findings that stand")
struct StandingFindingsTests {
  private func findings(_ flows: [Flow], rules: String = SavedHost.rules) throws -> [Finding] {
    var host = SavedHost()
    host.rules = rules
    host.flows = flows
    return try host.audit().findings
  }

  private let leaky = flow("203.0.113.66:24376", "192.0.2.5:5060", [.seenReply])
  private let other = flow("203.0.113.67:24376", "192.0.2.5:5060", [.seenReply])
  private let openRules = """
    *filter
    :INPUT ACCEPT [9:900]
    :FORWARD ACCEPT [0:0]
    :OUTPUT ACCEPT [0:0]
    COMMIT

    """

  @Test("are told once, and again when they go")
  func adopt() throws {
    var standing = StandingFindings()
    let both = try findings([leaky, other])
    #expect(standing.adopt(both) { _ in true } == both.map { .appeared($0) })
    #expect(standing.adopt(both) { _ in true } == [])
    let left = try findings([other])
    let gone = try findings([leaky])
    #expect(
      standing.adopt(left) { $0 != leaky.key } == gone.map { .gone($0, .flowEnded) })
    // Still in the table, but the rules make it none.
    #expect(
      standing.adopt([]) { _ in true } == left.map { .gone($0, .noFinding) })
    #expect(standing.byKey.isEmpty)
  }

  @Test("stay when a dump is in part and does not show them")
  func partial() throws {
    var standing = StandingFindings()
    let found = try findings([leaky])
    _ = standing.adopt(found) { _ in true }
    #expect(standing.adopt([], isWhole: false) { _ in false } == [])
    #expect(standing.byKey.count == 1)
  }

  @Test("follow events: once as they come, once as they end, and not for more of the same")
  func events() throws {
    var standing = StandingFindings()
    let finding = try #require(try findings([leaky]).first)
    #expect(standing.take(finding, for: leaky.key) == .appeared(finding))
    #expect(standing.take(finding, for: leaky.key) == nil)
    var assured = finding
    assured.grade = .assured
    #expect(standing.take(assured, for: leaky.key) == nil)
    #expect(standing.flow(leaky.key) == leaky)
    #expect(standing.end(of: other.key) == nil)
    #expect(standing.end(of: leaky.key) == .gone(assured, .flowEnded))
    #expect(standing.end(of: leaky.key) == nil)
  }

  @Test("are told again when their cause changes or a latent one is answered")
  func changes() throws {
    var standing = StandingFindings()
    let latent = try #require(
      try findings([flow("192.0.2.5:5060", "203.0.113.70:33333", [])]).first)
    #expect(latent.grade == .latent)
    let key = try #require(latent.flow?.key)
    _ = standing.take(latent, for: key)
    var answered = latent
    answered.grade = .established
    #expect(standing.take(answered, for: key) == .changed(answered, was: .look))
    #expect(standing.take(answered, for: key) == nil)
    var other = answered
    other.cause = .undecided
    #expect(standing.take(other, for: key) == .changed(other, was: .look))
    #expect(standing.take(nil, for: key) == .gone(other, .noFinding))
  }

  @Test("are one a host where no rule decides, however many flows show it")
  func host() throws {
    var standing = StandingFindings()
    let first = try #require(try findings([leaky], rules: openRules).first)
    #expect(first.cause == .unfiltered)
    #expect(standing.take(first, for: leaky.key) == .appeared(first.aboutHost))
    #expect(standing.take(first, for: other.key) == nil)
    #expect(standing.end(of: leaky.key) == nil)
    #expect(standing.byKey.count == 1)
  }

  @Test("are apart where doors or rules are, though all else is the same")
  func apart() throws {
    var door = try #require(try findings([leaky]).first)
    door.flow = nil
    door.cause = .expected
    var tcp = door
    tcp.transport = .tcp
    var zoned = door
    zoned.zone = 5
    var led = door
    led.delivered.port = 5062
    let doors = [door, tcp, zoned, led]
    var standing = StandingFindings()
    #expect(standing.adopt(doors + doors) { _ in true } == doors.map { .appeared($0) })

    // One finding a rule: both phones are refused by the last one, and hang on different ones.
    var first = try #require(try findings([leaky]).first)
    first.cause = .conditional
    first.hangsOn = [try #require(first.asHeld.rule)]
    var second = first
    second.hangsOn = [try #require(first.asNew.rule)]
    standing = StandingFindings()
    let both = [first, second]
    #expect(standing.adopt(both) { _ in true } == both.map { .appeared($0) })
  }

  @Test("print as audit's line, with gone for the level at the end")
  func lines() throws {
    let finding = try #require(try findings([leaky]).first)
    let came = WatchText.line(.appeared(finding), time: 1_790_000_000)
    #expect(came.contains("Z leak cause=established-bypass grade=established src=203.0.113.66 "))
    let went = WatchText.line(.gone(finding, .flowEnded), time: 1_790_000_000)
    #expect(went.contains("Z gone cause=established-bypass grade=established src=203.0.113.66 "))
    #expect(went.hasSuffix(" was=leak because=flow-ended\n"))
    let json = try WatchJSON(.gone(finding, .noFinding), time: 1_790_000_000).line()
    #expect(json.contains("\"event\":\"gone\""))
    #expect(json.contains("\"because\":\"no-finding\""))
    #expect(try WatchJSON(.appeared(finding), time: 0).line().contains("\"because\":null"))
  }
}

@Suite("When a watch reads again")
struct WatchScheduleTests {
  private let start = ContinuousClock.now
  private func at(_ seconds: Double) -> ContinuousClock.Instant { start + .seconds(seconds) }

  /// A schedule whose first reading has been made, at second 0, of generation 7.
  private func begun(interval: Double = 30, length: Double? = nil) -> WatchSchedule {
    var schedule = WatchSchedule(interval: interval, length: length, now: start)
    #expect(schedule.begin(at: start) == false)
    schedule.end(
      at: at(0.1), HostReading(generation: 7, repairsLoss: false), isWhole: true)
    return schedule
  }

  @Test("after the interval, and not before while nothing changes")
  func interval() {
    var schedule = begun()
    for second in stride(from: 0.25, to: 30, by: 0.25) {
      #expect(schedule.isDue(at: at(second)) { 7 } == false)
    }
    #expect(schedule.isDue(at: at(30)) { 7 } == true)
  }

  @Test("when the rules have changed and two looks in a row see the same")
  func settled() {
    var schedule = begun()
    #expect(schedule.isDue(at: at(2)) { 8 } == false)
    #expect(schedule.isDue(at: at(2.25)) { 9 } == false)
    #expect(schedule.isDue(at: at(2.5)) { 9 } == true)
  }

  @Test("and at last even while they go on changing")
  func restless() {
    var schedule = begun()
    var generation: UInt32 = 8
    var second = 2.0
    func look() -> UInt32 {
      generation += 1
      return generation
    }
    while schedule.isDue(at: at(second), generation: look) == false, second < 20 { second += 0.25 }
    #expect(second == 7)
  }

  @Test("after a loss, later each time losses go on")
  func losses() {
    var schedule = begun()
    #expect(schedule.noteLoss() == true)
    #expect(schedule.noteLoss() == false)
    #expect(schedule.isDue(at: at(0.5)) { 7 } == false)
    #expect(schedule.isDue(at: at(1)) { 7 } == true)
    #expect(schedule.begin(at: at(1)) == true)
    #expect(schedule.hasLoss)
    #expect(schedule.isDue(at: at(2)) { 7 } == false)
    // Another one before this reading ends: it repairs the first, not the second.
    #expect(schedule.noteLoss() == false)
    schedule.end(
      at: at(1.5), HostReading(generation: 7, repairsLoss: true), isWhole: true)
    #expect(schedule.hasLoss)
    #expect(schedule.isDue(at: at(2.5)) { 7 } == false)
    #expect(schedule.isDue(at: at(3)) { 7 } == true)
    #expect(schedule.begin(at: at(3)) == true)
    schedule.end(
      at: at(3.1), HostReading(generation: 7, repairsLoss: true), isWhole: true)
    #expect(schedule.hasLoss == false)
  }

  @Test("after a reading in part, which makes no loss good")
  func partial() {
    var schedule = begun()
    _ = schedule.noteLoss()
    #expect(schedule.begin(at: at(1)) == true)
    schedule.end(
      at: at(1.1), HostReading(generation: 7, repairsLoss: true), isWhole: false)
    #expect(schedule.hasLoss)
    #expect(schedule.isDue(at: at(2)) { 7 } == true)
  }

  @Test("soon after an expectation came or went")
  func expectation() {
    var schedule = begun()
    schedule.noteExpectation()
    #expect(schedule.isDue(at: at(4)) { 7 } == false)
    #expect(schedule.isDue(at: at(5)) { 7 } == true)
  }

  @Test("and ends when its time is up, unless a loss is still to be made good")
  func end() {
    var schedule = begun(length: 10)
    #expect(schedule.isOver(at: at(9.9)) == false)
    #expect(schedule.isOver(at: at(10)))
    _ = schedule.noteLoss()
    #expect(schedule.isOver(at: at(10)) == false)
    #expect(schedule.isOver(at: at(25)))
    #expect(begun().isOver(at: at(1_000_000)) == false)
  }
}
