import Addressing
import ArgumentParser
import FoundationEssentials
import Firewall
import SIPLeak
import SystemPackage

/// `sipleak persist`.
struct PersistCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "persist",
    abstract: "Carry blocks over reboots and firewall reloads, by two systemd units.",
    discussion: """
      The kernel keeps sets in memory only, and a saved ruleset that names a set which is not there \
      yet does not load at all. One unit makes the empty sets before every firewall loader, one puts \
      blocks back after it. Without --apply the units are printed and nothing is changed.

      Exit status: 0 done, 1 failed and nothing changed, 5 something is left (it says what).
      """,
    subcommands: [InstallUnits.self, MakeSets.self, SaveBlocks.self, RestoreBlocks.self],
    defaultSubcommand: InstallUnits.self)

  /// The units themselves.
  struct InstallUnits: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "units", abstract: "Print, install or remove the two units (the default).")

    @Flag(help: "Write the units and enable them.")
    var apply = false

    @Flag(help: "Remove the units.")
    var remove = false

    @Option(help: ArgumentHelp("Another root folder, for packaging.", valueName: "dir"))
    var root: String = "/"

    @Option(help: ArgumentHelp("The program that the units start.", valueName: "path"))
    var program: String = "/usr/local/bin/sipleak"

    func validate() throws {
      if apply, remove { throw ValidationError("--apply and --remove exclude each other.") }
      let isPlain = program.utf8.allSatisfy {
        (0x21...0x7e).contains($0) && !"%$\"'\\;".utf8.contains($0)
      }
      guard program.hasPrefix("/"), isPlain else {
        throw ValidationError("--program takes an absolute path without blanks and quotes.")
      }
    }

    func run() async throws {
      try await Console.changing(isVerbose: false) {
        let units = BootUnits(program: program)
        let style = Console.style
        if remove {
          let was = BootUnits.remove(root: FilePath(root))
          Console.print(
            StepText.line(was ? "removed" : "not there", "the two units", style: style))
          return was ? 0 : 1
        }
        guard apply else {
          for (name, text) in units.files.sorted(by: { $0.key > $1.key }) {
            Console.print("# /etc/systemd/system/\(name)\n\(text)\n")
          }
          Console.print("Apply: sipleak persist --apply\n")
          return 0
        }
        for file in try units.install(root: FilePath(root)) {
          Console.print(StepText.line("written", file.string, style: style))
        }
        for loader in SavedFirewalls.enabledLoaders(root: FilePath(root)) {
          Console.print(StepText.line("before", "\(loader).service", style: style))
        }
        Console.print("Then: systemctl daemon-reload\n")
        return 0
      }
    }
  }

  /// Before the firewall is loaded.
  struct MakeSets: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "sets", abstract: "Make the empty sets; the first unit does.")

    func run() async throws {
      try await Console.changing(isVerbose: true) {
        let hasSets = await FirewallHost.ipsetAvailable(HostAccess().tools)
        if !hasSets, SavedFirewalls.mentionsOfSets().isEmpty {
          Console.note("sipleak: there is no ipset; blocks come back as plain rules")
          return 0
        }
        Console.holdSignals()
        try await Enforcement().makeSets()
        return 0
      }
    }
  }

  /// At shutdown.
  struct SaveBlocks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "save", abstract: "Save the blocks; done after every change and at shutdown.")

    @OptionGroup var state: StateOptions

    func run() async throws {
      try await Console.changing(isVerbose: true) {
        try await state.saveBlocks(isWanted: true)
        return 0
      }
    }
  }

  /// After the firewall is loaded.
  struct RestoreBlocks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "restore", abstract: "Put saved blocks back; the second unit does.",
      discussion: """
        A block of an address that the rules admit by now, or of which that cannot be told (no address \
        or route yet), is left out and named: it would cut somebody who may come in. It stays in the \
        file until its time is over, for the next boot or the next `sipleak persist restore`; \
        `sipleak unblock` forgets it. With --trust and its like those are left out too.

        Exit status: 0 done, also where blocks were left out; 1 failed and nothing changed, 5 something \
        is left (it says what).
        """)

    @OptionGroup var sip: EndpointOptions
    @OptionGroup var trust: TrustOptions
    @OptionGroup var state: StateOptions

    func run() async throws {
      try await Console.changing(isVerbose: true) {
        guard let folder = state.folder, let saved = try SavedBlocks.load(from: folder) else {
          Console.note("sipleak: no blocks were saved")
          return 0
        }
        let policy = try await trust.policy(folder)
        Console.holdSignals()
        let style = Console.style
        let leftOut = try await Enforcement().restore(
          saved, at: Date().timeIntervalSince1970, endpoints: sip.endpoints, policy: policy
        ) { step in
          Console.print(StepText.line(step.name, step.text, style: style))
        }
        guard !leftOut.isEmpty || saved.leftOut != nil else { return 0 }
        if !leftOut.isEmpty {
          Console.note(
            "sipleak: \(leftOut.count == 1 ? "1 block was" : "\(leftOut.count) blocks were") left out "
              + "and kept in \(folder.appending(SavedBlocks.fileName)): `sipleak persist restore` tries "
              + "again, `sipleak unblock ADDRESS` forgets one")
        }
        try await state.saveBlocks(isWanted: true, leftOut: leftOut)
        return 0
      }
    }
  }
}

extension StateOptions {
  /// Saves the blocks that stand, for the next boot.
  ///
  /// - Parameters:
  ///   - isWanted: Whether to do so where the units are not installed.
  ///   - known: The firewall as it was read at this moment; `nil`: it is read.
  ///   - leftOut: Blocks that were not put back just now; `nil` where nothing was put back.
  /// - Throws: `SIPLeakError` when they cannot be read or written.
  func saveBlocks(
    isWanted: Bool = false, standing known: FirewallSnapshot? = nil,
    leftOut: [SavedBlocks.Block]? = nil
  ) async throws(SIPLeakError) {
    guard !isOff,
      isWanted || state != nil || hasSavedBlocks || BootUnits.areInstalled()
    else { return }
    guard let folder else {
      throw SIPLeakError(
        .history, "blocks cannot be saved for the next boot: \(History.usualFolder) is not there",
        advice: "`sudo mkdir -m 700 \(History.usualFolder)` makes it; or name a folder by --state.")
    }
    let snapshot: FirewallSnapshot
    var problem: String?
    do throws(FirewallError) {
      if let known {
        snapshot = known
      } else {
        let reading = try await FirewallHost.snapshot(HostAccess().tools)
        snapshot = reading.snapshot
        problem = reading.problems.first
      }
    } catch {
      throw SIPLeakError(.unreadable, "cannot save the blocks: \(error)")
    }
    guard snapshot.sets != nil else { return }
    // What was not read is not gone.
    if let problem {
      throw SIPLeakError(
        .unreadable, "cannot save the blocks: \(problem)",
        advice: "\(folder.appending(SavedBlocks.fileName)) is left as it is.")
    }
    var blocks = SavedBlocks(snapshot, at: Date().timeIntervalSince1970)
    blocks.keepLeftOut(of: (try? SavedBlocks.load(from: folder)) ?? nil, leftOut)
    try blocks.save(in: folder)
  }

  /// Forgets blocks that the last boot left out; a failure is said.
  ///
  /// - Parameters:
  ///   - addresses: Whose; `nil` for all.
  ///   - namespace: Whose blocks: what stands in a container is not in this host's file.
  ///   - isDryRun: Whether it is only said.
  func forgetLeftOut(
    of addresses: [IPAddress]?, _ namespace: NamespaceOptions, isDryRun: Bool
  ) {
    guard namespace.name == nil, let folder,
      var saved = (try? SavedBlocks.load(from: folder)) ?? nil
    else { return }
    let forgotten = saved.forgetLeftOut(of: addresses)
    guard !forgotten.isEmpty else { return }
    let file = folder.appending(SavedBlocks.fileName)
    do throws(SIPLeakError) {
      if !isDryRun { try saved.save(in: folder) }
      for element in forgotten {
        Console.print(
          StepText.line(
            isDryRun ? "would forget" : "forgotten",
            "\(element), left out at boot and kept in \(file)", style: Console.style))
      }
    } catch {
      Console.report(error, isVerbose: false)
    }
  }

  /// Whether blocks were saved for the next boot: then they are kept as they stand.
  var hasSavedBlocks: Bool {
    (try? folder?.appending(SavedBlocks.fileName).stat()) != nil
  }

  /// Saves the blocks of this host after a change; a failure is said, and the change stands.
  func keepForBoot(
    _ namespace: NamespaceOptions, standing known: FirewallSnapshot? = nil, isVerbose: Bool
  ) async {
    // What stands in a container's namespace is not this host's to put back.
    guard namespace.name == nil else { return }
    do throws(SIPLeakError) { try await saveBlocks(standing: known) } catch {
      Console.report(error, isVerbose: isVerbose)
    }
  }

  /// Says where a saved firewall would not load at the next boot.
  static func warnOfBoot() {
    guard !BootUnits.areInstalled() else { return }
    let loaders = SavedFirewalls.enabledLoaders()
    guard let first = loaders.first else { return }
    Console.note(
      "sipleak: \(first) loads a saved firewall at boot: saved with our rules in it, it would not "
        + "load before our sets exist. `sipleak persist --apply` sees to that.")
  }
}
