public import Addressing
import Firewall

/// What would let a blocked peer in again at once, were its block lifted now.
public struct PersistingCause: Sendable, Hashable {
  /// The peer.
  public var address: IPAddress
  /// What stands, in a sentence.
  public var why: String

  /// Asks for each of some blocked addresses, as if their blocks were gone; pure.
  ///
  /// A block before the state rule keeps the flow alive (facts C1): lifted, its peer is in with the
  /// next packet. A block in raw lets it die, and then nothing stands. What this host itself will send
  /// (a qualify, a retransmission to a lure) cannot be known here.
  ///
  /// - Parameters:
  ///   - addresses: The addresses; `nil` for all that are blocked.
  ///   - observation: What is there now.
  ///   - policy: Whom the operator trusts: they may come in, so nothing persists.
  /// - Returns: Those that would come in, in order.
  public static func all(
    of addresses: [IPAddress]?, in observation: Observation, policy: AuditPolicy
  ) -> [PersistingCause] {
    var lifted = observation
    lifted.earlier = nil
    lifted.sample.firewall.snapshot = observation.sample.firewall.snapshot.withoutBlocks(
      of: addresses.map(Set.init))
    let named = addresses.map(Set.init)
    let blocked = observation.sample.firewall.snapshot.blockedPeers
    var result: [IPAddress: PersistingCause] = [:]
    for finding in Audit(lifted, policy: policy).findings {
      guard let peer = finding.peer?.address, named?.contains(peer) ?? true,
        finding.level == .leak || finding.cause == .hostOpened, result[peer] == nil
      else { continue }
      // With no address named, only those whose block is what holds them.
      guard named != nil || blocked.contains(peer) else { continue }
      result[peer] = PersistingCause(
        address: peer,
        why: "its flow to \(finding.delivered) is still there (\(finding.cause.rawValue)): "
          + "the next packet is accepted at "
          + (finding.asHeld.rule?.place ?? "no rule, by the policy"))
    }
    return result.values.sorted { $0.address < $1.address }
  }
}

extension FirewallSnapshot {
  /// The same firewall without the blocks of some addresses; of all for `nil`.
  fileprivate func withoutBlocks(of addresses: Set<IPAddress>?) -> FirewallSnapshot {
    var copy = self
    let ours = AddressFamily.allCases.map(OwnObjects.setName)
    copy.sets = sets?.map { set in
      guard ours.contains(set.name) else { return set }
      var kept = set
      kept.entries.removeAll { entry in
        guard let addresses else { return true }
        guard let prefix = OwnObjects.parse(entry.element)?.prefix else { return false }
        return prefix.length == prefix.family.bitWidth
          ? addresses.contains(prefix.address) : addresses.contains { prefix.contains($0) }
      }
      return kept
    }
    return copy.withoutPlainRules { block in
      addresses.map { $0.contains { block.prefix.contains($0) } } ?? true
    }
  }

  /// Everybody whom our blocks name.
  fileprivate var blockedPeers: PrefixSet {
    PrefixSet(
      AddressFamily.allCases.flatMap { family in
        (ownSet(family)?.entries ?? []).compactMap { OwnObjects.parse($0.element)?.prefix }
      } + plainRules.map(\.block.prefix))
  }
}
