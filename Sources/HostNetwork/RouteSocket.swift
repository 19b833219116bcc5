import Addressing
import Netlink

/// Dumps that rtnetlink and sock_diag mark as interrupted are read again, a bounded number of times.
enum RouteSocket {
  private static let attempts = 3

  /// Reads a dump, decoding each message.
  ///
  /// - Parameters:
  ///   - request: The request.
  ///   - operation: What is being done, for error messages.
  ///   - socket: The socket.
  ///   - decode: Decodes one message's payload; `nil` passes it over.
  /// - Returns: What was decoded.
  /// - Throws: `HostNetworkError`; with code `interrupted` if it changed each time it was read.
  static func dump<Value>(
    _ request: NetlinkRequest, operation: String, _ socket: inout NetlinkSocket,
    _ decode: (NetlinkMessage, RawSpan) throws(MalformedNetlink) -> Value?
  ) throws(HostNetworkError) -> [Value] {
    for _ in 0..<attempts {
      var result: [Value] = []
      var isMalformed = false
      let dump: NetlinkDump
      do throws(NetlinkError) {
        dump = try socket.dump(request, operation: operation) { message, payload in
          do throws(MalformedNetlink) {
            if let value = try decode(message, payload) { result.append(value) }
          } catch {
            isMalformed = true
          }
          return true
        }
      } catch {
        throw HostNetworkError(error)
      }
      if isMalformed { throw HostNetworkError(.malformed, operation: operation) }
      if !dump.isInterrupted { return result }
    }
    throw HostNetworkError(
      .interrupted, operation: operation, message: "it changed each time it was read",
      advice: "Try again.")
  }

  static func open(
    _ protocol: NetlinkProtocol, in namespace: NetworkNamespace
  ) throws(HostNetworkError) -> NetlinkSocket {
    do throws(NetlinkError) {
      return try NetlinkSocket.open(`protocol`, in: namespace)
    } catch {
      throw HostNetworkError(error)
    }
  }
}

extension NetlinkAttribute {
  /// The payload as an address: 4 or 16 bytes in network order.
  func ipAddress(in bytes: RawSpan) throws(MalformedNetlink) -> IPAddress {
    switch payload.count {
    case 4: IPAddress(ipv4: try bigEndian(UInt32.self, in: bytes))
    case 16: IPAddress(family: .ipv6, bits: try bigEndian(UInt128.self, in: bytes))
    default: throw MalformedNetlink(offset: payload.lowerBound)
    }
  }
}

extension RawSpan {
  /// A cursor over the attributes behind a fixed header.
  func attributes(after header: Int) throws(MalformedNetlink) -> AttributeCursor {
    guard byteCount >= header else { throw MalformedNetlink(offset: 0) }
    return AttributeCursor(header..<byteCount)
  }

  /// A number of the fixed header.
  func field<Number: FixedWidthInteger & BitwiseCopyable>(
    _ type: Number.Type, at offset: Int
  ) throws(MalformedNetlink) -> Number {
    guard let value = number(type, at: offset) else { throw MalformedNetlink(offset: offset) }
    return value
  }
}
