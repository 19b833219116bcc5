import Addressing
public import ArgumentParser
import SIPLeak

/// `sipleak block`.
struct BlockCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "block",
    abstract: "Plan, and with --apply put in place, blocks of the peers that leak.",
    discussion: """
      Without --apply nothing is changed: the exact input of ipset and iptables-restore is printed. \
      Without addresses every leak is meant. Things to look at are blocked only when named. An \
      address that the rules admit as NEW from any port, on any interface, is never blocked, nor \
      are our own addresses, gateways, name servers and what --trust and --protect name.

      With --sample only peers that both readings show are blocked, and nobody while the firewall \
      changed in between: use it with 60s wherever no person looks on.

      Blocks are entries of an ipset, which the kernel lifts when their time is over. Without ipset, \
      or with --plain, they are rules of their own, at most \(PlainBlock.most) sources: each run with \
      --apply lifts those whose time is over, and moves them into the set once there is one.

      Nothing is written on a plan that is not true any more: where another program changes the \
      firewall meanwhile, all is read and planned again, up to five times without --sample.

      Exit status: 0 done, 1 failed and nothing changed, 4 failed and taken back, 5 failed and \
      something is left (it says what). With --format json a failure prints a document too: `result` \
      and `error` say what became of it.
      """)

  @Argument(
    help: ArgumentHelp("Addresses to block.", valueName: "address"), transform: Parse.address)
  var addresses: [IPAddress] = []

  @Flag(help: "Make the change, and check that it works.")
  var apply = false

  @Option(
    name: .customLong("where"),
    help: "Where: raw (ahead of conntrack) or before-state-rule.")
  var place: BlockRequest.Place = .raw

  @Option(
    name: .customLong("for"),
    help: ArgumentHelp(
      """
      How long, such as 24h; 0 until unblocked. The kernel lifts it by itself; without ipset, the \
      next run. (default: 24h, twice that for each time a block of the peer has run out before, up to \
      24 days; no block that stands for longer is shortened)
      """, valueName: "time"), transform: Parse.seconds)
  var seconds: Double?

  private static let usualSeconds: Double = 86400
  private static let unattendedInterval: Double = 60

  @Option(
    help: ArgumentHelp(
      "How long to wait before looking whether it worked.", valueName: "time"),
    transform: Parse.seconds)
  var verifyAfter: Double = 2

  @Flag(
    help: ArgumentHelp(
      """
      A rule for each source, also where ipset is there; at most \(PlainBlock.most) sources. They \
      stay until the next run of `block --apply` after their time.
      """))
  var plain = false

  @Flag(name: .shortAndLong, help: "Print nothing when there is nothing to block.")
  var quiet = false

  @Option(
    help: ArgumentHelp(
      """
      Take the blocks back after this time unless `sipleak confirm` is run before, also when the \
      terminal is gone.
      """, valueName: "time"), transform: Parse.seconds)
  var confirmWithin: Double?

  @OptionGroup var source: SourceOptions
  @OptionGroup var sip: EndpointOptions
  @OptionGroup var trust: TrustOptions

  @OptionGroup var limiting: BlockLimitOptions
  @OptionGroup var state: StateOptions

  @Option(help: "How to print: text, json or restore (the tools' input alone).")
  var format: PlanFormat = .text

  @Flag(name: .shortAndLong, help: "Show what the kernel and the tools said.")
  var verbose = false

  func validate() throws {
    if apply, source.folder != nil {
      throw ValidationError("--apply changes this host; it cannot be used with --from.")
    }
    if verifyAfter > 60 {
      throw ValidationError("--verify-after takes up to 60s.")
    }
    if limiting.unattended, let interval = source.interval, interval < Self.unattendedInterval {
      throw ValidationError("--unattended reads twice at least 60s apart; --sample may be longer.")
    }
    if let confirmWithin, !(1...86400).contains(confirmWithin) {
      throw ValidationError("--confirm-within takes 1s to 24h.")
    }
    if limiting.unattended, state.isOff, addresses.isEmpty {
      throw ValidationError(
        "--unattended asks the history who was admitted within 24 h; it cannot be used with "
          + "--no-history.")
    }
    if apply, format == .restore {
      throw ValidationError("--format restore prints a plan; it cannot be used with --apply.")
    }
    if let seconds, seconds > 0, seconds < 1 {
      throw ValidationError("--for takes whole seconds: 1s or more, or 0 for no end.")
    }
  }

  func run() async throws {
    let made = MadePlan()
    try await Console.changing(
      isVerbose: verbose, failing: { if format == .json { made.print($0) } }
    ) {
      let access = try source.namespace.access()
      if limiting.unattended, addresses.isEmpty, source.folder == nil,
        !state.isKept(for: source.namespace)
      {
        // Said at once, and not on the day of the first leak.
        throw SIPLeakError(
          .unchanged, "an unattended run needs to know who was admitted within 24 h",
          advice: "Nothing was changed: \(state.gap(for: source.namespace)).")
      }
      if apply { await OverdueBlocks.revert(access) }
      var source = source
      if limiting.unattended, source.folder == nil, source.interval == nil {
        source.interval = Self.unattendedInterval
      }
      var resolved: AuditPolicy?
      // Two readings a minute apart are made by whoever starts it again.
      let attempts = (source.interval ?? 0) > 0 ? 1 : Enforcement.attempts
      return try await Enforcement.whileStale(attempts: attempts) { attempt in
        Console.note(
          "sipleak: the firewall changed while the block was planned; read again (\(attempt) of "
            + "\(attempts))")
      } _: {
        let observation = try await source.observation(sip, access: access)
        if verbose { Console.note(ReadingText.lines(observation)) }
        // Names and commands once: what takes long makes a plan old.
        let policy = if let resolved { resolved } else { try await trust.policy(state.folder) }
        resolved = policy
        return try await plan(observation, policy, access, made)
      }
    }
  }

  /// Plans, and applies where that is asked.
  ///
  /// - Returns: The exit status.
  private func plan(
    _ observation: Observation, _ policy: AuditPolicy, _ access: HostAccess, _ made: MadePlan
  ) async throws -> Int32 {
    let audit = Audit(observation, policy: policy)
    let isLive = source.folder == nil
    let history =
      if isLive { state.open(for: source.namespace) } else { try? state.openForReading() }
    let time = observation.sample.time
    let notes = history.flatMap { StateOptions.notes(of: $0, at: time) }
    // Cron may run nothing else: who is admitted today must be known tomorrow. Whatever comes of
    // it, and after it: it is no reason for a block to wait.
    var isNoted = false
    func note() {
      guard !isNoted, let history else { return }
      isNoted = true
      StateOptions.record(audit, in: history, at: time)
    }
    defer { note() }
    var request = BlockRequest(
      named: addresses, place: place, seconds: UInt32(seconds ?? Self.usualSeconds),
      limits: limiting.limits(
        notes, gap: state.gap(for: source.namespace), doubles: seconds == nil),
      backend: limiting.backend, prefix6: limiting.prefix6, isPlain: plain)
    request.shortens = seconds != nil
    let plan = BlockPlan(request, audit: audit, observation: observation, policy: policy)
    made.take(plan, at: observation.sample.time)
    for problem in audit.problems {
      Console.note("sipleak: not read: \(EscapedText.terminal(problem))")
    }
    // Somebody should be blocked and is not.
    let isRefused =
      !plan.obstacles.isEmpty
      || plan.isEmpty && (!addresses.isEmpty || plan.omissions.contains { !$0.isOnRequest })
    if apply, !observation.problems.isEmpty {
      throw SIPLeakError(
        .unchanged, "nothing is blocked on a partial reading",
        advice: "See above what could not be read; nothing was changed.")
    }
    guard apply, !plan.isEmpty else {
      let isIdle = plan.isEmpty && plan.obstacles.isEmpty && addresses.isEmpty
      if !(quiet && isIdle) { try show(plan, observation) }
      return isRefused ? 1 : 0
    }
    let status = try await enforce(
      plan, observation, policy, access, history, made, noting: note)
    return plan.obstacles.isEmpty ? status : max(status, 1)
  }

  /// This command with every option that matters to what is blocked.
  private var command: String {
    var words = ["sipleak", "block"] + addresses.map(\.description)
    if place != .raw { words += ["--where", place.rawValue] }
    if let seconds { words += ["--for", "\(Int(seconds))s"] }
    if plain { words.append("--plain") }
    if let confirmWithin { words += ["--confirm-within", Self.typed(confirmWithin)] }
    words += limiting.words
    words += state.words
    words += trust.words
    if let interval = source.interval { words += ["--sample", Self.typed(interval)] }
    return words.joined(separator: " ") + sip.endpoints.options + source.namespace.option
  }

  private static func typed(_ seconds: Double) -> String {
    Int(exactly: seconds).map { "\($0)s" } ?? "\(seconds)s"
  }

  private func show(_ plan: BlockPlan, _ observation: Observation) throws {
    switch format {
    case .json:
      Console.print(
        try PlanJSON(plan, time: observation.sample.time, isApplying: apply).line())
    case .restore: Console.print(PlanText.restoreText(plan))
    case .text:
      Console.print(
        PlanText.text(
          plan, command: command + " --apply", isApplying: apply, host: observation.host))
    }
  }

  private func enforce(
    _ plan: BlockPlan, _ observation: Observation, _ policy: AuditPolicy, _ access: HostAccess,
    _ history: History?, _ made: MadePlan, noting: () -> Void
  ) async throws(SIPLeakError) -> Int32 {
    Console.holdSignals()
    for omission in plan.omissions where format == .text {
      Console.print(
        StepText.line("not blocked", "\(omission.address): \(omission.why)", style: Console.style))
    }
    for obstacle in plan.obstacles where format == .text {
      Console.print(StepText.line("not blocked", obstacle, style: Console.style))
    }
    let isText = format == .text
    let style = Console.style
    // Before anything is changed: a block that could not be taken back must not be made.
    var pending: PendingBlock?
    if let confirmWithin {
      let block = PendingBlock(
        plan, before: observation,
        // What the change itself takes is no part of the time, which is set again after it.
        seconds: confirmWithin + verifyAfter + PendingBlock.longestChange,
        state: state.isKept(for: source.namespace) ? state.folder : nil)
      try block.save()
      guard DetachedTimer.start(block, namespace: source.namespace) else {
        block.forget()
        throw SIPLeakError(
          .unchanged, "the process that would take the block back cannot be started",
          advice: "Nothing was changed.")
      }
      pending = block
    }
    let outcome: Enforcement.Outcome
    do throws(SIPLeakError) {
      outcome = try await carryOut(plan, observation, policy, access)
    } catch {
      if error.code != .notUndone { pending?.forget() }
      throw error
    }
    made.take(outcome)
    var isToBeConfirmed = false
    if let confirmWithin, let pending {
      isToBeConfirmed = try await rearm(pending, seconds: confirmWithin, access)
    }
    if let confirmWithin, isToBeConfirmed, isText {
      Console.print(
        StepText.line(
          "unconfirmed",
          "taken back in \(Quantity.duration(confirmWithin)) unless you run: sipleak confirm",
          style: style))
    }
    // A failed check is an error, and its document says that too.
    if !isText, outcome.answer != .failed {
      let json = PlanJSON(plan, time: observation.sample.time, outcome: outcome)
      if let line = try? json.line() { Console.print(line) }
    }
    if let history, history.isWritable {
      // What was found first: the plan has changed it since.
      noting()
      StateOptions.attempt { () throws(SIPLeakError) in
        try history.record(plan, answer: outcome.answer, at: observation.sample.time)
      }
    }
    // What is to be confirmed may be taken back by now.
    let standing = pending == nil ? outcome.verification.snapshot : nil
    await state.keepForBoot(source.namespace, standing: standing, isVerbose: verbose)
    // A saved rule that asks no set loads without one.
    if source.namespace.name == nil, !plan.isPlain { StateOptions.warnOfBoot() }
    switch outcome.answer {
    case .verified, .notYetSeen: return 0
    case .failed:
      throw SIPLeakError(
        .notUndone, "the block is in place but the check failed",
        advice: "`sipleak purge\(source.namespace.option)` takes it back; "
          + "`sipleak diagnose\(source.namespace.option)` shows what gets through.")
    }
  }

  /// The time counts from now on, when there is something to confirm.
  ///
  /// - Returns: Whether it still is to be confirmed; else somebody was quicker and has.
  private func rearm(
    _ pending: PendingBlock, seconds: Double, _ access: HostAccess
  ) async throws(SIPLeakError) -> Bool {
    do throws(SIPLeakError) {
      let isWaiting = try await PendingBlock.whenSettled { () throws(SIPLeakError) in
        try pending.rearm(seconds: seconds)
      }
      if isWaiting { return true }
    } catch {
      // The time it was started with holds.
      Console.report(error, isVerbose: verbose)
      return true
    }
    // Off the list before its time: by `sipleak confirm`.
    if PendingBlock.now < pending.deadline { return false }
    try await PendingBlock.whenSettled { () throws(SIPLeakError) in
      try await pending.revertLate(access: access)
    }
    throw SIPLeakError(
      .undone, "the time was over before the block was checked: it is taken back",
      advice: "Give --confirm-within more time.")
  }

  private func carryOut(
    _ plan: BlockPlan, _ observation: Observation, _ policy: AuditPolicy, _ access: HostAccess
  ) async throws(SIPLeakError) -> Enforcement.Outcome {
    let isText = format == .text
    let now = observation.sample.time
    let output = StepOutput(now: now, blocks: plan.entries.count)
    defer { output.flush() }
    return try await Enforcement(access: access, verifyAfter: verifyAfter).apply(
      plan, before: observation, policy: policy
    ) { step in
      if isText { output.take(step) }
    }
  }
}

extension BlockRequest.Place: ExpressibleByArgument {}

/// How a plan is printed.
enum PlanFormat: String, ExpressibleByArgument, CaseIterable {
  case text, json, restore
}
