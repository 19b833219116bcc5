import Addressing
import Firewall
import HostNetwork

/// The text of `sipleak diagnose`: one screen that says who, how and what to do.
public struct DiagnosisText {
  private let audit: Audit
  private let observation: Observation
  private let style: TextStyle
  private let isExact: Bool
  private let isVerbose: Bool
  /// What was heard of peers with `--listen`.
  public var evidence: SIPEvidence?
  private let diagnosis: Diagnosis?

  /// Makes the text of an audit.
  ///
  /// - Parameters:
  ///   - audit: What was found.
  ///   - observation: What it was found in.
  ///   - style: Colour and width.
  ///   - isExact: Whether counts are printed to the last digit.
  ///   - isVerbose: Whether settings that hardly matter are printed too.
  ///   - diagnosis: The explanations, to be printed after what to do.
  public init(
    _ audit: Audit, of observation: Observation, style: TextStyle, isExact: Bool = false,
    isVerbose: Bool = false, diagnosis: Diagnosis? = nil
  ) {
    self.diagnosis = diagnosis
    self.audit = audit
    self.observation = observation
    self.style = style
    self.isExact = isExact
    self.isVerbose = isVerbose
  }

  /// The whole text, ending in a newline.
  public func text() -> String {
    var sections = [[header]]
    sections += findings
    if let peer = diagnosis?.peer {
      sections.append(
        PeerText(style: style, isExact: isExact).section(
          peer, shown: audit.findings.compactMap(\.ends)))
    } else if audit.findings.isEmpty {
      sections.append([nothing])
    }
    if let correlation = audit.correlation, !correlation.statements.isEmpty {
      let title = "In \(Quantity.duration(correlation.seconds))"
      sections.append(listed(title, correlation.statements))
    }
    if let evidence { sections += SIPEvidenceText(evidence, style: style).sections }
    if !audit.blocks.isEmpty { sections.append(blocks) }
    let todo = whatToDo
    if !todo.isEmpty { sections.append(todo) }
    if let diagnosis {
      sections.append(ExplanationText(style: style).section(diagnosis.explanations))
    }
    if !audit.problems.isEmpty {
      sections.append(listed("Not read", audit.problems))
    }
    let settings = settings
    if !settings.isEmpty { sections.append(settings) }
    let spots = audit.blindSpots.filter { !$0.isSaidBySettings }
    if !spots.isEmpty { sections.append(listed("Not seen", spots.map(\.text))) }
    return sections.map { $0.joined(separator: "\n") + "\n" }.joined(separator: "\n")
  }

  private var header: String {
    let ports = observation.endpoints.transports.sorted { $0.rawValue > $1.rawValue }.map {
      transport in
      "\(transport)/"
        + observation.endpoints.ports(of: transport).map(String.init)
        .joined(separator: ",")
    }
    let backends = Backend.allCases.filter { backend in
      observation.sample.firewall.snapshot.rulesets.contains { $0.backend == backend }
    }
    let tools =
      backends.isEmpty
      ? "no iptables rules" : "iptables " + backends.map(\.rawValue).joined(separator: "+")
    let flows =
      observation.host.flowCount.map {
        "\(Quantity.grouped($0)) flow\($0 == 1 ? "" : "s"), "
      } ?? ""
    return [
      style.bold(
        EscapedText.terminal(
          observation.host.name + (observation.host.namespace.map { " netns \($0)" } ?? ""))),
      Quantity.utc(observation.sample.time), ports.joined(separator: " "), tools,
      "\(flows)\(Quantity.grouped(audit.sipFlowCount)) at SIP",
    ].joined(separator: "   ")
  }

  private var nothing: String {
    if !audit.isComplete {
      return "Nothing found, but not everything could be read: this is no all-clear."
    }
    if audit.sipFlowCount == 0 {
      return style.green("Clean") + "  no flow to SIP is in the table."
    }
    return style.green("Clean") + "  every flow to SIP is one that today's rules admit or refuse."
  }

  /// Findings told in full, of those that say the same: the first screen is for what to do, too.
  private static let mostAlike = 2
  /// Further ones, a line each.
  private static let mostTitles = 8

  /// The findings; of many that say the same only the first in full, then a line each, then a count.
  private var findings: [[String]] {
    struct Kind: Hashable {
      var level: Level
      var cause: Cause
      var why: String
      var rules: [RuleReference?]
    }
    var order: [Kind] = []
    var byKind: [Kind: [Finding]] = [:]
    for finding in audit.findings {
      let kind = Kind(
        level: finding.level, cause: finding.cause, why: finding.why,
        rules: [finding.asNew.rule, finding.asHeld.rule])
      if byKind[kind] == nil { order.append(kind) }
      byKind[kind, default: []].append(finding)
    }
    return order.flatMap { kind -> [[String]] in
      let alike = byKind[kind] ?? []
      // One more would take as much room as to say that it was left out.
      guard alike.count > Self.mostAlike + 1 else { return alike.map(finding) }
      let more = alike.dropFirst(Self.mostAlike)
      var lines = more.prefix(Self.mostTitles).map { "\(tag($0))  \(title($0))" }
      let left = more.count - lines.count
      lines.append(
        left == 0
          ? "      The same is so of these \(more.count)."
          : "      The same is so of these and of \(Quantity.grouped(left)) more: sipleak audit"
            + observation.endpoints.options + escaped(observation.host.option))
      return alike.prefix(Self.mostAlike).map(finding) + [lines]
    }
  }

  private func tag(_ finding: Finding) -> String {
    finding.level == .leak ? style.red("LEAK") : style.yellow("LOOK")
  }

  private func finding(_ finding: Finding) -> [String] {
    var lines = [tag(finding) + "  " + title(finding)]
    lines += style.wrapped("\(finding.cause.rawValue): \(escaped(finding.why)).", indent: 6)
    let width =
      [finding.asNew, finding.asHeld].compactMap { $0.rule.map { place($0).count } }
      .max() ?? 0
    lines.append(verdict("as NEW ", finding.asNew, width: width))
    if finding.flow != nil { lines.append(verdict("as held", finding.asHeld, width: width)) }
    if finding.expectation != nil { lines.append(verdict("RELATED", finding.asHeld, width: width)) }
    if let increments = finding.increments { lines.append(moved(increments)) }
    if let reason = finding.notBlockableBecause, finding.level == .leak || finding.flow != nil {
      lines += style.wrapped("not blockable: \(escaped(reason))", indent: 6)
    } else if finding.cause == .hostOpened, let peer = finding.peer {
      let option = escaped(observation.host.option)
      lines.append("      Is it yours?  sipleak audit --trust \(peer.address)\(option)")
    }
    return lines
  }

  private func title(_ finding: Finding) -> String {
    guard let peer = finding.peer else {
      return "\(finding.family == .ipv4 ? "IPv4" : "IPv6") \(finding.transport) "
        + "\(finding.wire)  "
        + (finding.expectation == nil ? "open to everybody" : "anybody is expected")
    }
    let arrow = finding.origin == .host ? "<-" : "->"
    let name = finding.peerPort == nil ? "\(peer.address)" : "\(peer)"
    var ends = "\(name) \(arrow) \(finding.wire)"
    if finding.isTranslated { ends += " (delivered to \(finding.delivered))" }
    if finding.zone != 0 { ends += " zone \(finding.zone)" }
    var notes = [finding.grade?.rawValue].compactMap { $0 }
    if finding.origin == .host { notes.append("opened by this host") }
    if finding.expectation != nil { notes.append("not used yet") }
    if let alive = finding.increments?.isAlive { notes.append(alive ? "alive" : "idle") }
    return ends.padded(44) + "  " + notes.joined(separator: ", ")
  }

  private func verdict(_ name: String, _ judged: JudgedVerdict, width: Int) -> String {
    let word = judged.isCertain ? judged.verdict.rawValue.uppercased() : "UNKNOWN"
    guard let rule = judged.rule else { return "      \(name)  \(word)" }
    var line = "      \(name)  \(word.padded(6))  \(escaped(place(rule)).padded(width))"
    let label = rule.comment.map { "\"\($0)\"" } ?? rule.text
    let counters = rule.counters.map { "   " + count($0.packets) } ?? ""
    let room = max(20, style.width - line.count - counters.count - 2)
    var shown = escaped(label)
    // A cut in the middle of an escape would still be plain text.
    if shown.count > room { shown = shown.prefix(room - 1) + "…" }
    line += "  \(shown)\(counters)"
    return line
  }

  /// The rule's place, with its backend where both hold rules: each numbers its own.
  private func place(_ rule: RuleReference) -> String {
    let used = Set(
      observation.sample.firewall.snapshot.rulesets.filter { !$0.isWithoutRules }.map(\.backend))
    return used.count > 1 ? "\(rule.backend.rawValue) \(rule.place)" : rule.place
  }

  private func moved(_ increments: Increments) -> String {
    var parts = ["in \(Quantity.duration(increments.seconds))".padded(7)]
    if let packets = increments.flowPackets {
      parts.append("+\(count(packets)) in the flow")
    } else if let alive = increments.isAlive {
      parts.append(alive ? "flow refreshed" : "flow idle")
    }
    if let rule = increments.stateRule {
      parts.append("\(growth(rule)) at \(rule.rule.index)")
    }
    if !increments.sipRules.isEmpty {
      parts.append(sip(increments.sipRules))
    }
    return "      " + parts.joined(separator: "   ")
  }

  private func sip(_ rules: [Increments.OfRule]) -> String {
    let places = rules.prefix(4).map { String($0.rule.index) }.joined(separator: ", ")
    let more = rules.count > 4 ? ", …" : ""
    if let unknown = rules.first(where: { $0.packets == nil }) {
      return "\(growth(unknown)) at \(places)\(more) (accept SIP)"
    }
    let sum = rules.compactMap(\.packets).reduce(0, +)
    return "+\(count(sum)) at \(places)\(more) (accept SIP)"
  }

  private func growth(_ rule: Increments.OfRule) -> String {
    if let packets = rule.packets { return "+\(count(packets))" }
    return switch rule.unknown {
    case .notThere: "new rule"
    case .notCounted: "no counter"
    case .reset, nil: "counter reset"
    }
  }

  private var blocks: [String] {
    var lines = listed(
      "Blocked",
      [
        "\(Quantity.grouped(audit.blocks.count)) by sipleak, "
          + "\(count(audit.blocks.compactMap(\.packets).reduce(0, +))) packets stopped"
      ])
    for block in audit.blocks where block.state != .inForce {
      let state =
        switch block.state {
        case .admitted: "is admitted by the rules now"
        case .expired: "is past its time and still stands"
        case .missingPart: "is in force in part"
        case .foreignRule: "stands beside a rule that is not ours"
        case .missingHook, .inForce: "is not in force"
        }
      lines += style.wrapped(
        escaped("\(block.element) \(state): \(block.advice ?? "")"), indent: 10)
    }
    return lines
  }

  private var whatToDo: [String] {
    let leaks = audit.findings.filter { $0.level == .leak && $0.isBlockable }
    guard let first = leaks.compactMap(\.peer).first else { return [] }
    let many = Set(leaks.compactMap { $0.peer?.address }).count > 1
    let name =
      (many ? "" : " \(first.address)") + observation.endpoints.options
      + escaped(observation.host.option)
    let length = "sipleak block\(name) --apply".count + 3
    return [
      "Do    " + "sipleak block\(name)".padded(length) + "shows the plan, changes nothing",
      "      " + "sipleak block\(name) --apply".padded(length)
        + "raw drop, flow deleted, checked; 24 h",
    ]
  }

  private var settings: [String] {
    // What an explanation has said with its evidence is not said again.
    let said = Set(
      (diagnosis?[.spoofedSource].flatMap { $0.verdict == .cannotTell ? $0.evidence : nil } ?? [])
        .compactMap(\.setting?.name))
    let paragraphs = SettingsText.paragraphs(
      audit.settings.filter { !said.contains($0.name) }, isVerbose: isVerbose)
    guard !paragraphs.isEmpty else { return [] }
    var lines: [String] = []
    for paragraph in paragraphs {
      let title = lines.isEmpty ? "Settings" : ""
      lines += listed(title, [paragraph.text])
      lines += paragraph.commands.map { "            " + escaped($0) }
    }
    return lines
  }

  private func listed(_ title: String, _ texts: [String]) -> [String] {
    texts.enumerated().flatMap { index, text -> [String] in
      let lines = style.wrapped(escaped(text), indent: 10)
      guard index == 0, let first = lines.first else { return lines }
      return [title.padded(10) + first.dropFirst(10)] + lines.dropFirst()
    }
  }

  private func escaped(_ text: String) -> String { EscapedText.terminal(text) }

  private func count(_ value: UInt64) -> String {
    isExact ? String(value) : Quantity.short(value)
  }
}

extension RuleReference {
  /// The text of the rule's first comment, if it has one.
  var comment: String? {
    // The reference keeps the printed text; the reader knows its quoting.
    let save = "*\(table)\n\(text)\nCOMMIT\n"
    let ruleset = try? RulesetReader.read(
      Array(save.utf8), source: "rule", backend: backend, family: .ipv4)
    return ruleset?.tables.first?.chains.first { !$0.rules.isEmpty }?.rules.first?.comment
  }
}
