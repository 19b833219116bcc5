public import Addressing
public import Firewall

/// The names of everything sipleak ever makes in a firewall, and how it knows its own again.
///
/// Every rule of ours carries a comment that begins with ``label``: ASCII, no quotes. A chain of our
/// name that holds any other rule was made by somebody else and is not touched.
public enum OwnObjects {
  /// What every comment of ours begins with.
  public static let label = "sipleak:"
  /// The chain that drops what blocked peers send.
  public static let dropChain = "SIPLEAK"
  /// The chain that keeps our answers to blocked peers away from connection tracking (facts C6).
  public static let answerChain = "SIPLEAK-OUT"
  /// The version of the chains' shape, in the first rule's comment.
  ///
  /// In `v1` a rule of its own bore the mark, which every packet of the host was held against.
  public static let version = "v2"

  /// What the comment of the first rule of our chains begins with, whatever their version.
  private static let chainLabel = "\(label) chain "
  /// What it says in a table that was not there before us.
  private static let tableMark = ", table made"

  /// Whether our chains in a table say that we made it.
  static func made(_ table: Table) -> Bool {
    [dropChain, answerChain].contains { name in
      table.chain(name)?.rules.contains {
        guard let comment = $0.comment else { return false }
        return comment.hasPrefix(chainLabel) && comment.contains(tableMark)
      } ?? false
    }
  }

  /// The set of blocked peers of a family.
  public static func setName(_ family: AddressFamily) -> String {
    family == .ipv4 ? "sipleak4" : "sipleak6"
  }

  /// The most seconds a set entry can have (facts E8).
  static let longestTimeout: Int64 = 2_147_483

  /// The set's type: a peer, and the port it is blocked from.
  public static let setType = "hash:net,port"

  /// The line that makes the set, harmless when it is there already.
  ///
  /// A constant `timeout 0` lets each entry have its own (facts E10).
  public static func createLine(_ family: AddressFamily) -> String {
    let name = family == .ipv4 ? "inet" : "inet6"
    return "create -exist \(setName(family)) \(setType) family \(name) timeout 0 "
      + "maxelem 1000000 counters comment"
  }

  /// The set that ``createLine(_:)`` makes.
  static func emptySet(_ family: AddressFamily) -> AddressSet {
    AddressSet(
      name: setName(family), type: setType, family: family,
      createOptions: ["timeout", "0", "maxelem", "1000000", "counters", "comment"])
  }

  /// The lines that remove a chain of ours.
  ///
  /// In a table of ours the mark stays until the table itself goes, so that whoever finds what a
  /// removal that died has left knows that the table is ours.
  static func removal(of chain: String, leavingMark: Bool) -> [String] {
    guard leavingMark, chain == dropChain else { return ["-F \(chain)", "-X \(chain)"] }
    return ["-F \(chain)", "-A \(chain) \(versionRule(makesTable: true))"]
  }

  /// Whether a rule carries a comment of ours.
  public static func owns(_ rule: Rule) -> Bool {
    rule.comment?.hasPrefix(label) ?? false
  }

  /// Whether a chain is ours: it begins with our version mark and holds nothing of others.
  ///
  /// The name alone proves nothing, and a comment can be anybody's.
  static func owns(_ chain: Chain) -> Bool {
    guard chain.policy == nil, chain.name == dropChain || chain.name == answerChain else {
      return false
    }
    return chain.rules.first?.comment?.hasPrefix(chainLabel) ?? false
      && chain.rules.allSatisfy(owns)
  }

  /// Whether a set is one that ``createLine(_:)`` makes.
  static func owns(_ set: AddressSet) -> Bool {
    func value(_ option: String) -> String? {
      guard let at = set.createOptions.firstIndex(of: option),
        set.createOptions.indices.contains(at + 1)
      else { return nil }
      return set.createOptions[at + 1]
    }
    return set.type == setType && set.family.map(setName) == set.name && value("timeout") == "0"
      && value("maxelem") == "1000000" && set.createOptions.contains("counters")
      && set.createOptions.contains("comment")
  }

  /// Whether a rule is a jump of ours to a chain of ours.
  static func isJump(_ rule: Rule) -> Bool {
    owns(rule) && (rule.target?.name == dropChain || rule.target?.name == answerChain)
  }

  /// A first rule of our chains that bears their mark alone: it counts, and decides nothing.
  static func versionRule(makesTable: Bool) -> String {
    "-m comment --comment \"\(mark(makesTable))\""
  }

  /// Rules of ours with the mark of their chain, which says what shape it has.
  ///
  /// - Parameters:
  ///   - rules: The rules, without `-A CHAIN`.
  ///   - isApart: Whether the mark stands in a rule of its own, for rules that come and go. Else it
  ///     stands in the first one's comment: each rule more is looked at for every packet of the host.
  ///   - makesTable: Whether the table was not there before us.
  /// - Returns: The rules of the chain.
  static func marked(_ rules: [String], isApart: Bool, makesTable: Bool) -> [String] {
    guard !isApart, let first = rules.first else {
      return [versionRule(makesTable: makesTable)] + rules
    }
    return [first.replacing(label, with: mark(makesTable) + ":", maxReplacements: 1)]
      + rules.dropFirst()
  }

  private static func mark(_ makesTable: Bool) -> String {
    "\(chainLabel)\(version)" + (makesTable ? tableMark : "")
  }

  /// The comment of a set entry: why, and which inner host it is kept from.
  ///
  /// The inner host stands there because rules that name it are derived from the entries again after
  /// a reload took them.
  static func comment(_ entry: BlockPlan.Entry) -> String {
    plain("\(label) \(entry.reason)" + (entry.inner.map { "\(innerWord)\($0)" } ?? ""))
  }

  private static let innerWord = " behind this host "

  /// The inner host that the comment of a set entry of ours names, if it names one.
  static func inner(_ comment: String?) -> IPAddress? {
    guard let comment, comment.hasPrefix(label),
      let word = comment.ranges(of: innerWord).last
    else { return nil }
    return IPAddress(String(comment[word.upperBound...]))
  }

  /// A comment of ours without our mark.
  static func reason(_ comment: String) -> String {
    guard comment.hasPrefix("\(label) ") else { return comment }
    return String(comment.dropFirst(label.count + 1))
  }

  /// What may stand in a comment of a set entry or rule: printable ASCII without quotes.
  static func plain(_ text: String) -> String {
    // The same for each of ten thousand entries, and nearly always plain already.
    let isPlain =
      text.utf8.count <= 210
      && text.utf8.allSatisfy { byte in
        (0x20..<0x7f).contains(byte) && !"\"'\\`$".utf8.contains(byte)
      }
    if isPlain { return text }
    let plain = text.unicodeScalars.filter {
      $0.isASCII && $0.value >= 0x20 && $0.value != 0x7f && !"\"'\\`$".unicodeScalars.contains($0)
    }
    return String(String(String.UnicodeScalarView(plain)).prefix(210))
  }
}

extension FirewallSnapshot {
  /// The same firewall with the members of our own sets and our plain rules gone: what it would do without our blocks.
  public var withoutOurBlocks: FirewallSnapshot {
    var copy = self
    let ours = AddressFamily.allCases.map(OwnObjects.setName)
    copy.sets = sets?.map { set in
      guard ours.contains(set.name) else { return set }
      var emptied = set
      emptied.entries = []
      return emptied
    }
    return copy.withoutPlainRules { _ in true }
  }

  /// The same firewall at any time: sets whose entries come and go, `recent` lists and the
  /// hour not known.
  ///
  /// What it refuses certainly is refused whatever a timed set holds. Our own sets stay, as they
  /// only refuse.
  var atAnyTime: FirewallSnapshot {
    var copy = self
    let ours = AddressFamily.allCases.map(OwnObjects.setName)
    copy.sets = sets?.filter { !$0.createOptions.contains("timeout") || ours.contains($0.name) }
    copy.time = nil
    copy.recentLists = nil
    return copy
  }

  /// Whether a jump of ours leads to a chain of ours that drops what our set names, in any table of
  /// a family.
  func hasOwnHook(_ family: AddressFamily) -> Bool {
    rulesets.filter { $0.family == family }.flatMap(\.tables).contains { table in
      guard let chain = table.chain(OwnObjects.dropChain), OwnObjects.owns(chain),
        chain.rules.contains(where: { $0.target?.name == "DROP" && $0.asks("set") })
      else { return false }
      return table.chains.contains { other in
        other.rules.contains {
          OwnObjects.isJump($0) && $0.target?.name == OwnObjects.dropChain
        }
      }
    }
  }

  /// Whether a raw table has both chains of our names, and nothing of others in them: also where a
  /// flush has taken our marks.
  var hasOwnPair: Bool {
    rulesets.compactMap { $0.table("raw") }.contains { table in
      [OwnObjects.dropChain, OwnObjects.answerChain].allSatisfy { name in
        table.chain(name).map { $0.rules.isEmpty && $0.policy == nil || OwnObjects.owns($0) }
          ?? false
      }
    }
  }

  /// Whether any set of ours exists.
  var hasOwnSet: Bool {
    AddressFamily.allCases.contains { ownSet($0).map(OwnObjects.owns) ?? false }
  }

  /// Our set of a family, if it exists.
  public func ownSet(_ family: AddressFamily) -> AddressSet? {
    sets?.first { $0.name == OwnObjects.setName(family) }
  }
}
