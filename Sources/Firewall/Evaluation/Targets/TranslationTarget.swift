import Addressing

/// DNAT, REDIRECT and NETMAP before routing: a new destination.
struct TranslationTarget: Sendable {
  enum Address: Sendable {
    case kept
    case fixed(UInt128)
    /// One of several.
    case some
    /// The primary address of the interface the packet came in by (facts F2).
    case interface
    /// The network part replaced.
    case mapped(UInt128, mask: UInt128)
  }

  enum Port: Sendable {
    case kept
    case fixed(UInt16)
    case some
  }

  var address = Address.kept
  var port = Port.kept

  /// Reads the options of a target, `nil` if they are not understood.
  init?(_ name: String, _ options: [Option], family: AddressFamily) {
    if name == "REDIRECT" { address = .interface }
    for option in options {
      switch (name, option.name) {
      // A port is drawn only from a range, and then it is not known anyway.
      case (_, "--random"), (_, "--random-fully"), (_, "--persistent"): break
      case ("DNAT", "--to-destination"):
        guard let text = option.only, readDestination(text, family) else { return nil }
      case ("REDIRECT", "--to-ports"), ("REDIRECT", "--to-port"):
        guard let text = option.only, readPort(text) else { return nil }
      case ("NETMAP", "--to"):
        guard let text = option.only, let pattern = AddressPattern(text, family: family) else {
          return nil
        }
        address = .mapped(pattern.bits, mask: pattern.mask)
      default: return nil
      }
    }
  }

  private mutating func readDestination(_ text: String, _ family: AddressFamily) -> Bool {
    var addresses = text[...]
    if family == .ipv6, text.hasPrefix("[") {
      guard let close = text.firstIndex(of: "]") else { return false }
      let rest = text[text.index(after: close)...]
      addresses = text[text.index(after: text.startIndex)..<close]
      if !rest.isEmpty {
        guard rest.hasPrefix(":"), readPort(String(rest.dropFirst())) else { return false }
      }
    } else if family == .ipv6, text.hasPrefix(":"), readPort(String(text.dropFirst())) {
      // Only a port, which no IPv6 address looks like.
      return true
    } else if family == .ipv4, let colon = text.firstIndex(of: ":") {
      addresses = text[..<colon]
      guard readPort(String(text[text.index(after: colon)...])) else { return false }
    }
    if addresses.isEmpty { return true }
    let ends = addresses.split(separator: "-", omittingEmptySubsequences: false).map {
      IPAddress(String($0))
    }
    guard (1...2).contains(ends.count), let low = ends[0], low.family == family,
      let high = ends[ends.count - 1], high.family == family
    else { return false }
    address = low == high ? .fixed(low.bits) : .some
    return true
  }

  private mutating func readPort(_ text: String) -> Bool {
    let range = text.split(separator: "/", maxSplits: 1)
    let ends = (range.first ?? "").split(separator: "-", maxSplits: 1)
    guard let low = ends.first.flatMap({ UInt16($0) }) else { return false }
    guard ends.count == 2 || range.count == 2 else {
      // `--to-ports 0` keeps the port.
      port = low == 0 ? .kept : .fixed(low)
      return true
    }
    guard let high = ends.last.flatMap({ UInt16($0) }) else { return false }
    port = low == high ? .fixed(low) : .some
    return true
  }

  /// The variant with its new destination; translating something to what it is changes nothing.
  func applied(to variant: Variant, _ situation: Situation) -> Variant {
    var result = variant
    switch address {
    case .kept: break
    case .fixed(let bits): result.destination = bits
    case .some: result.destination = nil
    case .interface: result.destination = situation.redirectAddress
    case .mapped(let bits, let mask):
      result.destination = variant.destination.map { $0 & ~mask | bits }
    }
    if situation.packet.transport.hasPorts {
      switch port {
      case .kept: break
      case .fixed(let number): result.port = number
      case .some: result.port = nil
      }
    }
    result.isTranslated = changes(from: variant, to: result)
    result.hasMetTranslation = true
    return result
  }

  private func changes(from old: Variant, to new: Variant) -> Bool? {
    let address = Truth(old.destination.flatMap { before in new.destination.map { $0 != before } })
    var port = Truth.no
    if case .kept = self.port {
    } else {
      port = Truth(old.port.flatMap { before in new.port.map { $0 != before } })
    }
    return switch address || port {
    case .yes: true
    case .no: false
    case .unknown: nil
    }
  }
}

extension Situation {
  /// The address REDIRECT uses, if it is known.
  ///
  /// The first of the interface for IPv4. IPv6 chooses among several by their scope and state, so
  /// there it has to be the only one that is not link-local.
  var redirectAddress: UInt128? {
    if isLoopback {
      return packet.family == .ipv4 ? 0x7f00_0001 : 1
    }
    let isIPv4 = packet.family == .ipv4
    if let name = packet.inInterface, let own = host.interfaceAddresses {
      let candidates = (own[name] ?? []).filter {
        $0.family == packet.family && (isIPv4 || !$0.isLinkLocal)
      }
      let isClear = isIPv4 ? !candidates.isEmpty : candidates.count == 1
      return isClear && !packet.source.isLinkLocal ? candidates.first?.bits : nil
    }
    guard let local = host.localAddresses else { return nil }
    let candidates = local.filter {
      $0.family == packet.family && !$0.isLoopback && (isIPv4 || !$0.isLinkLocal)
    }
    return candidates.count == 1 ? candidates.first?.bits : nil
  }
}
