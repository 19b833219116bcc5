import Addressing

/// What a rule may have changed about a packet by the time another rule sees it.
///
/// A walk carries a handful of variants at once: each rule sorts them into those that match and
/// those that do not, so that a mark set under an unknown condition and the rule that later asks
/// for the mark stay connected.
struct Variant: Sendable, Hashable {
  /// How connection tracking was told to treat the packet.
  enum Tracking: UInt8, Sendable {
    /// Nothing was said.
    case ordinary
    /// A template was attached (`CT --zone`): later CT and NOTRACK rules do nothing.
    case template
    /// Kept away.
    case untracked
    /// One of these.
    case uncertain
  }

  /// Header fields that a target may have rewritten.
  struct Edits: OptionSet, Sendable, Hashable {
    let rawValue: UInt8
    static let ttl = Edits(rawValue: 1)
    static let typeOfService = Edits(rawValue: 2)
    static let payload = Edits(rawValue: 4)
  }

  var mark: BitPattern
  var connectionMark: BitPattern
  var tracking: Tracking = .ordinary
  /// The conntrack zone; `nil`: not known.
  var zone: UInt16? = 0
  /// The destination at this stage; `nil`: not known.
  var destination: UInt128?
  /// The destination port at this stage.
  var port: UInt16?
  /// Whether the nat table has changed the destination of a NEW packet; `nil`: perhaps.
  var isTranslated: Bool? = false
  /// Whether a rule of the nat table has decided on the destination, even to leave it.
  var hasMetTranslation = false
  var edits: Edits = []

  /// What both have in common.
  func joined(_ other: Variant) -> Variant {
    var result = self
    result.mark = mark.joined(other.mark)
    result.connectionMark = connectionMark.joined(other.connectionMark)
    if tracking != other.tracking { result.tracking = .uncertain }
    if zone != other.zone { result.zone = nil }
    if destination != other.destination { result.destination = nil }
    if port != other.port { result.port = nil }
    if isTranslated != other.isTranslated { result.isTranslated = nil }
    result.hasMetTranslation = hasMetTranslation || other.hasMetTranslation
    result.edits.formUnion(other.edits)
    return result
  }
}

/// The variants a packet may have at one place, without doubles.
struct Variants: Sendable {
  /// More than these are joined into one that knows less.
  static let limit = 8

  private(set) var list: [Variant]

  init(_ list: [Variant] = []) { self.list = list }

  var isEmpty: Bool { list.isEmpty }

  mutating func insert(_ variant: Variant) {
    if list.contains(variant) { return }
    guard list.count < Self.limit else {
      list = [list.dropFirst().reduce(list[0]) { $0.joined($1) }.joined(variant)]
      return
    }
    list.append(variant)
  }

  mutating func insert(_ others: Variants) {
    if list.isEmpty {
      list = others.list
    } else {
      for variant in others.list { insert(variant) }
    }
  }

  mutating func removeAll() { list.removeAll(keepingCapacity: true) }
}
