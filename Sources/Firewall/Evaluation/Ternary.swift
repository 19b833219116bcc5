/// The answer of a three-valued condition, after Iptables_Semantics (Diekmann et al.).
public enum Ternary: Sendable, Hashable {
  /// It holds.
  case matches
  /// It does not hold.
  case doesNotMatch
  /// It may hold; why that is not known.
  case unknown([UnknownReason])
}

/// A ternary answer without its reasons, which are only made once a rule turns out to need them.
enum Truth: Sendable {
  case no
  case unknown
  case yes

  init(_ known: Bool) { self = known ? .yes : .no }

  /// The answer for a value that may be missing.
  init(_ known: Bool?) { self = known.map { $0 ? .yes : .no } ?? .unknown }

  /// The negation if asked for, as a `!` before an option asks.
  func inverted(_ isInverted: Bool) -> Truth {
    guard isInverted else { return self }
    return switch self {
    case .no: .yes
    case .unknown: .unknown
    case .yes: .no
    }
  }

  static func && (left: Truth, right: @autoclosure () -> Truth) -> Truth {
    if left == .no { return .no }
    let other = right()
    return other == .no ? .no : left == .unknown ? .unknown : other
  }

  static func || (left: Truth, right: @autoclosure () -> Truth) -> Truth {
    if left == .yes { return .yes }
    let other = right()
    return other == .yes ? .yes : left == .unknown ? .unknown : other
  }
}
