import ArgumentParser
import Glibc
import SIPLeak

/// `sipleak trace`.
struct TraceCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trace",
    abstract: "Prove by counting rules which rule a peer's packets leave at.",
    discussion: """
      A peer is an address, an address with its port, or a packet in words as `explain` takes it: \
      udp 203.0.113.66 -> 192.0.2.5:5060. Without --apply nothing is changed and the exact input of \
      iptables-restore is printed. With it, rules without a target, which count and decide nothing, \
      are put before and after every rule that could decide, in one transaction a table, and taken \
      out again, also after Ctrl-C. A killed trace leaves them: the next one, --clean and `purge` \
      remove them. Positions in the answer are those without them.

      Exit status: 0 every packet left where the walk says (or the plan is printed), 1 failed and \
      nothing changed, 2 the kernel did something else than the walk says, 3 no packet came, 4 \
      failed and taken out again, 5 failed and something is left (it says what).
      """)

  @Argument(
    parsing: .allUnrecognized,
    help: ArgumentHelp("The peer, or a packet in words.", valueName: "peer"))
  var words: [String] = []

  @Flag(help: "Put the counting rules in, count, and take them out again.")
  var apply = false

  @Option(
    name: .customLong("for"),
    help: ArgumentHelp("How long to count, up to 10m.", valueName: "time"), transform: Parse.seconds
  )
  var seconds: Double = 10

  @Option(
    help: ArgumentHelp("End when so many packets of each flow have come.", valueName: "count"))
  var packets: UInt64?

  @Flag(help: "Count before every rule of the chains, not only before those that could decide.")
  var everyRule = false

  @Flag(help: "Let the kernel trace some packets itself (nft only), instead of counting.")
  var kernelTrace = false

  @Flag(help: "Take out what an interrupted trace has left.")
  var clean = false

  @OptionGroup var namespace: NamespaceOptions
  @OptionGroup var sip: EndpointOptions

  @Option(help: "How to print: text or json.")
  var format: OutputFormat = .text

  @Flag(help: "Print counts to the last digit.")
  var exact = false

  @Flag(name: .shortAndLong, help: "Show what the kernel and the tools said.")
  var verbose = false

  func validate() throws {
    if clean != words.isEmpty {
      throw ValidationError("Name a peer or a packet, or say --clean.")
    }
    if seconds < 0.1 || seconds > 600 { throw ValidationError("--for takes 100ms to 10m.") }
    if packets == 0 { throw ValidationError("--packets takes 1 or more.") }
    if kernelTrace, everyRule {
      throw ValidationError("--every-rule goes with counting, not with --kernel-trace.")
    }
    if kernelTrace, let packets, packets > KernelTraceRun.limit {
      throw ValidationError("--kernel-trace takes up to \(KernelTraceRun.limit) packets.")
    }
  }

  func run() async throws {
    try await Console.changing(isVerbose: verbose) {
      if clean { return try await takeOut() }
      let request: TraceRequest
      do throws(SIPLeakError) { request = try TraceRequest.read(words) } catch {
        Console.report(error, isVerbose: verbose)
        throw ExitCode(64)
      }
      let run = TraceRun(
        access: try namespace.access(), seconds: seconds, packets: packets,
        marksEveryRule: everyRule)
      if kernelTrace { return try await kernel(request, run) }
      guard apply else { return try await show(request, run) }
      return try await count(request, run)
    }
  }

  /// This command with every option that matters.
  private var command: String {
    var parts = ["sipleak", "trace"] + words.map(EscapedText.shellWord)
    if seconds != 10 { parts += ["--for", "\(seconds)s"] }
    if let packets { parts += ["--packets", "\(packets)"] }
    if everyRule { parts.append("--every-rule") }
    if kernelTrace { parts.append("--kernel-trace") }
    return parts.joined(separator: " ") + sip.endpoints.options + namespace.option + " --apply"
  }

  private func show(_ request: TraceRequest, _ run: TraceRun) async throws -> Int32 {
    let plan = try await run.plan(request, endpoints: sip.endpoints)
    switch format {
    case .json: Console.print(try TraceJSON(plan).line())
    case .text:
      Console.print(
        TraceText.text(plan, command: command, seconds: seconds, style: Console.style))
    }
    return plan.obstacles.isEmpty ? 0 : 1
  }

  private func count(_ request: TraceRequest, _ run: TraceRun) async throws -> Int32 {
    let stop = TraceStop()
    StopSignals.call { stop.stop() }
    let result = try await run.run(request, endpoints: sip.endpoints, stop: stop, report: step)
    switch format {
    case .json: Console.print(try TraceJSON(result).line())
    case .text: Console.print(TraceText.text(result, style: Console.style, isExact: exact))
    }
    return result.exitStatus
  }

  private func kernel(_ request: TraceRequest, _ run: TraceRun) async throws -> Int32 {
    let tracing = KernelTraceRun(
      access: run.access, seconds: seconds, packets: packets ?? 20)
    guard apply else {
      let plan = try await run.plan(request, endpoints: sip.endpoints)
      let transaction = try tracing.transaction(plan).get()
      switch format {
      case .json:
        var shown = plan
        shown.transactions = [transaction]
        Console.print(try TraceJSON(shown).line())
      case .text:
        Console.print(TraceText.text(transaction, command: command, seconds: seconds))
      }
      return 0
    }
    let stop = TraceStop()
    StopSignals.call { stop.stop() }
    let trace = try await tracing.run(request, endpoints: sip.endpoints, stop: stop, report: step)
    switch format {
    case .json: Console.print(try TraceJSON(trace).line())
    case .text: Console.print(TraceText.text(trace, style: Console.style))
    }
    return trace.exitStatus
  }

  private func takeOut() async throws -> Int32 {
    Console.holdSignals()
    let count = try await TraceRun(access: namespace.access()).clean()
    Console.print(
      count == 0
        ? "No rule of a trace stands.\n" : "Removed \(count) rules of an interrupted trace.\n")
    return 0
  }

  /// Steps are news for a person and no part of the answer.
  private var step: @Sendable (Enforcement.Step) -> Void {
    let style = Console.style
    return { step in
      var line = StepText.line(step.name, step.text, style: TextStyle(width: style.width))
      line.removeLast()
      Console.note(line)
    }
  }
}
