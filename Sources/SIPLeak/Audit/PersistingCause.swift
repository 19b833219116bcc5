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
    var result: [IPAddress: PersistingCause] = [:]
    for finding in Audit(lifted, policy: policy).findings {
      guard let peer = finding.peer?.address, addresses?.contains(peer) ?? true,
        finding.level == .leak || finding.cause == .hostOpened, result[peer] == nil
      else { continue }
      // With no address named, only those whose block is what holds them.
      guard addresses != nil || observation.sample.firewall.snapshot.blocks(peer) else { continue }
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
        return OwnObjects.parse(entry.element).map { block in
          addresses.contains { block.prefix.contains($0) }
        } ?? false
      }
      return kept
    }
    return copy.withoutPlainRules { block in
      addresses.map { $0.contains { block.prefix.contains($0) } } ?? true
    }
  }

  /// Whether a block of ours names an address.
  fileprivate func blocks(_ address: IPAddress) -> Bool {
    ownSet(address.family)?.entries.contains {
      OwnObjects.parse($0.element)?.prefix.contains(address) ?? false
    } ?? false || plainRules.contains { $0.block.prefix.contains(address) }
  }
}
