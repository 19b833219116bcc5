import Addressing
import Conntrack
import Firewall

/// One explanation of the document.
struct ExplanationJSON: Encodable {
  let explanation: Explanation

  init(_ explanation: Explanation) { self.explanation = explanation }

  enum Key: String, CodingKey { case id, title, verdict, summary, evidence, command }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(explanation.kind, forKey: .id)
    try object.encode(explanation.kind.title, forKey: .title)
    try object.encode(explanation.verdict, forKey: .verdict)
    try object.encode(explanation.summary, forKey: .summary)
    try object.encode(explanation.evidence.map(EvidenceJSON.init), forKey: .evidence)
    try object.encode(explanation.command, forKey: .command)
  }
}

/// One thing that speaks for or against an explanation.
struct EvidenceJSON: Encodable {
  let evidence: Evidence

  init(_ evidence: Evidence) { self.evidence = evidence }

  enum Key: String, CodingKey { case text, rule, flow, prefixes, setting }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(evidence.text, forKey: .text)
    try object.encode(evidence.rule.map(RuleJSON.init), forKey: .rule)
    try object.encode(evidence.flow, forKey: .flow)
    try object.encode(evidence.prefixes, forKey: .prefixes)
    try object.encode(evidence.setting, forKey: .setting)
  }
}

/// The answer about one address.
struct PeerAnswerJSON: Encodable {
  let answer: PeerAnswer

  init(_ answer: PeerAnswer) { self.answer = answer }

  enum Key: String, CodingKey {
    case address, trusted, flows
    case firstPackets = "first_packets"
  }

  struct Held: Encodable {
    let held: PeerAnswer.HeldFlow

    enum Key: String, CodingKey {
      case flow, grade
      case verdictNew = "verdict_new"
      case verdictHeld = "verdict_held"
    }

    func encode(to encoder: any Encoder) throws {
      var object = encoder.container(keyedBy: Key.self)
      try object.encode(held.ends, forKey: .flow)
      try object.encode(held.grade, forKey: .grade)
      try object.encode(VerdictJSON(held.asNew), forKey: .verdictNew)
      try object.encode(VerdictJSON(held.asHeld), forKey: .verdictHeld)
    }
  }

  struct First: Encodable {
    let first: PeerAnswer.FirstPacket

    enum Key: String, CodingKey {
      case transport, wire, interfaces, routed, verdict, conditional
      case hangsOn = "hangs_on"
    }

    func encode(to encoder: any Encoder) throws {
      var object = encoder.container(keyedBy: Key.self)
      try object.encode(first.transport.description, forKey: .transport)
      try object.encode(first.wire, forKey: .wire)
      try object.encode(first.interfaces, forKey: .interfaces)
      try object.encode(first.isRouted, forKey: .routed)
      try object.encode(VerdictJSON(first.verdict), forKey: .verdict)
      try object.encode(first.conditional.map(RuleJSON.init), forKey: .conditional)
      try object.encode(first.hangsOn, forKey: .hangsOn)
    }
  }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(answer.peer, forKey: .address)
    try object.encode(answer.isTrusted, forKey: .trusted)
    try object.encode(answer.flows.map { Held(held: $0) }, forKey: .flows)
    try object.encode(answer.firstPackets.map { First(first: $0) }, forKey: .firstPackets)
  }
}
