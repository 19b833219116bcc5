import Addressing
public import Firewall

/// What the kernel's own TRACE says of single packets.
public struct KernelTrace: Sendable {
  /// One packet.
  public struct Packet: Sendable, Hashable {
    /// The kernel's number of it.
    public var id: String
    /// The rules and policies it met and matched, in order; the position is 0 for a policy, and -1
    /// for a rule that is not in the rules as read.
    public var path: [RuleReference]
    /// The rule or policy that decided.
    public var rule: RuleReference?
    /// Its fate.
    public var verdict: Verdict
    /// Whether that is what the walk says of the first subject.
    public var isPredicted: Bool
  }

  /// What was traced.
  public var subject: TraceSubject
  /// The packets, in order.
  public var packets: [Packet]
  /// Seconds that it listened.
  public var seconds: Double
  /// What a person should know, in sentences.
  public var notes: [String]

  /// The exit status: 2 when a packet went another way than the walk says, 3 when none came.
  public var exitStatus: Int32 {
    if packets.isEmpty { return 3 }
    return packets.allSatisfy(\.isPredicted) ? 0 : 2
  }

  /// Puts the kernel's lines together, a packet at a time; pure.
  ///
  /// - Parameters:
  ///   - events: What the kernel said.
  ///   - subject: Whose packets they are.
  ///   - snapshot: The rules, to find positions in.
  ///   - seconds: How long was listened.
  ///   - notes: What else to say.
  public init(
    _ events: [KernelTraceEvent], of subject: TraceSubject, in snapshot: FirewallSnapshot,
    seconds: Double, notes: [String]
  ) {
    self.subject = subject
    self.seconds = seconds
    self.notes = notes
    let ruleset = snapshot.rulesets.first {
      $0.backend == .nft && $0.family == subject.packet.family
    }
    packets = Self.apart(events).map { id, events in
      Self.packet(id, events, subject: subject, ruleset: ruleset)
    }
  }

  /// The events of each packet.
  ///
  /// The kernel makes the number of a packet from where it lies in memory, so a later packet may
  /// have it again: our TRACE rule, which each of them meets first, tells them apart.
  private static func apart(
    _ events: [KernelTraceEvent]
  ) -> [(id: String, events: [KernelTraceEvent])] {
    var result: [(id: String, events: [KernelTraceEvent])] = []
    var places: [String: Int] = [:]
    for event in events {
      if let place = places[event.packet], !event.isOurs {
        result[place].events.append(event)
      } else {
        places[event.packet] = result.count
        result.append((event.packet, [event]))
      }
    }
    return result
  }

  private static func packet(
    _ id: String, _ events: [KernelTraceEvent], subject: TraceSubject, ruleset: Ruleset?
  ) -> Packet {
    var path: [RuleReference] = []
    var deciding: (rule: RuleReference, verdict: Verdict)?
    for event in events {
      guard let rule = reference(event, ruleset) else { continue }
      path.append(rule)
      switch event.verdict {
      case "DROP": deciding = (rule, isReject(rule, ruleset) ? .reject : .drop)
      case "ACCEPT" where deciding?.verdict.isRefused != true:
        // The filter table's word is what counts, else that of the last table.
        if deciding == nil || event.table == "filter" || deciding?.rule.table != "filter" {
          deciding = (rule, .accept)
        }
      default: break
      }
    }
    let fits = subject.courses.contains { course in
      course.walk.outcomes.contains { outcome in
        guard let deciding, let rule = outcome.rule else { return false }
        return rule.table == deciding.rule.table && rule.chain == deciding.rule.chain
          && rule.index == deciding.rule.index
          && (outcome.verdict == deciding.verdict
            || outcome.verdict.isRefused && deciding.verdict.isRefused)
      }
    }
    return Packet(
      id: id, path: path, rule: deciding?.rule, verdict: deciding?.verdict ?? .unknown,
      isPredicted: fits)
  }

  private static func isReject(_ rule: RuleReference, _ ruleset: Ruleset?) -> Bool {
    guard rule.index > 0,
      let chain = ruleset?.table(rule.table)?.chain(rule.chain),
      chain.rules.indices.contains(rule.index - 1)
    else { return false }
    return chain.rules[rule.index - 1].target?.name == "REJECT"
  }

  /// The rule by its text; our own TRACE rule and ends of chains are none.
  private static func reference(_ event: KernelTraceEvent, _ ruleset: Ruleset?) -> RuleReference? {
    let chain = ruleset?.table(event.table)?.chain(event.chain)
    switch event.place {
    case .end: return nil
    case .policy:
      return RuleReference(
        backend: .nft, table: event.table, chain: event.chain, index: 0,
        text: "policy \(event.verdict)", counters: chain?.counters)
    case .rule(let text):
      if event.isOurs { return nil }
      let index = chain?.rules.firstIndex { $0.text == text }.map { $0 + 1 } ?? -1
      return RuleReference(
        backend: .nft, table: event.table, chain: event.chain, index: index, text: text,
        counters: index > 0 ? chain?.rules[index - 1].counters : nil)
    }
  }
}

extension KernelTraceEvent {
  /// Whether it is about the TRACE rule that we put in.
  fileprivate var isOurs: Bool {
    guard case .rule(let text) = place else { return false }
    return text.contains("\(TraceMarker.label) ")
  }
}
