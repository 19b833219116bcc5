import ArgumentParser
import SIPLeak

/// `sipleak diagnose`.
struct DiagnoseCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diagnose",
    abstract: "Say on one screen who gets past the rules to SIP, how, and what to do.",
    discussion: """
      Exit status: 0 clean, 1 only things to look at, 2 leaks, 3 not everything could be read.
      """)

  @OptionGroup var source: SourceOptions
  @OptionGroup var ticket: TicketOptions
  @OptionGroup var sip: EndpointOptions
  @OptionGroup var trust: TrustOptions

  @Option(help: "How to print: text or json.")
  var format: OutputFormat = .text

  @Flag(help: "Print counts to the last digit.")
  var exact = false

  @Flag(
    name: .shortAndLong,
    help: """
      Show how the flow table was read, what the kernel and the tools said, and settings that hardly \
      matter.
      """)
  var verbose = false

  func validate() throws { try source.validate(with: ticket) }

  func run() async throws {
    try await Console.reading(isVerbose: verbose) {
      let observation = try await source.observation(sip, ticket: ticket.files)
      if verbose { Console.note(ReadingText.lines(observation)) }
      let audit = Audit(observation, policy: trust.policy)
      switch format {
      case .json: try AuditJSON(audit, of: observation).write(to: Console.print)
      case .text:
        let text = DiagnosisText(
          audit, of: observation, style: Console.style, isExact: exact, isVerbose: verbose)
        Console.print(text.text())
      }
      return audit.exitStatus
    }
  }
}
