public import Addressing
public import Netlink
import SystemPackage

/// Where the host would send a packet.
public struct Route: Sendable, Hashable, Codable {
  /// What a route does with a packet.
  ///
  /// Corresponds to `RTN_*`.
  public enum Kind: Sendable, Hashable, Codable {
    /// It is sent on.
    case unicast
    /// It is for this host.
    case local
    /// It is for this host, as a broadcast.
    case broadcast
    /// It is an anycast of this host.
    case anycast
    /// It is a multicast.
    case multicast
    /// It is thrown away silently.
    case blackhole
    /// It is answered with "unreachable".
    case unreachable
    /// It is answered with "prohibited".
    case prohibit
    /// Another number.
    case other(UInt8)

    /// Makes a kind of the kernel's number.
    public init(_ number: UInt8) {
      switch number {
      case 1: self = .unicast
      case 2: self = .local
      case 3: self = .broadcast
      case 4: self = .anycast
      case 5: self = .multicast
      case 6: self = .blackhole
      case 7: self = .unreachable
      case 8: self = .prohibit
      default: self = .other(number)
      }
    }
  }

  /// The interface the packet leaves by.
  public var interface: String?
  /// The next hop; `nil` if the destination is on the link.
  public var gateway: IPAddress?
  /// The source address the host would choose.
  public var source: IPAddress?
  /// What happens to the packet.
  public var kind: Kind

  /// Makes a route.
  public init(
    interface: String? = nil, gateway: IPAddress? = nil, source: IPAddress? = nil, kind: Kind
  ) {
    self.interface = interface
    self.gateway = gateway
    self.source = source
    self.kind = kind
  }
}

/// A route as its message has it.
struct RouteMessage {
  var family: AddressFamily?
  var kind: Route.Kind
  var isCloned: Bool
  /// How many leading bits of the destination count; 0 for a default route.
  var destinationLength: Int
  var outInterface: UInt32?
  /// The interfaces of a multipath route's next hops.
  var hopInterfaces: Set<UInt32> = []
  var source: IPAddress?
  /// The next hops: one, or each of a multipath route.
  var gateways: [IPAddress] = []

  init?(_ message: NetlinkMessage, _ payload: RawSpan) throws(MalformedNetlink) {
    guard message.type == RouteNumber.newRoute else { return nil }
    family = AddressFamily(rawNumber: try payload.field(UInt8.self, at: 0))
    destinationLength = Int(try payload.field(UInt8.self, at: 1))
    kind = Route.Kind(try payload.field(UInt8.self, at: 7))
    isCloned = try payload.field(UInt32.self, at: 8) & RouteNumber.isCloned != 0
    // Multicast routes (RTNL_FAMILY_IPMR) come along in some dumps; their attributes mean other things.
    guard family != nil else { return nil }
    var cursor = try payload.attributes(after: RouteNumber.routeHeader)
    while let attribute = try cursor.next(in: payload) {
      switch attribute.type {
      case RouteNumber.outInterface:
        outInterface = try attribute.host(UInt32.self, in: payload)
      case RouteNumber.preferredSource: source = try attribute.ipAddress(in: payload)
      case RouteNumber.multipath: try readNextHops(attribute, payload)
      default: try readGateway(attribute, payload)
      }
    }
  }

  private mutating func readGateway(
    _ attribute: NetlinkAttribute, _ payload: RawSpan
  ) throws(MalformedNetlink) {
    switch attribute.type {
    case RouteNumber.gateway:
      gateways.append(try attribute.ipAddress(in: payload))
    case RouteNumber.via:
      // struct rtvia: the family, then an address of it; an IPv4 route by an IPv6 neighbour.
      guard attribute.payload.count >= 2 else {
        throw MalformedNetlink(offset: attribute.payload.lowerBound)
      }
      let address = NetlinkAttribute(
        type: attribute.type, isNested: false,
        payload: (attribute.payload.lowerBound + 2)..<attribute.payload.upperBound)
      if let via = try? address.ipAddress(in: payload) { gateways.append(via) }
    default: break
    }
  }

  /// Reads an array of `rtnexthop`, each with attributes of its own.
  private mutating func readNextHops(
    _ attribute: NetlinkAttribute, _ payload: RawSpan
  ) throws(MalformedNetlink) {
    let header = 8
    var offset = attribute.payload.lowerBound
    let end = attribute.payload.upperBound
    while offset < end {
      let length = Int(try payload.field(UInt16.self, at: offset))
      guard length >= header, length <= end - offset else {
        throw MalformedNetlink(offset: offset)
      }
      hopInterfaces.insert(try payload.field(UInt32.self, at: offset + 4))
      var cursor = AttributeCursor((offset + header)..<(offset + length))
      while let inner = try cursor.next(in: payload) { try readGateway(inner, payload) }
      offset += (length + 3) & ~3
    }
  }
}

extension HostNetwork {
  /// The next hops of all routes in all tables, both families.
  ///
  /// Corresponds to `ip route show table all` and `ip nexthop`.
  ///
  /// - Parameter namespace: The network namespace.
  /// - Returns: The addresses, each once, in order.
  /// - Throws: ``HostNetworkError``.
  public static func gateways(
    in namespace: NetworkNamespace = .current
  ) throws(HostNetworkError) -> [IPAddress] {
    var socket = try RouteSocket.open(.route, in: namespace)
    var found: Set<IPAddress> = []
    for family in AddressFamily.allCases {
      var request = NetlinkRequest(type: RouteNumber.getRoute)
      request.append(family.rawNumber)
      request.append(bytes: [UInt8](repeating: 0, count: RouteNumber.routeHeader - 1))
      let routes = try RouteSocket.dump(
        request, operation: "read the host's routes", &socket, RouteMessage.init)
      for route in routes where !route.isCloned { found.formUnion(route.gateways) }
    }
    found.formUnion(try nextHops(&socket))
    return found.filter { !$0.isUnspecified }.sorted()
  }

  /// The gateways of next-hop objects, which routes may name by number only.
  private static func nextHops(
    _ socket: inout NetlinkSocket
  ) throws(HostNetworkError) -> [IPAddress] {
    var request = NetlinkRequest(type: RouteNumber.getNextHop)
    request.append(bytes: [UInt8](repeating: 0, count: RouteNumber.nextHopHeader))
    do throws(HostNetworkError) {
      return try RouteSocket.dump(
        request, operation: "read the host's next hops", &socket
      ) { (message, payload) throws(MalformedNetlink) in
        guard message.type == RouteNumber.newNextHop else { return nil }
        var cursor = try payload.attributes(after: RouteNumber.nextHopHeader)
        while let attribute = try cursor.next(in: payload) {
          if attribute.type == RouteNumber.nextHopGateway {
            return try attribute.ipAddress(in: payload)
          }
        }
        return nil
      }
    } catch  where error.errno == .notSupported || error.errno == .invalidArgument {
      // Before Linux 5.3 there are no next-hop objects.
      return []
    }
  }

  /// The route a packet would take: asked of the kernel, policy rules included.
  ///
  /// A peer's packets are taken to arrive by the interface that leads back to it. With asymmetric
  /// routing that is an assumption. Corresponds to `ip route get PEER from LOCAL mark MARK`.
  ///
  /// - Parameters:
  ///   - peer: The destination.
  ///   - local: The source; for one that isn't an address of the host there is no route.
  ///   - mark: The packet's mark, for policy rules.
  ///   - namespace: The network namespace.
  /// - Returns: The route, or `nil` if there is none.
  /// - Throws: ``HostNetworkError``.
  public static func route(
    to peer: IPAddress, from local: IPAddress? = nil, mark: UInt32? = nil,
    in namespace: NetworkNamespace = .current
  ) throws(HostNetworkError) -> Route? {
    var lookup = try RouteLookup(in: namespace)
    return try lookup.route(to: peer, from: local, mark: mark)
  }
}

/// Asks for routes, many over one socket.
public struct RouteLookup: ~Copyable {
  private var socket: NetlinkSocket
  private let names: [UInt32: String]

  /// Opens the socket and reads the interfaces' names.
  ///
  /// - Parameter namespace: The network namespace.
  /// - Throws: ``HostNetworkError``.
  public init(in namespace: NetworkNamespace = .current) throws(HostNetworkError) {
    var socket = try RouteSocket.open(.route, in: namespace)
    names = try HostNetwork.namesByIndex(&socket)
    self.socket = socket
  }

  /// The route a packet would take, as ``HostNetwork/route(to:from:mark:in:)`` gives it.
  ///
  /// - Parameters:
  ///   - peer: The destination.
  ///   - local: The source; for one that isn't an address of the host there is no route.
  ///   - mark: The packet's mark, for policy rules.
  /// - Returns: The route, or `nil` if there is none.
  /// - Throws: ``HostNetworkError``.
  public mutating func route(
    to peer: IPAddress, from local: IPAddress? = nil, mark: UInt32? = nil
  ) throws(HostNetworkError) -> Route? {
    let operation = "look up the route to \(peer)"
    let request = try Self.request(Question(peer: peer, local: local, mark: mark))
    var found: RouteMessage?
    var isMalformed = false
    do throws(NetlinkError) {
      try socket.request(request, operation: operation) { message, payload in
        do throws(MalformedNetlink) {
          found = try RouteMessage(message, payload) ?? found
        } catch {
          isMalformed = true
        }
      }
    } catch  where error.code == .refused {
      guard let errno = error.errno, let refused = Self.refusals[errno] else {
        throw HostNetworkError(error)
      }
      return refused
    } catch {
      throw HostNetworkError(error)
    }
    guard !isMalformed, let found else {
      throw HostNetworkError(.malformed, operation: operation)
    }
    return route(found, from: local)
  }

  /// A question for a route.
  public struct Question: Sendable, Hashable {
    /// The destination.
    public var peer: IPAddress
    /// The source; for one that isn't an address of the host there is no route.
    public var local: IPAddress?
    /// The packet's mark, for policy rules.
    public var mark: UInt32?

    /// Makes a question.
    public init(peer: IPAddress, local: IPAddress? = nil, mark: UInt32? = nil) {
      self.peer = peer
      self.local = local
      self.mark = mark
    }
  }

  /// The routes of many packets, asked for with few calls.
  ///
  /// - Parameter questions: The packets.
  /// - Returns: The answers in order, what ``route(to:from:mark:)`` returns or throws for each.
  /// - Throws: ``HostNetworkError`` when the kernel cannot be asked at all.
  public mutating func routes(
    _ questions: [Question]
  ) throws(HostNetworkError) -> [Result<Route?, HostNetworkError>] {
    let operation = "look up routes"
    // What is not answered at all was malformed or lost.
    var answers: [Result<Route?, HostNetworkError>] = questions.map { _ in
      .failure(HostNetworkError(.malformed, operation: operation))
    }
    var asked: [Int] = []
    asked.reserveCapacity(questions.count)
    var requests: [NetlinkRequest] = []
    requests.reserveCapacity(questions.count)
    for (number, question) in questions.enumerated() {
      do throws(HostNetworkError) {
        requests.append(try Self.request(question))
        asked.append(number)
      } catch {
        answers[number] = .failure(error)
      }
    }
    var found: [(number: Int, route: RouteMessage)] = []
    found.reserveCapacity(asked.count)
    let refusals: [NetlinkRefusal]
    do throws(NetlinkError) {
      refusals = try socket.batch(
        requests, atOnce: NetlinkSocket.answersAtOnce, operation: operation
      ) { index, message, payload in
        guard let route = try? RouteMessage(message, payload) else { return }
        found.append((asked[index], route))
      }
    } catch {
      throw HostNetworkError(error)
    }
    for (number, message) in found {
      answers[number] = .success(route(message, from: questions[number].local))
    }
    for refusal in refusals {
      answers[asked[refusal.index]] =
        Self.refusals[refusal.errno].map { .success($0) }
        ?? .failure(
          HostNetworkError(.kernel, operation: operation, errno: refusal.errno))
    }
    return answers
  }

  /// Routes that refuse are answered as errors (`fib_props` of the kernel).
  private static let refusals: [Errno: Route?] = [
    .networkUnreachable: nil, .noRouteToHost: Route(kind: .unreachable),
    .permissionDenied: Route(kind: .prohibit),
  ]

  private static func request(
    _ question: Question
  ) throws(HostNetworkError) -> NetlinkRequest {
    let peer = question.peer
    if let local = question.local, local.family != peer.family {
      throw HostNetworkError(
        .kernel, operation: "look up the route to \(peer)", errno: .invalidArgument,
        message: "\(local) is of the other address family")
    }
    let width = UInt8(peer.family.bitWidth)
    var request = NetlinkRequest(type: RouteNumber.getRoute)
    var header = [UInt8](repeating: 0, count: RouteNumber.routeHeader)
    header[0] = peer.family.rawNumber
    header[1] = width
    header[2] = question.local == nil ? 0 : width
    request.append(bytes: header)
    request.attribute(RouteNumber.destination, bytes: peer.networkBytes)
    if let local = question.local {
      request.attribute(RouteNumber.source, bytes: local.networkBytes)
    }
    if let mark = question.mark { request.attribute(RouteNumber.mark, host: mark) }
    return request
  }

  private func route(_ message: RouteMessage, from local: IPAddress?) -> Route {
    Route(
      interface: message.outInterface.map { HostNetwork.name(of: $0, names) },
      gateway: message.gateways.first, source: message.source ?? local, kind: message.kind)
  }
}
