import Addressing
import ArgumentParser
import SIPLeak

/// `sipleak diagnose`.
struct DiagnoseCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diagnose",
    abstract: "Say on one screen who gets past the rules to SIP, how, and what to do.",
    discussion: """
      Below that, every explanation of how somebody may get there is judged: supported, ruled out \
      or cannot tell, with what shows it and the command that tells more or sets it right. With a \
      peer's address all of it is asked of that peer, whether or not it has a flow.

      Exit status: 0 clean, 1 only things to look at, 2 leaks, 3 not everything could be read.
      """)

  @Argument(
    help: ArgumentHelp("The address the question is about; else everybody.", valueName: "peer"),
    transform: Parse.address)
  var peer: IPAddress?

  @OptionGroup var source: SourceOptions
  @OptionGroup var sip: EndpointOptions
  @OptionGroup var trust: TrustOptions

  @Option(
    help: ArgumentHelp(
      "How often your trunks send a keepalive, such as 60s, to be held against the timeouts.",
      valueName: "time"), transform: Parse.seconds)
  var keepalive: Double?

  @Option(help: "How to print: text or json.")
  var format: OutputFormat = .text

  @Flag(help: "Print counts to the last digit.")
  var exact = false

  @Flag(name: .shortAndLong, help: "Show what the kernel and the tools said.")
  var verbose = false

  func run() async throws {
    try await Console.reading(isVerbose: verbose) {
      var observation = try await source.observation(sip)
      if source.folder == nil { observation.reloadScripts = FlushingLine.search() }
      let whole = Audit(observation, policy: trust.policy)
      let diagnosis = Diagnosis(
        whole, of: observation, policy: trust.policy, peer: peer, keepalive: keepalive)
      let audit = peer.map(whole.about) ?? whole
      switch format {
      case .json:
        Console.print(try AuditJSON(audit, of: observation, diagnosis: diagnosis).line())
      case .text:
        let text = DiagnosisText(
          audit, of: observation, style: Console.style, isExact: exact, diagnosis: diagnosis)
        Console.print(text.text())
      }
      return audit.exitStatus
    }
  }
}
