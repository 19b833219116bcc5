public import Addressing
internal import SystemPackage

/// One line of the kernel's own trace of a packet: a rule it matched or a policy it met.
public struct KernelTraceEvent: Sendable, Hashable {
  /// What the line is about.
  public enum Place: Sendable, Hashable {
    /// A rule, as `iptables -S` prints it.
    case rule(String)
    /// The policy of a base chain.
    case policy
    /// The end of a user's chain.
    case end
  }

  /// The kernel's number of the packet.
  public var packet: String
  /// The table.
  public var table: String
  /// The chain.
  public var chain: String
  /// Rule, policy or end.
  public var place: Place
  /// The verdict in the kernel's word, such as `ACCEPT`, `DROP` or `CONTINUE`; a REJECT is a `DROP`.
  public var verdict: String

  /// Makes an event.
  public init(packet: String, table: String, chain: String, place: Place, verdict: String) {
    self.packet = packet
    self.table = table
    self.chain = chain
    self.place = place
    self.verdict = verdict
  }

  /// Reads what `xtables-monitor --trace` prints; lines of another kind are passed over.
  ///
  /// A line reads `TRACE: 2 4d960a5e filter:INPUT:rule:0x3:DROP  -4 -t filter -A INPUT -j DROP`.
  ///
  /// - Parameter output: The whole output.
  /// - Returns: The events in order.
  public static func read(_ output: [UInt8]) -> [KernelTraceEvent] {
    output.split(separator: UInt8(ascii: "\n")).compactMap { line in
      event(String(decoding: line, as: UTF8.self))
    }
  }

  private static func event(_ line: String) -> KernelTraceEvent? {
    let words = line.split(separator: " ", maxSplits: 4, omittingEmptySubsequences: true)
    guard words.count >= 4, words[0] == "TRACE:" else { return nil }
    // A chain's name may hold colons.
    let parts = words[3].split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count >= 4 else { return nil }
    func chain(until end: Int) -> String { parts[1..<end].joined(separator: ":") }
    let packet = String(words[2])
    if let at = parts.indices.dropFirst(2).first(where: {
      parts[$0] == "rule" && parts.indices.contains($0 + 2) && parts[$0 + 1].hasPrefix("0x")
    }) {
      let rest = words.count > 4 ? String(words[4]) : ""
      let text = rest.firstRange(of: "-A ").map { String(rest[$0.lowerBound...]) } ?? ""
      return KernelTraceEvent(
        packet: packet, table: parts[0], chain: chain(until: at), place: .rule(text.trimmingEnd()),
        verdict: parts[at + 2])
    }
    if let at = parts.indices.dropFirst(2).last(where: { parts[$0] == "policy" }),
      parts.indices.contains(at + 1)
    {
      return KernelTraceEvent(
        packet: packet, table: parts[0], chain: chain(until: at), place: .policy,
        verdict: parts[at + 1])
    }
    if let at = parts.indices.dropFirst(2).last(where: { parts[$0] == "return" }) {
      return KernelTraceEvent(
        packet: packet, table: parts[0], chain: chain(until: at), place: .end, verdict: "RETURN")
    }
    return nil
  }
}

extension FirewallHost {
  /// Listens to the kernel's trace for some seconds by `xtables-monitor --trace`.
  ///
  /// Only nf_tables' rules are traced there; the legacy TRACE target writes to the kernel log. Needs
  /// CAP_NET_ADMIN.
  ///
  /// - Parameters:
  ///   - family: IPv4 or IPv6.
  ///   - seconds: How long, at least 1.
  ///   - context: Where the tool is run.
  /// - Returns: What it said.
  /// - Throws: ``FirewallError``: `toolNotFound`, `permissionDenied`, or `toolFailed` when it ended by
  ///   itself.
  public static func kernelTrace(
    _ family: AddressFamily, seconds: Int, _ context: ToolContext
  ) async throws(FirewallError) -> [KernelTraceEvent] {
    guard let monitor = context.locate("xtables-monitor") else {
      throw FirewallError(
        .toolNotFound, operation: "run xtables-monitor", expected: "it to be installed",
        advice: ToolContext.installation(of: "iptables"))
    }
    let result = try await context.run(
      "timeout",
      ["\(max(1, seconds))", monitor.string, "--trace", family == .ipv4 ? "-4" : "-6"])
    // 124 is `timeout`'s word for "it ran until its time".
    guard result.exitStatus == 124 else {
      throw await context.failure(result, operation: "listen with xtables-monitor")
    }
    return KernelTraceEvent.read(result.output)
  }
}
