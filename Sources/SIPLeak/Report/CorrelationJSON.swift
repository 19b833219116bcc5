import Addressing

/// What two readings say together, as part of the audit's document.
struct CorrelationJSON: Encodable {
  let correlation: Correlation

  init(_ correlation: Correlation) { self.correlation = correlation }

  enum Key: String, CodingKey {
    case seconds
    case rulesChanged = "rules_changed"
    case resetChains = "reset_chains"
    case stateRules = "state_rules"
    case sipRules = "sip_rules"
    case newFlows = "new_flows"
    case aliveFlows = "alive_flows"
    case unknownFlows = "unknown_flows"
    case statements
  }

  private struct StateRule: Encodable {
    let entry: Correlation.OfStateRule

    enum Key: String, CodingKey {
      case family, rule, packets, unknown, findings, share, leaks
      case leakPackets = "leak_packets"
      case countedFindings = "counted_findings"
      case aliveFindings = "alive_findings"
      case findingPackets = "finding_packets"
      case otherPackets = "other_sip_packets"
    }

    func encode(to encoder: any Encoder) throws {
      var object = encoder.container(keyedBy: Key.self)
      try object.encode(entry.family, forKey: .family)
      try object.encode(RuleJSON(entry.growth.rule), forKey: .rule)
      try object.encode(entry.growth.packets, forKey: .packets)
      try object.encode(entry.growth.unknown, forKey: .unknown)
      try object.encode(entry.findings, forKey: .findings)
      try object.encode(entry.countedFindings, forKey: .countedFindings)
      try object.encode(entry.aliveFindings, forKey: .aliveFindings)
      try object.encode(entry.findingPackets, forKey: .findingPackets)
      try object.encode(entry.leaks, forKey: .leaks)
      try object.encode(entry.leakPackets, forKey: .leakPackets)
      try object.encode(entry.otherPackets, forKey: .otherPackets)
      try object.encode(entry.share, forKey: .share)
    }
  }

  private struct SIPRule: Encodable {
    let entry: Correlation.OfSIPRule

    enum Key: String, CodingKey { case family, rule, packets, unknown }

    func encode(to encoder: any Encoder) throws {
      var object = encoder.container(keyedBy: Key.self)
      try object.encode(entry.family, forKey: .family)
      try object.encode(RuleJSON(entry.growth.rule), forKey: .rule)
      try object.encode(entry.growth.packets, forKey: .packets)
      try object.encode(entry.growth.unknown, forKey: .unknown)
    }
  }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(correlation.seconds, forKey: .seconds)
    try object.encode(correlation.rulesChanged, forKey: .rulesChanged)
    try object.encode(correlation.resetChains, forKey: .resetChains)
    try object.encode(correlation.stateRules.map { StateRule(entry: $0) }, forKey: .stateRules)
    try object.encode(correlation.sipRules.map { SIPRule(entry: $0) }, forKey: .sipRules)
    try object.encode(correlation.newFlows, forKey: .newFlows)
    try object.encode(correlation.aliveFlows, forKey: .aliveFlows)
    try object.encode(correlation.silentUnknown, forKey: .unknownFlows)
    try object.encode(correlation.statements, forKey: .statements)
  }
}
