/// What is known of the named sets and maps of `nft -j`.
struct NftSets {
  /// The elements, where they were printed and nothing but their owner changes them.
  private(set) var elements: [NftRuleset.Key: [JSONValue]] = [:]
  /// Those whose elements some rule was understood by.
  private(set) var used: Set<NftRuleset.Key> = []
  /// Those that some rule changes.
  var changed: Set<NftRuleset.Key> = []
  /// Those that are not to be known.
  var leftOut: Set<NftRuleset.Key> = []

  /// Longer ones tell nothing that is short to say.
  private static let longest = 1024

  mutating func add(_ set: JSONValue, _ key: NftRuleset.Key) {
    guard elements[key] == nil, !leftOut.contains(key), let list = set["elem"]?.array,
      list.count <= Self.longest, !Self.isChanging(set)
    else { return }
    elements[key] = list
  }

  mutating func note(asked: [NftRuleset.Key]) {
    for key in asked where elements[key] != nil { used.insert(key) }
  }

  /// Whether elements come and go by themselves.
  static func isChanging(_ set: JSONValue) -> Bool {
    if set["timeout"] != nil { return true }
    guard let flags = set["flags"] else { return false }
    return (flags.array ?? [flags]).contains {
      $0.string == "timeout" || $0.string == "dynamic"
    }
  }
}
