import Addressing

/// What one dimension of a set's elements is.
enum SetDimension: Sendable {
  case address
  case port
  case mac
  case mark
  case interface
}

/// One element of a set in the form it is looked up by.
///
/// Addresses carry their prefix length, so that networks and single addresses are the same thing.
struct SetKey: Sendable, Hashable {
  var first: UInt128 = 0
  var firstLength: UInt8 = 0
  var second: UInt128 = 0
  var secondLength: UInt8 = 0
  /// Protocol in the upper, port in the lower 16 bits; protocol 0 where the type has none.
  var port: UInt32 = 0
  /// The MAC address, mark or interface name.
  var extra: UInt128 = 0
}

/// Reads the elements of a set of one type.
struct SetElementReader {
  let dimensions: [SetDimension]
  let family: AddressFamily
  /// `bitmap:port` knows no protocol.
  let portsHaveProtocol: Bool

  /// The keys an element stands for: several for a range, none if it is not understood.
  func keys(_ element: String) -> [SetKey] {
    if dimensions.count == 1, dimensions[0] == .address, let key = Self.plainIPv4(element.utf8),
      family == .ipv4
    {
      return [key]
    }
    if isAddressAndPort, let key = Self.plainAddressAndPort(element) { return [key] }
    let parts = element.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    // `bitmap:ip,mac` has elements without a MAC address: any.
    guard parts.count == dimensions.count || (parts.count == 1 && dimensions.last == .mac) else {
      return []
    }
    var result = [SetKey()]
    var isFirstAddress = true
    for (part, dimension) in zip(parts, dimensions) {
      switch dimension {
      case .address:
        let prefixes = self.prefixes(part)
        let isFirst = isFirstAddress
        isFirstAddress = false
        result = result.flatMap { key in
          prefixes.map { prefix in
            var key = key
            if isFirst {
              key.first = prefix.address.bits
              key.firstLength = UInt8(prefix.length)
            } else {
              key.second = prefix.address.bits
              key.secondLength = UInt8(prefix.length)
            }
            return key
          }
        }
      case .port:
        let ports = self.ports(part)
        guard ports.count * result.count <= 1 << 20 else { return [] }
        result = result.flatMap { key in
          ports.map { port in
            var key = key
            key.port = port
            return key
          }
        }
      case .mac, .mark, .interface:
        guard let value = extra(part, dimension) else { return [] }
        for index in result.indices { result[index].extra = value }
      }
    }
    return result
  }

  private func extra(_ text: String, _ dimension: SetDimension) -> UInt128? {
    switch dimension {
    case .mac:
      return ConditionCompiler.hardwareAddress(text)?.reduce(UInt128(0)) {
        $0 << 8 | UInt128($1)
      }
    case .mark:
      return UInt32(anyBase: text).map { UInt128($0) }
    default:
      let isPort = text.hasPrefix("physdev:")
      // `physdev:eth0` asks for a bridge port: kept apart by the byte no name has.
      return text.utf8.count <= 15 || isPort
        ? InterfaceName(text).bytes | (isPort ? 1 : 0) : nil
    }
  }

  /// `ADDRESS`, `ADDRESS/LENGTH` or `FIRST-LAST`.
  private func prefixes(_ text: String) -> [IPPrefix] {
    if let prefix = IPPrefix(text) { return prefix.family == family ? [prefix] : [] }
    let ends = text.split(separator: "-", maxSplits: 1)
    guard ends.count == 2, let low = IPAddress(String(ends[0])),
      let high = IPAddress(String(ends[1])), low.family == family, high.family == family,
      low <= high
    else { return [] }
    return PrefixSet.prefixes(from: low, through: high)
  }

  /// `PROTOCOL:PORT`, `PORT` (TCP) or `FIRST-LAST` of these.
  private func ports(_ text: String) -> [UInt32] {
    var number = UInt32(IPProtocol.tcp.rawValue)
    var rest = text
    if let colon = text.firstIndex(of: ":") {
      guard let known = ConditionCompiler.protocolNumber(String(text[..<colon])) else { return [] }
      number = UInt32(known)
      rest = String(text[text.index(after: colon)...])
    }
    if !portsHaveProtocol { number = 0 }
    if [IPProtocol.icmp.rawValue, IPProtocol.icmpv6.rawValue].contains(UInt8(number)) {
      let isSix = UInt8(number) == IPProtocol.icmpv6.rawValue
      guard let (type, low, high) = ConditionCompiler.icmpType(rest, isSix: isSix), let type,
        low == high
      else { return [] }
      return [number << 16 | UInt32(type) << 8 | UInt32(low)]
    }
    let ends = rest.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    guard let (low, _) = ends.first.flatMap({ ConditionCompiler.portRange($0) }) else {
      return []
    }
    guard ends.count == 2 else { return [number << 16 | UInt32(low)] }
    guard let (high, _) = ConditionCompiler.portRange(ends[1]), low <= high else { return [] }
    return (low...high).map { number << 16 | UInt32($0) }
  }

  /// Whether elements are such as `203.0.113.66,udp:5060`.
  private var isAddressAndPort: Bool {
    family == .ipv4 && portsHaveProtocol && dimensions.count == 2 && dimensions[0] == .address
      && dimensions[1] == .port
  }

  /// An element of ours: ten thousand blocks have as many.
  private static func plainAddressAndPort(_ text: String) -> SetKey? {
    guard let comma = text.utf8.firstIndex(of: 44), var key = plainIPv4(text.utf8[..<comma]) else {
      return nil
    }
    var rest = text.utf8[text.utf8.index(after: comma)...]
    let number: IPProtocol
    if rest.starts(with: "udp:".utf8) {
      number = .udp
    } else if rest.starts(with: "tcp:".utf8) {
      number = .tcp
    } else {
      return nil
    }
    rest = rest.dropFirst(4)
    guard (1...5).contains(rest.count) else { return nil }
    var port: UInt32 = 0
    for byte in rest {
      guard (48...57).contains(byte) else { return nil }
      port = port * 10 + UInt32(byte - 48)
    }
    guard port <= UInt32(UInt16.max) else { return nil }
    key.port = UInt32(number.rawValue) << 16 | port
    return key
  }

  /// A dotted quad with or without a length: nearly every element there is.
  private static func plainIPv4(_ text: some Sequence<UInt8>) -> SetKey? {
    var bits: UInt32 = 0
    var number: UInt32 = 0
    var digits = 0
    var dots = 0
    var isLength = false
    for byte in text {
      switch byte {
      case 48...57:
        number = number * 10 + UInt32(byte - 48)
        digits += 1
        if digits > 3 || number > 255 { return nil }
      case 46 where digits > 0 && dots < 3 && !isLength,
        47 where digits > 0 && dots == 3 && !isLength:
        bits = bits << 8 | number
        number = 0
        digits = 0
        if byte == 46 { dots += 1 } else { isLength = true }
      default:
        return nil
      }
    }
    guard digits > 0, dots == 3 else { return nil }
    if !isLength { bits = bits << 8 | number }
    let length = isLength ? number : 32
    guard length <= 32 else { return nil }
    let mask = length == 0 ? 0 : UInt32.max << (32 - length)
    return SetKey(first: UInt128(bits & mask), firstLength: UInt8(length))
  }
}

extension PrefixSet {
  /// The fewest prefixes that cover a range of addresses.
  static func prefixes(from low: IPAddress, through high: IPAddress) -> [IPPrefix] {
    var result: [IPPrefix] = []
    var next = low.bits
    let width = low.family.bitWidth
    while true {
      var hostBits = next == 0 ? width : min(width, next.trailingZeroBitCount)
      func last(_ bits: Int) -> UInt128 {
        bits == 128 ? .max : next + ((UInt128(1) << UInt128(bits)) - 1)
      }
      while last(hostBits) > high.bits { hostBits -= 1 }
      if let prefix = IPPrefix(
        IPAddress(family: low.family, bits: next), length: width - hostBits)
      {
        result.append(prefix)
      }
      let end = last(hostBits)
      if end >= high.bits { return result }
      next = end + 1
    }
  }
}
