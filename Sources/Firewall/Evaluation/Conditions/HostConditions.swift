import Addressing

extension ConditionCompiler {
  /// `-m pkttype`.
  func compilePacketType(_ options: [Option]) -> [Condition]? {
    guard options.count == 1, options[0].name == "--pkt-type", let name = options[0].only else {
      return nil
    }
    let wanted: LinkDestination
    switch name.lowercased() {
    case "unicast", "host": wanted = .unicast
    case "broadcast", "bcast": wanted = .broadcast
    case "multicast", "mcast": wanted = .multicast
    default: return nil
    }
    return [.other(LinkType(wanted: wanted, isInverted: options[0].isInverted))]
  }

  /// `-m mac`.
  func compileMAC(_ options: [Option]) -> [Condition]? {
    guard options.count == 1, options[0].name == "--mac-source", let text = options[0].only,
      let bytes = Self.hardwareAddress(text)
    else { return nil }
    return [.other(SourceMAC(bytes: bytes, isInverted: options[0].isInverted))]
  }

  static func hardwareAddress(_ text: some StringProtocol) -> [UInt8]? {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 6 else { return nil }
    let bytes = parts.compactMap { $0.count <= 2 ? UInt8($0, radix: 16) : nil }
    return bytes.count == 6 ? bytes : nil
  }

  /// `-m physdev`.
  func compilePhysicalDevice(_ options: [Option]) -> [Condition]? {
    var tests: [PhysicalDevice.Test] = []
    for option in options {
      let kind: PhysicalDevice.Kind
      switch option.name {
      case "--physdev-in":
        guard let name = option.only, let pattern = Self.interfacePattern(name) else {
          return nil
        }
        kind = .inDevice(pattern.0, pattern.1)
      case "--physdev-is-in": kind = .isIn
      case "--physdev-out": kind = .outDevice
      case "--physdev-is-out": kind = .isOut
      case "--physdev-is-bridged": kind = .isBridged
      default: return nil
      }
      tests.append(PhysicalDevice.Test(kind: kind, isInverted: option.isInverted))
    }
    return [.other(PhysicalDevice(tests: tests))]
  }

  /// `-m owner`: a received packet has no socket yet.
  func compileOwner(_ options: [Option]) -> [Condition]? {
    for option in options {
      switch option.name {
      case "--uid-owner", "--gid-owner", "--socket-exists":
        // The kernel matches a packet without a socket if every test it makes is inverted.
        if !option.isInverted { return [.never] }
      case "--suppl-groups": break
      // No longer in the kernel.
      default: return nil
      }
    }
    return [.always]
  }

  /// `-m rpfilter`.
  func compileReversePath(_ options: [Option]) -> [Condition]? {
    var condition = ReversePath()
    for option in options {
      switch option.name {
      case "--invert": condition.isInverted = true
      case "--loose", "--accept-local": condition.isLenient = true
      case "--validmark": condition.usesMark = true
      default: return nil
      }
    }
    return [.other(condition)]
  }

  /// `-m policy`: only `--dir in` without further details is evaluated.
  func compilePolicy(_ options: [Option]) -> [Condition]? {
    var wanted: Bool?
    var hasDetails = false
    for option in options {
      switch (option.name, option.only) {
      case ("--dir", "in"): break
      case ("--pol", "ipsec"): wanted = true
      case ("--pol", "none"): wanted = false
      case ("--dir", _), ("--pol", _): return nil
      default: hasDetails = true
      }
    }
    guard let wanted else { return nil }
    return [.other(SecurityPolicy(wanted: wanted, hasDetails: hasDetails))]
  }
}

/// `--pkt-type`.
struct LinkType: MatchCondition {
  var wanted: LinkDestination
  var isInverted: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    // What comes over lo is judged by its address, which is not multicast for a peer.
    Truth(situation.packet.linkDestination.map { ($0 == wanted) != isInverted })
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.fact, "whether the frame is unicast is not known")
  }
}

/// `--mac-source`.
struct SourceMAC: MatchCondition {
  var bytes: [UInt8]
  var isInverted: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    // Without an Ethernet header the kernel answers no, inverted or not.
    if situation.isLoopback { return .no }
    return Truth(situation.packet.sourceHardwareAddress.map { ($0 == bytes) != isInverted })
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.fact, "the source MAC address is not known")
  }
}

/// `-m physdev`.
struct PhysicalDevice: MatchCondition {
  enum Kind: Sendable {
    case inDevice(UInt128, UInt128)
    case isIn, outDevice, isOut, isBridged
  }

  struct Test: Sendable {
    var kind: Kind
    var isInverted: Bool
  }

  var tests: [Test]

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    let port = situation.isLoopback ? .some(.none) : situation.packet.bridgePort
    switch port {
    case nil:
      return .unknown
    case .some(.none):
      // Off a bridge the kernel matches if every test is inverted.
      return Truth(tests.allSatisfy(\.isInverted))
    case .port(let name):
      var result = Truth.yes
      for test in tests {
        let truth: Truth =
          switch test.kind {
          case .inDevice(let bytes, let mask):
            Truth(InterfaceName(name).bytes & mask == bytes)
          case .isIn: .yes
          // A packet for the host itself leaves by no port.
          case .outDevice, .isOut, .isBridged: situation.path == .input ? .no : .unknown
          }
        result = result && truth.inverted(test.isInverted)
      }
      return result
    }
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.fact, "the bridge port it comes in by is not known")
  }
}

/// `-m rpfilter`.
struct ReversePath: MatchCondition {
  var isInverted = false
  /// Asks less than what was observed: a packet that passes the strict test passes.
  var isLenient = false
  var usesMark = false

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    if situation.isLoopback { return Truth(!isInverted) }
    guard let passes = situation.packet.passesReversePath, !usesMark, passes || !isLenient else {
      return .unknown
    }
    return Truth(passes != isInverted)
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.fact, "whether the reverse path leads to the interface is not known")
  }
}

/// `-m policy --dir in`.
struct SecurityPolicy: MatchCondition {
  var wanted: Bool
  var hasDetails: Bool

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard let isDecapsulated = situation.packet.isDecapsulated else { return .unknown }
    if isDecapsulated != wanted { return .no }
    return hasDetails && wanted ? .unknown : .yes
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.fact, "whether the packet came through IPsec is not known")
  }
}
