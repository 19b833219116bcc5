public import Addressing
import Conntrack
public import Firewall

/// One kind of packet that a trace counts: what a marker matches, and what the walk says of it.
public struct TraceSubject: Sendable {
  /// What the walk says of these packets in one state.
  public struct Course: Sendable {
    /// The state, such as `ESTABLISHED`.
    public var state: String
    /// All that may become of them.
    public var walk: Walk

    /// Makes a course.
    public init(state: String, walk: Walk) {
      self.state = state
      self.walk = walk
    }
  }

  /// The packet, addressed as on the wire.
  public var packet: Packet
  /// To the host or through it.
  public var path: PacketPath
  /// Whether markers ask for the destination address; a peer without a flow may send to any of ours.
  public var namesDestination: Bool
  /// Whether markers ask for the interface: where a person named it; of a flow it is only assumed.
  public var namesInterface: Bool
  /// What is expected: one course for a flow that stands, several where the state is not known.
  public var courses: [Course]
  /// What the walk says of other states, to tell "the flow had ended" from "the walk is wrong".
  public var alternatives: [Course]
  /// Rules whose counts an operator wants to see though the packet may never meet them.
  public var landmarks: [RuleReference]
  /// What is known of the flow, in a word or two.
  public var note: String

  /// Makes a subject.
  public init(
    packet: Packet, path: PacketPath, namesDestination: Bool = true,
    namesInterface: Bool = false, courses: [Course],
    alternatives: [Course] = [], landmarks: [RuleReference] = [], note: String
  ) {
    self.packet = packet
    self.path = path
    self.namesDestination = namesDestination
    self.namesInterface = namesInterface
    self.courses = courses
    self.alternatives = alternatives
    self.landmarks = landmarks
    self.note = note
  }

  /// Everything any course says.
  var allCourses: [Course] { courses + alternatives }

  /// Where the packets are addressed after the nat table; `nil` parts are not the same for all.
  var delivered: (address: IPAddress?, port: UInt16?) {
    if let held = packet.delivered { return (held.address, held.port) }
    let wire = (namesDestination ? packet.destination : nil, packet.destinationPort)
    var ends: [(IPAddress?, UInt16?)] = []
    for course in courses {
      switch course.walk.translation {
      case .asAsked: ends.append(wire)
      case .elsewhere(let end?): ends.append((end.address, end.port))
      case .elsewhere(nil), .uncertain: return (nil, nil)
      }
    }
    guard let first = ends.first else { return wire }
    return (
      ends.allSatisfy { $0.0 == first.0 } ? first.0 : nil,
      ends.allSatisfy { $0.1 == first.1 } ? first.1 : nil
    )
  }

  /// The packets in words, as `explain` takes them.
  public var title: String {
    func end(_ address: IPAddress, _ port: UInt16?) -> String {
      port.map { "\(Endpoint(address, $0))" } ?? "\(address)"
    }
    let to = namesDestination ? end(packet.destination, packet.destinationPort) : "any"
    let port =
      namesDestination ? "" : packet.destinationPort.map { " port \($0)" } ?? ""
    return "\(packet.transport) \(end(packet.source, packet.sourcePort)) -> \(to)\(port)"
  }
}

/// Whose packets to trace, as a person says it.
public enum TraceRequest: Sendable, Hashable {
  /// A peer, and the port it sends from if that matters.
  case peer(IPAddress, port: UInt16?)
  /// A packet in words; `saysState` tells whether the words name its state.
  case packet(PacketQuestion, saysState: Bool)

  /// Reads an address, an address with a port, or a packet in words.
  ///
  /// - Parameter words: The words of the command line.
  /// - Returns: The request.
  /// - Throws: ``SIPLeakError`` that says what was expected.
  public static func read(_ words: [String]) throws(SIPLeakError) -> TraceRequest {
    if words.count == 1, !words[0].contains(" ") {
      if let address = IPAddress(words[0]) { return .peer(address.unmapped, port: nil) }
      if let end = Endpoint(words[0]) { return .peer(end.address.unmapped, port: end.port) }
      throw SIPLeakError(
        .badFile, "\"\(words[0])\" is no peer",
        advice:
          "Give an address (203.0.113.66), an address with its port (203.0.113.66:24376), or a "
          + "packet in words: udp 203.0.113.66 -> 192.0.2.5:5060")
    }
    let text = words.joined(separator: " ")
    let question = try PacketWords.read(text)
    let said = text.split(separator: " ").contains { $0.lowercased() == "state" }
    return .packet(question, saysState: said)
  }
}

extension TraceRequest {
  /// The endpoints whose flows have to be read: for a packet in words, the port it names as well.
  func endpoints(_ given: SIPEndpoints) -> SIPEndpoints {
    guard case .packet(let question, _) = self, let port = question.packet.destinationPort else {
      return given
    }
    var all = given
    switch question.packet.transport {
    case .udp: all.udpPorts.insert(port)
    case .tcp: all.tcpPorts.insert(port)
    default: break
    }
    return all
  }
}
