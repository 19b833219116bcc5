import Addressing

/// The source addresses cut into classes whose members no rule tells apart.
///
/// Every condition on the source adds its ranges under a random number of its own; sweeping over
/// all ends, the exclusive or of the numbers in force names the class. Two classes are confused
/// with a chance below one in 2^80.
struct SourceClasses {
  struct Class {
    /// The first of its addresses.
    var member: UInt128
    var ranges: SourceRanges
  }

  private var events: [(at: UInt128, name: UInt128)] = []
  private var known: Set<Label> = []
  private var names: [Label: UInt128] = [:]
  private let family: AddressFamily

  /// What tells one condition from another; equal conditions cut alike and count once.
  enum Label: Hashable {
    case pattern(UInt128, mask: UInt128)
    case range(UInt128, UInt128)
    case type(UInt128)
    /// An element of a set, apart from the source it is for.
    case element(set: String, rest: SetKey, isException: Bool)
    case members(set: String)
  }

  init(_ family: AddressFamily) { self.family = family }

  /// Cuts along ranges under a label; a second time under the same label does nothing.
  mutating func cut(_ ranges: SourceRanges, _ label: Label) {
    guard known.insert(label).inserted else { return }
    let name = UInt128.random(in: .min ... .max)
    for range in ranges { toggle(range, name) }
  }

  /// Whether a set was cut along before.
  func hasCut(_ label: Label) -> Bool { known.contains(label) }

  mutating func note(_ label: Label) { known.insert(label) }

  /// Cuts along one range of several under a label; they must not overlap each other.
  mutating func add(_ range: ClosedRange<UInt128>, _ label: Label) {
    let name: UInt128
    if let given = names[label] {
      name = given
    } else {
      name = UInt128.random(in: .min ... .max)
      names[label] = name
    }
    toggle(range, name)
  }

  private mutating func toggle(_ range: ClosedRange<UInt128>, _ name: UInt128) {
    events.append((range.lowerBound, name))
    if range.upperBound < .max { events.append((range.upperBound + 1, name)) }
  }

  /// Where the class changes, from 0 on, and a number for the class that begins there.
  consuming func pieces() -> (starts: [UInt128], numbers: [Int32]) {
    events.sort { $0.at < $1.at }
    var starts: [UInt128] = [0]
    var numbers: [Int32] = [0]
    var known: [UInt128: Int32] = [0: 0]
    var name: UInt128 = 0
    var index = 0
    while index < events.count {
      let at = events[index].at
      while index < events.count, events[index].at == at {
        name ^= events[index].name
        index += 1
      }
      let number = known[name] ?? Int32(known.count)
      known[name] = number
      if at == 0 {
        numbers[0] = number
      } else if number != numbers.last {
        starts.append(at)
        numbers.append(number)
      }
    }
    return (starts, numbers)
  }

  /// All classes, in the order of their first members.
  consuming func classes() -> [Class] {
    events.sort { $0.at < $1.at }
    let last: UInt128 = family == .ipv4 ? 0xffff_ffff : .max
    var result: [Class] = []
    var places: [UInt128: Int] = [:]
    var name: UInt128 = 0
    var start: UInt128 = 0
    func close(_ range: ClosedRange<UInt128>) {
      if let place = places[name] {
        result[place].ranges.append(range)
      } else {
        places[name] = result.count
        result.append(Class(member: range.lowerBound, ranges: [range]))
      }
    }
    for event in events where event.at <= last {
      if event.at > start {
        close(start...(event.at - 1))
        start = event.at
      }
      name ^= event.name
    }
    close(start...last)
    return result
  }
}
