import Addressing
import Firewall

/// The text of `sipleak trace`: the plan, and what the kernel did.
public enum TraceText {
  // MARK: The plan

  /// The plan, as the exact input of the tools.
  ///
  /// - Parameters:
  ///   - plan: The plan.
  ///   - command: The command that would run it.
  ///   - seconds: How long it would count.
  ///   - style: Colour and width.
  /// - Returns: Lines, each ending in a newline.
  public static func text(
    _ plan: TracePlan, command: String, seconds: Double, style: TextStyle
  ) -> String {
    var lines: [String] = []
    let length = Quantity.duration(seconds)
    if plan.obstacles.isEmpty {
      let count = plan.markers.count
      lines += style.wrapped(
        "Would put in \(count) rules that only count, for \(length), and take them out again. They "
          + "have no target: no packet's fate changes, and other rules keep their counters.",
        indent: 0)
    }
    lines.append("")
    for subject in plan.subjects { lines += heading(subject, style) + prediction(subject, style) }
    for obstacle in plan.obstacles {
      lines += style.wrapped("Cannot trace: \(escaped(obstacle))", indent: 2)
    }
    for note in plan.notes { lines += style.wrapped(escaped(note), indent: 2) }
    if plan.leftovers > 0 {
      lines += style.wrapped(
        "\(plan.leftovers) markers of an interrupted trace stand and would be taken out first.",
        indent: 2)
    }
    guard plan.obstacles.isEmpty else { return joined(lines) }
    lines.append("")
    for transaction in plan.transactions.reversed() {
      lines += ["\(tool(transaction)) --noflush"] + indented(transaction.insert)
    }
    lines.append("Then count for \(length), and")
    for transaction in plan.transactions {
      lines += ["\(tool(transaction)) --noflush"] + indented(transaction.remove)
    }
    lines += style.wrapped(
      "While it runs, rules have other numbers: nobody should insert or delete by number.",
      indent: 0)
    lines.append("Apply: \(command)")
    return joined(lines)
  }

  private static func tool(_ transaction: TracePlan.Transaction) -> String {
    "\(transaction.family == .ipv4 ? "iptables" : "ip6tables")-\(transaction.backend.rawValue)-restore"
  }

  private static func heading(_ subject: TraceSubject, _ style: TextStyle) -> [String] {
    [style.bold(escaped(subject.title)) + "   " + escaped(subject.note)]
  }

  private static func prediction(_ subject: TraceSubject, _ style: TextStyle) -> [String] {
    var seen: Set<String> = []
    return subject.courses.compactMap { course -> String? in
      let ways = course.walk.outcomes.prefix(4).map { outcome in
        outcome.verdict.rawValue.uppercased()
          + (outcome.rule.map { " at \($0.place)" } ?? "")
      }
      let more = course.walk.outcomes.count > 4 ? ", …" : ""
      let line =
        "as \(course.state)".padded(15) + "the walk says "
        + ways.joined(separator: " or ") + more
      return seen.insert(line).inserted ? line : nil
    }.flatMap { style.wrapped(escaped($0), indent: 2) }
  }

  // MARK: The answer

  /// What the kernel did.
  ///
  /// - Parameters:
  ///   - result: The result.
  ///   - style: Colour and width.
  ///   - isExact: Whether counts are printed to the last digit.
  /// - Returns: Lines, each ending in a newline.
  public static func text(_ result: TraceResult, style: TextStyle, isExact: Bool = false) -> String
  {
    var lines: [String] = []
    for answer in result.subjects {
      lines += heading(answer.subject, style) + prediction(answer.subject, style)
      for passage in answer.passages { lines += text(passage, style, isExact) }
      for gap in answer.gaps {
        lines += style.wrapped(
          "\(count(gap.packets, isExact)) packets or more vanished between \(gap.after) and "
            + "\(gap.before): rp_filter, a native nft chain or the routing took them, no rule of "
            + "iptables.", indent: 2)
      }
      lines += verdict(answer, result, style, isExact) + [""]
    }
    for note in result.notes { lines += style.wrapped(escaped(note), indent: 0) }
    if result.isInterrupted {
      lines.append("Interrupted after \(Quantity.duration(result.seconds)).")
    }
    return joined(lines)
  }

  private static func text(
    _ passage: TraceResult.Passage, _ style: TextStyle, _ isExact: Bool
  ) -> [String] {
    let name = "\(passage.table) \(passage.chain)"
    var lines = [
      "  " + escaped(name).padded(40) + " \(passage.backend.rawValue)  "
        + "\(count(passage.came, isExact)) came"
    ]
    for step in passage.steps where step.left > 0 || step.isMarkedByWalk {
      let number =
        step.rule.index == 0
        ? "policy"
        : step.through > step.rule.index
          ? "\(step.rule.index)-\(step.through)" : "\(step.rule.index)"
      let counts =
        step.came == 0
        ? "0 came"
        : step.left == 0
          ? "\(count(step.came, isExact)) came, passed on"
          : "\(count(step.left, isExact)) left here"
      let label: String
      if step.rule.index == 0 {
        label = String(step.rule.text.split(separator: " ").last ?? "")
      } else if step.through > step.rule.index {
        label = "(among these rules)"
      } else {
        label = step.rule.comment.map { "\"\($0)\"" } ?? step.rule.text
      }
      let room = max(20, style.width - 14 - counts.count - 2)
      var shown = escaped(label)
      if shown.count > room { shown = shown.prefix(room - 1) + "…" }
      let arrow = step.left > 0 ? "=>" : "  "
      let line = "   \(arrow) \(number.paddedLeft(6))  \(shown.padded(room))  \(counts)"
      lines.append(step.left > 0 ? style.bold(line) : line)
    }
    return lines
  }

  private static func verdict(
    _ answer: TraceResult.OfSubject, _ result: TraceResult, _ style: TextStyle, _ isExact: Bool
  ) -> [String] {
    let ways = answer.exits.map { exit in
      let place =
        exit.through > exit.rule.index
        ? "among \(exit.rule.table) \(exit.rule.chain) \(exit.rule.index) to \(exit.through)"
        : exit.rule.index == 0
          ? "at the policy of \(exit.rule.table) \(exit.rule.chain)" : "at \(exit.rule.place)"
      let word = exit.verdict == .unknown ? "left" : exit.verdict.rawValue.uppercased()
      return "\(word) \(place), \(count(exit.packets, isExact))"
    }.joined(separator: "; ")
    let length = Quantity.duration(result.seconds)
    let (word, text): (String, String) =
      switch answer.answer {
      case .proven: ("PROVEN", "\(ways): as the walk says.")
      case .measured: ("MEASURED", "\(ways): one of the ways the walk leaves open.")
      case .otherState:
        (
          "OTHER STATE",
          "\(ways): what the walk says of packets in another state; the flow had ended or begun."
        )
      case .disagrees:
        (
          "DISAGREES",
          "\(ways.isEmpty ? "they vanished" : ways): NOT what the walk says. Believe the kernel; "
            + "please report it with `sipleak observe --save DIR`."
        )
      case .noPackets:
        (
          "NO PACKET",
          "of it came in \(length), so nothing is proven. Trace while it sends, or longer: --for 1m"
        )
      }
    var lines = style.wrapped(escaped("\(word) \(text)"), indent: 2)
    if let first = lines.first {
      lines[0] = first.replacing(word, with: colour(answer.answer, word, style), maxReplacements: 1)
    }
    return lines
  }

  private static func colour(
    _ answer: TraceResult.Answer, _ word: String, _ style: TextStyle
  ) -> String {
    switch answer {
    case .proven, .measured: style.green(word)
    case .otherState, .noPackets: style.yellow(word)
    case .disagrees: style.red(word)
    }
  }

  // MARK: The kernel's own trace

  /// What the kernel said of single packets.
  ///
  /// - Parameters:
  ///   - trace: The trace.
  ///   - style: Colour and width.
  /// - Returns: Lines, each ending in a newline.
  public static func text(_ trace: KernelTrace, style: TextStyle) -> String {
    var lines = heading(trace.subject, style) + prediction(trace.subject, style)
    // Packets that went one way are one line.
    var ways:
      [(
        path: [RuleReference], verdict: Verdict, rule: RuleReference?, isPredicted: Bool, count: Int
      )] = []
    for packet in trace.packets {
      if let known = ways.firstIndex(where: {
        $0.path == packet.path && $0.verdict == packet.verdict
      }) {
        ways[known].count += 1
      } else {
        ways.append((packet.path, packet.verdict, packet.rule, packet.isPredicted, 1))
      }
    }
    for way in ways {
      lines.append("  \(way.count) packet\(way.count == 1 ? "" : "s") met")
      for rule in way.path {
        let number = rule.index == 0 ? "policy" : rule.index < 0 ? "?" : "\(rule.index)"
        let label = rule.index == 0 ? rule.text : rule.comment.map { "\"\($0)\"" } ?? rule.text
        let start = "   \(rule == way.rule ? "=>" : "  ") \(rule.table) \(rule.chain) \(number)"
        let room = max(20, style.width - start.count - 2)
        var shown = escaped(label)
        if shown.count > room { shown = shown.prefix(room - 1) + "…" }
        lines.append(escaped(start) + "  " + shown)
      }
      let word = way.verdict.rawValue.uppercased()
      lines += [
        way.isPredicted
          ? "  " + style.green("PROVEN") + " \(word), as the walk says."
          : "  " + style.red("DISAGREES") + " \(word): NOT what the walk says."
      ]
    }
    if trace.packets.isEmpty {
      lines.append(
        "  " + style.yellow("NO PACKET") + " of it came in \(Quantity.duration(trace.seconds)), so "
          + "nothing is proven.")
    }
    for note in trace.notes { lines += style.wrapped(escaped(note), indent: 0) }
    return joined(lines)
  }

  /// What `--kernel-trace` would do.
  ///
  /// - Parameters:
  ///   - transaction: What would be put in.
  ///   - command: The command that would run it.
  ///   - seconds: How long it would listen.
  /// - Returns: Lines, each ending in a newline.
  public static func text(
    _ transaction: TracePlan.Transaction, command: String, seconds: Double
  ) -> String {
    joined(
      [
        "Would have the kernel trace some packets itself, for \(Quantity.duration(seconds)):", "",
        "\(tool(transaction)) --noflush",
      ] + indented(transaction.insert) + [
        "xtables-monitor --trace", "\(tool(transaction)) --noflush",
      ]
        + indented(transaction.remove) + ["Apply: \(command)"])
  }

  private static func count(_ number: UInt64, _ isExact: Bool) -> String {
    isExact ? Quantity.grouped(number) : Quantity.short(number)
  }

  private static func escaped(_ text: String) -> String { EscapedText.terminal(text) }

  private static func indented(_ text: String) -> [String] {
    text.split(separator: "\n").map { "  " + escaped(String($0)) }
  }

  private static func joined(_ lines: [String]) -> String { lines.map { $0 + "\n" }.joined() }
}
