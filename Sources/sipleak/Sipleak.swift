import ArgumentParser
import Glibc

/// The command.
@main
struct Sipleak: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sipleak",
    abstract: "Shows who gets past the firewall to SIP, proves how, and shuts it.",
    discussion: """
      A flow that conntrack once held open stays ESTABLISHED, and the rule that accepts \
      ESTABLISHED stands before the SIP rules: its packets never meet them. sipleak finds such \
      flows, names the rule that lets them in and the rule that would refuse them, and blocks \
      them ahead of connection tracking.

      Needs CAP_NET_ADMIN, except `demo` and what reads saved files.
      """,
    version: "0.1.0",
    subcommands: [
      DiagnoseCommand.self, AuditCommand.self, WatchCommand.self, BlockCommand.self,
      ConfirmCommand.self, UnblockCommand.self, PurgeCommand.self, ProtectCommand.self,
      PersistCommand.self,
      HistoryCommand.self, ExplainCommand.self, TraceCommand.self, ObserveCommand.self,
      DemoCommand.self, RevertCommand.self,
    ])

  static func main() async {
    // A reader that goes away (`| head`) must not kill us in the middle of a change.
    signal(SIGPIPE, SIG_IGN)
    Console.holdStandardDescriptors()
    do {
      var command = try parseAsRoot()
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch {
      exit(withError: error)
    }
  }
}
