import Addressing

/// `-m conntrack`: every option of its third revision.
///
/// Corresponds to `conntrack_mt` of `xt_conntrack`.
struct ConnectionCondition: MatchCondition {
  /// An end of one of the two tuples.
  enum Place: Sendable {
    case originalSource, originalDestination, replySource, replyDestination
  }

  /// One option and whether a `!` stands before it.
  enum Test: Sendable {
    case transport(UInt8)
    case address(Place, AddressPattern)
    case port(Place, UInt16, UInt16)
    case status(UInt32)
    case expires(UInt32, UInt32)
    case direction(FlowDirection)
  }

  var states: (set: ConnectionStates, isInverted: Bool)?
  var tests: [(test: Test, isInverted: Bool)]

  var asksConnection: Bool { true }

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    let view = situation.connection(variant)
    var result = Truth.yes
    if let states {
      result = stateTruth(states.set, view, situation, variant).inverted(states.isInverted)
      if result == .no { return .no }
    }
    switch view {
    case .unknown:
      return .unknown
    case .none, .untracked:
      // Without a flow the kernel looks at no option but the state.
      return states == nil ? .no : result
    case .template:
      return tests.isEmpty ? result : .unknown
    case .tracked:
      for (test, isInverted) in tests {
        result = result && truth(of: test, situation, variant).inverted(isInverted)
        if result == .no { return .no }
      }
      return result
    }
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    if case .tracked = situation.connection(variant) {
      for (test, _) in tests where truth(of: test, situation, variant) == .unknown {
        switch test {
        case .transport: return Missing(.fact, "the protocol of the flow is not known")
        case .address: return Missing(.fact, "an address of the flow's tuples is not known")
        case .port: return Missing(.fact, "a port of the flow's tuples is not known")
        case .status: return Missing(.fact, "a status bit of the flow is not known")
        case .expires: return Missing(.fact, "when the flow expires is not known")
        case .direction: return Missing(.fact, "the packet's direction is not known")
        }
      }
      return Missing(.fact, "whether the flow is translated is not known")
    }
    return situation.missingConnection(variant)
  }

  private func stateTruth(
    _ wanted: ConnectionStates, _ view: ConnectionView, _ situation: Situation, _ variant: Variant
  ) -> Truth {
    guard let states = situation.states(variant) else {
      // One of the plain states it has; all five asked for is an answer.
      return wanted.isSuperset(of: .plain) ? .yes : .unknown
    }
    if !wanted.isDisjoint(with: states) { return .yes }
    guard case .tracked = view else { return .no }
    var result = Truth.no
    let status = situation.status(variant)
    if wanted.contains(.sourceNAT) {
      result = result || status.equals(1 << 4, mask: 1 << 4)
    }
    if wanted.contains(.destinationNAT) {
      result = result || status.equals(1 << 5, mask: 1 << 5)
    }
    return result
  }

  private func truth(of test: Test, _ situation: Situation, _ variant: Variant) -> Truth {
    switch test {
    case .transport(let number):
      // An ICMP error belongs to a flow of another protocol.
      if situation.packet.connection.state == .related, situation.packet.transport.isICMP {
        return .unknown
      }
      return Truth(situation.transport == number)
    case .address(let place, let pattern):
      return Truth(end(place, situation, variant).address.map(pattern.contains))
    case .port(let place, let low, let high):
      guard situation.packet.transport.hasPorts else { return .unknown }
      return Truth(end(place, situation, variant).port.map { low <= $0 && $0 <= high })
    case .status(let mask):
      return situation.status(variant).equals(0, mask: mask).inverted(true)
    case .expires(let low, let high):
      return Truth(situation.packet.connection.expires.map { low <= $0 && $0 <= high })
    case .direction(let wanted):
      return Truth(situation.direction.map { $0 == wanted })
    }
  }

  private func end(_ place: Place, _ situation: Situation, _ variant: Variant) -> TupleEnd {
    switch place {
    case .originalSource: situation.originalSource
    case .originalDestination: situation.originalDestination
    case .replySource: situation.replySource(variant)
    case .replyDestination: situation.replyDestination
    }
  }
}

/// An address under a mask, which need not be a prefix (facts H5).
struct AddressPattern: Sendable, Hashable {
  let family: AddressFamily
  let bits: UInt128
  let mask: UInt128

  func contains(_ address: IPAddress) -> Bool {
    address.family == family && address.bits & mask == bits
  }

  /// Reads `ADDRESS`, `ADDRESS/LENGTH` or `ADDRESS/MASK`.
  init?(_ text: String, family: AddressFamily) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let address = IPAddress(String(parts[0])), address.family == family else { return nil }
    let all: UInt128 = family == .ipv4 ? 0xffff_ffff : .max
    var mask = all
    if parts.count == 2 {
      if let length = Int(parts[1]) {
        guard let prefix = IPPrefix(address, length: length) else { return nil }
        let range = prefix.range
        mask = all & ~(range.upperBound - range.lowerBound)
      } else {
        guard let given = IPAddress(String(parts[1])), given.family == family else { return nil }
        mask = given.bits
      }
    }
    self.family = family
    self.mask = mask
    bits = address.bits & mask
  }
}
