import Addressing
import Firewall

/// The explanations for a person: a line or two each, what holds first.
struct ExplanationText {
  let style: TextStyle

  private static let indent = 15
  private static let titleWidth = 30

  /// The section, with its heading.
  func section(_ explanations: [Explanation]) -> [String] {
    [style.bold("Explanations considered (\(explanations.count))")]
      + explanations.flatMap(lines)
  }

  private func lines(_ explanation: Explanation) -> [String] {
    let word = explanation.verdict.words.padded(11)
    let tag: String
    switch explanation.verdict {
    case .supported: tag = style.red(word)
    case .cannotTell: tag = style.yellow(word)
    case .ruledOut: tag = style.green(word)
    }
    let summary = EscapedText.terminal(explanation.summary)
    let title = explanation.kind.title
    let first = "  \(tag)  \(title)"
    let padded = title.padded(Self.titleWidth) + "  "
    var lines: [String]
    if explanation.verdict == .ruledOut,
      Self.indent + padded.count + summary.count <= style.width
    {
      lines = ["  \(tag)  \(padded)\(summary)"]
    } else {
      lines = [first] + style.wrapped(summary, indent: Self.indent)
    }
    if let command = explanation.command,
      explanation.verdict != .ruledOut
        || explanation.kind == .icmp
    {
      // A command is copied: it is never wrapped.
      lines.append(String(repeating: " ", count: Self.indent) + EscapedText.terminal(command))
    }
    return lines
  }
}

/// The answer about one address for a person.
struct PeerText {
  let style: TextStyle
  let isExact: Bool

  /// The section.
  ///
  /// - Parameters:
  ///   - answer: The answer.
  ///   - shown: The flows that findings have shown already.
  /// - Returns: Its lines.
  func section(_ answer: PeerAnswer, shown: [Evidence.FlowEnds]) -> [String] {
    var lines = [style.bold("Peer  \(answer.peer)") + (answer.isTrusted ? "  trusted" : "")]
    lines +=
      answer.flows.isEmpty
      ? ["      It has no flow to SIP in the table."]
      : answer.flows.filter { !shown.contains($0.ends) }.flatMap(flow)
    if answer.firstPackets.isEmpty {
      lines.append("      Nothing of its family reaches SIP here.")
    }
    // Where no route leads by, only what would be decided otherwise is worth a line.
    let worth = answer.firstPackets.filter { one in
      one.isRouted != false
        || !answer.firstPackets.contains { other in
          other.isRouted == true && other.wire == one.wire && other.transport == one.transport
            && other.verdict == one.verdict
        }
    }
    lines += worth.flatMap { packet(answer.peer, $0) }
    return lines
  }

  private func flow(_ held: PeerAnswer.HeldFlow) -> [String] {
    let arrow = held.ends.origin == .host ? "<-" : "->"
    let ends = "\(held.ends.peer) \(arrow) \(held.ends.wire)"
    let notes = [
      held.grade?.rawValue ?? "not answered, so still NEW",
      held.ends.origin == .host ? "opened by this host" : nil,
    ].compactMap { $0 }.joined(separator: ", ")
    return ["      \(ends.padded(40))  \(notes)"]
      + verdict("as held", held.asHeld) + verdict("as NEW", held.asNew)
  }

  private func packet(_ peer: IPAddress, _ first: PeerAnswer.FirstPacket) -> [String] {
    let names = first.interfaces.prefix(4).map(EscapedText.terminal).joined(separator: ", ")
    let more = first.interfaces.count > 4 ? " and \(first.interfaces.count - 4) more" : ""
    let way =
      first.interfaces.isEmpty
      ? ""
      : " by \(names)\(more)" + (first.isRouted == false ? " (no route leads to it there)" : "")
    var lines = style.wrapped(
      "from any port to \(first.transport) \(first.wire)\(way):", indent: 6)
    lines += verdict("as NEW", first.verdict)
    if !first.conditional.isEmpty {
      lines += style.wrapped(
        "admitted under a condition by "
          + first.conditional.prefix(3).map { EscapedText.terminal($0.named) }
          .joined(separator: ", "), indent: 16)
    }
    if !first.hangsOn.isEmpty {
      let shown = first.hangsOn.prefix(3).map(EscapedText.terminal).joined(separator: "; ")
      lines += style.wrapped("it hangs on: \(shown)", indent: 16)
    }
    return lines
  }

  private func verdict(_ name: String, _ judged: JudgedVerdict) -> [String] {
    let word = judged.isCertain ? judged.verdict.rawValue.uppercased() : "UNKNOWN"
    let start = "      \(name.padded(8))  \(word.padded(7))"
    guard judged.isCertain else { return [start] }
    guard let rule = judged.rule else { return [start + "  no rule decides"] }
    let counters = rule.counters.map {
      "   " + (isExact ? String($0.packets) : Quantity.short($0.packets))
    }
    var text = EscapedText.terminal(rule.named)
    let room = max(20, style.width - start.count - 2 - (counters?.count ?? 0))
    if text.count > room { text = text.prefix(room - 1) + "…" }
    return [start + "  " + text + (counters ?? "")]
  }
}
