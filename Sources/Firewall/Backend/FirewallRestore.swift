public import Addressing

extension FirewallHost {
  /// Adds rules by `iptables-restore --noflush`: all lines of one table, or none of them.
  ///
  /// Several tables in one text are not atomic together (facts E3): give one at a time. The tool
  /// runs in a process group of its own and to its end, also when the task is cancelled.
  ///
  /// - Parameters:
  ///   - text: What `iptables-restore` takes; a `:INPUT DROP` in it would set that policy.
  ///   - backend: Which kernel interface to write to.
  ///   - family: IPv4 or IPv6.
  ///   - testOnly: Parse and check, commit nothing; it misses much (facts E4), see
  ///     ``dryRun(rules:sets:backend:family:_:)``.
  ///   - waitSeconds: How long to wait for the xtables lock, which only the legacy tools take.
  ///   - context: Where the tool is run.
  /// - Throws: ``FirewallError``: `locked` when the lock was held that long, `permissionDenied`,
  ///   `toolNotFound`, else `toolFailed` with the tool's own words; then nothing of the table that
  ///   failed was applied.
  public static func restore(
    _ text: [UInt8], backend: Backend, family: AddressFamily, testOnly: Bool, waitSeconds: Int,
    _ context: ToolContext
  ) async throws(FirewallError) {
    let tool = await IPTablesTool.restorer(backend, family, context)
    var arguments = ["--noflush"]
    if testOnly { arguments.append("--test") }
    // The nft tools accept and ignore it; a bare -w would wait for ever.
    if waitSeconds > 0 { arguments += ["-w", "\(waitSeconds)"] }
    let result = try await context.run(
      tool, arguments, input: text, purpose: testOnly ? .read : .write)
    guard result.isSuccess else {
      throw await context.failure(
        result, operation: testOnly ? "check rules with \(tool)" : "load rules with \(tool)",
        legacy: backend == .legacy)
    }
  }

  /// Changes sets by `ipset restore`.
  ///
  /// Not all-or-nothing: lines before a failing one stay applied (facts E8). Give `-exist` inside
  /// the lines where repeating them must not fail.
  ///
  /// - Parameters:
  ///   - text: The lines.
  ///   - context: Where the tool is run.
  /// - Throws: ``FirewallError``: `permissionDenied`, `toolNotFound` or `toolFailed`.
  public static func restoreSets(_ text: [UInt8], _ context: ToolContext)
    async throws(FirewallError)
  {
    let result = try await context.run("ipset", ["restore"], input: text, purpose: .write)
    guard result.isSuccess else {
      throw await context.failure(result, operation: "load sets with ipset")
    }
  }

  /// How a dry run in a throw-away namespace ended.
  public enum DryRun: Sendable, Hashable {
    /// Everything loaded.
    case loaded
    /// Something was refused; the tool's own words.
    case failed(String)
    /// No such namespace could be made here.
    case notPossible(String)
  }

  /// Loads rules and sets into an empty network namespace that is thrown away afterwards.
  ///
  /// Finds what `--test` misses: bad targets, positions, REJECT in raw, sets that do not exist
  /// (facts E4). Only for our own text: a whole ruleset fails there on foreign objects (facts E11).
  /// Uses `unshare -n`, or `unshare -Urn` without privileges.
  ///
  /// - Parameters:
  ///   - rules: What `iptables-restore --noflush` takes; empty: none.
  ///   - sets: What `ipset restore` takes, loaded first; empty: none.
  ///   - backend: Which kernel interface to try.
  ///   - family: IPv4 or IPv6.
  ///   - context: Only its environment is used: the namespace is a new one.
  /// - Returns: Whether everything loaded.
  public static func dryRun(
    rules: [UInt8], sets: [UInt8], backend: Backend, family: AddressFamily, _ context: ToolContext
  ) async -> DryRun {
    let tool = await IPTablesTool.restorer(backend, family, context)
    for needed in [tool, "unshare", "sh"] + (sets.isEmpty ? [] : ["ipset"])
    where context.locate(needed) == nil {
      return .notPossible("\(needed) is not installed")
    }
    var own = ToolContext()
    own.environment = context.environment
    // The legacy lock is shared by all namespaces (facts E6) and needs no waiting for here.
    own.environment["XTABLES_LOCKFILE"] = "/dev/null"
    var last = ""
    for flags in [["-n"], ["-U", "-r", "-n"]] {
      switch await load(rules, sets, tool, flags, own) {
      case .notPossible(let why): last = why
      case let outcome: return outcome
      }
    }
    return .notPossible("no network namespace can be made" + (last.isEmpty ? "" : ": \(last)"))
  }

  private static let begun = "begun"

  /// Both inputs in one namespace: the sets first, of which the shell knows how long they are.
  private static func load(
    _ rules: [UInt8], _ sets: [UInt8], _ tool: String, _ flags: [String], _ context: ToolContext
  ) async -> DryRun {
    // Once it says so there is a namespace, and what fails then is the load.
    var script = "echo \(begun); "
    if !sets.isEmpty { script += "head -c \(sets.count) | ipset restore || exit 1; " }
    script += rules.isEmpty ? "exit 0" : "exec \(tool) --noflush"
    do {
      let result = try await context.run(
        "unshare", flags + ["sh", "-c", script], input: sets + rules)
      if result.isSuccess { return .loaded }
      let words = result.standardError.trimmingEnd()
      return result.output.starts(with: begun.utf8) ? .failed(words) : .notPossible(words)
    } catch let error {
      return .notPossible(error.description)
    }
  }
}
