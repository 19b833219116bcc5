import Addressing
import ArgumentParser
import FoundationEssentials
import SIPLeak

/// `sipleak unblock`.
struct UnblockCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unblock",
    abstract: "Lift blocks that sipleak made.",
    discussion: """
      Touches nothing but entries of our own sets. --dry-run prints what it would do.

      Exit status: 0 done, 1 nothing changed, 5 something is left (it says what).
      """)

  @Argument(
    help: ArgumentHelp("Addresses to unblock.", valueName: "address"), transform: Parse.address)
  var addresses: [IPAddress] = []

  @Flag(help: "Lift all blocks.")
  var all = false

  @OptionGroup var removal: RemovalOptions

  func validate() throws {
    if addresses.isEmpty != all {
      throw ValidationError("Name the addresses to unblock, or say --all.")
    }
  }

  func run() async throws {
    let names = all ? ["--all"] : addresses.map(\.description)
    try await removal.run(
      all ? .all : .addresses(addresses),
      command: (["sipleak", "unblock"] + names).joined(separator: " "))
  }
}

/// What `unblock` and `purge` share.
struct RemovalOptions: ParsableArguments {
  @Flag(name: .customLong("dry-run"), help: "Print the plan and change nothing.")
  var isDryRun = false

  @Flag(name: .customLong("apply"), help: "Make the change; it is made anyway.")
  var isApplied = false

  @OptionGroup var state: StateOptions

  @Flag(name: .shortAndLong, help: "Show what the kernel and the tools said.")
  var verbose = false

  func validate() throws {
    if isDryRun, isApplied { throw ValidationError("--dry-run and --apply exclude each other.") }
  }

  /// Plans a removal and carries it out.
  func run(_ request: RemovalPlan.Request, command: String) async throws {
    try await Console.changing(isVerbose: verbose) {
      let plan = try await RemovalPlan.live(request)
      if isDryRun || plan.isEmpty {
        Console.print(PlanText.text(plan, command: command))
        return plan.absent.isEmpty ? 0 : 1
      }
      Console.holdSignals()
      let style = Console.style
      for address in plan.absent {
        Console.print(StepText.line("not blocked", "\(address)", style: style))
      }
      for kept in plan.kept { Console.print(StepText.line("stays", kept, style: style)) }
      try await Enforcement().apply(plan) { step in
        Console.print(StepText.line(step.name, step.text, style: style))
      }
      if let history = state.open() {
        let now = Date().timeIntervalSince1970
        StateOptions.attempt { () throws(SIPLeakError) in
          switch request {
          case .addresses(let peers):
            try history.end(blocksOf: peers, by: .unblocked, at: now)
          case .all: try history.end(blocksOf: nil, by: .unblocked, at: now)
          case .purge: try history.end(blocksOf: nil, by: .purged, at: now)
          }
        }
      }
      return plan.absent.isEmpty ? 0 : 1
    }
  }
}
