import Addressing

/// What a rule asks, as independent ranges: the packets that fit lie in a box.
///
/// The box never leaves out a packet that the rule matches. Where ``isExact``, every packet in the
/// box that also has the same ``others`` is matched.
struct RuleBox {
  /// An option, or a whole match, that is compared only word for word.
  struct Clause: Hashable {
    var name: String
    var options: [RuleOption]
  }

  typealias Ports = [ClosedRange<UInt16>]

  struct Interface: Hashable {
    var name: UInt128
    var mask: UInt128
    var isInverted: Bool
  }

  let family: AddressFamily
  var transport: UInt8?
  /// `nil`: not asked.
  var sources: SourceRanges?
  var destinations: SourceRanges?
  /// A packet without ports, or a later fragment, is in no box that asks for ports at all.
  var sourcePorts: Ports?
  var destinationPorts: Ports?
  /// Destination ports that stand alone in the rule, and not as part of a range.
  var namedPorts: Set<UInt16> = []
  var states = ConnectionStates.plain
  var inInterfaces: [Interface] = []
  var outInterfaces: [Interface] = []
  var others: Set<Clause> = []
  var isExact = true
  /// Whether nothing fits.
  var isEmpty = false

  init(_ family: AddressFamily) { self.family = family }

  /// What holds besides a rule's conditions.
  struct Surroundings {
    /// Whether the state of a packet can change from rule to rule (raw table).
    var isBeforeTracking = false
    /// Whether a target rewrites the destination and goes on.
    var changesDestination = false
    var setsChangedByRules: Set<String> = []
  }

  mutating func add(_ condition: Condition, _ clause: Clause?, _ around: Surroundings) {
    switch condition {
    case .always:
      break
    case .never:
      isEmpty = true
    case .transport(let number, let isInverted):
      if isInverted {
        keep(clause)
      } else {
        if let transport, transport != number { isEmpty = true }
        transport = number
      }
    case .source(let bits, let mask, let isInverted):
      limit(
        \.sources, AddressPattern.ranges(bits: bits, mask: mask, family: family), isInverted, clause
      )
    case .destination(let bits, let mask, let isInverted):
      if around.changesDestination { isExact = false }
      limit(
        \.destinations, AddressPattern.ranges(bits: bits, mask: mask, family: family), isInverted,
        clause)
    case .sourcePort(let low, let high, let isInverted):
      limit(\.sourcePorts, [(low, high)], isInverted)
    case .destinationPort(let low, let high, let isInverted):
      limit(\.destinationPorts, [(low, high)], isInverted)
    case .inInterface(let name, let mask, let isInverted):
      inInterfaces.append(Interface(name: name, mask: mask, isInverted: isInverted))
    case .outInterface(let name, let mask, let isInverted):
      outInterfaces.append(Interface(name: name, mask: mask, isInverted: isInverted))
    case .laterFragment:
      keep(clause)
    case .state(let wanted):
      if around.isBeforeTracking { isExact = false } else { limit(wanted) }
    case .mark, .undecidable:
      // A mark may change between two rules that ask for it.
      isExact = false
    case .other(let other):
      add(other, clause, around)
    }
  }

  private mutating func add(
    _ condition: any MatchCondition, _ clause: Clause?, _ around: Surroundings
  ) {
    switch condition {
    case let range as AddressRange:
      let ranges: SourceRanges = range.low <= range.high ? [range.low...range.high] : []
      if range.isSource {
        limit(\.sources, ranges, range.isInverted, clause)
      } else {
        if around.changesDestination { isExact = false }
        limit(\.destinations, ranges, range.isInverted, clause)
      }
    case let list as PortList:
      switch list.place {
      case .source: limit(\.sourcePorts, list.ranges, list.isInverted)
      case .destination: limit(\.destinationPorts, list.ranges, list.isInverted)
      case .either: keep(clause)
      }
    case let connection as ConnectionCondition:
      if around.isBeforeTracking { isExact = false }
      if let states = connection.states {
        if ConnectionStates.plain.isSuperset(of: states.set) {
          limit(states.isInverted ? .plain.subtracting(states.set) : states.set)
        } else {
          keep(clause)
        }
      }
      if !connection.tests.isEmpty { keep(clause) }
      for (test, _) in connection.tests {
        switch test {
        // Status and expiry may change while a packet is on its way.
        case .expires, .status: isExact = false
        default: break
        }
      }
    case let set as SetCondition:
      keep(clause)
      if set.asksCounters || around.setsChangedByRules.contains(set.name) { isExact = false }
      if around.changesDestination { isExact = false }
      // A set of an unknown kind may hold marks, which change on the way.
      let tables = [set.table] + set.members
      if tables.contains(where: { $0?.dimensions.contains(.mark) ?? true }) { isExact = false }
    case let list as AnyAddress where list.isSource || !around.changesDestination:
      keep(clause)
    case let type as AddressTypeCondition where type.isSource || !around.changesDestination:
      keep(clause)
    case is TCPFlags, is ICMPCondition, is LinkType, is SourceMAC, is PhysicalDevice,
      is SecurityPolicy:
      keep(clause)
    case let path as ReversePath where !path.usesMark:
      keep(clause)
    default:
      isExact = false
    }
  }

  private mutating func keep(_ clause: Clause?) {
    if let clause { others.insert(clause) } else { isExact = false }
  }

  private mutating func limit(_ wanted: ConnectionStates) {
    states.formIntersection(wanted)
    if states.isEmpty { isEmpty = true }
  }

  private mutating func limit(
    _ place: WritableKeyPath<RuleBox, SourceRanges?>, _ ranges: SourceRanges?, _ isInverted: Bool,
    _ clause: Clause?
  ) {
    guard var ranges, ranges.count <= 256 else {
      keep(clause)
      return
    }
    if isInverted {
      let last: UInt128 = family == .ipv4 ? 0xffff_ffff : .max
      ranges = Self.gaps(ranges, last: last)
    }
    if let known = self[keyPath: place] { ranges = Self.common(known, ranges) }
    if ranges.isEmpty { isEmpty = true }
    self[keyPath: place] = ranges
  }

  private mutating func limit(
    _ place: WritableKeyPath<RuleBox, Ports?>, _ list: [(UInt16, UInt16)], _ isInverted: Bool
  ) {
    if place == \.destinationPorts, !isInverted {
      for (low, high) in list where low == high { namedPorts.insert(low) }
    }
    var ranges: Ports = []
    for (low, high) in list.sorted(by: { $0.0 < $1.0 }) where low <= high {
      if let last = ranges.last, Int(low) <= Int(last.upperBound) + 1 {
        ranges[ranges.count - 1] = last.lowerBound...max(last.upperBound, high)
      } else {
        ranges.append(low...high)
      }
    }
    if isInverted { ranges = Self.gaps(ranges, last: .max) }
    if let known = self[keyPath: place] { ranges = Self.common(known, ranges) }
    if ranges.isEmpty { isEmpty = true }
    self[keyPath: place] = ranges
  }

  // MARK: Ranges

  private static func gaps<T: FixedWidthInteger>(_ ranges: [ClosedRange<T>], last: T)
    -> [ClosedRange<T>]
  {
    var result: [ClosedRange<T>] = []
    var next: T = 0
    for range in ranges {
      if range.lowerBound > next { result.append(next...(range.lowerBound - 1)) }
      if range.upperBound >= last { return result }
      next = range.upperBound + 1
    }
    result.append(next...last)
    return result
  }

  private static func common<T: Comparable>(
    _ left: [ClosedRange<T>], _ right: [ClosedRange<T>]
  ) -> [ClosedRange<T>] {
    var result: [ClosedRange<T>] = []
    for one in left {
      for other in right where one.overlaps(other) { result.append(one.clamped(to: other)) }
    }
    return result
  }

  private static func isWithin<T: Comparable>(
    _ inner: [ClosedRange<T>]?, _ outer: [ClosedRange<T>]?
  ) -> Bool {
    guard let outer else { return true }
    guard let inner else { return false }
    return inner.allSatisfy { one in
      outer.contains { $0.lowerBound <= one.lowerBound && one.upperBound <= $0.upperBound }
    }
  }

  private static func areApart<T: Comparable>(
    _ left: [ClosedRange<T>]?, _ right: [ClosedRange<T>]?
  ) -> Bool {
    guard let left, let right else { return false }
    return !left.contains { one in right.contains { $0.overlaps(one) } }
  }

  // MARK: Comparing

  /// Whether every packet this rule matches is certainly matched by another rule it meets.
  func isCovered(by other: RuleBox) -> Bool {
    other.isExact && !other.isEmpty && (other.transport == nil || other.transport == transport)
      && states.isSubset(of: other.states)
      && Self.isWithin(sources, other.sources) && Self.isWithin(destinations, other.destinations)
      && Self.isWithin(sourcePorts, other.sourcePorts)
      && Self.isWithin(destinationPorts, other.destinationPorts)
      && other.others.isSubset(of: others)
      && other.inInterfaces.allSatisfy { Self.implied($0, by: inInterfaces) }
      && other.outInterfaces.allSatisfy { Self.implied($0, by: outInterfaces) }
  }

  /// Whether certainly no packet is matched by both.
  func isApart(from other: RuleBox) -> Bool {
    isEmpty || other.isEmpty || states.isDisjoint(with: other.states)
      || transport.flatMap { mine in other.transport.map { $0 != mine } } == true
      || Self.areApart(sources, other.sources) || Self.areApart(destinations, other.destinations)
      || Self.areApart(sourcePorts, other.sourcePorts)
      || Self.areApart(destinationPorts, other.destinationPorts)
  }

  private static func implied(_ wanted: Interface, by known: [Interface]) -> Bool {
    known.contains { given in
      if given == wanted { return true }
      guard !given.isInverted, given.mask & wanted.mask == wanted.mask else { return false }
      return (given.name & wanted.mask == wanted.name) != wanted.isInverted
    }
  }
}
