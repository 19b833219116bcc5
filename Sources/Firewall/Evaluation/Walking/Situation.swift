import Addressing

/// Where on its way through the hooks a packet is.
enum Stage: Sendable {
  /// The raw table: connection tracking has not seen the packet.
  case raw
  /// PREROUTING after connection tracking: still addressed as on the wire.
  case prerouting
  /// INPUT or FORWARD.
  case delivery
  /// POSTROUTING of a forwarded packet.
  case postrouting
}

/// What is known of the host apart from its rules.
struct HostFacts: Sendable {
  var localAddresses: Set<IPAddress>?
  var interfaceAddresses: [String: [IPAddress]]?
  var time: Int64?
}

/// All that a condition may ask about a packet except its ``Variant``.
struct Situation: Sendable {
  let packet: Packet
  let path: PacketPath
  let host: HostFacts
  let transport: UInt8
  let source: UInt128
  let inInterface: InterfaceName?
  /// Known and empty where the kernel has no output device yet: PREROUTING and INPUT.
  let forwardInterface: InterfaceName?
  let isLoopback: Bool
  /// The source port where a question about it is answered by it alone.
  let guardedPort: UInt16?
  var stage: Stage = .raw
  /// Sets that a SET target may have changed on this walk.
  var touchedSets: [String] = []

  init(_ packet: Packet, path: PacketPath, host: HostFacts) {
    self.packet = packet
    self.path = path
    self.host = host
    transport = packet.transport.rawValue
    source = packet.source.bits
    inInterface = packet.inInterface.map(InterfaceName.init)
    forwardInterface = packet.outInterface.map(InterfaceName.init)
    isLoopback = packet.inInterface == "lo"
    guardedPort =
      packet.transport.hasPorts && packet.isLaterFragment == false ? packet.sourcePort : nil
  }

  /// The output device the rule sees.
  var outInterface: InterfaceName? {
    switch stage {
    case .raw, .prerouting: .nothing
    case .delivery: path == .input ? .nothing : forwardInterface
    case .postrouting: forwardInterface
    }
  }

  /// Whether the packet has passed the routing decision of a forwarding host.
  var isRouted: Bool {
    path == .forward && (stage == .delivery || stage == .postrouting)
  }

  /// The variant a packet has before the first rule.
  var initialVariant: Variant {
    Variant(
      mark: BitPattern(packet.mark), connectionMark: BitPattern(packet.connection.mark),
      zone: 0, destination: packet.destination.bits, port: packet.destinationPort)
  }

  /// The destination in this variant.
  func destination(_ variant: Variant) -> IPAddress? {
    variant.destination.map { IPAddress(family: packet.family, bits: $0) }
  }
}

/// An interface name as the kernel compares it: 16 bytes, padded with zeros.
struct InterfaceName: Sendable, Hashable {
  let bytes: UInt128

  static let nothing = InterfaceName("")

  /// Longer names than the kernel's 15 bytes are cut.
  init(_ name: String) { bytes = Self.packed(name.utf8.prefix(15)) }

  static func packed(_ name: some Collection<UInt8>) -> UInt128 {
    var value: UInt128 = 0
    for byte in name { value = value << 8 | UInt128(byte) }
    return value << (8 * (16 - name.count))
  }
}
