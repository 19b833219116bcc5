import Addressing
import ArgumentParser
import FoundationEssentials
import SIPLeak
import SystemPackage

/// `sipleak unblock`.
struct UnblockCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unblock",
    abstract: "Lift blocks that sipleak made.",
    discussion: """
      Touches nothing but entries of our own sets and our rules of single blocks. --dry-run prints \
      what it would do. A peer whose flow is still there would be in again with its next packet: that \
      is named, and nothing is lifted without --force.

      Exit status: 0 all done; 1 nothing changed, or not all: an ADDRESS was not blocked, or stays so, \
      and the others are lifted (it says which); 5 something is left (it says what).
      """)

  @Argument(
    help: ArgumentHelp("Addresses to unblock.", valueName: "address"), transform: Parse.address)
  var addresses: [IPAddress] = []

  @Flag(help: "Lift all blocks.")
  var all = false

  @Flag(help: "Lift blocks also where what let the peer in is still there.")
  var force = false

  @OptionGroup var sip: EndpointOptions
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
      command: (["sipleak", "unblock"] + names).joined(separator: " ")
    ) { (access) throws(SIPLeakError) in
      guard !force else { return }
      try await refuseIfPersisting(access)
    }
  }

  /// Whoever would be in again with the next packet is named instead of let in.
  private func refuseIfPersisting(_ access: HostAccess) async throws(SIPLeakError) {
    let observation = try await Observation.live(sip.endpoints, access: access)
    let standing = PersistingCause.all(
      of: all ? nil : addresses, in: observation, policy: AuditPolicy())
    guard let first = standing.first else { return }
    for cause in standing {
      Console.note("sipleak: \(cause.address): \(EscapedText.terminal(cause.why))")
    }
    throw SIPLeakError(
      .unchanged,
      standing.count == 1
        ? "\(first.address) would be in again at once"
        : "\(standing.count) blocked peers would be in again at once",
      advice: "Nothing was changed. `sipleak block ADDRESS --apply` in raw lets the flow die; "
        + "--force lifts the block all the same.")
  }
}

/// What `unblock` and `purge` share.
struct RemovalOptions: ParsableArguments {
  @Flag(name: .customLong("dry-run"), help: "Print the plan and change nothing.")
  var isDryRun = false

  @Flag(name: .customLong("apply"), help: "Make the change; it is made anyway.")
  var isApplied = false

  @OptionGroup var namespace: NamespaceOptions
  @OptionGroup var state: StateOptions

  @Flag(name: .shortAndLong, help: "Show what the kernel and the tools said.")
  var verbose = false

  func validate() throws {
    if isDryRun, isApplied { throw ValidationError("--dry-run and --apply exclude each other.") }
  }

  /// Plans a removal and carries it out.
  ///
  /// - Parameters:
  ///   - request: What to take back.
  ///   - command: The command as it was typed.
  ///   - objecting: Throws to keep everything as it is; asked before anything is changed.
  /// - Throws: The exit code when it is not 0.
  func run(
    _ request: RemovalPlan.Request, command: String,
    objecting: (HostAccess) async throws(SIPLeakError) -> Void = { _ in }
  ) async throws {
    try await Console.changing(isVerbose: verbose) {
      let access = try namespace.access()
      if !isDryRun { await OverdueBlocks.revert(access) }
      let plan = try await RemovalPlan.live(request, access: access)
      if !plan.isEmpty, !isDryRun { try await objecting(access) }
      let named: [IPAddress]? =
        if case .addresses(let addresses) = request { addresses } else { nil }
      if isDryRun || plan.isEmpty {
        Console.print(PlanText.text(plan, command: command + namespace.option))
        // Nothing may stand, and the next boot put it back all the same.
        if request == .purge { await nameWhatStays(isDryRun: isDryRun) }
        state.forgetLeftOut(of: named, namespace, isDryRun: isDryRun)
        return plan.absent.isEmpty && plan.stillBlocked.isEmpty ? 0 : 1
      }
      Console.holdSignals()
      let style = Console.style
      for address in plan.absent {
        Console.print(
          StepText.line("not blocked", "\(address): no block of ours names it", style: style))
      }
      for kept in plan.kept { Console.print(StepText.line("stays", kept, style: style)) }
      try await Enforcement(access: access).apply(plan) { step in
        Console.print(StepText.line(step.name, step.text, style: style))
      }
      await state.keepForBoot(namespace, isVerbose: verbose)
      state.forgetLeftOut(of: named, namespace, isDryRun: false)
      if request == .purge { await nameWhatStays(isDryRun: false) }
      if let history = state.open(for: namespace), history.isWritable {
        let now = Date().timeIntervalSince1970
        StateOptions.attempt { () throws(SIPLeakError) in
          try history.end(
            blocksOf: plan.ended, by: request == .purge ? .purged : .unblocked, at: now)
        }
      }
      return summed(plan)
    }
  }

  /// Says which of the named were not lifted, beside those that were.
  ///
  /// - Returns: The exit status.
  private func summed(_ plan: RemovalPlan) -> Int32 {
    guard !plan.absent.isEmpty || !plan.stillBlocked.isEmpty else { return 0 }
    var parts: [String] = []
    func add(_ names: [String], _ one: String, _ many: String) {
      guard !names.isEmpty else { return }
      let rest = names.count > Self.mostNamed ? " and \(names.count - Self.mostNamed) more" : ""
      parts.append(
        names.prefix(Self.mostNamed).joined(separator: ", ") + rest
          + (names.count == 1 ? " \(one)" : " \(many)"))
    }
    add(plan.absent.map(\.description), "was not blocked", "were not blocked")
    add(plan.stillBlocked, "stays blocked", "stay blocked")
    Console.note("sipleak: not all was lifted: \(parts.joined(separator: "; ")). The rest was.")
    return 1
  }

  /// More than these are not named in one sentence.
  private static let mostNamed = 20

  /// What of ours is outside of the firewall: saved blocks are emptied, the rest is said.
  private func nameWhatStays(isDryRun: Bool) async {
    guard namespace.name == nil else { return }
    if !isDryRun, state.hasSavedBlocks { await state.keepForBoot(namespace, isVerbose: verbose) }
    for mention in SavedFirewalls.mentions() {
      Console.note(
        "sipleak: \(EscapedText.terminal(mention.file.string)):\(mention.line) names what was "
          + "sipleak's; edit it or save the rules again")
    }
    if BootUnits.areInstalled() {
      Console.note(
        "sipleak: the units that make our sets at boot stay; `sipleak persist --remove` takes them")
    }
  }
}
