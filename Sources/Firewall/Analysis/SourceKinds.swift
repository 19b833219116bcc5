public import Addressing

/// The sources of packets sorted into kinds that no rule of a family tells apart.
///
/// Two packets that agree in everything but source address and source port are walked alike, down to
/// reasons and order, if their sources are of one kind: one walk answers for both. That also holds of
/// packets whose flows' tuples name the source where the other's name its own. Packets with a payload
/// are not spoken of.
///
/// Every condition, target and filter that looks at the source has to be known here; with one that is
/// not, or that no ranges follow, there are no kinds.
public struct SourceKinds: Sendable {
  /// What rules can tell of a source.
  public struct Kind: Sendable, Hashable {
    /// The kind of its address.
    var address: Int32
    /// The kind of its port.
    var port: UInt16
  }

  /// Where a piece of the addresses begins, and of which kind it is.
  private var starts: [UInt128]
  private var numbers: [Int32]
  private let portStarts: [UInt16]
  /// Whether some rule asks for an address as broadcast addresses look: by its last bits.
  private let asksLastBits: Bool

  /// Sorts the sources of a family's packets.
  ///
  /// Takes about as long as compiling the rules and sets. `nil` where some rule looks at a source, or
  /// at a flow, in a way not followed here.
  ///
  /// - Parameters:
  ///   - evaluation: The rules.
  ///   - family: The family of the packets.
  public init?(_ evaluation: Evaluation, family: AddressFamily) {
    var cuts = SourceCuts(family, host: evaluation.host)
    for ruleset in evaluation.rulesets where ruleset.source.family == family {
      for condition in ruleset.conditions {
        guard cuts.take(condition) else { return nil }
      }
    }
    for filter in evaluation.unseen where filter.family == nil || filter.family == family {
      for step in filter.steps ?? [] { cuts.take(step.scope) }
    }
    asksLastBits = cuts.asksLastBits
    portStarts = cuts.ports.sorted()
    (starts, numbers) = cuts.addresses.classes.pieces()
  }

  /// The kind of a source.
  ///
  /// - Parameters:
  ///   - address: The address, of the family asked for.
  ///   - port: The port.
  /// - Returns: The kind; comparable only with others of the same sorting.
  public func kind(of address: IPAddress, port: UInt16) -> Kind {
    Kind(address: kind(of: address), port: UInt16(Self.piece(portStarts, port)))
  }

  /// What rules can tell of an address alone, for packets of which no port is known.
  public func kind(of address: IPAddress) -> Int32 {
    let number = numbers[Self.piece(starts, address.bits)]
    guard asksLastBits else { return number }
    let last = address.bits & 3
    return number << 1 | (last == 0 || last == 3 ? 1 : 0)
  }

  /// The piece a value lies in; the first begins at 0.
  private static func piece<Value: Comparable>(_ starts: [Value], _ value: Value) -> Int {
    var low = 0
    var high = starts.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if starts[middle] <= value { low = middle } else { high = middle }
    }
    return low
  }
}

/// Where the answers of a family's rules change with the source.
private struct SourceCuts {
  let family: AddressFamily
  var addresses: SourceConditions
  var ports: Set<UInt16> = [0]
  var asksLastBits = false

  init(_ family: AddressFamily, host: HostFacts) {
    self.family = family
    addresses = SourceConditions(family, host: host, knowsDestination: true)
    // REDIRECT chooses its address by whether the source is link-local.
    let linkLocal: (UInt128, Int) =
      family == .ipv4 ? (0xa9fe_0000, 16) : (UInt128(0xfe80) << 112, 10)
    cut(IPPrefix(IPAddress(family: family, bits: linkLocal.0), length: linkLocal.1))
  }

  /// Cuts along a condition.
  ///
  /// - Returns: Whether its answers are followed.
  mutating func take(_ condition: Condition) -> Bool {
    switch condition {
    case .sourcePort(let low, let high, _):
      cutPorts(low, high)
      return true
    case .other(let other):
      return take(other, condition)
    default:
      return addresses.take(condition) == nil
    }
  }

  private mutating func take(_ other: any MatchCondition, _ condition: Condition) -> Bool {
    switch other {
    case let list as PortList:
      if list.place != .destination { for range in list.ranges { cutPorts(range.0, range.1) } }
      return true
    case let both as AmbiguousPorts:
      cutPorts(both.source, both.source)
      return true
    case let type as AddressTypeCondition:
      guard type.isSource else { return true }
      addresses.cutByType()
      if type.types.contains(.broadcast) != type.types.contains(.unicast) { asksLastBits = true }
      return true
    case let recent as RecentCondition:
      return take(recent)
    case let connection as ConnectionCondition:
      return connection.tests.allSatisfy { take($0.test) }
    case let set as SetCondition:
      cutPorts(set)
      return addresses.take(condition) == nil
    default:
      return addresses.take(condition) == nil
    }
  }

  private mutating func take(_ test: ConnectionCondition.Test) -> Bool {
    switch test {
    // Which end of which tuple the source is hangs on who opened the flow.
    case .address(_, let pattern):
      return addresses.take(.source(pattern.bits, mask: pattern.mask, isInverted: false)) == nil
    case .port(_, let low, let high):
      cutPorts(low, high)
      return true
    // Every flow has a time of its own.
    case .expires: return false
    case .transport, .status, .direction: return true
    }
  }

  private mutating func take(_ recent: RecentCondition) -> Bool {
    guard recent.isSource else { return true }
    let all: UInt128 = family == .ipv4 ? 0xffff_ffff : .max
    let hostBits = recent.mask.map { all & ~$0.bits } ?? 0
    guard hostBits & (hostBits &+ 1) == 0 else { return false }
    for address in recent.entries.keys where address.family == family {
      addresses.cut(address.bits...(address.bits | hostBits))
    }
    return true
  }

  /// Cuts along a filter that is not in the rulesets.
  mutating func take(_ scope: PacketScope) {
    for prefix in scope.sources ?? [] where prefix.address.family == family { cut(prefix) }
    for range in scope.sourcePorts ?? [] { cutPorts(range.lowerBound, range.upperBound) }
  }

  private mutating func cut(_ prefix: IPPrefix?) {
    if let prefix { addresses.cut(prefix.range) }
  }

  private mutating func cutPorts(_ low: UInt16, _ high: UInt16) {
    ports.insert(low)
    if high < .max { ports.insert(high + 1) }
  }

  private mutating func cutPorts(_ condition: SetCondition) {
    for table in condition.members.compactMap(\.self) + [condition.table].compactMap(\.self) {
      guard case .keys(let keys) = table.content,
        zip(table.dimensions, condition.isSource).contains(where: { $0 == .port && $1 })
      else { continue }
      for key in keys.keys {
        let port = UInt16(truncatingIfNeeded: key.port)
        cutPorts(port, port)
      }
    }
  }
}
