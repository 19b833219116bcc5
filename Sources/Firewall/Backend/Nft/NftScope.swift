internal import Addressing

/// Understands conditions of `nft -j` as far as a ``PacketScope`` can say them.
struct NftScope {
  /// What the conditions leave.
  var scope = PacketScope()
  /// Whether the scope is just what they hold for; else they hold for some of it.
  var isExact = true
  /// The elements of a set that nothing but its owner changes; `nil`: not known.
  let elements: (String) -> [JSONValue]?

  init(elements: @escaping (String) -> [JSONValue]?) { self.elements = elements }

  /// Takes a `match` statement.
  mutating func take(match: JSONValue) {
    guard let left = match["left"], let right = match["right"] else {
      isExact = false
      return
    }
    take(left, match["op"]?.string ?? "", right)
  }

  /// Takes `left op right`.
  mutating func take(_ left: JSONValue, _ operation: String, _ right: JSONValue) {
    imply(left)
    if let parts = left["concat"]?.array {
      // Which value goes with which is not kept.
      isExact = false
      guard operation == "==", let values = values(right) else { return }
      let tuples = values.compactMap { $0["concat"]?.array }
      guard tuples.count == values.count, tuples.allSatisfy({ $0.count == parts.count }) else {
        return
      }
      for (index, part) in parts.enumerated() {
        take(part, "==", .object(["set": .array(tuples.map { $0[index] })]))
      }
      return
    }
    var wanted = PacketScope()
    if !read(left, operation, right, &wanted) { isExact = false }
    if !scope.narrow(to: wanted) { isExact = false }
  }

  /// A header's field can only be read where the header is: else the rule does not match.
  private mutating func imply(_ left: JSONValue) {
    for part in left["&"]?.array ?? left["concat"]?.array ?? [] { imply(part) }
    guard let name = Self.header(left) else { return }
    var implied = PacketScope()
    switch name {
    case "ip": implied.family = .ipv4
    case "ip6": implied.family = .ipv6
    case "icmp", "icmpv6", "tcp", "udp", "udplite", "sctp", "dccp":
      implied.transports = Self.transports[name].map { [$0] }
    default: break
    }
    _ = scope.narrow(to: implied)
  }

  /// The header that a payload expression reads, unless it is one inside a tunnel.
  private static func header(_ left: JSONValue) -> String? {
    left["payload"]?["tunnel"] == nil ? left["payload"]?["protocol"]?.string : nil
  }

  /// Adds what one condition asks; `false` if it asks more than that.
  private func read(
    _ left: JSONValue, _ operation: String, _ right: JSONValue, _ wanted: inout PacketScope
  ) -> Bool {
    if let key = left["meta"]?["key"]?.string {
      return meta(key, operation, right, &wanted)
    }
    if left["ct"]?["key"]?.string == "state", left["ct"]?["dir"] == nil {
      return state(operation, right, &wanted)
    }
    guard let header = Self.header(left),
      let field = left["payload"]?["field"]?.string
    else { return false }
    switch header {
    case "tcp", "udp", "udplite", "sctp", "dccp", "th":
      guard field == "dport" || field == "sport", let ports = ports(operation, right) else {
        return false
      }
      if field == "dport" { wanted.destinationPorts = ports } else { wanted.sourcePorts = ports }
      return true
    case "ip", "ip6":
      switch field {
      case "daddr": wanted.destinations = prefixes(operation, right)
      case "saddr": wanted.sources = prefixes(operation, right)
      case "protocol": wanted.transports = transports(operation, right)
      case "nexthdr":
        // An extension header may stand before the transport's: the rule misses such packets, and
        // its negation and numbers of extensions hold for any transport.
        if let found = transports("==", right), operation == "==",
          found.allSatisfy({ $0.hasPorts || $0 == .icmpv6 })
        {
          wanted.transports = found
        }
        return false
      default: break
      }
      return wanted != PacketScope()
    default: return false
    }
  }

  private func meta(
    _ key: String, _ operation: String, _ right: JSONValue, _ wanted: inout PacketScope
  ) -> Bool {
    switch key {
    case "l4proto":
      wanted.transports = transports(operation, right)
      return wanted.transports != nil
    case "nfproto", "protocol":
      guard operation == "==" else { return false }
      switch right.string {
      case "ipv4", "ip": wanted.family = .ipv4
      case "ipv6", "ip6": wanted.family = .ipv6
      default: return false
      }
      return true
    case "iifname", "iif":
      wanted.inInterfaces = names(operation, right)
      return wanted.inInterfaces != nil
    case "oifname", "oif":
      wanted.outInterfaces = names(operation, right)
      return wanted.outInterfaces != nil
    default: return false
    }
  }

  // MARK: values

  /// The values on the right, those of a set one by one; `nil`: not known.
  private func values(_ right: JSONValue) -> [JSONValue]? {
    if let text = right.string, text.hasPrefix("@") {
      return elements(String(text.dropFirst()))?.map(Self.bare)
    }
    if let set = right["set"] { return set.array.map { $0.map(Self.bare) } }
    return [right]
  }

  /// An element without its comment and counters.
  static func bare(_ element: JSONValue) -> JSONValue { element["elem"]?["val"] ?? element }

  private func ports(_ operation: String, _ right: JSONValue) -> [ClosedRange<UInt16>]? {
    guard let values = values(right) else { return nil }
    var found: [ClosedRange<UInt16>] = []
    for value in values {
      if let port = Self.number(value) {
        found.append(port...port)
      } else if let ends = value["range"]?.array, ends.count == 2, let first = Self.number(ends[0]),
        let last = Self.number(ends[1]), first <= last
      {
        found.append(first...last)
      } else {
        return nil
      }
    }
    switch operation {
    case "==", "in": return Self.merged(found)
    case "!=": return Self.others(Self.merged(found))
    case "<", "<=", ">", ">=":
      guard found.count == 1, found[0].lowerBound == found[0].upperBound else { return nil }
      let port = found[0].lowerBound
      switch operation {
      case "<": return port == 0 ? [] : [0...(port - 1)]
      case "<=": return [0...port]
      case ">": return port == .max ? [] : [(port + 1)...UInt16.max]
      default: return [port...UInt16.max]
      }
    default: return nil
    }
  }

  private static func number(_ value: JSONValue) -> UInt16? {
    value.number.flatMap(UInt16.init(exactly:))
  }

  private static func merged(_ ranges: [ClosedRange<UInt16>]) -> [ClosedRange<UInt16>] {
    var result: [ClosedRange<UInt16>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = result.last, Int(range.lowerBound) <= Int(last.upperBound) + 1 {
        result[result.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        result.append(range)
      }
    }
    return result
  }

  private static func others(_ ranges: [ClosedRange<UInt16>]) -> [ClosedRange<UInt16>] {
    var result: [ClosedRange<UInt16>] = []
    var next = 0
    for range in ranges {
      if next < Int(range.lowerBound) { result.append(UInt16(next)...(range.lowerBound - 1)) }
      next = Int(range.upperBound) + 1
    }
    if next <= Int(UInt16.max) { result.append(UInt16(next)...UInt16.max) }
    return result
  }

  private func prefixes(_ operation: String, _ right: JSONValue) -> [IPPrefix]? {
    guard operation == "==", let values = values(right) else { return nil }
    var found: [IPPrefix] = []
    for value in values {
      let prefix: IPPrefix?
      if let text = value["prefix"]?["addr"]?.string, let address = IPAddress(text),
        let length = value["prefix"]?["len"]?.number.flatMap(Int.init(exactly:))
      {
        prefix = IPPrefix(address, length: length)
      } else {
        prefix = value.string.flatMap(IPAddress.init).map(IPPrefix.init)
      }
      guard let prefix else { return nil }
      found.append(prefix)
    }
    return found
  }

  private static let transports: [String: IPProtocol] = [
    "icmp": .icmp, "igmp": IPProtocol(rawValue: 2), "tcp": .tcp, "udp": .udp, "dccp": .dccp,
    "gre": IPProtocol(rawValue: 47), "esp": IPProtocol(rawValue: 50),
    "ah": IPProtocol(rawValue: 51), "icmpv6": .icmpv6, "ipv6-icmp": .icmpv6,
    "ospf": IPProtocol(rawValue: 89), "vrrp": IPProtocol(rawValue: 112), "sctp": .sctp,
    "udplite": .udplite,
  ]

  private func transports(_ operation: String, _ right: JSONValue) -> Set<IPProtocol>? {
    guard operation == "==" || operation == "!=", let values = values(right) else { return nil }
    var found: Set<IPProtocol> = []
    for value in values {
      let one =
        value.string.flatMap { Self.transports[$0] }
        ?? value.number.flatMap(UInt8.init(exactly:)).map(IPProtocol.init)
      guard let one else { return nil }
      found.insert(one)
    }
    if operation == "==" { return found }
    return Set((UInt8.min...UInt8.max).map(IPProtocol.init)).subtracting(found)
  }

  private func names(_ operation: String, _ right: JSONValue) -> [String]? {
    guard operation == "==", let values = values(right) else { return nil }
    var found: [String] = []
    for value in values {
      // An escaped `*` is one of the name's.
      guard let name = value.string, !name.contains("\\"), !name.isEmpty else { return nil }
      found.append(name)
    }
    return found
  }

  private func state(_ operation: String, _ right: JSONValue, _ wanted: inout PacketScope) -> Bool {
    var found: Set<ConnectionState> = []
    // `ct state a,b` is a list, `ct state { a, b }` a set.
    guard let values = right.array ?? values(right) else { return false }
    for value in values {
      guard let name = value.string, let state = ConnectionState(rawValue: name.uppercased())
      else { return false }
      found.insert(state)
    }
    let isList = right.array != nil && values.count > 1
    switch operation {
    case "in": wanted.states = found
    case "==" where !isList: wanted.states = found
    // A packet has one state, so one that is not these is another.
    case "!=" where !isList: wanted.states = Set(ConnectionState.allCases).subtracting(found)
    default: return false
    }
    return true
  }
}
