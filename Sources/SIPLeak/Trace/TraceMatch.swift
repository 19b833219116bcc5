import Addressing
import Firewall

/// The conditions that pick one subject's packets out, as iptables writes them.
///
/// Never anything that asks connection tracking: loading such a rule turns tracking on (facts A1c),
/// and a marker must change nothing.
struct TraceMatch {
  let text: String

  /// Makes the match for chains that see the packet as on the wire, as delivered, or both ways.
  init(_ subject: TraceSubject, isOnWire: Bool, isDelivered: Bool) {
    let packet = subject.packet
    let wire = (
      address: subject.namesDestination ? packet.destination : nil, port: packet.destinationPort
    )
    let delivered = subject.delivered
    var address = isDelivered ? delivered.address : wire.address
    var port = isDelivered ? delivered.port : wire.port
    // Met on both sides of the translation: only what is the same on both can be asked.
    if isOnWire, isDelivered {
      if wire.address != delivered.address { address = nil }
      if wire.port != delivered.port { port = nil }
    }
    var words = ["-s \(packet.source)/\(packet.family.bitWidth)"]
    if let address { words.append("-d \(address)/\(address.family.bitWidth)") }
    if let name = packet.inInterface, subject.namesInterface, Self.isPlain(name) {
      words.append("-i \(name)")
    }
    words.append("-p \(packet.transport)")
    switch packet.transport {
    case .udp, .tcp, .sctp, .dccp:
      var ports: [String] = []
      if let from = packet.sourcePort { ports.append("--sport \(from)") }
      if let port { ports.append("--dport \(port)") }
      if !ports.isEmpty { words += ["-m \(packet.transport)"] + ports }
    case .icmp:
      if let icmp = packet.icmp { words.append("-m icmp --icmp-type \(icmp.type)/\(icmp.code)") }
    case .icmpv6:
      if let icmp = packet.icmp { words.append("-m icmp6 --icmpv6-type \(icmp.type)/\(icmp.code)") }
    default: break
    }
    text = words.joined(separator: " ")
  }

  /// Whether a name can stand in a restore line without quoting.
  private static func isPlain(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.count <= 15 && !name.hasPrefix("-")
      && name.utf8.allSatisfy { (0x21...0x7e).contains($0) && !"\"'\\!".utf8.contains($0) }
  }
}
