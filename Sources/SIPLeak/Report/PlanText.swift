import Addressing
import Firewall

/// The text of `sipleak block`: what would be done, as the exact input of the tools that do it.
public enum PlanText {
  /// More addresses than these are not named in one command: no shell takes a hundred thousand.
  private static let mostNamed = 20

  /// The plan of a block.
  ///
  /// - Parameters:
  ///   - plan: The plan.
  ///   - command: The command that would apply it.
  ///   - isApplying: Whether applying was asked for, and nothing could be done.
  ///   - host: The host it was made for; commands name its namespace.
  /// - Returns: The text for standard output.
  public static func text(
    _ plan: BlockPlan, command: String, isApplying: Bool = false, host: HostIdentity? = nil
  ) -> String {
    let option = EscapedText.terminal(host?.option ?? "")
    var lines = [summary(plan, isApplying: isApplying), ""]
    let width =
      (plan.entries.map(\.address) + plan.omissions.map(\.address))
      .map { $0.description.count }.max() ?? 0
    for entry in plan.entries {
      var notes = [entry.reason, entry.grade?.rawValue].compactMap { $0 }.joined(separator: ", ")
      if entry.seconds != plan.request.seconds {
        notes +=
          entry.seconds == 0
          ? "; stands until unblocked already"
          : "; came back or stands, so for \(Quantity.duration(Double(entry.seconds)))"
      }
      lines.append(
        "  \(entry.prefix.description.padded(width))   \(entry.transport)/\(entry.port)  \(notes)")
    }
    for omission in plan.omissions {
      let hint =
        omission.isOnRequest
        ? " (only when named: sipleak block \(omission.address)\(option))" : ""
      lines.append(
        "  \(omission.address.description.padded(width))   not blocked: "
          + "\(EscapedText.terminal(omission.why))\(hint)")
    }
    for obstacle in plan.obstacles {
      lines.append("  Cannot block: \(EscapedText.terminal(obstacle))")
    }
    for block in plan.lifted { lines.append("  \(block.element)   lifted: its time is over") }
    for block in plan.moved {
      let left = block.secondsLeft.map { "\(Quantity.duration(Double($0))) left" } ?? "no end"
      lines.append("  \(block.element)   moved from a rule of its own into our set, \(left)")
    }
    guard !plan.isEmpty else { return joined(lines) }
    lines.append("")
    if let why = plan.plainBecause, !plan.entries.isEmpty {
      lines += [
        "A rule each, as \(EscapedText.terminal(why)):", "\(BlockPlan.plainNote).", "",
      ]
    }
    if !plan.setText.isEmpty { lines += ["ipset restore"] + indented(plan.setText) }
    for rules in plan.rules {
      lines += ["\(tool(rules)) --noflush"] + indented(rules.text)
    }
    if plan.rules.isEmpty { lines.append("The rules stand already.") }
    let flows = plan.deletions.count
    lines.append(
      plan.entries.isEmpty
        ? "Then check." : "Then delete \(flows) flow\(flows == 1 ? "" : "s"), and check.")
    if plan.request.place == .beforeStateRule {
      lines.append("Such a block keeps the flow alive and goes with the next firewall reload.")
    }
    let names = Set(plan.entries.map(\.address)).sorted().map(\.description)
    if names.count > Self.mostNamed {
      lines.append(
        "Undo: sipleak unblock ADDRESS ...\(option)   or --all for those that stood before too")
    } else if !names.isEmpty {
      lines.append("Undo: sipleak unblock \(names.joined(separator: " "))\(option)")
    }
    lines.append("Apply: \(command)")
    return joined(lines)
  }

  /// The input of the tools alone, a section a tool, each begun by a comment that names it.
  ///
  /// Empty when nothing is blocked.
  ///
  /// - Parameter plan: The plan.
  /// - Returns: The text for standard output.
  public static func restoreText(_ plan: BlockPlan) -> String {
    guard !plan.isEmpty else { return "" }
    var text = plan.setText.isEmpty ? "" : "# ipset restore\n" + plan.setText
    if plan.isPlain, !plan.entries.isEmpty { text = "# \(BlockPlan.plainNote)\n" }
    for rules in plan.rules { text += "# \(tool(rules)) --noflush\n" + rules.text }
    return text
  }

  private static func summary(_ plan: BlockPlan, isApplying: Bool) -> String {
    if !plan.obstacles.isEmpty {
      let lifted = plan.lifted.isEmpty ? "" : "; what is over would be lifted"
      return "Nobody \(isApplying ? "was" : "would be") blocked\(lifted)."
    }
    if plan.isRenewal {
      if !plan.lifted.isEmpty { return "No new block; what is over would be lifted." }
      if !plan.moved.isEmpty { return "No new block; those that stand would move into our sets." }
      return plan.isPlain
        ? "No new block; what is missing of our rules would be put back."
        : "No new block; what is missing of the rules that ask our sets would be put back."
    }
    let blocked = Set(plan.entries.map(\.address)).count
    let all = blocked + Set(plan.omissions.map(\.address)).count
    if all == 0 { return "Nothing to block: no leak was found." }
    let length =
      plan.request.seconds == 0
      ? "until unblocked"
      : "for "
        + Quantity.duration(
          Double(plan.request.seconds))
    let place =
      plan.request.place == .raw
      ? "ahead of conntrack (raw PREROUTING)" : "just before the state rule"
    return
      "\(isApplying ? "Blocked" : "Would block") \(blocked) of \(all) source\(all == 1 ? "" : "s") \(length), \(place)."
  }

  /// The plan of a removal.
  public static func text(_ plan: RemovalPlan, command: String) -> String {
    var lines: [String] = []
    for address in plan.absent { lines.append("  \(address)   is not blocked") }
    for kept in plan.kept { lines.append("  Stays: \(EscapedText.terminal(kept))") }
    guard !plan.isEmpty else {
      return joined(
        [plan.stillBlocked.isEmpty ? "Nothing of ours to remove." : "Nothing can be lifted."]
          + lines)
    }
    lines.insert(
      "Would lift \(plan.elements.count) block\(plan.elements.count == 1 ? "" : "s").", at: 0)
    for rules in plan.rules {
      lines += ["\(tool(rules)) --noflush"] + indented(rules.text)
    }
    if !plan.setText.isEmpty { lines += ["ipset restore"] + indented(plan.setText) }
    lines.append("Apply: \(command)")
    return joined(lines)
  }

  private static func tool(_ rules: BlockPlan.RestoreText) -> String {
    "\(rules.family == .ipv4 ? "iptables" : "ip6tables")-\(rules.backend.rawValue)-restore"
  }

  private static func indented(_ text: String) -> [String] {
    text.split(separator: "\n").map { "  " + EscapedText.terminal(String($0)) }
  }

  private static func joined(_ lines: [String]) -> String {
    lines.map { $0 + "\n" }.joined()
  }
}
