import Addressing

/// Gives the syntax of a rule's target a meaning.
struct TargetCompiler {
  let family: AddressFamily
  /// The user's chains of the table, by name.
  let chains: [String: Int]

  func action(of target: TargetClause?) -> TargetAction {
    guard let target else { return .nothing }
    switch target.name {
    case "ACCEPT": return .accept
    case "DROP": return .refuse(.drop)
    case "RETURN": return .return
    default: break
    }
    if let chain = chains[target.name] { return target.isGoto ? .goto(chain) : .jump(chain) }
    let options = target.options.map(Option.init)
    return extended(target.name, options)
      ?? .unrecognized("target \"\(target.name)\" is not evaluated")
  }

  private func extended(_ name: String, _ options: [Option]) -> TargetAction? {
    switch name {
    case "REJECT": return .refuse(.reject)
    // Answers or holds the connection itself; nothing gets further.
    case "TARPIT", "STEAL": return .refuse(.drop)
    case "MARK": return mark(options)
    case "CONNMARK": return connectionMark(options)
    case "NOTRACK": return .notrack
    case "CT": return connectionTracking(options)
    case "DNAT", "REDIRECT", "NETMAP":
      return TranslationTarget(name, options, family: family).map { .translate($0) }
    case "SNAT", "MASQUERADE", "SAME": return .translateSource
    case "SET": return set(options)
    case "TTL", "HL": return .edit(.ttl)
    case "TOS", "DSCP", "ECN", "IPV4OPTSSTRIP": return .edit(.typeOfService)
    case "HMARK", "IPMARK": return .anyMark
    case "DNPT": return .anyDestination
    case "LOG", "ULOG", "NFLOG", "TRACE", "AUDIT", "LOGMARK", "ACCOUNT", "RATEEST", "LED",
      "IDLETIMER", "CLASSIFY", "CHECKSUM", "TCPMSS", "TCPOPTSTRIP", "SECMARK", "CONNSECMARK",
      "TEE", "NETFLOW", "SNPT":
      return .nothing
    // Takes only the packets of media ports that the relay itself has opened.
    case "RTPENGINE", "MEDIAPROXY": return .nothing
    case "NFQUEUE", "QUEUE": return .outside("packets are handed to a program (\(name))")
    case "SYNPROXY": return .outside("connections are answered by SYNPROXY")
    case "TPROXY": return .outside("packets are handed to a proxy's socket (TPROXY)")
    case "CLUSTERIP": return .outside("another node may have to answer (CLUSTERIP)")
    default: return nil
    }
  }

  private func mark(_ options: [Option]) -> TargetAction? {
    Self.markChange(options).map { .mark(clearing: $0, toggling: $1) }
  }

  /// What to clear and what to toggle, as the tools compute it from their options.
  private static func markChange(_ options: [Option]) -> (UInt32, UInt32)? {
    guard options.count == 1, let text = options[0].only,
      let (value, mask) = ConditionCompiler.maskedValue(text)
    else { return nil }
    switch options[0].name {
    case "--set-xmark": return (mask, value)
    case "--set-mark": return (mask | value, value)
    case "--or-mark": return (value, value)
    case "--and-mark": return (~value, 0)
    case "--xor-mark": return (0, value)
    default: return nil
    }
  }

  private func connectionMark(_ options: [Option]) -> TargetAction? {
    if let (clearing, toggling) = Self.markChange(options) {
      return .connectionMark(clearing: clearing, toggling: toggling)
    }
    var markMask = UInt32.max
    var connectionMask = UInt32.max
    var saves: Bool?
    var isShifted = false
    for option in options {
      let value = option.only.flatMap { UInt32(anyBase: $0) }
      switch option.name {
      case "--save-mark": saves = true
      case "--restore-mark": saves = false
      case "--left-shift-mark", "--right-shift-mark": isShifted = true
      case "--nfmask":
        guard let value else { return nil }
        markMask = value
      case "--ctmask":
        guard let value else { return nil }
        connectionMask = value
      case "--mask":
        guard let value else { return nil }
        markMask = value
        connectionMask = value
      default: return nil
      }
    }
    // What is shifted is not computed.
    if isShifted { return saves == false ? .anyMark : nil }
    return saves.map {
      $0
        ? .saveMark(markMask: markMask, connectionMask: connectionMask)
        : .restoreMark(markMask: markMask, connectionMask: connectionMask)
    }
  }

  private func connectionTracking(_ options: [Option]) -> TargetAction? {
    var zone: UInt16? = 0
    for option in options {
      switch option.name {
      case "--notrack": return .notrack
      case "--zone": zone = option.only.flatMap { UInt16($0) }
      // Zones of one direction are not followed.
      case "--zone-orig", "--zone-reply": zone = nil
      case "--helper", "--ctevents", "--expevents", "--timeout": break
      default: return nil
      }
    }
    return .template(zone: zone)
  }

  private func set(_ options: [Option]) -> TargetAction? {
    var name: String?
    var changesMark = false
    for option in options {
      switch option.name {
      case "--add-set", "--del-set":
        guard option.arguments.count == 2 else { return nil }
        name = option.arguments[0]
      case "--map-set":
        guard option.arguments.count == 2 else { return nil }
        name = name ?? ""
      case "--map-mark": changesMark = true
      case "--exist", "--timeout", "--map-prio", "--map-queue": break
      default: return nil
      }
    }
    return name.map { .touchSet($0, changesMark: changesMark) }
  }
}
