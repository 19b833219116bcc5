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
      for block in pending where block.confirm() {
        count += 1
        Console.print(
          StepText.line("confirmed", block.sources.joined(separator: ", "), style: Console.style))
      }
      if count == 0 { Console.note("sipleak: nothing waits for a confirmation") }
      return count == 0 ? 1 : 0
    }
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

  @OptionGroup var namespace: NamespaceOptions

  func run() async throws {
    // Held from now on: the process that the namespace is named by may end.
    let access = try namespace.access()
    guard let begun = PendingBlock.load(token) else { return }
    Console.holdSignals()
    // Its time begins when it is made, and that may take long on a busy machine; whoever hangs while
    // he makes it has a minute.
    while PendingBlock.isBeingMade(token), PendingBlock.now < begun.deadline + 60 {
      try? await Task.sleep(for: .milliseconds(50))
    }
    guard let pending = PendingBlock.load(token) else { return }
    while PendingBlock.now < pending.deadline {
      // Short naps: the time is counted by the clock, not by the sleep, which stops in suspend.
      try? await Task.sleep(for: .seconds(min(1, max(0.05, pending.deadline - PendingBlock.now))))
      if PendingBlock.load(token) == nil { return }
    }
    var failures = 0
    while failures < 10 {
      do throws(SIPLeakError) {
        try await pending.revert(access: access)
        return
      } catch {
        // Another sipleak holds the lock: for a moment, or a trace for minutes.
        if error.code != .locked { failures += 1 }
        try? await Task.sleep(for: .seconds(1))
      }
    }
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
