import ArgumentParser
import Glibc
import SIPLeak
import Synchronization
import SystemPackage

/// Standard output and error, and how failures become exit codes.
enum Console {
  /// Whether some of an answer could not be written.
  private static let isCutShort = Mutex(false)
  private static let hasLostReader = Mutex(false)

  /// Whether whoever read standard output has gone away.
  static var isReaderGone: Bool { hasLostReader.withLock { $0 } }

  /// Writes an answer; a reader that has gone away is no error of ours, a full disk is.
  static func print(_ text: String) {
    do { _ = try FileDescriptor.standardOutput.writeAll(text.utf8) } catch {
      if error as? Errno == .brokenPipe {
        hasLostReader.withLock { $0 = true }
        return
      }
      let isFirst = isCutShort.withLock { known in
        defer { known = true }
        return !known
      }
      if isFirst { note("sipleak: cannot write the answer: \(error)") }
    }
  }

  /// Keeps the three standard descriptors from being given to files that are opened later.
  ///
  /// Started with `>&-`, the next socket would be standard output. Opened for reading only, so that
  /// a write still fails.
  static func holdStandardDescriptors() {
    for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) == -1 {
      _ = unsafe open("/dev/null", O_RDONLY)
    }
  }

  /// Writes everything else.
  static func note(_ text: String) {
    _ = try? FileDescriptor.standardError.writeAll((text + "\n").utf8)
  }

  /// Writes lines of what `--verbose` asks for.
  static func note(_ lines: [String]) {
    for line in lines { note("sipleak: \(EscapedText.terminal(line))") }
  }

  /// Colour and width of standard output.
  static var style: TextStyle {
    let isTerminal = isatty(STDOUT_FILENO) == 1
    let plain = unsafe getenv("NO_COLOR").map { unsafe $0.pointee != 0 } ?? false
    var size = winsize()
    var width = 80
    if isTerminal, unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 {
      width = Int(size.ws_col)
    }
    return TextStyle(isColoured: isTerminal && !plain, width: width)
  }

  /// Says what failed and what to do.
  static func report(_ error: SIPLeakError, isVerbose: Bool) {
    note("sipleak: \(EscapedText.terminal(error.message))")
    if !error.advice.isEmpty { note("  \(EscapedText.terminal(error.advice))") }
    if isVerbose, !error.detail.isEmpty { note("  \(EscapedText.terminal(error.detail))") }
  }

  /// Runs the body of a verb that only reads; every failure is "unknown".
  static func reading(
    isVerbose: Bool, _ body: () async throws -> Int32
  ) async throws {
    let status: Int32
    do { status = try await body() } catch let error as SIPLeakError {
      report(error, isVerbose: isVerbose)
      throw ExitCode(3)
    }
    // Leaks are leaks whether or not they could be listed.
    if status != 2, isCutShort.withLock({ $0 }) { throw ExitCode(3) }
    if status != 0 { throw ExitCode(status) }
  }

  /// Runs the body of a verb that changes something.
  ///
  /// - Parameters:
  ///   - isVerbose: Whether what the kernel and the tools said is shown.
  ///   - failing: Called with what failed, for an answer that a program reads.
  ///   - body: What to do.
  /// - Throws: The exit code when it is not 0.
  static func changing(
    isVerbose: Bool, failing: (SIPLeakError) -> Void = { _ in }, _ body: () async throws -> Int32
  ) async throws {
    let status: Int32
    do { status = try await body() } catch let error as SIPLeakError {
      report(error, isVerbose: isVerbose)
      failing(error)
      switch error.code {
      case .undone: throw ExitCode(4)
      case .notUndone: throw ExitCode(5)
      default: throw ExitCode(1)
      }
    }
    if status != 0 { throw ExitCode(status) }
  }

  /// Lets a change that has begun come to its end: Ctrl-C and TERM wait for it.
  ///
  /// The tools run in process groups of their own; half a change is worse than two seconds' wait.
  static func holdSignals() {
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, SIG_IGN)
    signal(SIGHUP, SIG_IGN)
  }
}
