public import Addressing
public import Netlink
import SystemPackage

/// Why a peer's packets may come by another interface than the route back to it leaves by.
///
/// On a host with one uplink and the kernel's own rules they can't, short of asymmetric routing
/// outside of it.
public struct RouteChoices: Sendable, Hashable, Codable {
  /// How many policy rules there are beside those the kernel makes itself.
  ///
  /// Corresponds to what `ip rule` shows beyond local, main and default.
  public var ruleCount: Int
  /// The interfaces of default routes in any table, each once, in order.
  ///
  /// The halves of one (0.0.0.0/1 and 128.0.0.0/1, as VPNs make them) count as well.
  public var uplinks: [String]
  /// Whether a route or a group of next hops spreads packets over several.
  public var isMultipath: Bool

  /// Makes choices; none unless given.
  public init(ruleCount: Int = 0, uplinks: [String] = [], isMultipath: Bool = false) {
    self.ruleCount = ruleCount
    self.uplinks = uplinks
    self.isMultipath = isMultipath
  }

  /// Whether packets of a peer certainly come by the interface that the route back to it leaves by.
  ///
  /// - Parameters:
  ///   - interface: That interface.
  ///   - strict: The interfaces whose `rp_filter` is 1: there a packet is dropped unless the route
  ///     back leaves by the same (IPv4 only).
  /// - Returns: Whether no other interface comes into question.
  public func makesCertain(_ interface: String, strict: Set<String>) -> Bool {
    if ruleCount > 0 || isMultipath { return false }
    // A strict check of a multipath route lets any of its interfaces pass, and one under policy
    // rules may ask others than we did (src_valid_mark); of plain default routes it takes one.
    return uplinks.count < 2 || uplinks.allSatisfy { $0 == interface || strict.contains($0) }
  }
}

/// A policy rule as its message has it.
struct RuleMessage {
  /// Whether it is one of those the kernel makes: everything, looked up in local, main or default.
  var isKernelOwn: Bool

  init?(
    _ message: NetlinkMessage, _ payload: RawSpan, family: AddressFamily
  ) throws(MalformedNetlink) {
    guard message.type == RouteNumber.newRule,
      try payload.field(UInt8.self, at: 0) == family.rawNumber
    else { return nil }
    let lengths = (try payload.field(UInt8.self, at: 1), try payload.field(UInt8.self, at: 2))
    var table = UInt32(try payload.field(UInt8.self, at: 4))
    let flags = try payload.field(UInt32.self, at: 8)
    let serviceType = try payload.field(UInt8.self, at: 3)
    let action = try payload.field(UInt8.self, at: 7)
    var isPlain =
      lengths == (0, 0) && serviceType == 0 && action == RouteNumber.lookUpTable
      && flags & RouteNumber.isInverted == 0
    var cursor = try payload.attributes(after: RouteNumber.ruleHeader)
    while let attribute = try cursor.next(in: payload) {
      switch attribute.type {
      case RouteNumber.ruleTable: table = try attribute.host(UInt32.self, in: payload)
      case RouteNumber.rulePriority, RouteNumber.ruleProtocol, RouteNumber.rulePad: break
      case RouteNumber.ruleSuppressed:
        // Always there; all ones when nothing is suppressed.
        if try attribute.host(UInt32.self, in: payload) != .max { isPlain = false }
      // Every other attribute narrows the rule, those of kernels to come included.
      default: isPlain = false
      }
    }
    // RT_TABLE_DEFAULT, RT_TABLE_MAIN, RT_TABLE_LOCAL.
    isKernelOwn = isPlain && (253...255).contains(table)
  }
}

extension HostNetwork {
  /// What makes routes of a family depend on more than the destination.
  ///
  /// Corresponds to `ip rule`, `ip route show table all` and `ip nexthop`.
  ///
  /// - Parameters:
  ///   - family: The family.
  ///   - namespace: The network namespace.
  /// - Returns: The rules, uplinks and multiple paths.
  /// - Throws: ``HostNetworkError``.
  public static func routeChoices(
    _ family: AddressFamily, in namespace: NetworkNamespace = .current
  ) throws(HostNetworkError) -> RouteChoices {
    var socket = try RouteSocket.open(.route, in: namespace)
    let names = try namesByIndex(&socket)
    var choices = RouteChoices()
    choices.ruleCount = try rules(family, &socket).count { !$0.isKernelOwn }

    var request = NetlinkRequest(type: RouteNumber.getRoute)
    request.append(family.rawNumber)
    request.append(bytes: [UInt8](repeating: 0, count: RouteNumber.routeHeader - 1))
    let routes = try RouteSocket.dump(
      request, operation: "read the host's routes", &socket, RouteMessage.init)
    var uplinks: Set<String> = []
    for (number, route) in routes.enumerated()
    where route.family == family && route.kind == .unicast && !route.isCloned {
      if route.hopInterfaces.count > 1 { choices.isMultipath = true }
      guard route.destinationLength <= 1 else { continue }
      let indices = route.hopInterfaces.union(route.outInterface.map { [$0] } ?? [])
      uplinks.formUnion(indices.map { name(of: $0, names) })
      // One by a next-hop object whose interface isn't told may leave by any.
      if indices.isEmpty { uplinks.insert("#route\(number)") }
    }
    choices.uplinks = uplinks.sorted()
    if try hasNextHopGroups(&socket) { choices.isMultipath = true }
    return choices
  }

  private static func rules(
    _ family: AddressFamily, _ socket: inout NetlinkSocket
  ) throws(HostNetworkError) -> [RuleMessage] {
    var request = NetlinkRequest(type: RouteNumber.getRule)
    request.append(family.rawNumber)
    request.append(bytes: [UInt8](repeating: 0, count: RouteNumber.ruleHeader - 1))
    do throws(HostNetworkError) {
      return try RouteSocket.dump(
        request, operation: "read the host's policy rules", &socket
      ) { (message, payload) throws(MalformedNetlink) in
        try RuleMessage(message, payload, family: family)
      }
    } catch  where error.errno == .notSupported || error.errno == .addressFamilyNotSupported {
      // A kernel without policy routing, or without the family.
      return []
    }
  }

  private static func hasNextHopGroups(
    _ socket: inout NetlinkSocket
  ) throws(HostNetworkError) -> Bool {
    var request = NetlinkRequest(type: RouteNumber.getNextHop)
    request.append(bytes: [UInt8](repeating: 0, count: RouteNumber.nextHopHeader))
    do throws(HostNetworkError) {
      let groups = try RouteSocket.dump(
        request, operation: "read the host's next hops", &socket
      ) { (message, payload) throws(MalformedNetlink) -> Bool? in
        guard message.type == RouteNumber.newNextHop else { return nil }
        var cursor = try payload.attributes(after: RouteNumber.nextHopHeader)
        while let attribute = try cursor.next(in: payload) {
          if attribute.type == RouteNumber.nextHopGroup {
            return attribute.payload.count > RouteNumber.nextHopGroupEntry
          }
        }
        return nil
      }
      return groups.contains(true)
    } catch  where error.errno == .notSupported || error.errno == .invalidArgument {
      // Before Linux 5.3 there are no next-hop objects.
      return false
    }
  }
}
