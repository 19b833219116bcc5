import Addressing
import SIP
import SystemPackage

/// The value of `sip_evidence` in the audit's document.
struct SIPEvidenceJSON: Encodable {
  let evidence: SIPEvidence

  enum Key: String, CodingKey {
    case seconds
    case heardSeconds = "heard_seconds"
    case interrupted, backends, group, lost, overruns, problems
    case leftoversRemoved = "leftovers_removed"
    case peersNotHeard = "peers_not_heard"
    case capture, peers
  }

  struct Capture: Encodable {
    var path: String
    var packets: Int
  }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(evidence.seconds, forKey: .seconds)
    try object.encode(evidence.heardSeconds, forKey: .heardSeconds)
    try object.encode(evidence.isInterrupted, forKey: .interrupted)
    try object.encode(evidence.backends, forKey: .backends)
    try object.encode(evidence.backends.isEmpty ? nil : evidence.group, forKey: .group)
    try object.encode(evidence.lost, forKey: .lost)
    try object.encode(evidence.overruns, forKey: .overruns)
    try object.encode(evidence.problems, forKey: .problems)
    try object.encode(evidence.leftovers, forKey: .leftoversRemoved)
    try object.encode(evidence.omittedPeers, forKey: .peersNotHeard)
    try object.encode(
      evidence.capture.map { Capture(path: $0.path.string, packets: $0.packets) },
      forKey: .capture)
    try object.encode(evidence.peers.map(PeerEvidenceJSON.init), forKey: .peers)
  }
}

/// What one peer sent.
private struct PeerEvidenceJSON: Encodable {
  let peer: PeerEvidence

  init(_ peer: PeerEvidence) { self.peer = peer }

  enum Key: String, CodingKey {
    case address, packets, bytes, first, last
    case sipPackets = "sip_packets"
    case hopLimits = "hop_limits"
    case keepalives, encrypted, misdirected, methods, ports, users, agents, messages
    case otherMessages = "other_messages"
    case fingerprints, injections
  }

  struct Count: Encodable {
    var name: String
    var packets: Int
  }

  struct PortCount: Encodable {
    var transport: String
    var port: UInt16?
    var packets: Int
  }

  struct HopLimitCount: Encodable {
    var hopLimit: UInt8
    var packets: Int

    enum CodingKeys: String, CodingKey {
      case hopLimit = "hop_limit"
      case packets
    }
  }

  struct Mark: Encodable {
    var id: String
    var tool: String
    var kind: Fingerprint.Kind
    var place: String
    var text: String
    var packets: Int
    var sources: [String]
  }

  struct Attempt: Encodable {
    var kind: Injection.Kind
    var place: String
    var text: String
    var packets: Int
  }

  func encode(to encoder: any Encoder) throws {
    func counts(_ tally: Tally<String>) -> [Count] {
      tally.ranked.map { Count(name: $0.value, packets: $0.count) }
    }
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(peer.address, forKey: .address)
    try object.encode(peer.packets, forKey: .packets)
    try object.encode(peer.bytes, forKey: .bytes)
    try object.encode(peer.first.map(Quantity.rfc3339), forKey: .first)
    try object.encode(peer.last.map(Quantity.rfc3339), forKey: .last)
    try object.encode(peer.sipPackets, forKey: .sipPackets)
    try object.encode(peer.keepalives, forKey: .keepalives)
    try object.encode(peer.encrypted, forKey: .encrypted)
    try object.encode(peer.misdirected, forKey: .misdirected)
    try object.encode(
      peer.hopLimits.ranked.map { HopLimitCount(hopLimit: $0.value, packets: $0.count) },
      forKey: .hopLimits)
    try object.encode(counts(peer.methods), forKey: .methods)
    try object.encode(
      peer.ports.ranked.map {
        PortCount(
          transport: $0.value.transport.description, port: $0.value.port, packets: $0.count)
      }, forKey: .ports)
    try object.encode(counts(peer.users), forKey: .users)
    try object.encode(counts(peer.agents), forKey: .agents)
    try object.encode(
      peer.messages.ranked.map { MessageJSON(message: $0.value, packets: $0.count) },
      forKey: .messages)
    try object.encode(peer.messages.others, forKey: .otherMessages)
    try object.encode(
      peer.fingerprints.ranked.map {
        let found = $0.value.fingerprint
        return Mark(
          id: found.id, tool: found.tool, kind: found.kind, place: $0.value.place,
          text: $0.value.text, packets: $0.count, sources: found.sources)
      }, forKey: .fingerprints)
    try object.encode(
      peer.injections.ranked.map {
        Attempt(
          kind: $0.value.kind, place: $0.value.place, text: $0.value.text, packets: $0.count)
      }, forKey: .injections)
  }
}

/// One kind of message.
private struct MessageJSON: Encodable {
  let message: MessageEvidence
  let packets: Int

  enum Key: String, CodingKey {
    case method, packets
    case requestURI = "request_uri"
    case requestURIPort = "request_uri_port"
    case transport, source, destination, misdirected, user, from, to, contact
    case userAgent = "user_agent"
    case viaSentBy = "via_sent_by"
    case problems
  }

  func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    try object.encode(message.method, forKey: .method)
    try object.encode(packets, forKey: .packets)
    try object.encode(message.requestURI, forKey: .requestURI)
    try object.encode(message.uriPort, forKey: .requestURIPort)
    try object.encode(message.transport.description, forKey: .transport)
    try object.encode(message.source, forKey: .source)
    try object.encode(message.destination, forKey: .destination)
    try object.encode(message.isMisdirected, forKey: .misdirected)
    try object.encode(message.user, forKey: .user)
    try object.encode(message.from, forKey: .from)
    try object.encode(message.to, forKey: .to)
    try object.encode(message.contact, forKey: .contact)
    try object.encode(message.agent, forKey: .userAgent)
    try object.encode(message.sentBy, forKey: .viaSentBy)
    try object.encode(message.problems, forKey: .problems)
  }
}
