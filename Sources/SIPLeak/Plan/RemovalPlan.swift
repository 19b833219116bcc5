public import Addressing
public import Firewall

/// Taking blocks back: entries of our sets and plain rules, or everything that is ours.
public struct RemovalPlan: Sendable {
  /// What to take back.
  public enum Request: Sendable, Hashable {
    /// The blocks of these addresses; chains and sets stay.
    case addresses([IPAddress])
    /// All blocks; chains and sets stay.
    case all
    /// Blocks, chains, jumps and sets: the firewall as it was before sipleak.
    case purge
  }

  /// What was asked.
  public var request: Request
  /// The blocks that go, as `SET ELEMENT`, or `CHAIN ELEMENT` for plain ones.
  public var elements: [String]
  /// Addresses that were named and are not blocked.
  public var absent: [IPAddress]
  /// Input for `ipset restore`, run after the rules are gone; empty when nothing is to be done.
  public var setText: String
  /// Rules to remove, one transaction a table; several where many plain blocks go.
  public var rules: [BlockPlan.RestoreText]
  /// Tables that we made and that are to go if they are empty afterwards.
  public var tables: [MadeTable]
  /// Things of our name that are not ours and stay.
  public var kept: [String]
  /// Blocks that were meant and stay in force, as a rule of somebody else's stands among ours.
  public var stillBlocked: [String]

  /// A table that was not there before us.
  public struct MadeTable: Sendable, Hashable {
    /// The backend it is in.
    public var backend: Backend
    /// The family.
    public var family: AddressFamily
    /// The table's name.
    public var name: String
    /// Whether it goes only if it has no chain at all, empty ones included: those are not ours.
    public var onlyWithoutChains = false
    /// Whether our mark is gone, so that it goes only if our chain is the first thing it ever held.
    public var onlyIfOldest = false
  }

  /// Whether there is nothing to take back.
  public var isEmpty: Bool { setText.isEmpty && rules.isEmpty }

  /// Whose blocks end by it; `nil` for everybody's.
  public var ended: [IPAddress]? {
    let kept = stillBlocked.compactMap { OwnObjects.parse($0)?.prefix }
    var named: [IPAddress] = []
    switch request {
    case .addresses(let addresses): named = addresses
    case .all: if kept.isEmpty { return nil }
    case .purge: return nil
    }
    let lifted = elements.compactMap { name in
      name.split(separator: " ").last.flatMap { OwnObjects.parse(String($0))?.prefix.address }
    }
    return Set(named + lifted).filter { address in !kept.contains { $0.contains(address) } }
      .sorted()
  }

  /// Plans a removal from a reading of the firewall.
  public init(_ request: Request, snapshot: FirewallSnapshot) {
    self.request = request
    elements = []
    absent = []
    setText = ""
    rules = []
    tables = []
    kept = []
    stillBlocked = []
    switch request {
    case .addresses(let addresses):
      remove(addresses, snapshot: snapshot)
    case .all:
      for family in AddressFamily.allCases {
        guard let set = ownSet(family, snapshot), !set.entries.isEmpty else { continue }
        elements += set.entries.map { "\(set.name) \($0.element)" }
        setText += "flush \(set.name)\n"
      }
      removePlain(snapshot) { _ in true }
    case .purge:
      removeRules(snapshot)
      name(snapshot.plainRules.map(\.block))
      for family in AddressFamily.allCases {
        guard let set = ownSet(family, snapshot) else { continue }
        elements += set.entries.map { "\(set.name) \($0.element)" }
        setText += "destroy \(set.name)\n"
      }
    }
  }

  private mutating func ownSet(
    _ family: AddressFamily, _ snapshot: FirewallSnapshot
  ) -> AddressSet? {
    guard let set = snapshot.ownSet(family) else { return nil }
    guard OwnObjects.owns(set) else {
      kept.append("set \(set.name): sipleak did not make it")
      return nil
    }
    return set
  }

  private mutating func remove(_ addresses: [IPAddress], snapshot: FirewallSnapshot) {
    let plain = snapshot.plainRules.map(\.block.prefix)
    let spoilt = snapshot.spoiltTables.flatMap { $0.standing.map(\.prefix) }
    var blocks: [AddressFamily: BlocksByAddress] = [:]
    for address in addresses {
      let known =
        blocks[address.family] ?? BlocksByAddress(ownSet(address.family, snapshot))
      blocks[address.family] = known
      let found = known.elements(of: address)
      if found.isEmpty, !(plain + spoilt).contains(where: { $0.contains(address) }) {
        absent.append(address)
      }
      for element in found {
        elements.append("\(known.name) \(element)")
        setText += "del -exist \(known.name) \(element)\n"
      }
    }
    removePlain(snapshot) { block in addresses.contains { block.prefix.contains($0) } }
  }

  /// Deletes rules of plain blocks one by one: what others have counted stays.
  private mutating func removePlain(
    _ snapshot: FirewallSnapshot, where isGone: (PlainBlock) -> Bool
  ) {
    for table in snapshot.spoiltTables {
      for element in table.standing.filter(isGone).map(\.element) {
        if !stillBlocked.contains(element) { stillBlocked.append(element) }
        kept.append(
          "\(element) is blocked in \(table.place.table), and \(table.objection): "
            + "\(table.remedy) first")
      }
    }
    name(snapshot.plainRules.map(\.block).filter(isGone))
    rules += snapshot.deletions(of: isGone)
  }

  /// Names plain blocks that go, each once.
  private mutating func name(_ blocks: [PlainBlock]) {
    elements += Set(blocks.map(\.element)).sorted().map { "\(OwnObjects.dropChain) \($0)" }
  }

  private mutating func removeRules(_ snapshot: FirewallSnapshot) {
    let names = [OwnObjects.dropChain, OwnObjects.answerChain]
    for ruleset in snapshot.rulesets {
      for table in ruleset.tables {
        let isMade = ruleset.backend == .nft && OwnObjects.made(table)
        var lines: [String] = []
        for chain in table.chains where !names.contains(chain.name) {
          let ours = chain.rules.filter {
            OwnObjects.isJump($0) || TraceMarker.isMarker($0) || ListenRules.owns($0)
          }
          lines += ours.map(\.deletion)
        }
        for name in names {
          guard let chain = table.chain(name), chain.policy == nil else { continue }
          // `iptables -F` leaves our chain without its mark; our sets tell that it was ours, or both
          // our names side by side.
          let isLeftOver =
            chain.rules.isEmpty && (snapshot.hasOwnSet || snapshot.hasOwnPair)
          guard OwnObjects.owns(chain) || isLeftOver else {
            kept.append("chain \(name) in \(table.name): sipleak did not make it")
            continue
          }
          let foreign = table.chains.contains { other in
            other.rules.contains { $0.target?.name == name && !OwnObjects.owns($0) }
          }
          if foreign {
            kept.append("chain \(name) in \(table.name): a rule that is not ours jumps to it")
            continue
          }
          if isLeftOver, name == OwnObjects.dropChain, ruleset.backend == .nft,
            Hooks.tables.contains(table.name)
          {
            tables.append(
              MadeTable(
                backend: ruleset.backend, family: ruleset.family, name: table.name,
                onlyIfOldest: true))
          }
          lines += OwnObjects.removal(
            of: name, leavingMark: isMade && table.chain(OwnObjects.dropChain) != nil)
        }
        // A removal that died just before its last step leaves a table without any chain, which the
        // tools print with empty ones.
        if ruleset.backend == .nft, snapshot.hasOwnSet, Hooks.tables.contains(table.name),
          table.chains.allSatisfy({ $0.rules.isEmpty && $0.policy == "ACCEPT" })
        {
          tables.append(
            MadeTable(
              backend: ruleset.backend, family: ruleset.family, name: table.name,
              onlyWithoutChains: true))
        }
        guard !lines.isEmpty else { continue }
        if isMade {
          tables.append(
            MadeTable(backend: ruleset.backend, family: ruleset.family, name: table.name))
        }
        let text = (["*\(table.name)"] + lines + ["COMMIT"]).map { $0 + "\n" }.joined()
        rules.append(
          BlockPlan.RestoreText(
            backend: ruleset.backend, family: ruleset.family, table: table.name, text: text,
            undo: "", makesTable: false))
      }
    }
  }
}

/// The elements of a set of ours, found by an address they block.
private struct BlocksByAddress {
  let name: String
  private var single: [IPAddress: [String]] = [:]
  private var wide: [(prefix: IPPrefix, element: String)] = []

  init(_ set: AddressSet?) {
    name = set?.name ?? ""
    for entry in set?.entries ?? [] {
      guard let prefix = OwnObjects.parse(entry.element)?.prefix else { continue }
      if prefix.length == prefix.family.bitWidth {
        single[prefix.address, default: []].append(entry.element)
      } else {
        wide.append((prefix, entry.element))
      }
    }
  }

  func elements(of address: IPAddress) -> [String] {
    (single[address] ?? []) + wide.filter { $0.prefix.contains(address) }.map(\.element)
  }
}
