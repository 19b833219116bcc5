import Conntrack
import Addressing
import Firewall

/// The text of `sipleak audit`: a line a finding, the same fields in the same order, for cron mail,
/// `grep` and fail2ban.
public enum AuditLines {
  /// The lines, each ending in a newline.
  ///
  /// - Parameters:
  ///   - audit: What was found.
  ///   - observation: What it was found in.
  ///   - isQuiet: Whether a clean audit prints nothing.
  /// - Returns: The text for standard output.
  public static func text(_ audit: Audit, of observation: Observation, isQuiet: Bool) -> String {
    let time = Quantity.rfc3339(observation.sample.time)
    if audit.isClean {
      return isQuiet ? "" : "\(time) clean sip_flows=\(audit.sipFlowCount)\n"
    }
    var lines = audit.findings.map { line($0, time: time, now: observation.sample.time) }
    lines += audit.blocks.filter { $0.state != .inForce }.map {
      "\(time) look block=\(EscapedText.word($0.element)) state=\($0.state.rawValue)"
    }
    if !audit.isComplete { lines.append("\(time) incomplete problems=\(audit.problems.count)") }
    return lines.map { $0 + "\n" }.joined()
  }

  private static func line(_ finding: Finding, time: String, now: Double) -> String {
    let age =
      finding.flow?.start.map {
        String(max(0, Quantity.whole((now - Double($0) / 1e9).rounded(.down))))
      } ?? "unknown"
    var fields = [
      ("cause", finding.cause.rawValue), ("grade", finding.grade?.rawValue ?? "none"),
      ("src", finding.peer.map { "\($0.address)" } ?? "any"),
      ("sport", finding.peer.map { "\($0.port)" } ?? "any"),
      ("dst", "\(finding.wire.address)"), ("dport", "\(finding.wire.port)"),
      ("proto", "\(finding.transport)"), ("new", verdict(finding.asNew)),
      ("held", verdict(finding.asHeld)), ("age", age),
    ]
    // Last, so that the other fields keep their places where there is no history.
    if let seen = finding.firstSeen { fields.append(("first", Quantity.rfc3339(seen))) }
    if let ended = finding.reopened { fields.append(("reopened", Quantity.rfc3339(ended))) }
    let words = fields.map { "\($0.0)=\(EscapedText.word($0.1))" }.joined(separator: " ")
    return "\(time) \(finding.level.rawValue) \(words)"
  }

  private static func verdict(_ judged: JudgedVerdict) -> String {
    guard let rule = judged.rule else { return judged.verdict.rawValue }
    return "\(judged.verdict.rawValue):\(rule.table)/\(rule.chain)/\(rule.index)"
  }
}
