/// A set of connection states as the kernel's matches compare them.
struct ConnectionStates: OptionSet, Sendable, Hashable {
  let rawValue: UInt8
  static let new = ConnectionStates(rawValue: 1)
  static let established = ConnectionStates(rawValue: 2)
  static let related = ConnectionStates(rawValue: 4)
  static let invalid = ConnectionStates(rawValue: 8)
  static let untracked = ConnectionStates(rawValue: 16)
  static let sourceNAT = ConnectionStates(rawValue: 32)
  static let destinationNAT = ConnectionStates(rawValue: 64)
  /// Those `--state` knows; inverting it complements within these.
  static let plain = ConnectionStates(rawValue: 31)

  init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Reads `NEW,ESTABLISHED`; `nil` if a word is not known.
  init?(list: String) {
    var result: ConnectionStates = []
    for word in list.split(separator: ",", omittingEmptySubsequences: false) {
      switch word.uppercased() {
      case "NEW": result.insert(.new)
      case "ESTABLISHED": result.insert(.established)
      case "RELATED": result.insert(.related)
      case "INVALID": result.insert(.invalid)
      case "UNTRACKED": result.insert(.untracked)
      case "SNAT": result.insert(.sourceNAT)
      case "DNAT": result.insert(.destinationNAT)
      default: return nil
      }
    }
    self = result
  }
}

extension Situation {
  /// The one state `--state` compares, or `nil` when it is not known.
  func states(_ variant: Variant) -> ConnectionStates? {
    switch connection(variant) {
    case .none: return .invalid
    case .untracked: return .untracked
    case .template: return .new
    case .unknown: return nil
    case .tracked:
      switch packet.connection.state {
      case .new: return .new
      case .established: return .established
      case .related: return .related
      case .invalid: return .invalid
      case .untracked: return .untracked
      }
    }
  }

  func missingConnection(_ variant: Variant) -> Missing {
    if case .unknown(let why) = connection(variant) { return Missing(.fact, why) }
    return Missing(.fact, "what connection tracking knows of the packet was not observed")
  }
}
