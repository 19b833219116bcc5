public import Addressing
public import Netlink

/// A network interface.
public struct Interface: Sendable, Hashable, Codable {
  /// The name, such as `eth0`.
  public var name: String
  /// The index, unique in its namespace.
  public var index: UInt32
  /// Whether it is switched on (`IFF_UP`).
  public var isUp: Bool
  /// Whether it is the loopback interface (`IFF_LOOPBACK`).
  public var isLoopback: Bool
  /// The driver's word for what it is, such as `bridge`, `veth`, `vlan`; `nil` for hardware.
  ///
  /// `IFLA_INFO_KIND`.
  public var kind: String?
  /// The index of the bridge or bond it is part of.
  ///
  /// `IFLA_MASTER`.
  public var master: UInt32?

  /// Makes an interface.
  public init(
    name: String, index: UInt32, isUp: Bool, isLoopback: Bool = false, kind: String? = nil,
    master: UInt32? = nil
  ) {
    self.name = name
    self.index = index
    self.isUp = isUp
    self.isLoopback = isLoopback
    self.kind = kind
    self.master = master
  }

  /// Whether it is a bridge.
  public var isBridge: Bool { kind == "bridge" }

  /// Reads one message of a link dump.
  init?(_ message: NetlinkMessage, _ payload: RawSpan) throws(MalformedNetlink) {
    guard message.type == RouteNumber.newLink else { return nil }
    index = try payload.field(UInt32.self, at: 4)
    let flags = try payload.field(UInt32.self, at: 8)
    isUp = flags & RouteNumber.isUp != 0
    isLoopback = flags & RouteNumber.isLoopback != 0
    name = ""
    var cursor = try payload.attributes(after: RouteNumber.linkHeader)
    while let attribute = try cursor.next(in: payload) {
      switch attribute.type {
      case RouteNumber.linkName: name = attribute.string(in: payload)
      case RouteNumber.linkMaster: master = try attribute.host(UInt32.self, in: payload)
      case RouteNumber.linkInfo:
        var inner = attribute.children
        while let detail = try inner.next(in: payload) {
          if detail.type == RouteNumber.linkKind { kind = detail.string(in: payload) }
        }
      default: break
      }
    }
    guard !name.isEmpty else { throw MalformedNetlink(offset: RouteNumber.linkHeader) }
  }
}

/// An address of the host.
public struct LocalAddress: Sendable, Hashable, Codable {
  /// The address.
  public var address: IPAddress
  /// How many leading bits name the network it is in.
  public var prefixLength: Int
  /// The interface's name.
  public var interface: String

  /// Makes an address.
  public init(address: IPAddress, prefixLength: Int, interface: String) {
    self.address = address
    self.prefixLength = prefixLength
    self.interface = interface
  }

  /// The network the address is in.
  public var prefix: IPPrefix? { IPPrefix(address, length: prefixLength) }
}

/// An address as its message has it: the interface by index.
struct IndexedAddress {
  var address: IPAddress
  var prefixLength: Int
  var index: UInt32

  init?(_ message: NetlinkMessage, _ payload: RawSpan) throws(MalformedNetlink) {
    guard message.type == RouteNumber.newAddress else { return nil }
    let family = AddressFamily(rawNumber: try payload.field(UInt8.self, at: 0))
    prefixLength = Int(try payload.field(UInt8.self, at: 1))
    index = try payload.field(UInt32.self, at: 4)
    guard let family else { return nil }
    var address: IPAddress?
    var local: IPAddress?
    var cursor = try payload.attributes(after: RouteNumber.addressHeader)
    while let attribute = try cursor.next(in: payload) {
      switch attribute.type {
      case RouteNumber.address: address = try attribute.ipAddress(in: payload)
      case RouteNumber.localAddress: local = try attribute.ipAddress(in: payload)
      default: break
      }
    }
    // On a point-to-point link IFA_ADDRESS is the other end's.
    guard let own = local ?? address, own.family == family else {
      throw MalformedNetlink(offset: RouteNumber.addressHeader)
    }
    self.address = own
  }
}

extension HostNetwork {
  /// The interfaces of a namespace.
  ///
  /// Corresponds to `ip link`.
  ///
  /// - Parameter namespace: The network namespace.
  /// - Returns: The interfaces, by index.
  /// - Throws: ``HostNetworkError``.
  public static func interfaces(
    in namespace: NetworkNamespace = .current
  ) throws(HostNetworkError) -> [Interface] {
    var socket = try RouteSocket.open(.route, in: namespace)
    return try interfaces(&socket)
  }

  /// The addresses of a namespace, both families.
  ///
  /// Corresponds to `ip address`.
  ///
  /// - Parameter namespace: The network namespace.
  /// - Returns: The addresses, with the names of their interfaces.
  /// - Throws: ``HostNetworkError``.
  public static func addresses(
    in namespace: NetworkNamespace = .current
  ) throws(HostNetworkError) -> [LocalAddress] {
    var socket = try RouteSocket.open(.route, in: namespace)
    let names = try namesByIndex(&socket)
    var request = NetlinkRequest(type: RouteNumber.getAddress)
    request.append(bytes: [UInt8](repeating: 0, count: RouteNumber.addressHeader))
    let addresses = try RouteSocket.dump(
      request, operation: "read the host's addresses", &socket, IndexedAddress.init)
    return addresses.map {
      LocalAddress(
        address: $0.address, prefixLength: $0.prefixLength, interface: name(of: $0.index, names))
    }
  }

  static func interfaces(
    _ socket: inout NetlinkSocket
  ) throws(HostNetworkError) -> [Interface] {
    var request = NetlinkRequest(type: RouteNumber.getLink)
    request.append(bytes: [UInt8](repeating: 0, count: RouteNumber.linkHeader))
    return try RouteSocket.dump(
      request, operation: "read the host's interfaces", &socket, Interface.init)
  }

  static func namesByIndex(
    _ socket: inout NetlinkSocket
  ) throws(HostNetworkError) -> [UInt32: String] {
    try Dictionary(
      interfaces(&socket).map { ($0.index, $0.name) }, uniquingKeysWith: { first, _ in first })
  }

  /// The name of an interface, or `#INDEX` for one that came or went in between.
  static func name(of index: UInt32, _ names: [UInt32: String]) -> String {
    names[index] ?? "#\(index)"
  }
}
