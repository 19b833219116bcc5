import Addressing
import ArgumentParser
import SIPLeak

/// `sipleak protect`.
struct ProtectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "protect",
    abstract: "List who is never blocked and why, or say whether an address could be.",
    discussion: """
      Never blocked are loopback, this host's addresses, its gateways and name servers, who is on \
      the link of an --inside interface, and what the options below name. Nor is anybody whom the \
      rules admit as new; with an ADDRESS that is asked as well. Changes nothing.

      Exit status: 0 done, 1 the ADDRESS could not be blocked, 3 not everything could be read or \
      resolved.
      """)

  @Argument(
    help: ArgumentHelp("An address to judge.", valueName: "address"), transform: Parse.address)
  var address: IPAddress?

  @OptionGroup var source: SourceOptions
  @OptionGroup var sip: EndpointOptions
  @OptionGroup var trust: TrustOptions
  @OptionGroup var state: StateOptions

  @Option(help: "How to print: text or json.")
  var format: OutputFormat = .text

  @Flag(name: .shortAndLong, help: "Show what the kernel and the tools said.")
  var verbose = false

  func run() async throws {
    try await Console.reading(isVerbose: verbose) {
      let policy = try await trust.policy(state.folder)
      let observation = try await source.observation(sip)
      for problem in observation.problems {
        Console.note("sipleak: not read: \(EscapedText.terminal(problem))")
      }
      let report = ProtectReport(observation, policy: policy, address: address)
      Console.print(format == .json ? try report.line() : report.text())
      return report.exitStatus
    }
  }
}
