import Glibc

/// A program that follows events during a run, with its output in a file and its use of the processor.
struct Listener {
  let name: String
  let words: [String]
  private let process: pid_t
  let output: String
  let errors: String

  /// What a listener used and wrote.
  struct Account {
    var name: String
    var processorSeconds: Double
    var memoryMiB: Double
    var output: String
    var errors: String
  }

  /// Starts a program in the namespace of a lab's host; it is looked for in `PATH`.
  init(_ name: String, _ words: [String], at path: String) throws {
    self.name = name
    // ip netns exec replaces itself by the program, so the account is the program's own.
    self.words = ["nsenter", "--net=\(path)", "--"] + words
    let stem = "/run/bench-\(name.filter { $0.isLetter || $0.isNumber })"
    output = stem + ".out"
    errors = stem + ".err"
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    let flags = O_WRONLY | O_CREAT | O_TRUNC
    unsafe posix_spawn_file_actions_addopen(&actions, 1, output, flags, 0o600)
    unsafe posix_spawn_file_actions_addopen(&actions, 2, errors, flags, 0o600)
    var pointers = unsafe self.words.map { unsafe strdup($0) }
    unsafe pointers.append(nil)
    defer { unsafe pointers.forEach { unsafe free($0) } }
    var child: pid_t = 0
    // unshare holds Ctrl-C back from its children.
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    unsafe posix_spawnattr_setsigmask(&attributes, &signals)
    unsafe sigaddset(&signals, SIGINT)
    unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
    unsafe posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    let result = unsafe posix_spawnp(
      &child, "nsenter", &actions, &attributes, pointers, environ)
    guard result == 0 else { throw Failure(words: "cannot start \(name): error \(result)") }
    process = child
  }

  struct Failure: Error, CustomStringConvertible {
    var words: String
    var description: String { words }
  }

  /// What it has written to standard error so far.
  func errorsNow() -> String { Self.text(errors) }

  /// What it has written to standard output so far.
  func outputNow() -> String { Self.text(output) }

  /// Ends it as Ctrl-C does and gives its account.
  func end() -> Account {
    // Not ru_maxrss: that counts what this program had when it started the other.
    let peak = Self.text("/proc/\(process)/status").split(separator: "\n")
      .first { $0.hasPrefix("VmHWM:") }?
      .split(separator: " ").dropFirst().first.flatMap { Double($0) }
    kill(process, SIGINT)
    var status: Int32 = 0
    var usage = rusage()
    // conntrack can hang in its own signal handler.
    var patience = 300
    while unsafe wait4(process, &status, WNOHANG, &usage) != process {
      usleep(10_000)
      patience -= 1
      if patience == 0 { kill(process, SIGKILL) }
    }
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    return Account(
      name: name, processorSeconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
      memoryMiB: (peak ?? 0) / 1024, output: Self.text(output),
      errors: Self.text(errors))
  }

  private static func text(_ path: String) -> String {
    guard let file = unsafe fopen(path, "r") else { return "" }
    defer { unsafe fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = unsafe fread(&chunk, 1, chunk.count, file)
      guard count > 0 else { break }
      bytes += chunk.prefix(count)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
