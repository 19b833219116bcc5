import Addressing
import Conntrack
import Firewall
import HostNetwork

/// Turns a request into the packets that are counted, by what was observed.
struct TraceSubjects {
  /// Flows of one peer that are traced side by side.
  static let limit = 4
  /// Rules that accept the port by name which are marked though the packet may not meet them: the
  /// first of a long list say as much as all.
  private static let shownRules = 4

  private(set) var subjects: [TraceSubject] = []
  /// What a person should know, in sentences.
  private(set) var notes: [String] = []
  /// Why nothing can be traced.
  private(set) var obstacle: String?
  private let observation: Observation
  private var judge: FlowJudge

  /// Works out the subjects; the observation's rules hold no markers.
  init(_ request: TraceRequest, in observation: Observation) {
    self.observation = observation
    judge = FlowJudge(observation, policy: AuditPolicy())
    switch request {
    case .peer(let address, let port): trace(address, port)
    case .packet(let question, let saysState): trace(question, saysState)
    }
  }

  // MARK: A peer

  private mutating func trace(_ address: IPAddress, _ port: UInt16?) {
    var found = observation.sample.flows.compactMap { flow -> (flow: Flow, sides: FlowSides)? in
      guard !flow.status.contains(.dying), let sides = judge.sides(of: flow),
        sides.peer.address == address, port == nil || sides.peer.port == port
      else { return nil }
      return (flow, sides)
    }
    guard !found.isEmpty else { return traceWithoutFlow(address, port) }
    // The busiest first; the table's own order is the kernel's hash.
    found.sort { left, right in
      let most = (packets(left.flow), packets(right.flow))
      if most.0 != most.1 { return most.0 > most.1 }
      return (left.sides.peer.port, left.sides.wire.port)
        < (right.sides.peer.port, right.sides.wire.port)
    }
    if found.count > Self.limit {
      notes.append(
        "\(address) has \(found.count) flows to SIP; the \(Self.limit) busiest are traced. Name one "
          + "by its port: sipleak trace \(Endpoint(address, found[Self.limit].sides.peer.port))")
    }
    for (flow, sides) in found.prefix(Self.limit) { add(flow, sides) }
  }

  private func packets(_ flow: Flow) -> UInt64 {
    (flow.originalCounters?.packets ?? 0) &+ (flow.replyCounters?.packets ?? 0)
  }

  private mutating func add(_ flow: Flow, _ sides: FlowSides) {
    let packet = PeerPacket(sides: sides, flow: flow, ingress: judge.ingress(sides))
    let path = judge.path(to: sides)
    let held = packet.asHeld
    let asHeld = courses(held, path, held.connection.state.rawValue)
    let asNew = courses(packet.asNew, path, "NEW")
    let opened = sides.origin == .host ? "opened by this host" : "opened by the peer"
    let isHeld = held.connection.state != .new
    subjects.append(
      TraceSubject(
        packet: held, path: path, courses: asHeld, alternatives: isHeld ? asNew : [],
        landmarks: landmarks((asHeld + asNew).map(\.walk), held, port: sides.delivered.port),
        note: isHeld ? "a flow stands, \(opened)" : "an unanswered flow stands"))
  }

  /// Without a flow any of its packets begins one, or belongs to one that begins meanwhile.
  private mutating func traceWithoutFlow(_ address: IPAddress, _ port: UInt16?) {
    let local = observation.network.addresses.map(\.address).filter {
      $0.family == address.family && !$0.isLoopback && !$0.isLinkLocal
    }
    guard let first = local.first else {
      let family = address.family == .ipv4 ? "IPv4" : "IPv6"
      obstacle = "this host has no \(family) address that \(address) could send to"
      return
    }
    notes.append(
      "\(address)\(port.map { " port \($0)" } ?? "") has no flow to SIP: the next packet it sends "
        + "begins one.")
    for transport in observation.endpoints.transports.sorted(by: { $0.rawValue > $1.rawValue }) {
      for sip in observation.endpoints.ports(of: transport) where subjects.count < Self.limit {
        func question(_ to: IPAddress, _ state: PacketState) -> PacketQuestion {
          PacketQuestion(
            transport: transport, source: address, sourcePort: port, destination: to,
            destinationPort: sip, state: state, inInterface: nil, outInterface: nil, path: .input)
        }
        var courses: [TraceSubject.Course] = []
        for state in [PacketState.new, .establishedOriginal] {
          for address in local { courses += self.courses(question(address, state), state.name) }
        }
        let packet = question(first, .new).packet
        subjects.append(
          TraceSubject(
            packet: packet, path: .input, namesDestination: local.count == 1, courses: courses,
            landmarks: landmarks(courses.map(\.walk), packet, port: sip), note: "no flow stands"))
      }
    }
  }

  // MARK: A packet in words

  private mutating func trace(_ question: PacketQuestion, _ saysState: Bool) {
    let packet = question.packet
    if !saysState, let source = packet.sourcePort, let destination = packet.destinationPort {
      let from = Endpoint(packet.source, source)
      let to = Endpoint(packet.destination, destination)
      for flow in observation.sample.flows where flow.original.transport == packet.transport {
        guard let sides = judge.sides(of: flow), sides.peer == from, sides.wire == to else {
          continue
        }
        add(flow, sides)
        return
      }
    }
    var courses: [TraceSubject.Course] = []
    var alternatives: [TraceSubject.Course] = []
    for state in PacketState.allCases where state != .untracked && state != .invalid {
      let other = PacketQuestion(question, in: state)
      let isSaid = other.packet.connection.state == packet.connection.state
      let isExpected =
        saysState
        ? isSaid && other.packet.connection.direction == packet.connection.direction
        : state == .new || state == .establishedOriginal
      let walked = self.courses(isExpected && saysState ? question : other, state.name)
      if isExpected { courses += walked } else { alternatives += walked }
    }
    if courses.isEmpty { courses = self.courses(question, packet.connection.state.rawValue) }
    subjects.append(
      TraceSubject(
        packet: packet, path: question.path, namesInterface: true, courses: courses,
        alternatives: alternatives,
        landmarks: landmarks(courses.map(\.walk), packet, port: packet.destinationPort),
        note: saysState
          ? "as told" : packet.sourcePort == nil ? "from any port" : "no flow stands"))
  }

  private mutating func courses(
    _ question: PacketQuestion, _ state: String
  ) -> [TraceSubject.Course] {
    courses(question.packet, question.path, state)
  }

  /// One walk an interface the packet may come by, as far as they differ: no peer comes by `lo`.
  private mutating func courses(
    _ packet: Packet, _ path: PacketPath, _ state: String
  ) -> [TraceSubject.Course] {
    guard packet.inInterface == nil, (1...16).contains(judge.ways.count) else {
      let walk = judge.evaluation.walk(packet, to: path, byAnyOf: judge.ways)
      return [TraceSubject.Course(state: state, walk: walk)]
    }
    var seen: Set<[Outcome]> = []
    return judge.ways.compactMap { way in
      var packet = packet
      packet.inInterface = way
      let walk = judge.evaluation.walk(packet, to: path)
      return seen.insert(walk.outcomes).inserted
        ? TraceSubject.Course(state: state, walk: walk) : nil
    }
  }

  /// The rules that would decide, and the rules that accept the port by name.
  private func landmarks(
    _ walks: [Walk], _ packet: Packet, port: UInt16?
  ) -> [RuleReference] {
    var rules = walks.flatMap { $0.outcomes.compactMap(\.rule) }
    if let port {
      rules += observation.sample.firewall.snapshot.rulesAccepting(
        family: packet.family, transport: packet.transport, port: port
      ).prefix(Self.shownRules)
    }
    var seen: Set<RuleReference> = []
    return rules.filter { $0.index > 0 && seen.insert($0).inserted }
  }
}

extension PacketState {
  /// The state as rules name it.
  fileprivate var name: String {
    switch self {
    case .establishedOriginal, .establishedReply: "ESTABLISHED"
    default: rawValue
    }
  }
}

extension PacketQuestion {
  /// The same packet in another state.
  fileprivate init(_ other: PacketQuestion, in state: PacketState) {
    self = other
    packet.connection = state.facts(
      source: packet.sourcePort.map { Endpoint(packet.source, $0) },
      destination: packet.destinationPort.map { Endpoint(packet.destination, $0) })
    if packet.transport == .tcp { packet.tcpFlags = state == .new ? 2 : nil }
  }
}
