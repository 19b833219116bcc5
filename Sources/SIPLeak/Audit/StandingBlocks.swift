import HostNetwork
import Firewall
public import Addressing

/// A block that stands now, and whether it does what it should.
public struct StandingBlock: Sendable, Hashable {
  /// What is to be said of it.
  public enum State: String, Sendable, Hashable, Codable {
    /// It drops what the peer sends.
    case inForce = "in-force"
    /// The set names the peer, but no rule of ours asks the set any more: a reload took the hook.
    case missingHook = "missing-hook"
    /// It stands against an address that the rules would admit now.
    case admitted
  }

  /// The peer, as the set has it.
  public var element: String
  /// The family.
  public var family: AddressFamily
  /// What is to be said.
  public var state: State
  /// Seconds until the kernel lifts it; 0 for never.
  public var timeout: UInt32?
  /// Packets it has stopped.
  public var packets: UInt64?
  /// What to do, where something is.
  public var advice: String?
}

extension StandingBlock {
  /// The blocks of an observation.
  ///
  /// - Parameters:
  ///   - observation: What was read.
  ///   - policy: Whom the operator trusts.
  /// - Returns: A block a set member, in the sets' order.
  static func all(of observation: Observation, policy: AuditPolicy) -> [StandingBlock] {
    let snapshot = observation.sample.firewall.snapshot
    var result: [StandingBlock] = []
    for family in AddressFamily.allCases {
      guard let set = snapshot.ownSet(family), OwnObjects.owns(set), !set.entries.isEmpty else {
        continue
      }
      var blockability = Blockability(observation, policy: policy)
      var prefixes = PrefixBlockability(observation, policy: policy)
      let isHooked = snapshot.hasOwnHook(family)
      for entry in set.entries {
        let block = OwnObjects.parse(entry.element)
        var state = isHooked ? State.inForce : .missingHook
        let option = observation.host.option
        var advice = isHooked ? nil : "sipleak block --apply\(option) puts the hook back"
        if let block, let local = observation.localAddress(family),
          let why = blockability.answer(
            for: block.address, wire: Endpoint(local, block.port), cause: .hostOpened)
            ?? prefixes.standingObjection(to: block.prefix)
        {
          state = .admitted
          advice = "\(why); sipleak unblock \(block.address)\(option)"
        }
        result.append(
          StandingBlock(
            element: entry.element, family: family, state: state, timeout: entry.timeout,
            packets: entry.counters?.packets, advice: advice))
      }
    }
    return result
  }
}

extension OwnObjects {
  /// The address, transport and port of a set element such as `203.0.113.66,udp:5060`.
  static func parse(
    _ element: String
  ) -> (address: IPAddress, prefix: IPPrefix, transport: IPProtocol, port: UInt16)? {
    let parts = element.split(separator: ",")
    guard parts.count == 2, let prefix = IPPrefix(String(parts[0])) else { return nil }
    let ends = parts[1].split(separator: ":")
    guard ends.count == 2, let transport = IPProtocol(word: String(ends[0])),
      let port = UInt16(ends[1])
    else { return nil }
    return (prefix.address, prefix, transport, port)
  }
}

extension Observation {
  /// The interfaces a packet from outside may come by.
  var ways: [String] {
    network.interfaces.filter { $0.isUp && !$0.isLoopback }.map(\.name)
  }

  /// An address of ours of a family that others can reach.
  func localAddress(_ family: AddressFamily) -> IPAddress? {
    network.addresses.map(\.address).first {
      $0.family == family && !$0.isLoopback && !$0.isLinkLocal
    }
  }
}
