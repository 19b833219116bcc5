import ArgumentParser
import Firewall
import SIPLeak
import SystemPackage

/// `sipleak observe`.
struct ObserveCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "observe",
    abstract: "Read the host and save what was read, to be judged elsewhere.",
    discussion: """
      The folder holds the flows to SIP, the rulesets as the tools printed them, the sets, and the \
      host's addresses and routes. `sipleak audit --from DIR` gives the answer it would give here.

      Exit status: 0 read whole, 3 not everything could be read.
      """)

  @Option(help: ArgumentHelp("The folder to write.", valueName: "dir"))
  var save: String?

  @Option(
    name: .customLong("sample"),
    help: ArgumentHelp("Read twice, this long apart, such as 5s.", valueName: "time"),
    transform: Parse.seconds)
  var interval: Double?

  @OptionGroup var namespace: NamespaceOptions
  @OptionGroup var sip: EndpointOptions

  @Flag(
    name: .shortAndLong,
    help: "Show how the flow table was read, and what the kernel and the tools said.")
  var verbose = false

  func run() async throws {
    try await Console.reading(isVerbose: verbose) {
      var observation = try await Observation.live(
        sip.endpoints, interval: interval, access: namespace.access())
      if verbose { Console.note(ReadingText.lines(observation)) }
      // The scripts of this host say nothing of a container.
      if namespace.name == nil { observation.reloadScripts = FlushingLine.search() }
      if let save { try ObservationFiles.save(observation, to: FilePath(save)) }
      Console.print(ObservationText.text(observation, savedTo: save))
      return observation.problems.isEmpty ? 0 : 3
    }
  }
}
