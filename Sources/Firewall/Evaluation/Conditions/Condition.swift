import Addressing

/// What one option of a rule asks of a packet, ready to be computed.
///
/// The conditions nearly every rule has are cases of their own and hold no reference, so that a
/// walk over thousands of rules neither allocates nor counts references.
enum Condition: Sendable {
  /// Holds always: `-m comment`, `-m tcp` without options once `-p tcp` was checked.
  case always
  /// Never holds.
  case never
  case source(UInt128, mask: UInt128, isInverted: Bool)
  case destination(UInt128, mask: UInt128, isInverted: Bool)
  case inInterface(UInt128, mask: UInt128, isInverted: Bool)
  case outInterface(UInt128, mask: UInt128, isInverted: Bool)
  case transport(UInt8, isInverted: Bool)
  case laterFragment(isInverted: Bool)
  case sourcePort(UInt16, UInt16, isInverted: Bool)
  case destinationPort(UInt16, UInt16, isInverted: Bool)
  case state(ConnectionStates)
  case mark(UInt32, mask: UInt32, isInverted: Bool)
  /// Everything rarer.
  case other(any MatchCondition)
  /// Not evaluated, and why.
  case undecidable(Missing)
}

/// What kept a condition from being decided.
struct Missing: Sendable {
  var kind: UnknownReason.Kind
  var text: String

  init(_ kind: UnknownReason.Kind, _ text: String) {
    self.kind = kind
    self.text = text
  }
}

/// A condition of one of the rarer matches.
protocol MatchCondition: Sendable {
  func truth(_ situation: Situation, _ variant: Variant) -> Truth

  /// What is missing where ``truth(_:_:)`` is unknown.
  func missing(_ situation: Situation, _ variant: Variant) -> Missing

  /// Why the answer could be another one at another time, or `nil` if it could not.
  func memory(_ situation: Situation) -> String?

  /// Whether it asks what connection tracking knows.
  var asksConnection: Bool { get }
}

extension MatchCondition {
  func memory(_ situation: Situation) -> String? { nil }
  var asksConnection: Bool { false }
}

extension Condition {
  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    switch self {
    case .always:
      return .yes
    case .never:
      return .no
    case .source(let address, let mask, let isInverted):
      return Truth((situation.source & mask == address) != isInverted)
    case .destination(let address, let mask, let isInverted):
      if mask == 0 { return Truth((address == 0) != isInverted) }
      guard let destination = variant.destination else { return .unknown }
      return Truth((destination & mask == address) != isInverted)
    case .inInterface(let name, let mask, let isInverted):
      if mask == 0 { return Truth(!isInverted) }
      guard let device = situation.inInterface else { return .unknown }
      return Truth((device.bytes & mask == name) != isInverted)
    case .outInterface(let name, let mask, let isInverted):
      if mask == 0 { return Truth(!isInverted) }
      guard let device = situation.outInterface else { return .unknown }
      return Truth((device.bytes & mask == name) != isInverted)
    case .transport(let number, let isInverted):
      return Truth((situation.transport == number) != isInverted)
    case .laterFragment(let isInverted):
      return Truth(situation.packet.isLaterFragment.map { $0 != isInverted })
    case .sourcePort(let low, let high, let isInverted):
      return situation.port(situation.packet.sourcePort, low, high, isInverted)
    case .destinationPort(let low, let high, let isInverted):
      return situation.port(variant.port, low, high, isInverted)
    case .state(let states):
      return situation.states(variant).map { Truth(!states.isDisjoint(with: $0)) } ?? .unknown
    case .mark(let value, let mask, let isInverted):
      return variant.mark.equals(value, mask: mask).inverted(isInverted)
    case .other(let condition):
      return condition.truth(situation, variant)
    case .undecidable:
      return .unknown
    }
  }

  /// What is missing where ``truth(_:_:)`` is unknown.
  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    switch self {
    case .destination: Missing(.fact, "the destination address is not known")
    case .inInterface: Missing(.fact, "the interface it comes in by is not known")
    case .outInterface: Missing(.fact, "the interface it leaves by is not known")
    case .laterFragment: Missing(.fact, "whether it is a fragment is not known")
    case .sourcePort: Missing(.fact, "the source port is not known")
    case .destinationPort: Missing(.fact, "the destination port is not known")
    case .state: situation.missingConnection(variant)
    case .mark: Missing(.fact, "the packet mark is not known")
    case .other(let condition): condition.missing(situation, variant)
    case .undecidable(let missing): missing
    case .always, .never, .source, .transport: Missing(.fact, "nothing is missing")
    }
  }

  func memory(_ situation: Situation) -> String? {
    if case .other(let condition) = self { condition.memory(situation) } else { nil }
  }

  var asksConnection: Bool {
    switch self {
    case .state: true
    case .other(let condition): condition.asksConnection
    default: false
    }
  }

  /// Whether the condition can have a ``memory(_:)``.
  var mayRemember: Bool { if case .other = self { true } else { false } }
}

extension Situation {
  /// Whether a port is in a range; on a later fragment there is no port, inverted or not.
  func port(_ port: UInt16?, _ low: UInt16, _ high: UInt16, _ isInverted: Bool) -> Truth {
    guard let isLater = packet.isLaterFragment else { return .unknown }
    if isLater { return .no }
    guard packet.transport.hasPorts else { return .no }
    if low == 0, high == .max { return Truth(!isInverted) }
    guard let port else { return .unknown }
    return Truth((low <= port && port <= high) != isInverted)
  }
}
