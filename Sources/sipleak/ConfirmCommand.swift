import ArgumentParser
import Glibc
import SIPLeak

/// `sipleak confirm`.
struct ConfirmCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "confirm",
    abstract: "Keep the blocks that `block --confirm-within` would take back.",
    discussion: """
      Exit status: 0 done, 1 nothing waits for a confirmation.
      """)

  func run() async throws {
    try await Console.changing(isVerbose: false) {
      let pending = PendingBlock.all()
      var count = 0
      for block in pending {
        guard try await confirm(block) else { continue }
        count += 1
        Console.print(
          StepText.line("confirmed", block.sources.joined(separator: ", "), style: Console.style))
      }
      if count == 0, PendingBlock.areOthers {
        throw SIPLeakError(
          .permissionDenied, "a block waits that another user made",
          advice: "Confirm it as the user that made it, with sudo if that is root.")
      }
      if count == 0 { Console.note("sipleak: nothing waits for a confirmation") }
      return count == 0 ? 1 : 0
    }
  }

  /// Confirms a block; another that is being taken back at this moment is waited for.
  private func confirm(_ block: PendingBlock) async throws(SIPLeakError) -> Bool {
    try await PendingBlock.whenSettled { () throws(SIPLeakError) in try block.confirm() }
  }
}

extension PendingBlock {
  /// Does something with a pending block, and waits while another is being confirmed or taken back.
  static func whenSettled<Result>(
    _ body: () async throws(SIPLeakError) -> Result
  ) async throws(SIPLeakError) -> Result {
    for _ in 0..<120 {
      do throws(SIPLeakError) { return try await body() } catch {
        guard error.code == .locked else { throw error }
        try? await Task.sleep(for: .milliseconds(250))
      }
    }
    return try await body()
  }
}

/// Blocks that nobody has confirmed in time and whose timer was killed.
enum OverdueBlocks {
  /// Takes them back; a failure is said and stops nothing.
  static func revert(_ access: HostAccess) async {
    do throws(SIPLeakError) {
      for block in try await PendingBlock.revertOverdue(access: access) {
        Console.note(
          "sipleak: taken back, as nobody confirmed it: " + block.sources.joined(separator: ", "))
      }
    } catch {
      Console.report(error, isVerbose: false)
    }
  }
}

/// The process that waits for a confirmation; started by `block`, not by people.
struct RevertCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "revert", abstract: "Take a block back that nobody confirms.",
    shouldDisplay: false)

  @Argument var token: String

  /// How often it is tried, a second apart.
  private static let mostFailures = 600

  @OptionGroup var namespace: NamespaceOptions

  func run() async throws {
    // Held from now on: the process that the namespace is named by may end.
    let access = try namespace.access()
    Console.holdSignals()
    let started = PendingBlock.now
    guard var deadline = PendingBlock.load(token)?.deadline else { return }
    var failures = 0
    // Another sipleak, or whoever holds the xtables lock, may be at work for a while.
    while failures < Self.mostFailures {
      // Read again each time: it may be confirmed, or its time be set again after the check.
      guard let pending = PendingBlock.load(token) else { return }
      if pending.deadline > started { deadline = pending.deadline }
      let left = deadline - PendingBlock.now
      guard left <= 0 else {
        // Short naps: the time is counted by the clock, not by the sleep, which stops in suspend.
        try? await Task.sleep(for: .seconds(min(1, max(0.05, left))))
        continue
      }
      do throws(SIPLeakError) {
        try await pending.revert(access: access)
        return
      } catch {
        failures += 1
        try? await Task.sleep(for: .seconds(1))
      }
    }
    // It stays on the list: the next sipleak that changes something takes it back.
    throw ExitCode(5)
  }
}

/// A process without a terminal that takes a pending block back.
enum DetachedTimer {
  /// Starts it; it lives on when this process and its terminal are gone.
  ///
  /// - Parameters:
  ///   - pending: The block.
  ///   - namespace: Where it stands.
  /// - Returns: Whether it was started.
  static func start(_ pending: PendingBlock, namespace: NamespaceOptions) -> Bool {
    // Resolved in the child, which is this program still.
    let own = "/proc/self/exe"
    var attributes = posix_spawnattr_t()
    var actions = unsafe posix_spawn_file_actions_t()
    guard unsafe posix_spawnattr_init(&attributes) == 0 else { return false }
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    guard unsafe posix_spawn_file_actions_init(&actions) == 0 else { return false }
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    // POSIX_SPAWN_SETSID, which glibc shows under _GNU_SOURCE only: no terminal can hang it up.
    unsafe posix_spawnattr_setflags(&attributes, 0x80)
    for descriptor in STDIN_FILENO...STDERR_FILENO {
      unsafe posix_spawn_file_actions_addopen(
        &actions, descriptor, "/dev/null", descriptor == STDIN_FILENO ? O_RDONLY : O_WRONLY, 0)
    }
    let words =
      ["sipleak", "revert", pending.token] + (namespace.name.map { ["--netns", $0] } ?? [])
    var pointers: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) }
    unsafe pointers.append(nil)
    defer { unsafe pointers.forEach { unsafe free($0) } }
    var child = pid_t()
    return unsafe posix_spawn(&child, own, &actions, &attributes, pointers, environ) == 0
  }
}
