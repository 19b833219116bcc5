import Addressing

/// Finds where the answers of a ruleset's conditions change with the source address.
///
/// A condition whose dependence on the source cannot be put in ranges is replaced by one that is
/// never decided and says why.
struct SourceConditions {
  let family: AddressFamily
  let host: HostFacts
  /// Whether the destination on the wire is given.
  let knowsDestination: Bool
  private(set) var classes: SourceClasses

  init(_ family: AddressFamily, host: HostFacts, knowsDestination: Bool) {
    self.family = family
    self.host = host
    self.knowsDestination = knowsDestination
    classes = SourceClasses(family)
  }

  /// Cuts along a condition; what to put in its place, or `nil` to leave it.
  mutating func take(_ condition: Condition) -> Condition? {
    switch condition {
    case .source(let bits, let mask, _):
      guard let ranges = AddressPattern.ranges(bits: bits, mask: mask, family: family) else {
        return Self.unfollowed("a source mask with holes in it")
      }
      classes.cut(ranges, .pattern(bits, mask: mask))
      return nil
    case .other(let other):
      return take(other)
    default:
      return nil
    }
  }

  private mutating func take(_ condition: any MatchCondition) -> Condition? {
    switch condition {
    case let range as AddressRange:
      if range.isSource, range.low <= range.high {
        classes.cut([range.low...range.high], .range(range.low, range.high))
      }
      return nil
    case let list as AnyAddress:
      guard list.isSource else { return nil }
      return take(list.patterns)
    case let type as AddressTypeCondition:
      guard type.isSource else { return nil }
      cutByType()
      return .other(CoarseSourceType(base: type))
    case let set as SetCondition:
      return take(set)
    case let connection as ConnectionCondition:
      var result: Condition?
      for (test, _) in connection.tests {
        guard case .address(let place, let pattern) = test else { continue }
        switch place {
        // Of a flow that begins, the reply goes where the packet came from.
        case .originalSource, .replyDestination: result = take([pattern]) ?? result
        case .originalDestination where !knowsDestination:
          result = Self.unfollowed("the destination of the flow")
        default: break
        }
      }
      if !knowsDestination,
        connection.tests.contains(where: {
          if case .port(.originalDestination, _, _) = $0.test { true } else { false }
        })
      {
        return Self.unfollowed("the destination of the flow")
      }
      return result
    case is PortList, is TCPFlags, is HeaderField, is TypeOfService, is LinkType, is SourceMAC,
      is PhysicalDevice, is ReversePath, is SecurityPolicy, is ICMPCondition, is TimeCondition,
      is ConnectionMark, is ConnectionHelper, is ConnectionVolume, is AmbiguousPorts,
      is ExtensionHeader:
      return nil
    // A list changes with the traffic: its addresses are possibly accepted at best.
    case let recent as RecentCondition:
      return .undecidable(
        Missing(.memory, "match \"recent\" asks list \"\(recent.name)\", which changes"))
    // Without a payload, which no question gives, these are not decided for any source.
    case is StringCondition, is U32Condition, is BPFCondition:
      return nil
    default:
      return Self.unfollowed("a match that may look at the source in a way not followed here")
    }
  }

  private mutating func take(_ patterns: [AddressPattern]) -> Condition? {
    for pattern in patterns {
      guard let ranges = pattern.ranges else {
        return Self.unfollowed("a source mask with holes in it")
      }
      classes.cut(ranges, .pattern(pattern.bits, mask: pattern.mask))
    }
    return nil
  }

  private static func unfollowed(_ what: String) -> Condition {
    .undecidable(Missing(.fact, "it hangs on \(what)"))
  }

  /// Cuts along one range.
  mutating func cut(_ range: ClosedRange<UInt128>) {
    classes.cut([range], .range(range.lowerBound, range.upperBound))
  }

  /// Cuts where the kind of an address changes.
  mutating func cutByType() {
    func cut(_ bits: UInt128, _ length: Int) {
      guard let prefix = IPPrefix(IPAddress(family: family, bits: bits), length: length) else {
        return
      }
      classes.cut([prefix.range], .type(bits << 8 | UInt128(length)))
    }
    if family == .ipv4 {
      for (bits, length) in [(0, 8), (0xffff_ffff, 32), (0xe000_0000, 4), (0x7f00_0000, 8)] {
        cut(UInt128(bits), length)
      }
      cut(0x7fff_ffff, 32)
    } else {
      cut(0, 128)
      cut(1, 128)
      cut(UInt128(0xff) << 120, 8)
      // The mapped form of 127.0.0.0/8 counts as loopback too.
      cut(0xffff_7f00_0000, 104)
    }
    for address in host.localAddresses ?? [] where address.family == family {
      classes.cut([address.bits...address.bits], .range(address.bits, address.bits))
    }
  }

  // MARK: Sets

  private mutating func take(_ condition: SetCondition) -> Condition? {
    guard condition.isSource.contains(true), let table = condition.table else { return nil }
    guard case .list = table.content else { return take(table, condition) }
    for member in condition.members {
      if let member, let other = take(member, condition) { return other }
    }
    return nil
  }

  private mutating func take(_ table: SetTable, _ condition: SetCondition) -> Condition? {
    guard table.family == family, condition.isSource.count >= table.dimensions.count else {
      return nil
    }
    // The same set asked for other sides is another condition.
    let sides = condition.isSource.map { $0 ? "s" : "d" }.joined()
    let name = "\(sides) \(table.name)"
    guard !classes.hasCut(.members(set: name)) else { return nil }
    let addressSides = zip(table.dimensions, condition.isSource).filter { $0.0 == .address }
      .map(\.1)
    guard addressSides.contains(true) else { return nil }
    switch table.content {
    case .addresses(let addresses):
      classes.cut(
        addresses.ranges.map { $0.lowerBound.bits...$0.upperBound.bits }, .members(set: name))
    case .keys(let keys):
      let all: UInt128 = family == .ipv4 ? 0xffff_ffff : .max
      let hostBits = all & ~table.netmask
      guard hostBits & (hostBits &+ 1) == 0 else {
        return Self.unfollowed("a set with a bit mask")
      }
      classes.note(.members(set: name))
      for (key, isException) in keys {
        var range: ClosedRange<UInt128>? = 0...all
        var rest = key
        if addressSides[0] {
          range = Self.looked(key.first, key.firstLength, hostBits, family)
          rest.first = 0
        }
        if addressSides.count > 1, addressSides[1], let first = range {
          rest.second = 0
          let second = Self.looked(key.second, key.secondLength, 0, family)
          range = second.flatMap { first.overlaps($0) ? first.clamped(to: $0) : nil }
        }
        if let range {
          classes.add(range, .element(set: name, rest: rest, isException: isException))
        }
      }
    case .list, .unsupported:
      break
    }
    return nil
  }

  /// The addresses that, cut to a set's netmask, lie in an element.
  private static func looked(
    _ bits: UInt128, _ length: UInt8, _ hostBits: UInt128, _ family: AddressFamily
  ) -> ClosedRange<UInt128>? {
    guard let prefix = IPPrefix(IPAddress(family: family, bits: bits), length: Int(length)) else {
      return nil
    }
    // An element longer than the netmask is found only if its own further bits are zero.
    guard prefix.range.upperBound - prefix.range.lowerBound < hostBits else { return prefix.range }
    return bits & hostBits == 0 ? bits...(bits | hostBits) : nil
  }
}

/// `--src-type` for whole ranges: whether an ordinary address is some network's broadcast address
/// follows no range.
struct CoarseSourceType: MatchCondition {
  var base: AddressTypeCondition

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    let address = situation.packet.source
    let bits = address.bits
    let isOrdinary =
      address.family == .ipv4 && bits >> 24 != 0 && bits >> 24 != 127 && bits >> 28 != 0xe
      && bits != 0xffff_ffff && situation.host.localAddresses?.contains(address) == false
    if isOrdinary, base.types.contains(.broadcast) != base.types.contains(.unicast) {
      return .unknown
    }
    return base.truth(situation, variant)
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.fact, "whether an address is a network's broadcast address is not known")
  }
}
