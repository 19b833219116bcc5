import ArgumentParser
import SIPLeak

/// `sipleak purge`.
struct PurgeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "purge",
    abstract: "Remove every rule, chain and set that sipleak made.",
    discussion: """
      Leaves the firewall as it was before sipleak. Things of our name that are not ours stay and \
      are named. --dry-run prints what it would do.

      Exit status: 0 done, or nothing to do; 1 failed and nothing changed, 5 something is left (it \
      says what).
      """)

  @OptionGroup var removal: RemovalOptions

  func run() async throws {
    try await removal.run(.purge, command: "sipleak purge")
  }
}
