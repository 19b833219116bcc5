import Addressing
import Firewall

extension Correlation {
  /// What it says, a sentence each; rules' places are not escaped for terminals.
  public var statements: [String] {
    var lines: [String] = []
    if rulesChanged {
      lines.append(
        "the rules changed between the two readings: what is said here is said of those read last")
    }
    if !resetChains.isEmpty {
      lines.append(
        "counters of \(resetChains.joined(separator: ", ")) shrank: they were reset or the rules "
          + "loaded anew, so how much those rules grew is not known")
    }
    for entry in stateRules { lines += statements(entry) }
    if let line = aboutSIPRules { lines.append(line) }
    return lines
  }

  private func statements(_ entry: OfStateRule) -> [String] {
    let place = entry.growth.rule.place
    guard let growth = entry.growth.packets else {
      // A reset chain has been named.
      guard entry.growth.unknown != .reset else { return [alive(entry)].compactMap { $0 } }
      let why =
        entry.growth.unknown == .notThere
        ? "was not there in the first reading" : "carries no counter"
      return ["the rule \(place) that lets them in \(why)", alive(entry)].compactMap { $0 }
    }
    guard let packets = entry.findingPackets else {
      var line = "\(place) let in \(Self.packets(growth))"
      line += ", and whose they are is not counted: "
      line += "flows that began without accounting have no counters"
      return [line, alive(entry)].compactMap { $0 }
    }
    let flows =
      "the flow\(entry.findings == 1 ? "" : "s") of \(entry.findings) finding\(entry.findings == 1 ? "" : "s")"
    var notes: [String] = []
    if entry.countedFindings < entry.findings { notes.append("\(entry.countedFindings) counted") }
    if entry.leaks > 0, entry.leaks < entry.findings {
      let packets = entry.leakPackets.map { ": \(Quantity.grouped($0))" } ?? ""
      notes.append("\(entry.leaks) leak\(entry.leaks == 1 ? "" : "s")\(packets)")
    }
    let some = notes.isEmpty ? "" : " (\(notes.joined(separator: ", ")))"
    var line =
      "\(place) let in \(Self.packets(growth)); \(Quantity.grouped(packets)) came in "
      + flows + some
    if growth == 0 {
      if packets > 0 {
        line += ": none of them reached this rule, so they were dropped before"
      }
      return [line]
    }
    // Both are read side by side and not at one instant.
    if packets > growth + growth / 10 + 10 {
      return [line + ": more than it let in, so some were dropped before it"]
    }
    if let share = entry.share { line += ", \(Self.percent(share))" }
    let others = entry.otherPackets ?? 0
    if others > 0 { line += "; \(Quantity.grouped(others)) in other flows to SIP" }
    let known = packets &+ others
    if growth > known, entry.countedFindings == entry.findings {
      let rest = Quantity.grouped(growth - known)
      // What came between the reading of the flows and that of the rules looks like a rest, too.
      line +=
        growth - known > known / 10 + 10
        ? "; \(rest) are other traffic it lets in"
        : "; the other \(rest) came between the two readings, or are other traffic"
    }
    return [line]
  }

  /// Without accounting a refreshed timeout is the sign (facts A2).
  private func alive(_ entry: OfStateRule) -> String? {
    guard entry.countedFindings < entry.findings else { return nil }
    let uncounted = entry.findings - entry.countedFindings
    return entry.aliveFindings == 0
      ? "none of \(entry.findings) flow\(entry.findings == 1 ? "" : "s") was refreshed"
      : "\(entry.aliveFindings) of \(entry.findings) flow\(entry.findings == 1 ? "" : "s") "
        + "\(entry.aliveFindings == 1 ? "was" : "were") refreshed by packets"
        + (uncounted < entry.findings ? "" : "; how many is not counted")
  }

  private var aboutSIPRules: String? {
    let known = sipRules.filter { $0.growth.packets != nil }
    guard !known.isEmpty else { return nil }
    let places =
      known.prefix(4).map { $0.growth.rule.place }.joined(separator: ", ")
      + (known.count > 4 ? ", …" : "")
    let sum = known.compactMap(\.growth.packets).reduce(0, &+)
    let what = "\(places) (accept SIP)"
    if sum == 0 {
      guard aliveFlows > 0 else { return nil }
      let flows = "\(aliveFlows) flow\(aliveFlows == 1 ? "" : "s") to SIP"
      return
        "\(what) let in nothing while \(flows) lived: such a rule counts the first packet of a "
        + "flow only" + (newFlows == 0 ? ", and none began" : "")
    }
    return "\(what) let in \(Self.packets(sum)), the first of a flow each; \(newFlows) "
      + "flow\(newFlows == 1 ? "" : "s") to SIP began and still stand\(newFlows == 1 ? "s" : "")"
  }

  private static func packets(_ count: UInt64) -> String {
    "\(Quantity.grouped(count)) packet\(count == 1 ? "" : "s")"
  }

  private static func percent(_ share: Double) -> String {
    let whole = Int((share * 100).rounded(.down))
    return whole == 0 && share > 0 ? "less than 1%" : "\(whole)%"
  }
}
