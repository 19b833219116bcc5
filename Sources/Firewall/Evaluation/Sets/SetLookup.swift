import Addressing

/// One look-up of a packet in a set.
struct SetLookup {
  enum Result { case missing, present, exception, unknown }

  private let table: SetTable
  /// The packet's value in each place of a key; `nil`: not known.
  private var first: UInt128?
  private var second: UInt128?
  private var port: UInt32?
  private var extra: UInt128?
  private var usesSecond = false
  private var usesPort = false
  private var usesExtra = false
  /// The packet has no such thing: never found.
  private var isHopeless = false
  private let width: UInt8

  init(table: SetTable, isSource: [Bool], _ situation: Situation, _ variant: Variant) {
    self.table = table
    width = UInt8(situation.packet.family.bitWidth)
    var isFirst = true
    for (dimension, isSource) in zip(table.dimensions, isSource) {
      switch dimension {
      case .address:
        let bits = isSource ? situation.source : variant.destination
        if isFirst { first = bits.map { $0 & table.netmask } } else { second = bits }
        if !isFirst { usesSecond = true }
        isFirst = false
      case .port:
        usesPort = true
        port = Self.port(table, isSource, situation, variant)
        if table.portsHaveProtocol {
          // A later fragment has no port to look up.
          if situation.packet.isLaterFragment != false, situation.packet.transport.hasPorts {
            if situation.packet.isLaterFragment == true { isHopeless = true } else { port = nil }
          }
        } else if ![IPProtocol.tcp, .udp].contains(situation.packet.transport) {
          isHopeless = true
        }
      case .mac:
        usesExtra = true
        extra = situation.packet.sourceHardwareAddress.map {
          $0.reduce(0) { $0 << 8 | UInt128($1) }
        }
        if !isSource { extra = nil }
      case .mark:
        usesExtra = true
        let mark = variant.mark
        extra = mark.known == .max ? UInt128(mark.value & table.markMask) : nil
      case .interface:
        usesExtra = true
        extra = (isSource ? situation.inInterface : situation.outInterface)?.bytes
      }
    }
  }

  private static func port(
    _ table: SetTable, _ isSource: Bool, _ situation: Situation, _ variant: Variant
  ) -> UInt32? {
    let packet = situation.packet
    let number = table.portsHaveProtocol ? UInt32(situation.transport) << 16 : 0
    switch packet.transport {
    case .tcp, .udp, .sctp, .udplite:
      return (isSource ? packet.sourcePort : variant.port).map { number | UInt32($0) }
    case .icmp, .icmpv6:
      return packet.icmp.map { number | UInt32($0.type) << 8 | UInt32($0.code) }
    default:
      return number
    }
  }

  var result: Result {
    if isHopeless { return .missing }
    switch table.content {
    case .addresses(let addresses):
      guard let first, let family = table.family else { return .unknown }
      return addresses.contains(IPAddress(family: family, bits: first)) ? .present : .missing
    case .keys(let keys):
      if keys.isEmpty { return .missing }
      let isKnown =
        (first != nil || table.family == nil) && (second != nil || !usesSecond)
        && (port != nil || !usesPort) && (extra != nil || !usesExtra)
      return isKnown ? exact(keys) : scan(keys)
    case .list, .unsupported:
      return .unknown
    }
  }

  /// Tries the longest prefixes first, as the kernel does: the first found decides.
  private func exact(_ keys: [SetKey: Bool]) -> Result {
    var key = SetKey()
    key.port = port ?? 0
    key.extra = extra ?? 0
    for firstLength in table.firstLengths {
      key.first = prefix(first ?? 0, firstLength)
      key.firstLength = firstLength
      for secondLength in table.secondLengths {
        key.second = prefix(second ?? 0, secondLength)
        key.secondLength = secondLength
        if let isException = keys[key] { return isException ? .exception : .present }
        // An element of `bitmap:ip,mac` without a MAC address fits any.
        if table.dimensions.last == .mac, table.dimensions.count == 2 {
          var bare = key
          bare.extra = 0
          if let isException = keys[bare] { return isException ? .exception : .present }
        }
        // Elements that name a bridge port are not decided.
        if table.hasBridgePorts, Self.hasBridgePort(keys, like: key) { return .unknown }
        // Seen on the kernel: the longest network decides, although its interface is another one.
        if table.networks.contains(SetKey(first: key.first, firstLength: firstLength)) {
          return .missing
        }
      }
    }
    return .missing
  }

  private static func hasBridgePort(_ keys: [SetKey: Bool], like key: SetKey) -> Bool {
    keys.keys.contains {
      $0.extra & 1 == 1 && $0.first == key.first && $0.firstLength == key.firstLength
    }
  }

  /// Whether any element agrees with what is known.
  private func scan(_ keys: [SetKey: Bool]) -> Result {
    let agrees = keys.keys.contains { key in
      (first.map { prefix($0, key.firstLength) == key.first } ?? true)
        && (second.map { prefix($0, key.secondLength) == key.second } ?? true)
        && (port.map { $0 == key.port } ?? true)
        && (extra.map { $0 == key.extra || table.hasBridgePorts } ?? true)
    }
    return agrees ? .unknown : .missing
  }

  private func prefix(_ bits: UInt128, _ length: UInt8) -> UInt128 {
    if length == 0 { return 0 }
    let host = UInt128(width - min(length, width))
    return (bits >> host) << host
  }
}
