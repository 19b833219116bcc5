import Addressing
import Firewall

extension OwnBlock {
  /// What a block is made of: rules of ours, each with a jump that leads packets to it.
  public enum Part: String, Sendable, Hashable, Codable, CaseIterable {
    /// A drop of what the peer sends: in raw PREROUTING, or before a state rule.
    case peer
    /// What this host sends to the peer is kept untracked in raw OUTPUT (facts C6).
    case answers
    /// A drop in raw PREROUTING of what an inner host sends to the peer (facts C13).
    case fromInside = "from-inside"
    /// A drop in mangle FORWARD of what the peer sends to an inner host (facts C13).
    case toInside = "to-inside"

    /// The table and the chain of the kernel's that lead to it, for a block ahead of connection
    /// tracking.
    public var place: (table: String, chain: String) {
      switch self {
      case .peer, .fromInside: ("raw", "PREROUTING")
      case .answers: ("raw", "OUTPUT")
      case .toInside: ("mangle", "FORWARD")
      }
    }

    /// The part that a rule of ours is of, by its table; `nil` for our marks.
    init?(_ rule: Rule, table: String) {
      switch rule.target?.name {
      case "CT": self = .answers
      case "DROP" where table == Self.toInside.place.table: self = .toInside
      case "DROP" where rule.asks("set"):
        // Only a rule for an inner host names an address beside the set.
        self = rule.options("-s").isEmpty ? .peer : .fromInside
      case "DROP": self = rule.options("--dport").isEmpty ? .fromInside : .peer
      default: return nil
      }
    }
  }
}

/// The parts of a block that packets come to, and those that belong to it.
struct BlockParts {
  private(set) var standing: Set<OwnBlock.Part> = []
  /// Whether it is a block ahead of connection tracking, which is more than a drop.
  private(set) var isRaw = false

  /// Takes a rule of the block.
  mutating func take(_ rule: Rule, table: String, isReached: Bool) {
    if Hooks.tables.contains(table) { isRaw = true }
    if isReached, let part = OwnBlock.Part(rule, table: table) { standing.insert(part) }
  }

  mutating func formUnion(_ other: BlockParts) {
    standing.formUnion(other.standing)
    isRaw = isRaw || other.isRaw
  }

  /// The same as of a block ahead of connection tracking.
  mutating func belongToRaw() { isRaw = true }

  /// Whether what the peer sends is dropped somewhere.
  var stopPeer: Bool { !standing.isDisjoint(with: [.peer, .toInside]) }

  /// What is missing of a block.
  ///
  /// - Parameter hasInner: Whether it keeps the peer from an inner host.
  /// - Returns: The parts, in the order of their declaration.
  func missing(hasInner: Bool) -> [OwnBlock.Part] {
    let whole: [OwnBlock.Part] =
      !isRaw ? [.peer] : hasInner ? OwnBlock.Part.allCases : [.peer, .answers]
    return whole.filter { !standing.contains($0) }
  }
}

/// The parts of the blocks that a set of ours holds, by what tells their rules apart.
struct MemberParts {
  private var common: [IPProtocol: BlockParts] = [:]
  private var byInner: [IPAddress: [IPProtocol: BlockParts]] = [:]
  /// Whether a raw table has a chain of ours, whatever is left in it.
  private var isRaw = false

  /// Looks at the rules that ask our set of a family.
  init(_ family: AddressFamily, _ snapshot: FirewallSnapshot) {
    for table in snapshot.rulesets.filter({ $0.family == family }).flatMap(\.tables) {
      for name in [OwnObjects.dropChain, OwnObjects.answerChain] {
        guard let chain = table.chain(name), OwnObjects.owns(chain) else { continue }
        if table.name == "raw" { isRaw = true }
        let isReached = table.hasOwnJump(to: name)
        for rule in chain.rules where rule.asks("set") {
          guard let word = rule.options("-p").first?.arguments.first,
            let transport = IPProtocol(word: word)
          else { continue }
          let host = ["-s", "-d"].lazy.compactMap { rule.options($0).first?.arguments.first }.first
          if let inner = host.flatMap({ IPPrefix($0)?.address }) {
            byInner[inner, default: [:]][transport, default: BlockParts()].take(
              rule, table: table.name, isReached: isReached)
          } else {
            common[transport, default: BlockParts()].take(
              rule, table: table.name, isReached: isReached)
          }
        }
      }
    }
  }

  /// The parts of a member.
  func parts(of transport: IPProtocol, inner: IPAddress?) -> BlockParts {
    var parts = common[transport] ?? BlockParts()
    if let inner, let own = byInner[inner]?[transport] { parts.formUnion(own) }
    if isRaw { parts.belongToRaw() }
    return parts
  }
}

extension Table {
  /// Whether a jump of ours leads to a chain of ours.
  func hasOwnJump(to chain: String) -> Bool {
    chains.contains { other in
      other.rules.contains { OwnObjects.isJump($0) && $0.target?.name == chain }
    }
  }
}
