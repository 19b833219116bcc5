/// What is known of the named sets and maps of `nft -j`.
struct NftSets {
  typealias Key = NftRuleset.Key

  /// The elements, where they were printed and nothing but their owner changes them.
  private(set) var elements: [Key: [JSONValue]] = [:]
  /// Those whose elements some rule was understood by.
  private(set) var used: Set<Key> = []
  /// Those that some rule changes.
  var changed: Set<Key> = []
  /// Those that are not to be known.
  var leftOut: Set<Key> = []
  /// Those whose elements would help and were not printed, as the words that list them.
  private(set) var missing: [[String]] = []
  private var listings: [Key: [String]] = [:]

  /// Longer ones tell nothing that is short to say.
  private static let longest = 1024

  mutating func add(_ set: JSONValue, _ key: Key, isMap: Bool) {
    guard elements[key] == nil, !leftOut.contains(key), !Self.isChanging(set) else { return }
    if let list = set["elem"]?.array {
      if list.count <= Self.longest { elements[key] = list }
    } else if set["type"]?.string.map({ !$0.hasSuffix("addr") }) ?? false,
      [key.family, key.table, key.chain].allSatisfy(Self.isWord)
    {
      listings[key] = [isMap ? "map" : "set", key.family, key.table, key.chain]
    }
  }

  /// Takes note of the sets that a rule was understood by, or would have been.
  mutating func note(asked: [Key]) {
    for key in asked {
      if elements[key] != nil {
        used.insert(key)
      } else if let words = listings.removeValue(forKey: key) {
        missing.append(words)
      }
    }
  }

  /// Whether elements come and go by themselves.
  private static func isChanging(_ set: JSONValue) -> Bool {
    if set["timeout"] != nil { return true }
    guard let flags = set["flags"] else { return false }
    return (flags.array ?? [flags]).contains {
      $0.string == "timeout" || $0.string == "dynamic"
    }
  }

  /// Whether nft would read a name as one word: it joins its arguments and parses them, and the
  /// kernel takes any bytes for a name.
  private static func isWord(_ name: String) -> Bool {
    func isLetter(_ byte: UInt8) -> Bool {
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }
    return name.utf8.first.map(isLetter) ?? false
      && name.utf8.allSatisfy {
        isLetter($0) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
          || "_.-".utf8.contains($0)
      }
  }
}

extension NftRuleset {
  /// The words that list each set whose elements would help, after `nft -j list`.
  var setsWorthListing: [[String]] { sets.missing }

  /// Adds what `nft -j` printed of some sets to its list of the ruleset.
  ///
  /// They go first, for a set must be known when a rule that asks it is read.
  static func adding(_ sets: [[UInt8]], to ruleset: [UInt8]) -> [UInt8] {
    guard let start = ruleset.firstIndex(of: UInt8(ascii: "[")) else { return ruleset }
    var result = Array(ruleset[...start])
    for text in sets {
      guard let first = text.firstIndex(of: UInt8(ascii: "[")),
        let last = text.lastIndex(of: UInt8(ascii: "]")), last - first > 1
      else { continue }
      result += text[(first + 1)..<last]
      result += Array(", ".utf8)
    }
    return result + ruleset[(start + 1)...]
  }
}
