public import Addressing
import Conntrack
public import Firewall

/// What an observation means: the findings, and what the answer cannot see.
public struct Audit: Sendable {
  /// The findings, leaks first.
  public var findings: [Finding]
  /// The blocks that stand now.
  public var blocks: [StandingBlock]
  /// What is not seen.
  public var blindSpots: [BlindSpot]
  /// Whether everything that was asked for was read whole.
  public var isComplete: Bool
  /// What was not, in words.
  public var problems: [String]
  /// How many flows concern SIP, findings or not.
  public var sipFlowCount: Int
  /// Peers of flows to SIP that the rules certainly admit as NEW, findings or not.
  public var admitted: Set<IPAddress>
  /// The state rules that flows to SIP are let in by, findings or not.
  public var stateRules: [RuleReference]
  /// The kernel's settings, judged; they are no findings.
  public var settings: [JudgedSetting]
  /// What moved between two readings, taken together; `nil` with one reading.
  public var correlation: Correlation?

  /// Whether everything was read, nothing found, and every block does what it should.
  public var isClean: Bool {
    findings.isEmpty && isComplete && blocks.allSatisfy { $0.state == .inForce }
  }

  /// The exit status of `audit` and `diagnose`, after the monitoring-plugin convention: 2 leaks,
  /// 3 not all was read, 1 only things to look at, 0 clean.
  public var exitStatus: Int32 {
    if findings.contains(where: { $0.level == .leak }) { return 2 }
    if !isComplete { return 3 }
    return isClean ? 0 : 1
  }

  /// Judges an observation.
  ///
  /// - Parameters:
  ///   - observation: What was read.
  ///   - policy: Whom the operator trusts; nothing by default.
  public init(_ observation: Observation, policy: AuditPolicy = AuditPolicy()) {
    self.init(observation, policy: policy, sortsSources: true)
  }

  /// The same, with every flow walked for itself if it is asked for.
  init(_ observation: Observation, policy: AuditPolicy, sortsSources: Bool) {
    let markers = observation.sample.firewall.snapshot.traceMarkerCount
    let observation = observation.withoutProbes
    var judge = FlowJudge(observation, policy: policy, sortsSources: sortsSources)
    let snapshot = observation.sample.firewall.snapshot
    var findings: [Finding] = []
    var conditional: Set<[RuleReference]> = []
    var unfiltered: [AddressFamily: Finding] = [:]
    var seen = 0
    // Grown by doubling, the list would be there twice at its largest; room not used costs nothing.
    findings.reserveCapacity(min(observation.sample.flows.count, 1 << 16))
    for flow in observation.sample.flows {
      guard let sides = judge.sides(of: flow) else { continue }
      seen += 1
      guard let finding = judge.finding(for: flow, sides: sides) else { continue }
      // One finding a rule: a thousand phones behind one rate rule are one thing to look at.
      if finding.cause == .conditional, !conditional.insert(finding.hangsOn).inserted {
        continue
      }
      // One finding a host and family: where no rule decides, every flow says the same.
      if finding.cause == .unfiltered {
        let ofHost = finding.aboutHost
        unfiltered[finding.family] =
          unfiltered[finding.family].map { known in
            Self.precedesByPlace(ofHost, known) ? ofHost : known
          } ?? ofHost
        continue
      }
      findings.append(finding)
    }
    findings += unfiltered.values
    findings += judge.expectationFindings(besides: findings)
    findings += judge.unfilteredFindings(besides: findings)
    // Flow order is the kernel's hash order; an answer that can be compared needs one of its own.
    findings.sortMovingOnce(by: FindingOrder.init)
    self.findings = findings
    sipFlowCount = seen
    blocks = StandingBlock.all(of: observation, policy: policy)
    stateRules = judge.stateRules
    correlation = Correlation(self.findings, judge: judge)
    admitted = judge.admitted
    // Who is not known to belong may be a finding for that alone.
    problems = observation.problems + ProtectedSet(observation, policy: policy).gaps.map(\.text)
    isComplete = problems.isEmpty
    settings = SettingsJudgement.all(of: observation)
    blindSpots =
      BlindSpot.all(of: observation, snapshot: snapshot) + BlindSpot.traceMarkers(markers)
  }

  /// The same audit with what a history adds: who came back after a block, and since when.
  ///
  /// - Parameter notes: What the history says.
  /// - Returns: The audit; its findings, levels and exit status are the same.
  public func noting(_ notes: HistoryNotes) -> Audit {
    var copy = self
    copy.note(notes)
    return copy
  }

  /// Takes what a history adds, as ``noting(_:)``, without a copy of the findings.
  ///
  /// - Parameter notes: What the history says.
  public mutating func note(_ notes: HistoryNotes) {
    for index in findings.indices {
      guard let peer = findings[index].peer?.address else { continue }
      let key = HistoryNotes.Seen(peer: peer, cause: findings[index].cause)
      findings[index].reopened = notes.ranOut[peer]
      findings[index].firstSeen = notes.firstSeen[key]
    }
  }

  /// Which of two findings of one host stands for both, whatever order the flows came in.
  private static func precedesByPlace(_ left: Finding, _ right: Finding) -> Bool {
    if left.wire.address != right.wire.address { return left.wire.address < right.wire.address }
    return (left.wire.port, left.transport.rawValue) < (right.wire.port, right.transport.rawValue)
  }
}
