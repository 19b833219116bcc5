import Glibc
import Subprocess
import SystemPackage

/// What a program printed and how it ended.
public struct ToolOutput: Sendable, Hashable {
  /// The exit status; 128 plus the signal's number when a signal ended it.
  public var status: Int32
  /// Everything written to standard output.
  public var output: String
  /// Everything written to standard error.
  public var errors: String
}

/// The programs the lab runs: finds them and runs them.
enum Tools {
  /// An ordinary user's `PATH` on Debian lacks the directories iptables and ip are in.
  private static let systemDirectories = [
    "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin",
  ]

  /// `PATH` with the system directories at its end.
  static var searchPath: String {
    let given = (environment("PATH") ?? "").split(separator: ":").map(String.init)
    return (given + systemDirectories.filter { !given.contains($0) }).joined(separator: ":")
  }

  /// Where a program is.
  ///
  /// - Parameter name: The program's name, or a path, which is returned as it is.
  /// - Returns: Its path, or `nil` when it isn't installed.
  static func find(_ name: String) -> String? {
    if name.contains("/") { return unsafe access(name, X_OK) == 0 ? name : nil }
    return searchPath.split(separator: ":").lazy.map { "\($0)/\(name)" }
      .first { unsafe access($0, X_OK) == 0 }
  }

  /// The programs that aren't installed, of those a lab needs.
  static var missing: [String] {
    ["unshare", "nsenter", "mount", "ip", "iptables", "ip6tables", "ipset", "conntrack"]
      .filter { find($0) == nil }
  }

  /// Runs a program to its end.
  ///
  /// - Parameters:
  ///   - words: The program and its arguments.
  ///   - input: What it reads from standard input.
  /// - Returns: What it printed and how it ended, whatever its status.
  /// - Throws: ``LabError`` when it isn't installed or could not be started.
  static func run(_ words: [String], input: String? = nil) async throws(LabError) -> ToolOutput {
    guard let name = words.first, let path = find(name) else {
      throw LabError(
        .toolMissing, "run \(words.first ?? "nothing")", reason: "it is not installed",
        advice: "Install it; on Debian, \"make setup\" does.")
    }
    let configuration = Configuration(
      executable:
        .path(FilePath(path)), arguments: Arguments(Array(words.dropFirst())),
      environment: .inherit.updating(["PATH": searchPath]))
    let limit = 64 << 20
    do {
      if let input {
        // A pipe would kill this process when the child ends without reading all of it.
        let file = try spool(input)
        let result = try await Subprocess.run(
          configuration, input: .fileDescriptor(file, closeAfterSpawningProcess: true),
          output: .bytes(limit: limit), error: .bytes(limit: limit))
        return output(result.terminationStatus, result.standardOutput, result.standardError)
      }
      let result = try await Subprocess.run(
        configuration, output: .bytes(limit: limit), error: .bytes(limit: limit))
      return output(result.terminationStatus, result.standardOutput, result.standardError)
    } catch let error as LabError {
      throw error
    } catch {
      throw LabError(.toolFailed, "run \(words.joined(separator: " "))", reason: "\(error)")
    }
  }

  /// Runs a program to its end and expects it to succeed.
  static func require(_ words: [String], input: String? = nil) async throws(LabError) -> ToolOutput
  {
    let result = try await run(words, input: input)
    guard result.status == 0 else {
      throw LabError(
        .toolFailed, "run \(words.joined(separator: " "))",
        reason: "status \(result.status): \(result.errors)")
    }
    return result
  }

  private static func output(
    _ status: TerminationStatus, _ output: [UInt8], _ errors: [UInt8]
  ) -> ToolOutput {
    let number: Int32 =
      switch status {
      case .exited(let code): code
      case .signaled(let signal): 128 + signal
      }
    return ToolOutput(
      status: number, output: String(decoding: output, as: UTF8.self),
      errors: String(decoding: errors, as: UTF8.self))
  }

  /// A nameless file in the private /run that holds a text, positioned at its start.
  private static func spool(_ text: String) throws -> FileDescriptor {
    var name = Array("/run/lab.XXXXXX".utf8CString)
    let raw = unsafe name.withUnsafeMutableBufferPointer { buffer in
      guard let start = buffer.baseAddress else { return Int32(-1) }
      let raw = unsafe mkstemp(start)
      if raw >= 0 {
        unsafe unlink(start)
        _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
      }
      return raw
    }
    guard raw >= 0 else {
      throw LabError(.system, "make a file in /run", errno: Errno(rawValue: errno))
    }
    let file = FileDescriptor(rawValue: raw)
    do {
      try file.writeAll(text.utf8)
      try file.seek(offset: 0, from: .start)
    } catch {
      try file.close()
      throw error
    }
    return file
  }
}
