import Addressing
import Conntrack
import Netlink

extension FlowMessage {
  static func flow(_ bytes: [UInt8]) throws(MalformedNetlink) -> Flow {
    try flow(unsafe bytes.span.bytes)
  }

  static func ports(_ bytes: [UInt8]) throws(MalformedNetlink) -> Ports {
    try ports(unsafe bytes.span.bytes)
  }
}

/// An attribute; `nested` sets the flag that some kernels leave out.
func attribute(_ type: UInt8, nested: Bool = false, _ payload: [UInt8]) -> [UInt8] {
  let length = 4 + payload.count
  let padding = [UInt8](repeating: 0, count: (4 - length % 4) % 4)
  return [UInt8(length & 0xff), UInt8(length >> 8), type, nested ? 0x80 : 0] + payload + padding
}

func tupleBytes(_ tuple: FlowTuple, zone: UInt16? = nil) -> [UInt8] {
  let isIPv4 = tuple.family == .ipv4
  func port(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xff)] }
  return attribute(
    1, nested: true,
    attribute(isIPv4 ? 1 : 3, tuple.source.networkBytes)
      + attribute(isIPv4 ? 2 : 4, tuple.destination.networkBytes))
    + attribute(
      2, nested: true,
      attribute(1, [tuple.transport.rawValue]) + attribute(2, port(tuple.sourcePort))
        + attribute(3, port(tuple.destinationPort)))
    + (zone.map { attribute(3, port($0)) } ?? [])
}

extension FlowTuple {
  /// Reads `192.0.2.1:5 > 192.0.2.2:6`.
  static func udp(_ text: String) -> FlowTuple {
    let ends = text.split(separator: " ").compactMap { Endpoint(String($0)) }
    let none = Endpoint(IPAddress(ipv4: 0), 0)
    let source = ends.first ?? none
    let destination = ends.last ?? none
    return FlowTuple(
      source: source.address, destination: destination.address, transport: .udp,
      sourcePort: source.port, destinationPort: destination.port)
  }
}
