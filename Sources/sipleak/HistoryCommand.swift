import Addressing
import ArgumentParser
import FoundationEssentials
import SIPLeak

/// `sipleak history`.
struct HistoryCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "history",
    abstract: "List what was found and blocked over time.",
    discussion: """
      audit and block write down what they find, block, unblock and purge what they do, where there \
      is a history: in /var/lib/sipleak, which `make install` makes, or in --state DIR. A line a record.

      Exit status: 0 done, 1 there is no history or it cannot be read.
      """)

  @Argument(
    help: ArgumentHelp("Only this address.", valueName: "address"), transform: Parse.address)
  var address: IPAddress?

  @Option(
    help: ArgumentHelp(
      "How far back, such as 7d; up to 24 days. (default: everything)", valueName: "time"),
    transform: Parse.seconds)
  var since: Double?

  @OptionGroup var state: StateOptions

  @Option(help: "How to print: text or json.")
  var format: OutputFormat = .text

  @Flag(name: .shortAndLong, help: "Show what SQLite said.")
  var verbose = false

  func validate() throws {
    if state.isOff { throw ValidationError("--no-history leaves nothing to list.") }
  }

  func run() async throws {
    try await Console.changing(isVerbose: verbose) {
      guard let history = try state.openForReading() else {
        throw SIPLeakError(
          .history, "there is no history",
          advice: "`sudo mkdir -m 700 \(History.usualFolder)` begins one; or name it by --state.")
      }
      let now = Date().timeIntervalSince1970
      let start = since.map { now - $0 } ?? 0
      let report = HistoryReport(
        sightings: try history.sightings(since: start, of: address),
        blocks: try history.blocks(since: start, of: address), at: now)
      Console.print(format == .json ? try report.line() : report.text())
      return 0
    }
  }
}
