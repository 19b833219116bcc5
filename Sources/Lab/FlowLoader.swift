public import Addressing
import Glibc
import Netlink
import SystemPackage

/// Puts UDP flows into a host's connection tracking table by ctnetlink, hundreds of thousands a second.
///
/// Each sends the event NEW, as if its first packet had come. Corresponds to `conntrack -I`.
public struct FlowLoader: ~Copyable {
  /// One flow to be made.
  public struct Entry: Sendable, Hashable {
    /// Who opens it, and from which port; IPv4.
    public var source: Endpoint
    /// Where it goes.
    public var destination: Endpoint
    /// Whether it was answered (SEEN_REPLY).
    public var isAnswered: Bool

    /// Makes an entry.
    public init(source: Endpoint, destination: Endpoint, isAnswered: Bool) {
      self.source = source
      self.destination = destination
      self.isAnswered = isAnswered
    }
  }

  /// Number of flows the kernel refused, such as those that were there.
  public private(set) var refused = 0

  private let descriptor: Int32
  private let template: [UInt8]
  private let places: Places
  private var buffer: [UInt8] = []
  private var waiting = 0
  /// Flows sent in one system call.
  private static let batch = 100

  /// Where a message holds what differs from flow to flow.
  private struct Places {
    var sourceAddress: [Int]
    var destinationAddress: [Int]
    var sourcePort: [Int]
    var destinationPort: [Int]
    var status: Int
  }

  deinit { close(descriptor) }

  private init(owning descriptor: Int32, _ template: [UInt8], _ places: Places) {
    self.descriptor = descriptor
    self.template = template
    self.places = places
  }

  /// Opens the socket.
  ///
  /// - Parameters:
  ///   - host: Whose table it is.
  ///   - seconds: How long the flows live.
  /// - Returns: The loader.
  /// - Throws: ``LabError`` when the host isn't proved private.
  public static func open(on host: LabHost, seconds: UInt32) throws(LabError) -> FlowLoader {
    try Isolation.prove(host.namespace)
    let descriptor = try host.namespace.perform { () throws(LabError) in
      let kind = Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
      let descriptor = socket(AF_NETLINK, kind, NetlinkProtocol.netfilter.rawValue)
      guard descriptor >= 0 else {
        throw LabError(.system, "open a netlink socket", errno: Errno(rawValue: errno))
      }
      return descriptor
    }
    let (template, places) = template(seconds: seconds)
    return FlowLoader(owning: descriptor, template, places)
  }

  /// Appends a flow; it is in the table after ``flush()`` at the latest.
  public mutating func add(_ entry: Entry) {
    var message = template
    func put<Number: FixedWidthInteger>(_ number: Number, at places: [Int]) {
      let width = Number.bitWidth / 8
      for place in places {
        for index in 0..<width {
          message[place + index] = UInt8(
            truncatingIfNeeded: number >> (8 * (width - 1 - index)))
        }
      }
    }
    put(
      UInt32(truncatingIfNeeded: entry.source.address.bits), at: places.sourceAddress)
    put(
      UInt32(truncatingIfNeeded: entry.destination.address.bits), at: places.destinationAddress)
    put(entry.source.port, at: places.sourcePort)
    put(entry.destination.port, at: places.destinationPort)
    // IPS_CONFIRMED, IPS_SEEN_REPLY.
    put(UInt32(entry.isAnswered ? 0x0a : 0x08), at: [places.status])
    buffer += message
    waiting += 1
    if waiting == Self.batch { flush() }
  }

  /// Sends what has been added.
  public mutating func flush() {
    guard waiting > 0 else { return }
    let length = buffer.count
    while unsafe send(descriptor, buffer, length, 0) < 0, errno == EINTR {}
    buffer.removeAll(keepingCapacity: true)
    waiting = 0
    // Only refusals are answered.
    var answer = [UInt8](repeating: 0, count: 4096)
    while unsafe recv(descriptor, &answer, answer.count, Int32(MSG_DONTWAIT)) > 0 { refused += 1 }
  }

  private static func template(seconds: UInt32) -> ([UInt8], Places) {
    // IPCTNL_MSG_CT_NEW; NLM_F_REQUEST, NLM_F_EXCL and NLM_F_CREATE.
    var request = NetlinkRequest(type: 1 << 8, flags: 0x0601)
    request.append(UInt8(2))
    request.append(UInt8(0))
    request.append(UInt16(0))
    var places = Places(
      sourceAddress: [], destinationAddress: [], sourcePort: [], destinationPort: [], status: 0)
    func tuple(_ type: UInt16, isReply: Bool) {
      // CTA_TUPLE_ORIG 1, CTA_TUPLE_REPLY 2; the numbers inside are in nfnetlink_conntrack.h.
      request.nest(type) { tuple in
        tuple.nest(1) { addresses in
          for number in [UInt16(1), 2] {
            addresses.attribute(number, bigEndian: UInt32(0))
            let place = addresses.bytes.count - 4
            if (number == 1) != isReply {
              places.sourceAddress.append(place)
            } else {
              places.destinationAddress.append(place)
            }
          }
        }
        tuple.nest(2) { transport in
          transport.attribute(1, host: UInt8(17))
          for number in [UInt16(2), 3] {
            transport.attribute(number, bigEndian: UInt16(0))
            // Two bytes and two of padding.
            let place = transport.bytes.count - 4
            if (number == 2) != isReply {
              places.sourcePort.append(place)
            } else {
              places.destinationPort.append(place)
            }
          }
        }
      }
    }
    tuple(1, isReply: false)
    tuple(2, isReply: true)
    request.attribute(7, bigEndian: seconds)  // CTA_TIMEOUT
    request.attribute(3, bigEndian: UInt32(0))  // CTA_STATUS
    places.status = request.bytes.count - 4
    return (request.bytes, places)
  }
}
