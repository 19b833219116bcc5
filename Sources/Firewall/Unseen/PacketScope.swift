public import Addressing

/// The packets that a condition on headers, interfaces and connection state holds for.
///
/// Every property that is not `nil` must hold; an empty list holds for no packet.
public struct PacketScope: Sendable, Hashable, Codable {
  /// The address family.
  public var family: AddressFamily?
  /// The transport protocols.
  public var transports: Set<IPProtocol>?
  /// The source ports, in order and apart.
  public var sourcePorts: [ClosedRange<UInt16>]?
  /// The destination ports, in order and apart.
  public var destinationPorts: [ClosedRange<UInt16>]?
  /// The source addresses.
  public var sources: [IPPrefix]?
  /// The destination addresses.
  public var destinations: [IPPrefix]?
  /// The names of input interfaces; a `*` at the end stands for anything.
  public var inInterfaces: [String]?
  /// The names of output interfaces, likewise.
  public var outInterfaces: [String]?
  /// What connection tracking says.
  public var states: Set<ConnectionState>?

  /// Makes the scope that every packet is in.
  public init() {}

  /// Whether no packet can be in it.
  var isEmpty: Bool {
    transports?.isEmpty == true || sourcePorts?.isEmpty == true
      || destinationPorts?.isEmpty == true || sources?.isEmpty == true
      || destinations?.isEmpty == true || inInterfaces?.isEmpty == true
      || outInterfaces?.isEmpty == true || states?.isEmpty == true
  }

  /// Takes what is in the other scope too.
  ///
  /// - Returns: Whether the result is exactly that; else it is a little more.
  mutating func narrow(to other: PacketScope) -> Bool {
    var isExact = true
    if let wanted = other.family {
      if let family, family != wanted { transports = [] }
      family = wanted
    }
    transports = Self.both(transports, other.transports) { $0.intersection($1) }
    sourcePorts = Self.both(sourcePorts, other.sourcePorts, Self.overlaps)
    destinationPorts = Self.both(destinationPorts, other.destinationPorts, Self.overlaps)
    sources = Self.both(sources, other.sources, Self.overlaps)
    destinations = Self.both(destinations, other.destinations, Self.overlaps)
    states = Self.both(states, other.states) { $0.intersection($1) }
    // Patterns are not taken apart: the later one stands for both.
    if let names = other.inInterfaces {
      if let inInterfaces, inInterfaces != names { isExact = false }
      inInterfaces = names
    }
    if let names = other.outInterfaces {
      if let outInterfaces, outInterfaces != names { isExact = false }
      outInterfaces = names
    }
    return isExact
  }

  private static func both<Value>(_ left: Value?, _ right: Value?, _ join: (Value, Value) -> Value)
    -> Value?
  {
    guard let left else { return right }
    return right.map { join(left, $0) } ?? left
  }

  private static func overlaps(
    _ left: [ClosedRange<UInt16>], _ right: [ClosedRange<UInt16>]
  ) -> [ClosedRange<UInt16>] {
    var result: [ClosedRange<UInt16>] = []
    var (first, second) = (left[...], right[...])
    while let one = first.first, let other = second.first {
      if one.overlaps(other) { result.append(one.clamped(to: other)) }
      if one.upperBound < other.upperBound { first.removeFirst() } else { second.removeFirst() }
    }
    return result
  }

  private static func overlaps(_ left: [IPPrefix], _ right: [IPPrefix]) -> [IPPrefix] {
    left.flatMap { one in
      right.compactMap { one.contains($0) ? $0 : $0.contains(one) ? one : nil }
    }
  }
}

/// What is known of a packet, as far as a ``PacketScope`` asks.
///
/// Where a packet is rewritten on its way there are several values; empty: not known.
struct PacketView {
  var family: AddressFamily?
  var transport: IPProtocol?
  var sourcePorts: [UInt16] = []
  var destinationPorts: [UInt16] = []
  var sources: [IPAddress] = []
  var destinations: [IPAddress] = []
  var inInterface: String?
  var outInterface: String?
  var states: [ConnectionState] = []
}

extension PacketScope {
  /// Whether a packet is in it.
  func contains(_ packet: PacketView) -> Truth {
    if isEmpty { return .no }
    return Self.all(family, packet.family.map { [$0] } ?? []) { $0 == $1 }
      && Self.all(transports, packet.transport.map { [$0] } ?? []) { $0.contains($1) }
      && Self.all(states, packet.states) { $0.contains($1) }
      && Self.all(destinationPorts, packet.destinationPorts, Self.holds)
      && Self.all(sourcePorts, packet.sourcePorts, Self.holds)
      && Self.all(destinations, packet.destinations) { list, one in
        list.contains { $0.contains(one) }
      }
      && Self.all(sources, packet.sources) { list, one in list.contains { $0.contains(one) } }
      && Self.all(inInterfaces, packet.inInterface.map { [$0] } ?? [], Self.names)
      && Self.all(outInterfaces, packet.outInterface.map { [$0] } ?? [], Self.names)
  }

  /// Whether a condition holds for every value a packet may have there, for none or for some.
  private static func all<Condition, Value>(
    _ condition: Condition?, _ values: [Value], _ holds: (Condition, Value) -> Bool
  ) -> Truth {
    guard let condition else { return .yes }
    var (held, failed) = (false, false)
    for value in values { if holds(condition, value) { held = true } else { failed = true } }
    return held == failed ? .unknown : Truth(held)
  }

  /// Binary search, for a denied list can be long and is asked for each flow.
  private static func holds(_ ranges: [ClosedRange<UInt16>], _ port: UInt16) -> Bool {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < port { low = middle + 1 } else { high = middle }
    }
    return low < ranges.count && ranges[low].contains(port)
  }

  private static func names(_ patterns: [String], _ name: String) -> Bool {
    patterns.contains { pattern in
      pattern.hasSuffix("*") ? name.hasPrefix(pattern.dropLast()) : name == pattern
    }
  }
}
