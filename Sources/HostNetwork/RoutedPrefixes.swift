public import Addressing
public import Netlink

/// Where the host's routes lead: a prefix and the interfaces by which it is reached.
public struct RoutedPrefix: Sendable, Hashable, Codable {
  /// The destinations of the route; `/0` for a default route.
  public var prefix: IPPrefix
  /// The interfaces of its hops; `nil` when the route names them by a next-hop object only.
  public var interfaces: [String]?

  /// Makes an entry.
  public init(prefix: IPPrefix, interfaces: [String]?) {
    self.prefix = prefix
    self.interfaces = interfaces
  }
}

extension HostNetwork {
  /// The unicast routes of all tables, both families.
  ///
  /// Which of them policy rules choose is not asked: whoever wants to know by which interfaces an
  /// address can be reached at all has to allow for each. Corresponds to `ip route show table all`.
  ///
  /// - Parameter namespace: The network namespace.
  /// - Returns: The routes, in the kernel's order.
  /// - Throws: ``HostNetworkError``.
  public static func routedPrefixes(
    in namespace: NetworkNamespace = .current
  ) throws(HostNetworkError) -> [RoutedPrefix] {
    var socket = try RouteSocket.open(.route, in: namespace)
    let names = try namesByIndex(&socket)
    var result: [RoutedPrefix] = []
    for family in AddressFamily.allCases {
      for route in try routes(family, &socket) where route.isUnicast {
        let known = route.interfaces.sorted().map { name(of: $0, names) }
        result.append(
          RoutedPrefix(prefix: route.prefix, interfaces: known.isEmpty ? nil : known))
      }
    }
    return result
  }

  /// The destinations of all routes of a family, whatever they do with a packet.
  ///
  /// Corresponds to the first word that `ip route show table all` prints of each.
  ///
  /// - Parameters:
  ///   - family: The family.
  ///   - namespace: The network namespace.
  /// - Returns: The prefixes, in the kernel's order.
  /// - Throws: ``HostNetworkError``.
  public static func routeDestinations(
    _ family: AddressFamily, in namespace: NetworkNamespace = .current
  ) throws(HostNetworkError) -> [IPPrefix] {
    var socket = try RouteSocket.open(.route, in: namespace)
    return try routes(family, &socket).map(\.prefix)
  }

  private static func routes(
    _ family: AddressFamily, _ socket: inout NetlinkSocket
  ) throws(HostNetworkError) -> [RoutedPrefixMessage] {
    var request = NetlinkRequest(type: RouteNumber.getRoute)
    request.append(family.rawNumber)
    request.append(bytes: [UInt8](repeating: 0, count: RouteNumber.routeHeader - 1))
    return try RouteSocket.dump(
      request, operation: "read the host's routes", &socket, RoutedPrefixMessage.init)
  }
}

/// A route's destination and hops, as its message has them.
private struct RoutedPrefixMessage {
  var prefix: IPPrefix
  var isUnicast: Bool
  var interfaces: Set<UInt32> = []

  init?(_ message: NetlinkMessage, _ payload: RawSpan) throws(MalformedNetlink) {
    guard message.type == RouteNumber.newRoute,
      let family = AddressFamily(rawNumber: try payload.field(UInt8.self, at: 0)),
      try payload.field(UInt32.self, at: 8) & RouteNumber.isCloned == 0
    else { return nil }
    // RTN_UNICAST
    isUnicast = try payload.field(UInt8.self, at: 7) == 1
    let length = Int(try payload.field(UInt8.self, at: 1))
    var destination = IPAddress(family: family, bits: 0)
    var hops: Set<UInt32> = []
    var cursor = try payload.attributes(after: RouteNumber.routeHeader)
    while let attribute = try cursor.next(in: payload) {
      switch attribute.type {
      case RouteNumber.destination: destination = try attribute.ipAddress(in: payload)
      case RouteNumber.outInterface: hops.insert(try attribute.host(UInt32.self, in: payload))
      case RouteNumber.multipath: try Self.readHops(attribute, payload, into: &hops)
      default: break
      }
    }
    guard let prefix = IPPrefix(destination, length: length) else {
      throw MalformedNetlink(offset: 1)
    }
    self.prefix = prefix
    interfaces = hops
  }

  /// Reads an array of `rtnexthop`: length, flags, weight, interface, then attributes.
  private static func readHops(
    _ attribute: NetlinkAttribute, _ payload: RawSpan, into hops: inout Set<UInt32>
  ) throws(MalformedNetlink) {
    var offset = attribute.payload.lowerBound
    let end = attribute.payload.upperBound
    while offset < end {
      let length = Int(try payload.field(UInt16.self, at: offset))
      guard length >= 8, length <= end - offset else { throw MalformedNetlink(offset: offset) }
      hops.insert(try payload.field(UInt32.self, at: offset + 4))
      offset += (length + 3) & ~3
    }
  }
}
