import Addressing

/// Who is blocked, as the rules of a family name them: one set for all, or rules for each.
enum PeerRules {
  /// Members of our set of a family; rules for the transports, and for each inner host.
  case members(of: AddressFamily, transports: [IPProtocol], inner: [IPAddress])
  /// Rules for each block.
  case each([PlainBlock])

  /// The rules that do one thing to the peers.
  func rules(_ rule: PeerRule) -> [String] {
    switch self {
    case .members(let family, let transports, let inner):
      let hosts: [IPAddress?] = rule.namesInner ? inner : [nil]
      return hosts.flatMap { host in
        transports.map { rule.text(membersOf: family, $0, inner: host) }
      }
    case .each(let blocks): return blocks.compactMap(rule.text(of:))
    }
  }

  /// Rules as a chain of ours holds them: with our mark.
  func marked(_ rules: [String], makesTable: Bool) -> [String] {
    switch self {
    case .members: OwnObjects.marked(rules, isApart: false, makesTable: makesTable)
    case .each: OwnObjects.marked(rules, isApart: true, makesTable: makesTable)
    }
  }
}

/// What a rule of ours does to a packet, and by which of its ends it finds the peer.
struct PeerRule: Hashable {
  /// Whether the peer sent the packet; else it is sent to the peer.
  private let isFromPeer: Bool
  /// Whether it is for an inner host behind a forward alone.
  let namesInner: Bool
  /// What is said of it where a set holds the peers.
  private let label: String
  private let action: String

  /// Drops what a peer sends to the port it is blocked from.
  static let drop = PeerRule(
    isFromPeer: true, namesInner: false, label: "blocked peer", action: "DROP")
  /// Keeps what this host answers away from connection tracking: it opens no flow (facts C6).
  static let untracked = PeerRule(
    isFromPeer: false, namesInner: false, label: "opens nothing to a blocked peer",
    action: "CT --notrack")
  /// Drops what an inner host behind a forward sends to a peer: it passes no OUTPUT (facts C13).
  static let dropFromInside = PeerRule(
    isFromPeer: false, namesInner: true, label: "inner host to a blocked peer", action: "DROP")
  /// Drops what a peer sends to an inner host, by the port it is delivered to.
  static let dropToInside = PeerRule(
    isFromPeer: true, namesInner: true, label: "blocked peer to an inner host", action: "DROP")

  /// The rule for all members of our set.
  func text(membersOf family: AddressFamily, _ transport: IPProtocol, inner: IPAddress?) -> String {
    let host = inner.map { "\(isFromPeer ? "-d" : "-s") \(Self.cidr(IPPrefix($0))) " } ?? ""
    let sides = isFromPeer ? "src,dst" : "dst,src"
    return "\(host)-p \(transport) -m set --match-set \(OwnObjects.setName(family)) \(sides) "
      + "-m comment --comment \"\(OwnObjects.label) \(label)\" -j \(action)"
  }

  /// The rule for one block, in the form `iptables-save` prints, so that it can be deleted by its
  /// text; `nil` where it is for an inner host and the block names none.
  func text(of block: PlainBlock) -> String? {
    guard let inner = block.inner else { return namesInner ? nil : text(of: block, nil) }
    return text(of: block, namesInner ? IPPrefix(inner) : nil)
  }

  private func text(of block: PlainBlock, _ inner: IPPrefix?) -> String {
    let (source, destination) = isFromPeer ? (block.prefix, inner) : (inner, block.prefix)
    let ends = [source.map { "-s \(Self.cidr($0))" }, destination.map { "-d \(Self.cidr($0))" }]
    return ends.compactMap(\.self).joined(separator: " ")
      + " -p \(block.transport) -m \(block.transport) \(isFromPeer ? "--dport" : "--sport") "
      + "\(block.port) -m comment --comment \"\(block.note)\" -j \(action)"
  }

  private static func cidr(_ prefix: IPPrefix) -> String { "\(prefix.address)/\(prefix.length)" }
}
