import Addressing
import Firewall
import Netlink

/// Puts flows into the kernel's table, as `conntrack -I` does, without a process for each.
enum HeldFlow {
  /// Makes the entries that the packets of held flows need.
  ///
  /// - Parameters:
  ///   - packets: The packets; those that are NEW need none.
  ///   - namespace: The host whose table it is.
  /// - Throws: `NetlinkError` when the kernel refuses one.
  static func insert(
    _ packets: [Packet], in namespace: NetworkNamespace
  ) throws(NetlinkError) {
    let held = packets.filter { $0.connection.state == .established }
    guard !held.isEmpty else { return }
    var socket = try NetlinkSocket.open(.netfilter, in: namespace)
    for packet in held { try socket.request(request(packet), operation: "insert a flow") }
  }

  private static func request(_ packet: Packet) -> NetlinkRequest {
    // NFNL_SUBSYS_CTNETLINK and IPCTNL_MSG_CT_NEW; NLM_F_CREATE and NLM_F_EXCL.
    var request = NetlinkRequest(type: 1 << 8, flags: 0x600)
    request.append(UInt8(packet.family == .ipv4 ? 2 : 10))
    request.append(UInt8(0))
    request.append(UInt16(0))
    let isOriginal = packet.connection.direction != .reply
    // CTA_TUPLE_ORIG 1, CTA_TUPLE_REPLY 2.
    tuple(isOriginal ? 1 : 2, packet, isReversed: false, &request)
    tuple(isOriginal ? 2 : 1, packet, isReversed: true, &request)
    request.attribute(3, bigEndian: packet.connection.status ?? 0)  // CTA_STATUS
    request.attribute(7, bigEndian: 100 as UInt32)  // CTA_TIMEOUT
    request.attribute(8, bigEndian: packet.connection.mark ?? 0)  // CTA_MARK
    if packet.transport == .tcp {
      request.nest(4) { info in  // CTA_PROTOINFO
        info.nest(1) { tcp in  // CTA_PROTOINFO_TCP
          tcp.attribute(1, host: 3 as UInt8)  // CTA_PROTOINFO_TCP_STATE, ESTABLISHED
        }
      }
    }
    return request
  }

  private static func tuple(
    _ type: UInt16, _ packet: Packet, isReversed: Bool, _ request: inout NetlinkRequest
  ) {
    let source = isReversed ? packet.destination : packet.source
    let destination = isReversed ? packet.source : packet.destination
    let ports = (packet.sourcePort ?? 0, packet.destinationPort ?? 0)
    // CTA_IP_V4_SRC 1, CTA_IP_V4_DST 2, CTA_IP_V6_SRC 3, CTA_IP_V6_DST 4.
    let first: UInt16 = packet.family == .ipv4 ? 1 : 3
    request.nest(type) { tuple in
      tuple.nest(1) { addresses in  // CTA_TUPLE_IP
        addresses.attribute(first, bytes: source.networkBytes)
        addresses.attribute(first + 1, bytes: destination.networkBytes)
      }
      tuple.nest(2) { transport in  // CTA_TUPLE_PROTO: number, source and destination port
        transport.attribute(1, host: packet.transport.rawValue)
        transport.attribute(2, bigEndian: isReversed ? ports.1 : ports.0)
        transport.attribute(3, bigEndian: isReversed ? ports.0 : ports.1)
      }
    }
  }
}
