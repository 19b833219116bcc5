public import Addressing
public import Netlink
import SystemPackage

/// A socket that waits for anybody's packets.
public struct Listener: Sendable, Hashable, Codable {
  /// The transport.
  public var transport: IPProtocol
  /// The address and port it is bound to; the unspecified address means every local one.
  public var address: Endpoint
  /// Whether an IPv6 socket takes no IPv4; `nil` for IPv4 sockets, and if the kernel doesn't say.
  ///
  /// An IPv6 socket that isn't IPv6-only gets IPv4 packets too, tracked as IPv4 (facts A9).
  public var isIPv6Only: Bool?
  /// The interface it is bound to, if any.
  public var interface: String?
  /// The user that opened it.
  public var user: UInt32
  /// The socket's inode, which `/proc/PID/fd` names.
  public var inode: UInt32

  /// Makes a listener.
  public init(
    transport: IPProtocol, address: Endpoint, isIPv6Only: Bool? = nil, interface: String? = nil,
    user: UInt32 = 0, inode: UInt32 = 0
  ) {
    self.transport = transport
    self.address = address
    self.isIPv6Only = isIPv6Only
    self.interface = interface
    self.user = user
    self.inode = inode
  }

  /// Whether it gets packets of this family sent to its port.
  public func accepts(_ family: AddressFamily) -> Bool {
    if address.address.family == family {
      return address.address.unmapped.family == family
    }
    guard family == .ipv4, isIPv6Only != true else { return false }
    return address.address.isUnspecified || address.address.unmapped.family == .ipv4
  }
}

/// A listener as its message has it.
struct ListenerMessage {
  var local: Endpoint
  var isIPv6Only: Bool?
  var interface: UInt32
  var user: UInt32
  var inode: UInt32

  /// `SOCK_DIAG_BY_FAMILY`, of requests and answers.
  static let type: UInt16 = 20
  /// Length of `inet_diag_msg`.
  private static let header = 72
  /// `INET_DIAG_SKV6ONLY`; since Linux 4.3.
  private static let ipv6Only: UInt16 = 11

  init?(_ message: NetlinkMessage, _ payload: RawSpan) throws(MalformedNetlink) {
    guard message.type == Self.type else { return nil }
    let family = AddressFamily(rawNumber: try payload.field(UInt8.self, at: 0))
    guard let family else { return nil }
    let port = UInt16(bigEndian: try payload.field(UInt16.self, at: 4))
    // Four words of address at 8: all of an IPv6 one, the first of an IPv4 one.
    let address =
      switch family {
      case .ipv4: IPAddress(ipv4: UInt32(bigEndian: try payload.field(UInt32.self, at: 8)))
      case .ipv6:
        IPAddress(
          family: .ipv6, bits: UInt128(bigEndian: try payload.field(UInt128.self, at: 8)))
      }
    local = Endpoint(address, port)
    interface = try payload.field(UInt32.self, at: 40)
    user = try payload.field(UInt32.self, at: 64)
    inode = try payload.field(UInt32.self, at: 68)
    var cursor = try payload.attributes(after: Self.header)
    while let attribute = try cursor.next(in: payload) {
      if attribute.type == Self.ipv6Only {
        isIPv6Only = try attribute.host(UInt8.self, in: payload) != 0
      }
    }
  }

  /// The request for the sockets of one family and transport that wait for anybody.
  static func request(_ family: AddressFamily, _ transport: IPProtocol) -> NetlinkRequest {
    // TCP_LISTEN is state 10; a UDP socket without a peer has state TCP_CLOSE, 7.
    let states: UInt32 = transport == .tcp ? 1 << 10 : 1 << 7
    var request = NetlinkRequest(type: type)
    request.append(bytes: [family.rawNumber, transport.rawValue, 0, 0])
    request.append(states)
    request.append(bytes: [UInt8](repeating: 0, count: 48))
    return request
  }
}

extension HostNetwork {
  /// The sockets that wait for anybody's packets on given ports, both families.
  ///
  /// UDP sockets connected to one peer are not among them. Corresponds to `ss -lnut`.
  ///
  /// - Parameters:
  ///   - transports: The transports: TCP, UDP, UDP-Lite.
  ///   - ports: The ports; an empty set asks for every port.
  ///   - namespace: The network namespace.
  /// - Returns: The listeners.
  /// - Throws: ``HostNetworkError``; with code `unsupported` if the kernel has no sock_diag for a
  ///   transport.
  public static func listeners(
    transports: [IPProtocol] = [.udp, .tcp], ports: Set<UInt16> = [],
    in namespace: NetworkNamespace = .current
  ) throws(HostNetworkError) -> [Listener] {
    var routes = try RouteSocket.open(.route, in: namespace)
    let names = try namesByIndex(&routes)
    var socket = try RouteSocket.open(.socketDiagnosis, in: namespace)
    var result: [Listener] = []
    for transport in transports {
      for family in AddressFamily.allCases {
        do throws(HostNetworkError) {
          let found = try RouteSocket.dump(
            ListenerMessage.request(family, transport), operation: "read the listening sockets",
            &socket, ListenerMessage.init)
          for listener in found where listener.local.port != 0 {
            // sock_diag answers for unspecified families with its own idea of the request.
            guard listener.local.address.family == family,
              ports.isEmpty || ports.contains(listener.local.port)
            else { continue }
            result.append(
              Listener(
                transport: transport, address: listener.local,
                isIPv6Only: family == .ipv6 ? listener.isIPv6Only : nil,
                interface: listener.interface == 0 ? nil : name(of: listener.interface, names),
                user: listener.user, inode: listener.inode))
          }
        } catch  where error.errno == .noSuchFileOrDirectory {
          throw HostNetworkError(
            .unsupported, operation: error.operation, errno: error.errno,
            advice: "Load the kernel modules udp_diag and tcp_diag.")
        }
      }
    }
    return result
  }
}
