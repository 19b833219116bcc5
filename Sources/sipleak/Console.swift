import ArgumentParser
import Glibc
import SIPLeak
import SystemPackage

/// Standard output and error, and how failures become exit codes.
enum Console {
  /// Writes an answer; a reader that has gone away is no error of ours.
  static func print(_ text: String) {
    _ = try? FileDescriptor.standardOutput.writeAll(text.utf8)
  }

  /// Writes everything else.
  static func note(_ text: String) {
    _ = try? FileDescriptor.standardError.writeAll((text + "\n").utf8)
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
    if status != 0 { throw ExitCode(status) }
  }

  /// Runs the body of a verb that changes something.
  static func changing(
    isVerbose: Bool, _ body: () async throws -> Int32
  ) async throws {
    let status: Int32
    do { status = try await body() } catch let error as SIPLeakError {
      report(error, isVerbose: isVerbose)
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
