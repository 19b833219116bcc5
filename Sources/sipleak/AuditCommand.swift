import ArgumentParser
import SIPLeak

/// `sipleak audit`.
struct AuditCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "audit",
    abstract: "List what gets past the rules to SIP, a line a finding (for cron).",
    discussion: """
      Exit status: 0 clean, 1 only things to look at, 2 leaks, 3 not everything could be read.
      """)

  @OptionGroup var source: SourceOptions
  @OptionGroup var ticket: TicketOptions
  @OptionGroup var sip: EndpointOptions
  @OptionGroup var trust: TrustOptions
  @OptionGroup var state: StateOptions

  @Option(help: "How to print: text or json.")
  var format: OutputFormat = .text

  @Flag(name: .shortAndLong, help: "Print nothing when clean, and not what is not seen.")
  var quiet = false

  @Flag(
    name: .shortAndLong,
    help: "Show how the flow table was read, and what the kernel and the tools said.")
  var verbose = false

  func validate() throws { try source.validate(with: ticket) }

  func run() async throws {
    try await Console.reading(isVerbose: verbose) {
      let policy = try await trust.policy(state.folder)
      let observation = try await source.observation(sip, ticket: ticket.files)
      if verbose { Console.note(ReadingText.lines(observation)) }
      var audit = Audit(observation, policy: policy)
      let isLive = source.folder == nil && ticket.flows == nil
      if isLive, let history = state.open(for: source.namespace) {
        let now = observation.sample.time
        if let notes = StateOptions.exchange(history, audit, at: now) {
          audit.note(notes)
        }
      }
      let isSilent = quiet && audit.isClean
      switch format {
      case .json where isSilent: break
      case .json: try AuditJSON(audit, of: observation).write(to: Console.print)
      case .text:
        AuditLines.write(audit, of: observation, isQuiet: quiet, to: Console.print)
        for problem in audit.problems {
          Console.note("sipleak: not read: \(EscapedText.terminal(problem))")
        }
        for advice in AuditLines.advice(audit) where !quiet {
          Console.note("sipleak: \(EscapedText.terminal(advice))")
        }
        if let correlation = audit.correlation, !quiet {
          for statement in correlation.statements {
            let length = Quantity.duration(correlation.seconds)
            Console.note("sipleak: in \(length): \(EscapedText.terminal(statement))")
          }
        }
        for spot in audit.blindSpots where !quiet {
          Console.note("sipleak: not seen: \(EscapedText.terminal(spot.text))")
        }
      }
      return audit.exitStatus
    }
  }
}
