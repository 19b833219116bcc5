import Addressing

/// Who is blocked, as the rules of a family name them: one set for all, or rules for each.
enum PeerRules {
  /// Members of our set of a family; rules for the transports, and for each inner host.
  case members(of: AddressFamily, transports: [IPProtocol], inner: [IPAddress])
  /// Rules for each block.
  case each([PlainBlock])

  /// Rules that drop what the peers send to the port they are blocked from.
  var drops: [String] {
    switch self {
    case .members(let family, let transports, _):
      transports.map {
        "-p \($0) \(asks(family, "src,dst")) \(labelled("blocked peer")) -j DROP"
      }
    case .each(let blocks): blocks.map(\.drop)
    }
  }

  /// Rules that keep what this host answers away from connection tracking.
  var untracked: [String] {
    switch self {
    case .members(let family, let transports, _):
      transports.map {
        "-p \($0) \(asks(family, "dst,src")) \(labelled("opens nothing to a blocked peer")) "
          + "-j CT --notrack"
      }
    case .each(let blocks): blocks.map(\.untracked)
    }
  }

  /// Rules that drop what inner hosts behind a forward send to the peers.
  var dropsFromInside: [String] {
    switch self {
    case .members(let family, let transports, let inner):
      inner.flatMap { host in
        transports.map {
          "-s \(host)/\(family.bitWidth) -p \($0) \(asks(family, "dst,src")) "
            + "\(labelled("inner host to a blocked peer")) -j DROP"
        }
      }
    case .each(let blocks): blocks.compactMap(\.dropFromInside)
    }
  }

  /// Rules that drop what the peers send to inner hosts, by the port it is delivered to.
  var dropsToInside: [String] {
    switch self {
    case .members(let family, let transports, let inner):
      inner.flatMap { host in
        transports.map {
          "-d \(host)/\(family.bitWidth) -p \($0) \(asks(family, "src,dst")) "
            + "\(labelled("blocked peer to an inner host")) -j DROP"
        }
      }
    case .each(let blocks): blocks.compactMap(\.dropToInside)
    }
  }

  private func asks(_ family: AddressFamily, _ sides: String) -> String {
    "-m set --match-set \(OwnObjects.setName(family)) \(sides)"
  }

  private func labelled(_ words: String) -> String {
    "-m comment --comment \"\(OwnObjects.label) \(words)\""
  }
}
