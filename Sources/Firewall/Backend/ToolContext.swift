internal import Glibc
internal import Subprocess
internal import SystemPackage

/// Where the firewall tools are run: in which namespace, with which environment.
public struct ToolContext: Sendable, Hashable {
  /// The words before each tool's own, such as `nsenter --net=/run/netns/pbx --`; empty: none.
  public var commandPrefix: [String]
  /// Variables set for the tools on top of the inherited ones, such as `XTABLES_LOCKFILE`.
  public var environment: [String: String]

  /// Makes a context.
  public init(commandPrefix: [String] = []) {
    self.commandPrefix = commandPrefix
    environment = [:]
  }
}

/// What a tool said and how it ended.
public struct ToolResult: Sendable, Hashable {
  /// The exit status; 128 plus the signal's number when one ended it.
  public var exitStatus: Int
  /// Standard output.
  public var output: [UInt8]
  /// Standard error; invalid UTF-8 is replaced, control characters are not escaped.
  public var standardError: String
  /// The tool with its arguments, for messages.
  public var command: String

  /// Whether it ended with status 0.
  public var isSuccess: Bool { exitStatus == 0 }
}

extension ToolContext {
  /// Whether a tool changes something: then it runs to its end, whatever happens to us.
  enum Purpose {
    case read
    case write
  }

  /// The most that is taken of a tool's output.
  static let largestOutput = 256 << 20

  /// Where administrators' tools are, for cron gives no `sbin`.
  private static let systemFolders = [
    "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin",
  ]

  private static let inheritedPath =
    unsafe getenv("PATH").map { unsafe String(cString: $0) } ?? ""

  private var folders: [String] {
    let path = environment["PATH"] ?? Self.inheritedPath
    let given = path.split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
    return given + Self.systemFolders.filter { !given.contains($0) }
  }

  /// The file of a tool, or `nil` when it is not installed.
  func locate(_ tool: String) -> FilePath? {
    if tool.hasPrefix("/") { return isExecutable(tool) ? FilePath(tool) : nil }
    for folder in folders where isExecutable(folder + "/" + tool) {
      return FilePath(folder + "/" + tool)
    }
    return nil
  }

  private func isExecutable(_ path: String) -> Bool {
    guard let status = try? FilePath(path).stat(), status.type == .regular else { return false }
    return status.permissions.rawValue & 0o111 != 0
  }

  /// Runs a tool and takes all it prints.
  ///
  /// - Throws: ``FirewallError`` when it is not installed, could not be started or printed more
  ///   than 256 MiB; how it ended is in the result.
  func run(
    _ tool: String, _ arguments: [String] = [], input: [UInt8]? = nil, purpose: Purpose = .read
  ) async throws(FirewallError) -> ToolResult {
    guard let file = locate(tool) else {
      throw FirewallError(
        .toolNotFound, operation: "run \(tool)", expected: "it to be installed",
        advice: Self.installation(of: tool))
    }
    let words = commandPrefix + [file.string] + arguments
    guard let program = locate(words[0]) else {
      throw FirewallError(
        .toolNotFound, operation: "run \(words[0])", expected: "it to be installed")
    }
    let stdin = try input.map { bytes throws(FirewallError) in try InputFile.make(bytes) }
    let command = ([tool] + arguments).joined(separator: " ")
    let rest = Array(words.dropFirst())
    let outcome: Result<ToolResult, FirewallError>
    switch purpose {
    case .read:
      outcome = await spawn(program, rest, command, stdin, purpose)
    case .write:
      // A task of its own is not cancelled with ours: a writer killed halfway leaves half a
      // firewall.
      outcome = await Task { await spawn(program, rest, command, stdin, purpose) }.value
    }
    return try outcome.get()
  }

  private func spawn(
    _ program: FilePath, _ arguments: [String], _ command: String, _ stdin: FileDescriptor?,
    _ purpose: Purpose
  ) async -> Result<ToolResult, FirewallError> {
    var options = PlatformOptions()
    // Its own group: Ctrl-C at the terminal must not end a writer, and a cancelled reader takes its
    // children along.
    options.processGroupID = 0
    if purpose == .read {
      options.teardownSequence = [
        .send(
          signal: .terminate, toProcessGroup: true, allowedDurationToNextStep: .milliseconds(500))
      ]
    }
    var variables: [Environment.Key: String?] = [
      "LC_ALL": "C", "PATH": folders.joined(separator: ":"),
    ]
    for (name, value) in environment where name != "PATH" {
      variables[Environment.Key(stringLiteral: name)] = value
    }
    let configuration = Configuration(
      executable: .path(program), arguments: Arguments(arguments),
      environment: .inherit.updating(variables), platformOptions: options)
    do {
      if let stdin {
        let result = try await Subprocess.run(
          configuration, input: .fileDescriptor(stdin, closeAfterSpawningProcess: true),
          output: .bytes(limit: Self.largestOutput), error: .bytes(limit: 1 << 20))
        return .success(
          Self.result(
            result.terminationStatus, result.standardOutput, result.standardError, command))
      }
      let result = try await Subprocess.run(
        configuration, output: .bytes(limit: Self.largestOutput), error: .bytes(limit: 1 << 20))
      return .success(
        Self.result(result.terminationStatus, result.standardOutput, result.standardError, command))
    } catch let error as SubprocessError {
      let code: FirewallError.Code =
        error.code == .outputLimitExceeded
        ? .tooLarge : error.code == .executableNotFound ? .toolNotFound : .system
      return .failure(
        FirewallError(
          code, operation: "run \(command)", standardError: error.description,
          errno: error.underlyingError))
    } catch {
      return .failure(
        FirewallError(.system, operation: "run \(command)", standardError: "\(error)"))
    }
  }

  private static func result(
    _ status: TerminationStatus, _ output: [UInt8], _ errors: [UInt8], _ command: String
  ) -> ToolResult {
    let code: Int
    switch status {
    case .exited(let value): code = Int(value)
    case .signaled(let value): code = 128 + Int(value)
    }
    return ToolResult(
      exitStatus: code, output: output,
      standardError: String(decoding: errors.prefix(16_384), as: UTF8.self), command: command)
  }

  static func installation(of tool: String) -> String {
    if tool.hasPrefix("ipset") { return "Install it: apt install ipset" }
    if tool.hasPrefix("nft") { return "Install it: apt install nftables" }
    if tool.contains("tables") { return "Install it: apt install iptables" }
    return "Install it."
  }

  /// The error for a tool that failed, with lacking privileges told apart.
  ///
  /// Tools say "permission denied" with different exit statuses (facts G4), and with different
  /// words; so the capabilities that a child in this context really has are looked at.
  func failure(_ result: ToolResult, operation: String, legacy: Bool = false) async
    -> FirewallError
  {
    var error = FirewallError(
      .toolFailed, operation: operation, exitStatus: result.exitStatus,
      standardError: result.standardError.trimmingEnd())
    if await lacksCapabilities(legacy: legacy) {
      error.code = .permissionDenied
      error.advice =
        "It needs CAP_NET_ADMIN, and so do the iptables tools it runs. Run it as root."
    } else if legacy && result.exitStatus == 4 {
      error.code = .locked
      error.advice = "Another program holds the xtables lock, or it cannot be opened. Try again."
    }
    return error
  }

  /// Whether a child here has no CAP_NET_ADMIN (or, for the legacy tools, no CAP_NET_RAW).
  private func lacksCapabilities(legacy: Bool) async -> Bool {
    guard let status = try? await run("cat", ["/proc/self/status"]), status.isSuccess else {
      return false
    }
    for line in status.output.split(separator: UInt8(ascii: "\n"))
    where line.starts(with: "CapEff:".utf8) {
      let text = String(decoding: line.dropFirst(7), as: UTF8.self)
      guard let bits = UInt64(text.filter { !$0.isWhitespace }, radix: 16) else { return false }
      let needed: UInt64 = 1 << 12 | (legacy ? 1 << 13 : 0)
      return bits & needed != needed
    }
    return false
  }
}

extension String {
  func trimmingEnd() -> String {
    var text = self[...]
    while let last = text.last, last.isWhitespace { text.removeLast() }
    return String(text)
  }
}
