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

      Exit status: 0 done, 1 failed and nothing changed, 4 failed and taken back, 5 failed and \
      something is left (it says what).
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
      How long, such as 24h; 0 until unblocked. The kernel lifts it by itself. (default: 24h, twice \
      that for each time a block of the peer has run out before, up to 24 days)
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
    if apply, format == .restore {
      throw ValidationError("--format restore prints a plan; it cannot be used with --apply.")
    }
    if let seconds, seconds > 0, seconds < 1 {
      throw ValidationError("--for takes whole seconds: 1s or more, or 0 for no end.")
    }
  }

  func run() async throws {
    try await Console.changing(isVerbose: verbose) {
      let access = try source.namespace.access()
      if apply { await OverdueBlocks.revert(access) }
      var source = source
      if limiting.unattended, source.folder == nil, source.interval == nil {
        source.interval = Self.unattendedInterval
      }
      let observation = try await source.observation(sip, access: access)
      if verbose { Console.note(ReadingText.lines(observation)) }
      let policy = try await trust.policy(state.folder)
      let audit = Audit(observation, policy: policy)
      let history = state.open(for: source.namespace)
      var notes = HistoryNotes()
      if let history {
        let now = observation.sample.time
        StateOptions.attempt { () throws(SIPLeakError) in notes = try history.notes(at: now) }
      } else if limiting.unattended {
        Console.note("sipleak: no history: who was admitted within 24 h is not known")
      }
      let request = BlockRequest(
        named: addresses, place: place, seconds: UInt32(seconds ?? Self.usualSeconds),
        limits: limiting.limits(notes, doubles: seconds == nil), backend: limiting.backend,
        prefix6: limiting.prefix6, isPlain: plain)
      let plan = BlockPlan(request, audit: audit, observation: observation, policy: policy)
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
      return try await enforce(plan, observation, policy, access, history)
    }
  }

  /// This command with every option that matters to what is blocked.
  private var command: String {
    var words = ["sipleak", "block"] + addresses.map(\.description)
    if place != .raw { words += ["--where", place.rawValue] }
    if let seconds { words += ["--for", "\(Int(seconds))s"] }
    if plain { words.append("--plain") }
    words += limiting.words
    words += state.words
    words += trust.words
    if let interval = source.interval { words += ["--sample", "\(interval)s"] }
    return words.joined(separator: " ") + sip.endpoints.options + source.namespace.option
  }

  private func show(_ plan: BlockPlan, _ observation: Observation) throws {
    switch format {
    case .json: Console.print(try PlanJSON(plan, time: observation.sample.time).line())
    case .restore: Console.print(PlanText.restoreText(plan))
    case .text:
      Console.print(
        PlanText.text(
          plan, command: command + " --apply", isApplying: apply, host: observation.host))
    }
  }

  private func enforce(
    _ plan: BlockPlan, _ observation: Observation, _ policy: AuditPolicy, _ access: HostAccess,
    _ history: History?
  ) async throws(SIPLeakError) -> Int32 {
    Console.holdSignals()
    for omission in plan.omissions where format == .text {
      Console.print(
        StepText.line("not blocked", "\(omission.address): \(omission.why)", style: Console.style))
    }
    let isText = format == .text
    let style = Console.style
    // Before anything is changed: a block that could not be taken back must not be made.
    var pending: PendingBlock?
    if let confirmWithin {
      let block = PendingBlock(
        plan, before: observation, seconds: confirmWithin + verifyAfter,
        state: history == nil ? nil : state.folder)
      try block.save()
      guard DetachedTimer.start(block, namespace: source.namespace) else {
        block.confirm()
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
      if error.code != .notUndone { pending?.confirm() }
      throw error
    }
    if let confirmWithin, isText {
      Console.print(
        StepText.line(
          "unconfirmed",
          "taken back in \(Quantity.duration(confirmWithin)) unless you run: sipleak confirm",
          style: style))
    }
    if !isText {
      let json = PlanJSON(plan, time: observation.sample.time, outcome: outcome)
      if let line = try? json.line() { Console.print(line) }
    }
    if let history {
      StateOptions.attempt { () throws(SIPLeakError) in
        try history.record(plan, answer: outcome.answer, at: observation.sample.time)
      }
    }
    await state.keepForBoot(source.namespace, isVerbose: verbose)
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

  private func carryOut(
    _ plan: BlockPlan, _ observation: Observation, _ policy: AuditPolicy, _ access: HostAccess
  ) async throws(SIPLeakError) -> Enforcement.Outcome {
    let isText = format == .text
    let style = Console.style
    let now = observation.sample.time
    let until = Dictionary(
      plan.entries.map { ("\($0.prefix) from \($0.transport)/\($0.port)", $0.seconds) },
      uniquingKeysWith: { first, _ in first })
    return try await Enforcement(access: access, verifyAfter: verifyAfter).apply(
      plan, before: observation, policy: policy
    ) { step in
      guard isText else { return }
      var text = step.text
      if step.name == "blocked", let seconds = until[text] {
        text +=
          seconds == 0
          ? " until unblocked" : " until " + Quantity.utc(now + Double(seconds), toMinute: true)
      }
      Console.print(StepText.line(step.name, text, style: style))
    }
  }
}

extension BlockRequest.Place: ExpressibleByArgument {}

/// How a plan is printed.
enum PlanFormat: String, ExpressibleByArgument, CaseIterable {
  case text, json, restore
}
