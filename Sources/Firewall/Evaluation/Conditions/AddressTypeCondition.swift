import Addressing

extension ConditionCompiler {
  /// `-m addrtype`.
  func compileAddressType(_ options: [Option]) -> [Condition]? {
    var result: [Condition] = []
    var limitsInterface = false
    for option in options {
      switch option.name {
      case "--limit-iface-in", "--limit-iface-out": limitsInterface = true
      case "--src-type", "--dst-type": break
      default: return nil
      }
    }
    for option in options where option.name.hasSuffix("-type") {
      guard let list = option.only else { return nil }
      var types: Set<AddressTypeCondition.Kind> = []
      for word in list.split(separator: ",", omittingEmptySubsequences: false) {
        guard let type = AddressTypeCondition.Kind(rawValue: word.uppercased()) else {
          return nil
        }
        types.insert(type)
      }
      result.append(
        .other(
          AddressTypeCondition(
            types: types, isSource: option.name == "--src-type",
            limitsInterface: limitsInterface, isInverted: option.isInverted)))
    }
    return result.isEmpty ? nil : result
  }
}

/// `-m addrtype`: what the routing tables say of an address.
struct AddressTypeCondition: MatchCondition {
  enum Kind: String, Sendable {
    case unspec = "UNSPEC"
    case unicast = "UNICAST"
    case local = "LOCAL"
    case broadcast = "BROADCAST"
    case anycast = "ANYCAST"
    case multicast = "MULTICAST"
    case blackhole = "BLACKHOLE"
    case unreachable = "UNREACHABLE"
    case prohibit = "PROHIBIT"
    case `throw` = "THROW"
    case nat = "NAT"
    case xresolve = "XRESOLVE"
  }

  var types: Set<Kind>
  var isSource: Bool
  var limitsInterface: Bool
  var isInverted: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard let address = isSource ? situation.packet.source : situation.destination(variant) else {
      return .unknown
    }
    let found =
      address.family == .ipv4
      ? ipv4(address, situation.host.localAddresses, isElsewhere(situation))
      : ipv6(address, situation.host.localAddresses, isElsewhere(situation))
    // That a local address is on the interface itself was not observed.
    if limitsInterface, found != .no { return .unknown }
    return found.inverted(isInverted)
  }

  /// Whether the routing decision has shown that the address is none of the host's.
  private func isElsewhere(_ situation: Situation) -> Bool {
    !isSource && situation.isRouted
  }

  /// The kernel finds exactly one type, in the local table.
  private func ipv4(
    _ address: IPAddress, _ local: Set<IPAddress>?, _ isElsewhere: Bool
  ) -> Truth {
    let bits = UInt32(truncatingIfNeeded: address.bits)
    if bits >> 24 == 0 || bits == .max { return Truth(types.contains(.broadcast)) }
    if bits >> 28 == 0xe { return Truth(types.contains(.multicast)) }
    if bits >> 24 == 127 {
      return bits == 0x7fff_ffff ? Truth(types.contains(.broadcast)) : Truth(types.contains(.local))
    }
    if local == nil, !isElsewhere { return .unknown }
    if local?.contains(address) == true { return Truth(types.contains(.local)) }
    // A subnet's broadcast address ends in ones, on older kernels also in zeros; what goes there is
    // never forwarded.
    let mayBroadcast = !isElsewhere && (bits & 3 == 3 || bits & 3 == 0)
    if types.contains(.broadcast) != types.contains(.unicast), mayBroadcast { return .unknown }
    // Routes of the other types may stand in a local table, which was not read.
    let rare: Set<Kind> = [.anycast, .blackhole, .unreachable, .prohibit, .throw, .nat, .xresolve]
    if !types.isDisjoint(with: rare) { return .unknown }
    return Truth(types.contains(.unicast))
  }

  /// The kernel asks the address itself for unicast, multicast and unspecified, and a route only
  /// for the rest.
  private func ipv6(
    _ address: IPAddress, _ local: Set<IPAddress>?, _ isElsewhere: Bool
  ) -> Truth {
    let isMulticast = address.bits >> 120 == 0xff
    if types.contains(.unicast), isMulticast || address.isUnspecified { return .no }
    if types.contains(.multicast), !isMulticast { return .no }
    if types.contains(.unspec), !address.isUnspecified { return .no }
    let rare: Set<Kind> = [.anycast, .unreachable, .prohibit, .blackhole]
    if types.contains(.local), types.isDisjoint(with: rare) {
      if address.isLoopback { return .yes }
      if isMulticast { return .unknown }
      return isElsewhere ? .no : Truth(local.map { $0.contains(address) })
    }
    return types.isDisjoint(with: rare) ? .yes : .unknown
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    if !isSource, variant.destination == nil {
      return Missing(.fact, "the destination address is not known")
    }
    return situation.host.localAddresses == nil
      ? Missing(.fact, "the host's own addresses are not known")
      : Missing(.fact, "what kind of address the routes make of it is not known")
  }
}
