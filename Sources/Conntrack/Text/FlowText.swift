import Addressing

/// Flows as `conntrack -L` prints them.
public enum FlowText {
  /// What a line shows beyond what every line does.
  public struct Form: OptionSet, Sendable, Hashable {
    /// The bits.
    public var rawValue: UInt8
    /// Makes a form of its bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The network protocol before the transport's, as `-o extended` prints it.
    public static let extended = Form(rawValue: 1)
    /// The entry's id, as `-o id` prints it.
    public static let id = Form(rawValue: 2)
  }

  /// One line of `conntrack -L`, without its end.
  ///
  /// ``TableTextReader`` reads it back as the same flow, except for what the text has no words for:
  /// the master, the start, and the status bits but UNREPLIED, ASSURED, the offloads and what the
  /// tuples say of translation.
  ///
  /// - Parameters:
  ///   - flow: The flow. GRE's keys stand in the places of ports.
  ///   - form: What else to print.
  /// - Returns: The text; a helper's name is printed as it is.
  public static func line(_ flow: Flow, form: Form = []) -> String {
    let transport = flow.original.transport
    var words: [String] = []
    if form.contains(.extended) {
      words.append(flow.family == .ipv4 ? "ipv4     2" : "ipv6     10")
    }
    let name = name(of: transport)
    let gap = String(repeating: " ", count: max(0, 8 - name.utf8.count))
    words.append("\(name)\(gap) \(transport.rawValue)")
    if let timeout = flow.timeout { words.append(String(timeout)) }
    if let state = flow.tcpState, TCPStateName.all.indices.contains(Int(state)) {
      words.append(TCPStateName.all[Int(state)])
    }
    words += tuple(flow.original)
    if let zone = flow.originalZone { words.append("zone-orig=\(zone)") }
    words += counters(flow.originalCounters)
    if !flow.status.contains(.seenReply) { words.append("[UNREPLIED]") }
    words += tuple(flow.reply)
    if let zone = flow.replyZone { words.append("zone-reply=\(zone)") }
    words += counters(flow.replyCounters)
    if flow.status.contains(.hardwareOffload) {
      words.append("[HW_OFFLOAD]")
    } else if flow.status.contains(.offload) {
      words.append("[OFFLOAD]")
    }
    if flow.status.contains(.assured) { words.append("[ASSURED]") }
    if let mark = flow.mark { words.append("mark=\(mark)") }
    if flow.zone != 0 { words.append("zone=\(flow.zone)") }
    if let helper = flow.helper { words.append("helper=\(helper)") }
    words.append("use=1")
    if form.contains(.id) { words.append("id=\(flow.id)") }
    return words.joined(separator: " ")
  }

  private static func name(of transport: IPProtocol) -> String {
    switch transport {
    case .icmp: "icmp"
    case .icmpv6: "icmpv6"
    case .gre: "gre"
    case _ where transport.hasPorts: transport.description
    default: "unknown"
    }
  }

  private static func tuple(_ tuple: FlowTuple) -> [String] {
    var words = ["src=\(tuple.source)", "dst=\(tuple.destination)"]
    if tuple.transport.hasPorts {
      words += ["sport=\(tuple.sourcePort)", "dport=\(tuple.destinationPort)"]
    } else if tuple.transport == .gre {
      words += [
        "srckey=0x" + String(tuple.sourcePort, radix: 16),
        "dstkey=0x" + String(tuple.destinationPort, radix: 16),
      ]
    }
    return words
  }

  private static func counters(_ counters: Flow.Counters?) -> [String] {
    counters.map { ["packets=\($0.packets)", "bytes=\($0.bytes)"] } ?? []
  }

  /// What two tuples say of translation: the reply's is the mirror of the original's unless it is
  /// translated.
  static func translation(original: FlowTuple, reply: FlowTuple) -> FlowStatus {
    var status: FlowStatus = []
    // Keys and ids of other protocols differ by direction without any translation.
    let hasPorts = original.transport.hasPorts
    if reply.destination != original.source
      || hasPorts && reply.destinationPort != original.sourcePort
    {
      status.insert(.sourceNAT)
    }
    if reply.source != original.destination
      || hasPorts && reply.sourcePort != original.destinationPort
    {
      status.insert(.destinationNAT)
    }
    return status
  }
}

extension IPProtocol {
  /// GRE, 47: has keys where others have ports.
  static let gre = IPProtocol(rawValue: 47)
}
