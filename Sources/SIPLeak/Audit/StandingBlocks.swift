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
    /// It drops what the peer sends, but a part of it is gone: what is sent to the peer is tracked
    /// again, or what is forwarded no longer dropped.
    case missingPart = "missing-part"
    /// It stands beside a rule of somebody else's, so sipleak does not renew it, nor lift a plain one.
    case foreignRule = "foreign-rule"
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
  /// The parts of it that are gone, or that packets do not come to.
  public var missing: [OwnBlock.Part] = []
  /// The chain in which a rule of somebody else's stands among ours, such as `raw SIPLEAK`.
  public var spoiltChain: String?
  /// What to do, where something is.
  public var advice: String?
}

extension StandingBlock {
  /// The blocks of an observation.
  ///
  /// - Parameters:
  ///   - observation: What was read.
  ///   - policy: Whom the operator trusts.
  /// - Returns: The blocks, in the order of ``FirewallSnapshot/ownBlocks(at:)``; then those that
  ///   nothing of ours lifts.
  static func all(of observation: Observation, policy: AuditPolicy) -> [StandingBlock] {
    let snapshot = observation.sample.firewall.snapshot
    let time = observation.sample.time
    let spoilt = snapshot.spoiltBlocks(at: time)
    let own = snapshot.ownBlocks(at: time)
    guard !own.isEmpty || !spoilt.isEmpty else { return [] }
    let kept = Set(spoilt.map(\.block.element))
    // Their set is ours to change, the rules that ask it are not.
    var askers: [AddressFamily: SpoiltTable] = [:]
    for table in snapshot.spoiltTables where table.asksMembers {
      askers[table.place.family] = askers[table.place.family] ?? table
    }
    let blocks =
      own.filter { !kept.contains($0.element) }.map { block in
        (block, block.holder == .set && !block.missing.isEmpty ? askers[block.family] : nil)
      } + spoilt.map { ($0.block, $0.table) }
    var blockability = Blockability(observation, policy: policy)
    var prefixes = PrefixBlockability(observation, policy: policy)
    return blocks.map { block, table in
      let admission = observation.localAddress(block.family).flatMap { local in
        blockability.answer(
          for: block.prefix.address, wire: Endpoint(local, block.port), cause: .hostOpened)
          ?? prefixes.standingObjection(to: block.prefix)
      }
      return StandingBlock(
        block, beside: table, admission: admission, option: observation.host.option)
    }
  }

  /// Judges a block.
  ///
  /// - Parameters:
  ///   - block: The block.
  ///   - table: What holds it, where a rule of somebody else's stands there.
  ///   - admission: Why its peer may come in, if it may.
  ///   - option: The option that reaches the host's namespace, after a blank.
  private init(
    _ block: OwnBlock, beside table: SpoiltTable?, admission: String?, option: String
  ) {
    element = block.element
    family = block.family
    holder = block.holder
    timeout = block.isOver ? nil : block.secondsLeft.map { UInt32(clamping: $0) } ?? 0
    packets = block.packets
    missing = block.missing
    spoiltChain = table.map { "\($0.place.table) \($0.chain)" }
    let isHooked =
      block.isHooked
      || block.holder == .set && table?.dropsMember(block.element) ?? false
    let remedy = table.map { "\($0.objection): \($0.remedy)" }
    // A member of our set is lifted whatever stands in the chain.
    let obstacle = block.holder == .rules ? remedy.map { "\($0), then " } ?? "" : ""
    state = .inForce
    if let admission {
      state = .admitted
      advice = "\(admission); \(obstacle)sipleak unblock \(block.prefix.address)\(option)"
    } else if block.isOver {
      state = .expired
      advice = "\(obstacle)sipleak block --apply\(option) lifts it"
    } else if !isHooked {
      state = .missingHook
      advice =
        (remedy.map { "\($0), then " } ?? "") + "sipleak block --apply\(option) puts the hook back"
    } else if let table, let remedy {
      state = .foreignRule
      let can = block.holder == .rules ? "neither lift nor renew it" : "lift it and not renew it"
      let holds =
        table.mayPassBy(block.element)
        ? "a rule before it may let the peer pass" : "it drops what the peer sends"
      advice = "\(holds), and sipleak can \(can): \(remedy)"
    } else if !missing.isEmpty {
      state = .missingPart
      advice =
        "it drops what the peer sends, but "
        + missing.map(\.consequence).joined(separator: ", and ")
        + "; sipleak block --apply\(option) puts it back"
    }
  }

  /// The places of what is missing, such as `raw/OUTPUT`, each once.
  var missingPlaces: [String] {
    missing.map { "\($0.place.table)/\($0.place.chain)" }.reduce(into: []) { places, place in
      if !places.contains(place) { places.append(place) }
    }
  }
}

extension OwnBlock.Part {
  /// What follows from its absence while the rest stands.
  fileprivate var consequence: String {
    switch self {
    case .peer: "only on its way to the inner host, behind connection tracking"
    case .answers:
      "raw OUTPUT lets this host's own packets to it be tracked: they keep a flow open by which it is "
        + "in again when the block ends"
    case .fromInside:
      "raw PREROUTING lets the inner host's packets to it be tracked: they keep a flow open by which "
        + "it is in again when the block ends"
    case .toInside:
      "mangle FORWARD lets pass what reaches the inner host by another port on the wire"
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
