import HostNetwork
import Firewall
public import Addressing

/// A block that stands now, and whether it does what it should.
public struct StandingBlock: Sendable, Hashable {
  /// What is to be said of it.
  public enum State: String, Sendable, Hashable, Codable {
    /// It drops what the peer sends.
    case inForce = "in-force"
    /// It is still there, but no packet comes to it any more: a reload took the hook.
    case missingHook = "missing-hook"
    /// It stands against an address that the rules would admit now.
    case admitted
    /// Its time is over and it still stands: the kernel lifts no plain rule.
    case expired
  }

  /// The peer, as a set has it.
  public var element: String
  /// The family.
  public var family: AddressFamily
  /// What is to be said.
  public var state: State
  /// What holds it.
  public var holder: OwnBlock.Holder
  /// Seconds until it is over; 0 for never, `nil` when it is over.
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
  /// - Returns: The blocks, in the order of ``FirewallSnapshot/ownBlocks(at:)``.
  static func all(of observation: Observation, policy: AuditPolicy) -> [StandingBlock] {
    let blocks = observation.sample.firewall.snapshot.ownBlocks(at: observation.sample.time)
    guard !blocks.isEmpty else { return [] }
    var blockability = Blockability(observation, policy: policy)
    var prefixes = PrefixBlockability(observation, policy: policy)
    let option = observation.host.option
    return blocks.map { block in
      var state = State.inForce
      var advice: String?
      if let local = observation.localAddress(block.family),
        let why = blockability.answer(
          for: block.prefix.address, wire: Endpoint(local, block.port), cause: .hostOpened)
          ?? prefixes.standingObjection(to: block.prefix)
      {
        state = .admitted
        advice = "\(why); sipleak unblock \(block.prefix.address)\(option)"
      } else if block.isOver {
        state = .expired
        advice = "sipleak block --apply\(option) lifts it"
      } else if !block.isHooked {
        state = .missingHook
        advice = "sipleak block --apply\(option) puts the hook back"
      }
      return StandingBlock(
        element: block.element, family: block.family, state: state, holder: block.holder,
        timeout: block.isOver ? nil : block.secondsLeft.map { UInt32(clamping: $0) } ?? 0,
        packets: block.packets, advice: advice)
    }
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
