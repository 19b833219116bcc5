import Addressing

extension ConditionCompiler {
  /// `-m length`: the IP length, headers included.
  func compileLength(_ options: [Option]) -> [Condition]? {
    guard options.count == 1, options[0].name == "--length", let text = options[0].only,
      let (low, high) = UInt32.range(text, upTo: 65_535)
    else { return nil }
    return [
      .other(
        HeaderField(field: .length, low: low, high: high, isInverted: options[0].isInverted))
    ]
  }

  /// `-m ttl` and `-m hl`.
  func compileTTL(_ options: [Option], name: String) -> [Condition]? {
    guard options.count == 1, let text = options[0].only, let value = UInt32(anyBase: text),
      value <= 255
    else { return nil }
    let range: (UInt32, UInt32)
    switch options[0].name {
    case "--ttl-eq", "--ttl", "--hl-eq", "--hl": range = (value, value)
    case "--ttl-lt", "--hl-lt": range = value == 0 ? (1, 0) : (0, value - 1)
    case "--ttl-gt", "--hl-gt": range = (value + 1, 255)
    default: return nil
    }
    return [
      .other(
        HeaderField(
          field: .ttl, low: range.0, high: range.1, isInverted: options[0].isInverted))
    ]
  }

  /// `-m tos`.
  func compileTOS(_ options: [Option]) -> [Condition]? {
    guard options.count == 1, options[0].name == "--tos", let text = options[0].only else {
      return nil
    }
    let names: [String: UInt32] = [
      "minimize-delay": 0x10, "maximize-throughput": 0x08, "maximize-reliability": 0x04,
      "minimize-cost": 0x02, "normal-service": 0x00,
    ]
    if let value = names[text.lowercased()] {
      return tos(value, 0x3f, options[0])
    }
    guard let (value, mask) = Self.maskedValue(text), value <= 255, mask == .max || mask <= 255
    else { return nil }
    return tos(value, mask & 0xff, options[0])
  }

  /// `-m dscp`: the upper six bits.
  func compileDSCP(_ options: [Option]) -> [Condition]? {
    guard options.count == 1, let text = options[0].only else { return nil }
    var value: UInt32?
    switch options[0].name {
    case "--dscp": value = UInt32(anyBase: text)
    case "--dscp-class": value = Self.dscpClass(text.uppercased())
    default: break
    }
    guard let value, value <= 63 else { return nil }
    return tos(value << 2, 0xfc, options[0])
  }

  private func tos(_ value: UInt32, _ mask: UInt32, _ option: Option) -> [Condition] {
    [.other(TypeOfService(value: value, mask: mask, isInverted: option.isInverted))]
  }

  private static func dscpClass(_ name: String) -> UInt32? {
    if name == "BE" { return 0 }
    if name == "EF" { return 0x2e }
    let digits = name.dropFirst(2).compactMap(\.wholeNumberValue).map(UInt32.init)
    if name.hasPrefix("CS"), name.count == 3, digits.count == 1, digits[0] <= 7 {
      return digits[0] << 3
    }
    if name.hasPrefix("AF"), name.count == 4, digits.count == 2, (1...4).contains(digits[0]),
      (1...3).contains(digits[1])
    {
      return digits[0] << 3 | digits[1] << 1
    }
    return nil
  }
}

/// A number of the IP header in a range.
struct HeaderField: MatchCondition {
  enum Field: Sendable { case length, ttl }

  var field: Field
  var low: UInt32
  var high: UInt32
  var isInverted: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    if field == .length, low == 0, high == 65_535 { return Truth(!isInverted) }
    // No packet is shorter than its headers.
    if field == .length, situation.packet.length == nil, high < situation.packet.leastLength {
      return Truth(isInverted)
    }
    return Truth(value(situation, variant).map { (low <= $0 && $0 <= high) != isInverted })
  }

  private func value(_ situation: Situation, _ variant: Variant) -> UInt32? {
    switch field {
    case .length: situation.packet.length
    case .ttl:
      // A router counts it down before its FORWARD chains see the packet.
      variant.edits.contains(.ttl)
        ? nil
        : situation.packet.ttl.map {
          UInt32($0) - (situation.isRouted && $0 > 0 ? 1 : 0)
        }
    }
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    switch field {
    case .length: Missing(.payload, "the packet's length is not known")
    case .ttl: Missing(.fact, "the packet's TTL is not known")
    }
  }
}

/// Bits of the type-of-service byte.
struct TypeOfService: MatchCondition {
  var value: UInt32
  var mask: UInt32
  var isInverted: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    let known = variant.edits.contains(.typeOfService) ? nil : situation.packet.typeOfService
    return Truth(known.map { (UInt32($0) & mask == value) != isInverted })
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.fact, "the packet's type of service is not known")
  }
}

extension Packet {
  /// The length of the headers a packet of its protocol has at least.
  fileprivate var leastLength: UInt32 {
    let own: UInt32 =
      switch transport {
      case .tcp: 20
      case .udp, .udplite, .icmp: 8
      case .icmpv6: 4
      case .sctp, .dccp: 12
      default: 0
      }
    return (family == .ipv4 ? 20 : 40) + (isLaterFragment == false ? own : 0)
  }
}
