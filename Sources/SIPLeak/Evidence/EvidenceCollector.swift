import Addressing
import SIP

/// Reads packets one after another into what is said about their senders.
struct EvidenceCollector: Sendable {
  private(set) var peers: [PeerEvidence]
  private let places: [IPAddress: Int]
  /// Packets that are of nobody who is listened to, or no IP packets.
  private(set) var foreign = 0

  init(_ peers: [IPAddress]) {
    self.peers = peers.map(PeerEvidence.init)
    places = Dictionary(zip(peers, peers.indices), uniquingKeysWith: { first, _ in first })
  }

  /// How long the packet was on the wire, or `nil` when it was not counted.
  @discardableResult
  mutating func add(_ bytes: [UInt8], time: Double) -> Int? {
    guard let parts = PacketParts(bytes), let place = places[parts.source] else {
      foreign += 1
      return nil
    }
    peers[place].add(parts, time: time)
    return parts.length
  }
}

extension PeerEvidence {
  mutating func add(_ parts: PacketParts, time: Double) {
    packets += 1
    bytes += parts.length
    first = first ?? time
    last = time
    ports.count(
      Port(transport: parts.transport, port: parts.destinationPort),
      as: ["\(parts.transport)", parts.destinationPort.map(String.init) ?? ""])
    guard parts.transport == .udp || parts.transport == .tcp, !parts.isLaterFragment else { return }
    let payload = Array(parts.payload)
    if payload.allSatisfy({ $0 == 0x0d || $0 == 0x0a || $0 == 0 }) {
      // A TCP segment without payload is an acknowledgement and says nothing either.
      if parts.transport == .udp || !payload.isEmpty { keepalives += 1 }
      return
    }
    if parts.transport == .tcp, payload.count >= 3, (0x14...0x17).contains(payload[0]),
      payload[1] == 3
    {
      encrypted += 1
      return
    }
    // A stream's segments are not joined, so how long a body is cannot be told there.
    let isWhole = parts.isWhole && parts.transport == .udp
    guard let head = MessageHead.parse(payload, isWhole: isWhole) else { return }
    sipPackets += 1
    add(head, parts)
  }

  private mutating func add(_ head: MessageHead, _ parts: PacketParts) {
    let message = MessageEvidence(head, parts)
    methods.count(message.method)
    if head.method != nil {
      if message.isMisdirected { misdirected += 1 }
      if let user = message.user { users.count(user) }
    }
    if let agent = message.agent { agents.count(agent) }
    let kind = [
      message.method, message.requestURI ?? "", "\(message.transport)",
      message.destination.map(\.port).map(String.init) ?? "", message.agent ?? "",
    ]
    messages.count(message, as: kind)
    for match in Fingerprint.matches(in: head) {
      var match = match
      match.text = match.text.excerpt
      fingerprints.count(match, as: [match.fingerprint.id, match.place])
    }
    for injection in Injection.attempts(in: head) {
      var injection = injection
      injection.text = injection.text.excerpt
      injections.count(
        injection, as: [injection.kind.rawValue, injection.place, injection.text])
    }
  }
}

extension MessageEvidence {
  /// What is kept of a message; every text is cut at a bound.
  init(_ head: MessageHead, _ parts: PacketParts) {
    // One switch, not three questions: optimised, those crash Swift 6.3.1 (ownership verifier).
    let name: String
    let uri: URI?
    switch head.start {
    case .request(let method, let target): (name, uri) = (method, target)
    case .response(let status, _): (name, uri) = (String(status), nil)
    }
    method = name.excerpt
    requestURI = uri?.text.excerpt
    uriPort = uri?.effectivePort
    transport = parts.transport
    destination = parts.destinationPort.map { Endpoint(parts.destination, $0) }
    source = parts.sourcePort.map { Endpoint(parts.source, $0) }
    let target = method.uppercased() == "REGISTER" ? head.to?.uri : uri
    user = uri == nil ? nil : target?.decodedUser?.excerpt
    from = head.text("From")?.excerpt
    to = head.text("To")?.excerpt
    contact = head.text("Contact")?.excerpt
    agent = head.agent?.excerpt
    sentBy = head.vias.first?.sentBy.excerpt
    problems = head.problems.prefix(12).map(\.description)
  }
}

extension String {
  /// The text cut at 256 bytes or a little before, with a mark where it was cut.
  var excerpt: String {
    guard utf8.count > 256 else { return self }
    var scalars = String.UnicodeScalarView()
    var size = 0
    for scalar in unicodeScalars {
      size += UTF8.width(scalar)
      if size > 256 { break }
      scalars.append(scalar)
    }
    return String(scalars) + "…"
  }
}
