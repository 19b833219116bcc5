import Addressing
import Netlink

/// A tuple as a message holds it: the zone stands inside where it is one-sided.
struct ZonedTuple {
  var tuple: FlowTuple
  var zone: UInt16?

  /// Decodes the nest of `CTA_TUPLE_ORIG` and its kin.
  init(_ nest: NetlinkAttribute, in bytes: RawSpan) throws(MalformedNetlink) {
    var source: IPAddress?
    var destination: IPAddress?
    var ports = TuplePorts()
    var cursor = nest.children
    while let attribute = try cursor.next(in: bytes) {
      switch attribute.type {
      case ConntrackAttribute.Tuple.addresses:
        var inner = attribute.children
        while let address = try inner.next(in: bytes) {
          switch address.type {
          case ConntrackAttribute.Address.ipv4Source:
            source = IPAddress(ipv4: try address.bigEndian(UInt32.self, in: bytes))
          case ConntrackAttribute.Address.ipv4Destination:
            destination = IPAddress(ipv4: try address.bigEndian(UInt32.self, in: bytes))
          case ConntrackAttribute.Address.ipv6Source:
            source = IPAddress(
              family: .ipv6, bits: try address.bigEndian(UInt128.self, in: bytes))
          case ConntrackAttribute.Address.ipv6Destination:
            destination = IPAddress(
              family: .ipv6, bits: try address.bigEndian(UInt128.self, in: bytes))
          default: break
          }
        }
      case ConntrackAttribute.Tuple.transport:
        try ports.read(attribute, in: bytes)
      case ConntrackAttribute.Tuple.zone:
        zone = try attribute.bigEndian(UInt16.self, in: bytes)
      default: break
      }
    }
    guard let source, let destination, source.family == destination.family,
      let transport = ports.transport
    else { throw MalformedNetlink(offset: nest.payload.lowerBound) }
    tuple = FlowTuple(
      source: source, destination: destination, transport: IPProtocol(rawValue: transport),
      sourcePort: ports.source, destinationPort: ports.destination)
  }
}

/// Transport and ports alone: what decides whether an entry is wanted at all.
struct TuplePorts {
  var transport: UInt8?
  var source: UInt16 = 0
  var destination: UInt16 = 0

  /// Reads the nest of `CTA_TUPLE_PROTO`.
  mutating func read(_ nest: NetlinkAttribute, in bytes: RawSpan) throws(MalformedNetlink) {
    var cursor = nest.children
    while let attribute = try cursor.next(in: bytes) {
      switch attribute.type {
      case ConntrackAttribute.Transport.number:
        transport = try attribute.bigEndian(UInt8.self, in: bytes)
      case ConntrackAttribute.Transport.sourcePort:
        source = try attribute.bigEndian(UInt16.self, in: bytes)
      case ConntrackAttribute.Transport.destinationPort:
        destination = try attribute.bigEndian(UInt16.self, in: bytes)
      default: break
      }
    }
  }

  /// Finds and reads `CTA_TUPLE_PROTO` in the nest of a tuple.
  init(tuple nest: NetlinkAttribute, in bytes: RawSpan) throws(MalformedNetlink) {
    var cursor = nest.children
    while let attribute = try cursor.next(in: bytes) {
      if attribute.type == ConntrackAttribute.Tuple.transport { try read(attribute, in: bytes) }
    }
  }

  init() {}
}

extension NetlinkRequest {
  /// Starts a ctnetlink request with its `nfgenmsg`.
  static func conntrack(
    _ type: UInt16, family: AddressFamily?, flags: UInt16 = 0
  ) -> NetlinkRequest {
    var request = NetlinkRequest(type: type, flags: flags)
    request.append(family?.rawNumber ?? 0)
    request.append(UInt8(0))
    request.append(UInt16(0))
    return request
  }

  /// Appends a whole tuple.
  mutating func tuple(_ type: UInt16, _ tuple: FlowTuple) {
    nest(type) { request in
      request.nest(ConntrackAttribute.Tuple.addresses) { inner in
        typealias Address = ConntrackAttribute.Address
        if tuple.family == .ipv4 {
          inner.attribute(
            Address.ipv4Source, bigEndian: UInt32(truncatingIfNeeded: tuple.source.bits))
          inner.attribute(
            Address.ipv4Destination, bigEndian: UInt32(truncatingIfNeeded: tuple.destination.bits))
        } else {
          inner.attribute(Address.ipv6Source, bigEndian: tuple.source.bits)
          inner.attribute(Address.ipv6Destination, bigEndian: tuple.destination.bits)
        }
      }
      request.nest(ConntrackAttribute.Tuple.transport) { inner in
        inner.attribute(ConntrackAttribute.Transport.number, host: tuple.transport.rawValue)
        inner.attribute(ConntrackAttribute.Transport.sourcePort, bigEndian: tuple.sourcePort)
        inner.attribute(
          ConntrackAttribute.Transport.destinationPort, bigEndian: tuple.destinationPort)
      }
    }
  }
}
