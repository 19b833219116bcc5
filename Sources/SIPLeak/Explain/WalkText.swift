import Addressing
public import Firewall

/// A walk drawn so that a person sees where the packet leaves.
public enum WalkText {
  /// The drawing.
  ///
  /// - Parameters:
  ///   - question: The packet.
  ///   - walk: What may become of it.
  ///   - assumed: What its verdict hangs on of what was not said.
  ///   - stateRules: The state rules it meets, in order, with the first to stand before.
  ///   - style: Colour and width.
  /// - Returns: Lines, each ending in a newline.
  public static func text(
    _ question: PacketQuestion, _ walk: Walk, assumed: [PacketAssumption] = [],
    stateRules: [RuleReference], style: TextStyle
  ) -> String {
    var lines = [style.bold(title(question)), ""]
    var place = ""
    let deciders = Set(walk.outcomes.compactMap(\.rule))
    for hit in walk.path {
      let now = "\(hit.rule.table) \(hit.rule.chain)"
      if now != place { lines.append("  " + EscapedText.terminal(now)) }
      place = now
      lines.append(line(hit, isDecider: deciders.contains(hit.rule), style: style))
    }
    lines.append("")
    lines += verdict(walk, style: style)
    if !walk.unknowns.isEmpty {
      lines.append("  not known:")
      lines += walk.unknowns.prefix(10).flatMap {
        style.wrapped("- " + EscapedText.terminal($0.text), indent: 4)
      }
      if walk.unknowns.count > 10 { lines.append("    … and \(walk.unknowns.count - 10) more") }
    }
    for assumption in assumed {
      lines += style.wrapped("taken for granted: \(assumption.rawValue)", indent: 2)
    }
    for reason in walk.dependsOnMemory {
      lines += style.wrapped(
        "could have gone otherwise at another time: \(EscapedText.terminal(reason.text))",
        indent: 2)
    }
    if let first = stateRules.first {
      let names = stateRules.map { EscapedText.terminal($0.place) }.joined(separator: ", ")
      lines.append("  state rules on the way: \(names)")
      lines.append(
        "  to stand before the first: iptables -t \(EscapedText.terminal(first.table)) -I "
          + "\(EscapedText.terminal(first.chain)) \(first.index)")
    }
    return lines.map { $0 + "\n" }.joined()
  }

  private static func title(_ question: PacketQuestion) -> String {
    let packet = question.packet
    func end(_ address: IPAddress, _ port: UInt16?) -> String {
      port.map { "\(Endpoint(address, $0))" } ?? "\(address)"
    }
    var words = [
      "\(packet.transport)", end(packet.source, packet.sourcePort), "->",
      end(packet.destination, packet.destinationPort),
    ]
    if let name = packet.inInterface { words += ["in", EscapedText.terminal(name)] }
    if let name = packet.outInterface { words += ["out", EscapedText.terminal(name)] }
    words += ["state", packet.connection.state.rawValue, "path", question.path.rawValue]
    return words.joined(separator: " ")
  }

  private static func line(_ hit: RuleHit, isDecider: Bool, style: TextStyle) -> String {
    let arrow = isDecider ? "=>" : hit.isCertain ? " |" : " ?"
    let number = hit.rule.index == 0 ? "policy" : String(hit.rule.index)
    let text = hit.rule.index == 0 ? hit.rule.text.split(separator: " ").last.map(String.init) : nil
    let shown = EscapedText.terminal(text ?? hit.rule.text)
    let line = "  \(arrow) \(number.paddedLeft(6))  \(shown)"
    return isDecider ? style.bold(line) : line
  }

  private static func verdict(_ walk: Walk, style: TextStyle) -> [String] {
    guard !walk.isCertain else {
      let word = walk.verdict.rawValue.uppercased()
      let shown = walk.verdict == .accept ? style.green(word) : style.red(word)
      let by = walk.decidingRule.map { " by \(EscapedText.terminal($0.place))" } ?? ""
      var lines = ["  \(shown)\(by)"]
      switch walk.translation {
      case .asAsked: break
      case .elsewhere(let end):
        lines.append("  and sent to \(end.map { "\($0)" } ?? "one of several other places")")
      case .uncertain: lines.append("  and perhaps sent elsewhere by the nat table")
      }
      return lines
    }
    let ways = walk.outcomes.map { outcome in
      "\(outcome.verdict.rawValue.uppercased())"
        + (outcome.rule.map { " by \(EscapedText.terminal($0.place))" } ?? "")
    }
    return ["  \(style.yellow("UNKNOWN")): " + ways.joined(separator: ", or ")]
  }
}
