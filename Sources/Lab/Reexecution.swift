import Glibc
import SystemPackage

/// Running this program again inside private namespaces, and staying responsible for it.
enum Reexecution {
  /// The words before the program: two steps, because files under /proc/net are unreadable in a
  /// network namespace that is born together with its user namespace (facts G2).
  static func words(_ unshare: String) -> [String] {
    [
      unshare, "--user", "--map-root-user", "--",
      unshare, "--net", "--mount", "--pid", "--fork", "--kill-child", "--",
    ]
  }

  /// Runs this program inside and waits for it.
  ///
  /// - Parameter arguments: The arguments of the copy, without the program's name.
  /// - Returns: How it ended; 128 plus the signal's number for a signal.
  /// - Throws: ``LabError`` when a system call fails.
  static func run(_ arguments: [String]) throws(LabError) -> Int32 {
    guard let unshare = Tools.find("unshare"), let program = ownPath(),
      let outside = Isolation.inode("/proc/self/ns/net")
    else {
      throw LabError(.system, "find this program", errno: Errno(rawValue: errno))
    }
    let lifeline = try pipe()
    defer { close(lifeline.read) }
    // The copy must not hold the end whose closing tells it that this process is gone.
    _ = fcntl(lifeline.write, F_SETFD, FD_CLOEXEC)
    let variables = [
      "\(Isolation.outsideVariable)=\(outside)",
      "\(PrivateNamespaces.lifelineVariable)=\(lifeline.read)",
    ]
    let signals = try Signals.catching()
    defer { signals.release() }
    let child: pid_t
    do {
      child = try spawn(words(unshare) + [program] + arguments, adding: variables)
    } catch {
      close(lifeline.write)
      throw error
    }
    return wait(for: child, lifeline: lifeline.write, signals)
  }

  /// Runs a program with this process's terminal and waits for it.
  static func foreground(_ words: [String]) throws(LabError) -> Int32 {
    guard let name = words.first, let path = Tools.find(name) else {
      throw LabError(
        .toolMissing, "run \(words.first ?? "nothing")", reason: "it is not installed")
    }
    return reap(try spawn([path] + words.dropFirst()))
  }

  /// Makes the namespaces and mounts in one, then lets them go.
  static func trial() throws(LabError) -> (status: Int32, errors: String) {
    guard let unshare = Tools.find("unshare"), let mount = Tools.find("mount") else {
      throw LabError(.toolMissing, "make a lab", reason: "unshare or mount is not installed")
    }
    let errors = try pipe()
    defer { close(errors.read) }
    let child: pid_t
    do {
      child = try spawn(
        words(unshare) + [mount, "-t", "tmpfs", "sipleak-lab", "/run"], standardError: errors.write)
      close(errors.write)
    } catch {
      close(errors.write)
      throw error
    }
    var text: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe chunk.withUnsafeMutableBytes {
        unsafe read(errors.read, $0.baseAddress, $0.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      if text.count < 65536 { text += chunk.prefix(count) }
    }
    return (reap(child), String(decoding: text, as: UTF8.self))
  }

  /// Waits for the child; on a signal ends everything inside, then follows it.
  private static func wait(for child: pid_t, lifeline: Int32, _ signals: Signals) -> Int32 {
    var isOpen = true
    defer { if isOpen { close(lifeline) } }
    while true {
      var status: Int32 = 0
      let ended = unsafe waitpid(child, &status, WNOHANG)
      if ended == child { return code(status) }
      if ended < 0, errno != EINTR { return 1 }
      guard let signal = signals.next(within: 10) else { continue }
      // Process 1 inside ignores signals it has no handler for, and unshare holds back SIGINT and
      // SIGTERM: the closed lifeline is what ends them. The kill is for a copy that hangs.
      close(lifeline)
      isOpen = false
      if !isGone(child, within: 2000) {
        kill(child, SIGKILL)
        _ = reap(child)
      }
      signals.release()
      Glibc.signal(signal, SIG_DFL)
      kill(getpid(), signal)
      return 128 + signal
    }
  }

  private static func isGone(_ child: pid_t, within milliseconds: Int) -> Bool {
    for _ in 0..<(milliseconds / 5) {
      if waitpid(child, nil, WNOHANG) != 0 { return true }
      usleep(5000)
    }
    return false
  }

  private static func reap(_ child: pid_t) -> Int32 {
    var status: Int32 = 0
    while unsafe waitpid(child, &status, 0) < 0 {
      guard errno == EINTR else { return 1 }
    }
    return code(status)
  }

  /// The macros `WIFEXITED` and its kin are not imported.
  private static func code(_ status: Int32) -> Int32 {
    let signal = status & 0x7f
    return signal == 0 ? (status >> 8) & 0xff : 128 + signal
  }

  static func ownPath() -> String? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = unsafe buffer.withUnsafeMutableBytes { bytes in
      unsafe bytes.withMemoryRebound(to: CChar.self) {
        guard let start = $0.baseAddress else { return -1 }
        return unsafe readlink("/proc/self/exe", start, $0.count)
      }
    }
    return count > 0 ? String(decoding: buffer.prefix(count), as: UTF8.self) : nil
  }

  private static func pipe() throws(LabError) -> (read: Int32, write: Int32) {
    var ends: [Int32] = [-1, -1]
    guard unsafe Glibc.pipe(&ends) == 0 else {
      throw LabError(.system, "make a pipe", errno: Errno(rawValue: errno))
    }
    return (ends[0], ends[1])
  }

  private static func spawn(
    _ words: [String], adding variables: [String] = [], standardError: Int32? = nil
  ) throws(LabError) -> pid_t {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    if let standardError { unsafe posix_spawn_file_actions_adddup2(&actions, standardError, 2) }
    var names = variables.compactMap { $0.split(separator: "=").first.map { "\($0)=" } }
    names.append("PATH=")
    var inherited: [String] = []
    var entry = unsafe environ
    while let text = unsafe entry.pointee {
      inherited.append(unsafe String(cString: text))
      unsafe entry += 1
    }
    let kept = inherited.filter { line in !names.contains { line.hasPrefix($0) } }
    let environment = kept + variables + ["PATH=\(Tools.searchPath)"]
    var child: pid_t = 0
    let result = unsafe withCStrings(words) { arguments in
      unsafe withCStrings(environment) { environment in
        unsafe posix_spawn(&child, words[0], &actions, nil, arguments, environment)
      }
    }
    guard result == 0 else {
      throw LabError(.system, "start \(words[0])", errno: Errno(rawValue: result))
    }
    return child
  }

  /// A null-terminated array of C strings for the duration of a call.
  private static func withCStrings<R>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> R
  ) -> R {
    var pointers = unsafe strings.map { unsafe strdup($0) }
    unsafe pointers.append(nil)
    defer { unsafe pointers.forEach { unsafe free($0) } }
    return unsafe body(pointers)
  }
}
