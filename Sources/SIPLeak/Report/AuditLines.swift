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
    var result = ""
    write(audit, of: observation, isQuiet: isQuiet) { result += $0 }
    return result
  }

  /// Hands the lines on a piece at a time, so that ten thousand of them never stand in memory.
  ///
  /// - Parameters:
  ///   - audit: What was found.
  ///   - observation: What it was found in.
  ///   - isQuiet: Whether a clean audit prints nothing.
  ///   - sink: Takes each piece, of whole lines.
  public static func write(
    _ audit: Audit, of observation: Observation, isQuiet: Bool,
    to sink: @escaping (String) -> Void
  ) {
    let time = Quantity.rfc3339(observation.sample.time)
    if audit.isClean {
      if !isQuiet { sink("\(time) clean sip_flows=\(audit.sipFlowCount)\n") }
      return
    }
    var piece = TextPiece(sink)
    for finding in audit.findings {
      piece.append(line(finding, time: time, now: observation.sample.time) + "\n")
    }
    for block in audit.blocks where block.state != .inForce {
      piece.append(
        "\(time) look block=\(EscapedText.word(block.element)) state=\(block.state.rawValue)"
          + places(of: block) + "\n")
    }
    if !audit.isComplete {
      piece.append("\(time) incomplete problems=\(audit.problems.count)\n")
    }
    piece.finish()
  }

  /// What to do about the blocks that do not do what they should, a sentence for each thing to do.
  ///
  /// - Parameter audit: What was found.
  /// - Returns: The sentences; ten thousand blocks that one command sets right are one.
  public static func advice(_ audit: Audit) -> [String] {
    var order: [String] = []
    var blocks: [String: [String]] = [:]
    for block in audit.blocks where block.state != .inForce {
      guard let advice = block.advice else { continue }
      if blocks[advice] == nil { order.append(advice) }
      blocks[advice, default: []].append(block.element)
    }
    return order.map { advice in
      let elements = blocks[advice] ?? []
      let who = elements.count == 1 ? elements[0] : "\(Quantity.grouped(elements.count)) blocks"
      return "\(who): \(advice)"
    }
  }

  /// Where something is missing or not ours; last, so that the other fields keep their places.
  private static func places(of block: StandingBlock) -> String {
    switch block.state {
    case .missingPart: " missing=\(block.missingPlaces.joined(separator: ","))"
    case .foreignRule:
      " chain=\(EscapedText.word((block.spoiltChain ?? "").replacing(" ", with: "/")))"
    case .inForce, .missingHook, .admitted, .expired: ""
    }
  }

  static func line(_ finding: Finding, time: String, now: Double) -> String {
    let age =
      finding.flow?.start.map {
        String(max(0, Quantity.whole((now - Double($0) / 1e9).rounded(.down))))
      } ?? "unknown"
    var fields = [
      ("cause", finding.cause.rawValue), ("grade", finding.grade?.rawValue ?? "none"),
      ("src", finding.peer.map { "\($0.address)" } ?? "any"),
      ("sport", finding.peerPort.map { "\($0)" } ?? "any"),
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
