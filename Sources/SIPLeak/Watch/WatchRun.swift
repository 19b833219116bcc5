import Addressing
import Conntrack
import FoundationEssentials
import HostNetwork
import Netlink
import Synchronization

/// One watch under way: takes events and readings, keeps what stands, and knows when to read again.
///
/// A class for one task; nothing of it is shared.
final class WatchRun {
  private let watch: Watch
  private let events: FlowEvents
  private var schedule: WatchSchedule
  private var generation: RulesetGeneration
  private var reading: HostReading?
  private var merge = DumpMerge()
  private var judge: EventJudge?
  private var standing = StandingFindings()
  /// Flows of helpers' calls: only their first event says whose call they belong to.
  private var expected: [FlowKey: Flow] = [:]
  private var problems: Set<String> = []
  private var isWhole = false
  private var summary = WatchSummary()

  /// Begins with a first reading.
  init(_ watch: Watch, _ events: FlowEvents) throws(SIPLeakError) {
    self.watch = watch
    self.events = events
    schedule = WatchSchedule(interval: watch.interval, length: watch.length, now: .now)
    do throws(NetlinkError) {
      generation = try RulesetGeneration(in: watch.access.namespace)
    } catch {
      throw SIPLeakError(listening: ConntrackError(error))
    }
    read()
  }

  /// Whether the time is up, and no loss is left to be made good.
  var isOver: Bool { schedule.isOver(at: .now) }

  /// What was seen.
  func finish() -> WatchSummary {
    summary.seconds = schedule.seconds(at: .now)
    summary.standing = standing.byKey.count
    summary.events = events.counts
    summary.isComplete = isWhole && !schedule.hasLoss
    return summary
  }

  /// Takes a group of events, and looks at the clock.
  ///
  /// - Parameters:
  ///   - batch: The events; may be none.
  ///   - report: Takes what there is to say.
  /// - Returns: Whether to go on.
  /// - Throws: ``SIPLeakError`` if the first reading failed.
  func take(_ batch: [FlowEvent], _ report: (WatchReport) -> Bool) throws(SIPLeakError) -> Bool {
    for event in batch {
      guard take(event, report) else { return false }
    }
    if let reading, let result = reading.take() {
      self.reading = nil
      guard try finish(reading, result, report) else { return false }
    }
    if reading == nil,
      schedule.isDue(at: .now, generation: { generation.read() })
    {
      read()
    }
    return true
  }

  // MARK: Events

  private func take(_ event: FlowEvent, _ report: (WatchReport) -> Bool) -> Bool {
    if reading != nil { merge.apply(event) }
    switch event {
    case .new(let flow), .update(let flow):
      return judge(flow, report)
    case .destroy(let flow):
      expected[flow.key] = nil
      return tell(standing.end(of: flow.key), report)
    case .expectation, .expectationEnd:
      schedule.noteExpectation()
      return true
    case .loss(let loss):
      return schedule.noteLoss() ? report(.loss(loss)) : true
    }
  }

  private func judge(_ event: Flow, _ report: (WatchReport) -> Bool) -> Bool {
    let key = event.key
    let flow = (standing.flow(key) ?? expected[key])?.updated(by: event) ?? event
    if flow.master != nil { expected[key] = flow }
    guard judge != nil else { return true }
    return tell(standing.take(judge?.finding(for: flow), for: key), report)
  }

  private func tell(_ news: WatchNews?, _ report: (WatchReport) -> Bool) -> Bool {
    guard let news else { return true }
    switch news {
    case .appeared(let finding):
      if finding.level == .leak { summary.leaks += 1 } else { summary.looks += 1 }
    case .changed(let finding, let was):
      if finding.level == .leak, was != .leak { summary.leaks += 1 }
    case .gone:
      summary.gone += 1
    }
    return report(.news(news, time: Date().timeIntervalSince1970))
  }

  // MARK: Readings

  private func read() {
    let watch = watch
    let events = events
    let filter = watch.filter
    let now = generation.read()
    // The events are joined already: whatever begins behind the dump's back is heard.
    merge = DumpMerge()
    let dump = DumpOutcome()
    reading = HostReading.start(
      generation: now, repairsLoss: schedule.begin(at: .now), dump: dump
    ) { () throws(SIPLeakError) in
      let observation = try await Observation.live(watch.endpoints, access: watch.access) {
        (_, namespace) throws(ConntrackError) in
        // A flood of unanswered packets makes flows of which none can be a finding.
        let flows = try FlowTable.dump(filter.query, in: namespace) { filter.isAnswered($0) }
        dump.isWhole.withLock { $0 = flows.isComplete }
        return flows
      }
      return JudgedReading(observation, policy: watch.policy)
    } isThere: {
      events.nudge()
    }
  }

  private func finish(
    _ reading: HostReading, _ result: Result<JudgedReading, SIPLeakError>,
    _ report: (WatchReport) -> Bool
  ) throws(SIPLeakError) -> Bool {
    let merge = merge
    self.merge = DumpMerge()
    let isFirst = judge == nil
    switch result {
    case .failure(let error):
      if isFirst { throw error }
      isWhole = false
      schedule.end(at: .now, reading, isWhole: false)
      return report(.problem(error.message))
    case .success(let judged):
      let audit = judged.audit
      summary.readings += 1
      let isDumpWhole = reading.dump.isWhole.withLock { $0 }
      schedule.end(at: .now, reading, isWhole: isDumpWhole)
      let news = adopt(judged, merge, isDumpWhole: isDumpWhole)
      isWhole = audit.isComplete
      let account = judged.judge.observation.sample.reading
      if isFirst, !report(.watching(audit, account)) { return false }
      for problem in audit.problems where !problems.contains(problem) {
        guard report(.problem(problem)) else { return false }
      }
      problems = Set(audit.problems)
      for change in news {
        guard tell(change, report) else { return false }
      }
      guard reading.repairsLoss, isDumpWhole else { return true }
      summary.repairs += 1
      return schedule.hasLoss ? true : report(.repaired)
    }
  }

  /// Puts a reading, with the events since it began, in place of what was known.
  private func adopt(
    _ reading: JudgedReading, _ merge: DumpMerge, isDumpWhole: Bool
  ) -> [WatchNews] {
    let routing = try? PeerRouting(
      reading.judge.observation.network, in: watch.access.namespace)
    var judge = EventJudge(reading.judge, routing: routing)
    expected = Dictionary(
      reading.expected.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
    let (alive, succeeded, ended) = merge.changes()
    var touched = ended
    var fresh: [Finding] = []
    for event in alive {
      touched.insert(event.key)
      let read = succeeded.contains(event.key) ? nil : reading.flow(event.key)
      let flow = read?.updated(by: event) ?? event
      if flow.master != nil { expected[flow.key] = flow }
      if let finding = judge.finding(for: flow) { fresh.append(finding) }
    }
    for key in ended { expected[key] = nil }
    let settled = reading.audit.findings.filter { finding in
      finding.flow.map { !touched.contains($0.key) } ?? true
    }
    self.judge = judge
    let begun = touched.subtracting(ended)
    return standing.adopt(settled + fresh, isWhole: isDumpWhole) { key in
      begun.contains(key) || !ended.contains(key) && reading.flow(key) != nil
    }
  }
}
