import Conntrack
import Addressing
import Firewall

/// The JSON that `sipleak audit --format json` prints.
///
/// Schema `sipleak.audit`, version 1. Keys are in snake case; a value that is not known is `null`
/// and never left out.
public struct AuditJSON: Encodable, Sendable {
  /// The schema's name.
  public static let schema = "sipleak.audit"
  /// The schema's version: it grows when a key changes its meaning or goes.
  public static let version = 1

  let audit: Audit
  private let observation: Observation
  /// Whether the findings are written by themselves, so that they never stand in memory together.
  var leavesFindingsOut = false
  /// What was heard of peers with `--listen`.
  public var evidence: SIPEvidence?
  private let diagnosis: Diagnosis?

  /// Makes the document of an audit.
  ///
  /// - Parameters:
  ///   - audit: What was found.
  ///   - observation: What it was found in.
  ///   - diagnosis: The explanations; `audit` does not judge them.
  public init(_ audit: Audit, of observation: Observation, diagnosis: Diagnosis? = nil) {
    self.audit = audit
    self.observation = observation
    self.diagnosis = diagnosis
  }

  /// The document as one line of JSON with a newline.
  public func line() throws -> String {
    try JSONLine.text(self)
  }

  enum Key: String, CodingKey {
    case schema, version, time, host, complete, problems, flows, sipFlows = "sip_flows", sample
    case findings, blindSpots = "blind_spots", stateRules = "state_rules"
    case blocks, settings, namespace, reading, correlation, explanations, peer
    case sipEvidence = "sip_evidence"
  }

  /// Writes the document.
  public func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(Self.schema, forKey: .schema)
    try object.encode(Self.version, forKey: .version)
    try object.encode(Quantity.rfc3339(observation.sample.time), forKey: .time)
    try object.encode(observation.host.name, forKey: .host)
    try object.encode(observation.host.namespace, forKey: .namespace)
    try object.encode(audit.isComplete, forKey: .complete)
    try object.encode(audit.problems, forKey: .problems)
    try object.encode(observation.host.flowCount, forKey: .flows)
    try object.encode(audit.sipFlowCount, forKey: .sipFlows)
    try object.encode(
      observation.earlier.map(observation.sample.seconds), forKey: .sample)
    let findings = leavesFindingsOut ? [] : audit.findings
    try object.encode(findings.map(FindingJSON.init), forKey: .findings)
    try object.encode(audit.blindSpots, forKey: .blindSpots)
    try object.encode(audit.blocks.map(BlockJSON.init), forKey: .blocks)
    try object.encode(audit.stateRules.map(RuleJSON.init), forKey: .stateRules)
    try object.encode(audit.settings.map(SettingJSON.init), forKey: .settings)
    try object.encode(observation.sample.reading.map(ReadingJSON.init), forKey: .reading)
    try object.encode(audit.correlation.map(CorrelationJSON.init), forKey: .correlation)
    try object.encode(evidence.map(SIPEvidenceJSON.init), forKey: .sipEvidence)
    try object.encode(
      diagnosis?.explanations.map(ExplanationJSON.init), forKey: .explanations)
    try object.encode(diagnosis?.peer.map(PeerAnswerJSON.init), forKey: .peer)
  }
}

/// One finding of the document.
struct FindingJSON: Encodable {
  let finding: Finding

  init(_ finding: Finding) { self.finding = finding }

  enum Key: String, CodingKey {
    case cause, level, grade, transport, family, zone, peer, delivered, wire, translated, origin
    case verdictNew = "verdict_new"
    case verdictHeld = "verdict_held"
    case blockable, why
    case notBlockable = "not_blockable"
    case flowID = "flow_id"
    case timeout, since, increments, master, expectation, reopened
    case firstSeen = "first_seen"
  }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(finding.cause, forKey: .cause)
    try object.encode(finding.level, forKey: .level)
    try object.encode(finding.grade, forKey: .grade)
    try object.encode(finding.transport.description, forKey: .transport)
    try object.encode(finding.family, forKey: .family)
    try object.encode(finding.zone, forKey: .zone)
    try object.encode(finding.peer, forKey: .peer)
    try object.encode(finding.delivered, forKey: .delivered)
    try object.encode(finding.wire, forKey: .wire)
    try object.encode(finding.isTranslated, forKey: .translated)
    try object.encode(finding.origin, forKey: .origin)
    try object.encode(VerdictJSON(finding.asNew), forKey: .verdictNew)
    try object.encode(VerdictJSON(finding.asHeld), forKey: .verdictHeld)
    try object.encode(finding.isBlockable, forKey: .blockable)
    try object.encode(finding.why, forKey: .why)
    try object.encode(finding.notBlockableBecause, forKey: .notBlockable)
    // 0: the text that was read hides it.
    try object.encode(finding.flow.flatMap { $0.id == 0 ? nil : $0.id }, forKey: .flowID)
    try object.encode(finding.flow?.timeout, forKey: .timeout)
    let since = finding.flow?.start.map { Quantity.rfc3339(Double($0) / 1e9) }
    try object.encode(since, forKey: .since)
    try object.encode(finding.increments.map(IncrementsJSON.init), forKey: .increments)
    let master = finding.flow?.master ?? finding.expectation?.master
    try object.encode(master.map(MasterJSON.init), forKey: .master)
    try object.encode(finding.expectation.map(ExpectationJSON.init), forKey: .expectation)
    try object.encode(finding.firstSeen.map(Quantity.rfc3339), forKey: .firstSeen)
    try object.encode(finding.reopened.map(Quantity.rfc3339), forKey: .reopened)
  }
}

/// The flow whose helper expected another, by its first packet.
struct MasterJSON: Encodable {
  var source: Endpoint
  var destination: Endpoint

  init(_ tuple: FlowTuple) {
    source = tuple.sourceEndpoint
    destination = tuple.destinationEndpoint
  }
}

/// An expectation that nobody has used yet.
struct ExpectationJSON: Encodable {
  let expectation: Expectation

  init(_ expectation: Expectation) { self.expectation = expectation }

  enum Key: String, CodingKey { case source, mask, port, helper, permanent, timeout }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(expectation.tuple.source, forKey: .source)
    try object.encode(expectation.mask.source, forKey: .mask)
    let hasPort = expectation.mask.sourcePort != 0
    try object.encode(hasPort ? expectation.tuple.sourcePort : nil, forKey: .port)
    try object.encode(expectation.helper, forKey: .helper)
    try object.encode(expectation.flags.contains(.permanent), forKey: .permanent)
    try object.encode(expectation.timeout, forKey: .timeout)
  }
}

/// A setting with what it means.
struct SettingJSON: Encodable {
  let setting: JudgedSetting

  init(_ setting: JudgedSetting) { self.setting = setting }

  enum Key: String, CodingKey { case name, value, level, text, command }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(setting.name, forKey: .name)
    try object.encode(setting.value, forKey: .value)
    try object.encode(setting.level, forKey: .level)
    try object.encode(setting.text, forKey: .text)
    try object.encode(setting.command, forKey: .command)
  }
}

/// A block that stands.
struct BlockJSON: Encodable {
  let block: StandingBlock

  init(_ block: StandingBlock) { self.block = block }

  enum Key: String, CodingKey {
    case element, family, state, holder, timeout, packets, missing, advice
    case spoiltChain = "spoilt_chain"
  }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(block.element, forKey: .element)
    try object.encode(block.family, forKey: .family)
    try object.encode(block.state, forKey: .state)
    try object.encode(block.holder, forKey: .holder)
    try object.encode(block.timeout, forKey: .timeout)
    try object.encode(block.packets, forKey: .packets)
    try object.encode(block.missing, forKey: .missing)
    try object.encode(block.spoiltChain, forKey: .spoiltChain)
    try object.encode(block.advice, forKey: .advice)
  }
}

/// A verdict with its rule.
struct VerdictJSON: Encodable {
  let verdict: JudgedVerdict

  init(_ verdict: JudgedVerdict) { self.verdict = verdict }

  enum Key: String, CodingKey { case verdict, certain, rule }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(verdict.verdict, forKey: .verdict)
    try object.encode(verdict.isCertain, forKey: .certain)
    try object.encode(verdict.rule.map(RuleJSON.init), forKey: .rule)
  }
}

/// A rule with its place and counters.
struct RuleJSON: Encodable {
  let rule: RuleReference

  init(_ rule: RuleReference) { self.rule = rule }

  enum Key: String, CodingKey { case backend, table, chain, index, text, packets, bytes }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(rule.backend, forKey: .backend)
    try object.encode(rule.table, forKey: .table)
    try object.encode(rule.chain, forKey: .chain)
    try object.encode(rule.index, forKey: .index)
    try object.encode(rule.text, forKey: .text)
    try object.encode(rule.counters?.packets, forKey: .packets)
    try object.encode(rule.counters?.bytes, forKey: .bytes)
  }
}

/// What moved between two samples.
struct IncrementsJSON: Encodable {
  let increments: Increments

  init(_ increments: Increments) { self.increments = increments }

  enum Key: String, CodingKey {
    case seconds
    case flowPackets = "flow_packets"
    case alive
    case stateRule = "state_rule"
    case sipRules = "sip_rules"
    case refusingRule = "refusing_rule"
  }

  struct OfRule: Encodable {
    let growth: Increments.OfRule

    enum Key: String, CodingKey { case rule, growth = "packets", unknown }

    func encode(to encoder: any Encoder) throws {
      var object = encoder.container(keyedBy: Key.self)
      try object.encode(RuleJSON(growth.rule), forKey: .rule)
      try object.encode(growth.packets, forKey: .growth)
      try object.encode(growth.unknown, forKey: .unknown)
    }
  }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(increments.seconds, forKey: .seconds)
    try object.encode(increments.flowPackets, forKey: .flowPackets)
    try object.encode(increments.isAlive, forKey: .alive)
    try object.encode(increments.stateRule.map { OfRule(growth: $0) }, forKey: .stateRule)
    try object.encode(increments.sipRules.map { OfRule(growth: $0) }, forKey: .sipRules)
    try object.encode(increments.refusingRule.map { OfRule(growth: $0) }, forKey: .refusingRule)
  }
}
