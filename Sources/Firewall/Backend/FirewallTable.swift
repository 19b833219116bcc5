public import Addressing

extension FirewallHost {
  /// Reads one table with its counters, and nothing else: a few milliseconds, for repeated looks.
  ///
  /// Runs `iptables-save -c -t TABLE` of the backend. Give only tables that are there: asked for
  /// another one the legacy tools would make it (facts D7).
  ///
  /// - Parameters:
  ///   - name: The table, such as `filter`.
  ///   - backend: Which kernel interface to read.
  ///   - family: IPv4 or IPv6.
  ///   - context: Where the tool is run.
  /// - Returns: The table, or `nil` when it is gone.
  /// - Throws: ``FirewallError``: `permissionDenied`, `toolNotFound`, `toolFailed` or `malformed`.
  public static func table(
    _ name: String, backend: Backend, family: AddressFamily, _ context: ToolContext
  ) async throws(FirewallError) -> Table? {
    let tool = await IPTablesTool.saver(backend, family, context)
    let result = try await context.run(tool, ["-c", "-t", name])
    guard result.isSuccess else {
      throw await context.failure(
        result, operation: "read table \(name) with \(tool)", legacy: backend == .legacy)
    }
    return try RulesetReader.read(
      result.output, source: "\(tool) -t \(name)", backend: backend, family: family
    ).table(name)
  }
}

extension IPTablesTool {
  /// The tool that prints the rules of a backend.
  fileprivate static func saver(
    _ backend: Backend, _ family: AddressFamily, _ context: ToolContext
  ) async -> String {
    let name = family == .ipv4 ? "iptables" : "ip6tables"
    let own = "\(name)-\(backend.rawValue)-save"
    if context.locate(own) != nil { return own }
    let plain = "\(name)-save"
    guard context.locate(plain) != nil, await plainBackend(name, context) == backend else {
      return own
    }
    return plain
  }
}
