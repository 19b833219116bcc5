import Addressing

/// One set of the snapshot, ready for look-ups.
///
/// Immutable once made, so it can be shared between threads.
final class SetTable: Sendable {
  enum Content: Sendable {
    /// One address dimension and no exceptions: a binary search.
    case addresses(PrefixSet)
    /// Any other type of one or more dimensions; the value says whether it is `nomatch`.
    case keys([SetKey: Bool])
    /// `list:set`.
    case list([String])
    /// A type that is not understood.
    case unsupported
  }

  let name: String
  let type: String
  let family: AddressFamily?
  let dimensions: [SetDimension]
  let content: Content
  /// Prefix lengths that occur, the longest first, as the kernel tries them.
  let firstLengths: [UInt8]
  let secondLengths: [UInt8]
  let netmask: UInt128
  let markMask: UInt32
  let hasTimeouts: Bool
  /// Whether every element was understood.
  let isComplete: Bool
  let portsHaveProtocol: Bool
  /// The networks of a `hash:net,iface`, whatever their interface.
  let networks: Set<SetKey>
  /// Whether an element of `hash:net,iface` names a bridge port.
  let hasBridgePorts: Bool

  init(_ set: AddressSet) {
    name = set.name
    type = set.type
    let (dimensions, isList) = Self.dimensions(of: set.type)
    self.dimensions = dimensions ?? []
    let hasAddress = self.dimensions.contains(.address)
    family = hasAddress ? set.family ?? .ipv4 : nil
    hasTimeouts =
      Self.option("timeout", of: set) != nil || set.entries.contains { $0.timeout != nil }
    markMask = Self.option("markmask", of: set).flatMap { UInt32(anyBase: $0) } ?? .max
    let width = (family ?? .ipv4).bitWidth
    let all: UInt128 = width == 32 ? 0xffff_ffff : .max
    if let bits = Self.option("netmask", of: set).flatMap(Int.init), (0...width).contains(bits) {
      netmask = bits == 0 ? 0 : all & ~((UInt128(1) << UInt128(width - bits)) - 1)
    } else if let mask = Self.option("bitmask", of: set).flatMap({ IPAddress($0) }) {
      netmask = mask.bits
    } else {
      netmask = all
    }
    hasBridgePorts =
      self.dimensions.last == .interface
      && set.entries.contains { $0.element.contains("physdev:") }
    portsHaveProtocol = !set.type.hasPrefix("bitmap:")
    guard dimensions != nil else {
      content = isList ? .list(set.entries.map(\.element)) : .unsupported
      firstLengths = []
      secondLengths = []
      networks = []
      isComplete = isList
      return
    }
    let reader = SetElementReader(
      dimensions: self.dimensions, family: family ?? .ipv4, portsHaveProtocol: portsHaveProtocol)
    var keys: [SetKey: Bool] = [:]
    var isComplete = true
    let isPlain = self.dimensions.count == 1 && hasAddress && netmask == all
    if isPlain, !set.entries.contains(where: \.isException) {
      var prefixes: [IPPrefix] = []
      prefixes.reserveCapacity(set.entries.count)
      for entry in set.entries {
        let read = reader.keys(entry.element)
        if read.isEmpty { isComplete = false }
        for key in read {
          let address = IPAddress(family: family ?? .ipv4, bits: key.first)
          if let prefix = IPPrefix(address, length: Int(key.firstLength)) {
            prefixes.append(prefix)
          }
        }
      }
      content = .addresses(PrefixSet(prefixes))
    } else {
      for entry in set.entries {
        let read = reader.keys(entry.element)
        if read.isEmpty { isComplete = false }
        for key in read { keys[key] = entry.isException }
      }
      content = .keys(keys)
    }
    self.isComplete = isComplete
    firstLengths = Set(keys.keys.map(\.firstLength)).sorted(by: >)
    secondLengths = Set(keys.keys.map(\.secondLength)).sorted(by: >)
    networks =
      self.dimensions.last == .interface
      ? Set(keys.keys.map { SetKey(first: $0.first, firstLength: $0.firstLength) }) : []
  }

  /// The dimensions of a type, `nil` for a list of sets or an unknown type.
  private static func dimensions(of type: String) -> ([SetDimension]?, isList: Bool) {
    if type == "list:set" { return (nil, true) }
    guard let colon = type.firstIndex(of: ":"), ["hash", "bitmap"].contains(type[..<colon]) else {
      return (nil, false)
    }
    var result: [SetDimension] = []
    for word in type[type.index(after: colon)...].split(separator: ",") {
      switch word {
      case "ip", "net": result.append(.address)
      case "port": result.append(.port)
      case "mac": result.append(.mac)
      case "mark": result.append(.mark)
      case "iface": result.append(.interface)
      default: return (nil, false)
      }
    }
    return (1...3).contains(result.count) ? (result, false) : (nil, false)
  }

  /// The value of a create option, whether the words stand apart or together.
  private static func option(_ name: String, of set: AddressSet) -> String? {
    let words = set.createOptions.flatMap { $0.split(separator: " ").map(String.init) }
    guard let index = words.firstIndex(of: name), index + 1 < words.count else { return nil }
    return words[index + 1]
  }
}

/// The sets that a snapshot's rules ask for.
struct SetTables: Sendable {
  /// `nil`: the sets could not be read.
  private let tables: [String: SetTable]?
  /// Sets that some rule of the host changes by a SET target.
  let changedByRules: Set<String>

  /// Prepares the sets named, and the members of those that are lists.
  init(_ sets: [AddressSet]?, asked: Set<String>, changedByRules: Set<String>) {
    self.changedByRules = changedByRules
    guard let sets else {
      tables = nil
      return
    }
    var wanted = asked
    for set in sets where set.type == "list:set" && asked.contains(set.name) {
      wanted.formUnion(set.entries.map(\.element))
    }
    var tables: [String: SetTable] = [:]
    for set in sets where wanted.contains(set.name) { tables[set.name] = SetTable(set) }
    self.tables = tables
  }

  var areKnown: Bool { tables != nil }

  subscript(_ name: String) -> SetTable? { tables?[name] }
}
