import Addressing
public import Conntrack
import HostNetwork

/// The entries of a plan by what a flow shows of its peer, so that each flow is looked at once however
/// many entries there are.
struct BlockedPeers {
  private struct Key: Hashable {
    var prefix: IPPrefix
    var transport: IPProtocol
    var port: UInt16
  }

  private let numbers: [Key: Int]
  /// The lengths of IPv6 prefixes that are blocked as a whole.
  private let lengths: [Int]
  private let place: BlockRequest.Place

  init(_ entries: [BlockPlan.Entry], place: BlockRequest.Place) {
    numbers = Dictionary(
      entries.enumerated().map { number, entry in
        (Key(prefix: entry.prefix, transport: entry.transport, port: entry.port), number)
      }, uniquingKeysWith: { first, _ in first })
    lengths = Set(entries.compactMap(\.prefixLength)).sorted()
    self.place = place
  }

  /// The places in the plan of the entries that block the peer of a flow.
  func entries(of flow: Flow, _ sides: FlowSides) -> [Int] {
    let peer = sides.peer.address
    var key = Key(
      prefix: IPPrefix(peer), transport: flow.original.transport,
      port: place == .raw ? sides.wire.port : sides.delivered.port)
    var result: [Int] = []
    if let number = numbers[key] { result.append(number) }
    guard peer.family == .ipv6 else { return result }
    for length in lengths {
      guard let prefix = IPPrefix(peer, length: length) else { continue }
      key.prefix = prefix
      if let number = numbers[key] { result.append(number) }
    }
    return result
  }
}

extension BlockPlan {
  /// The flows that connect a blocked peer with the port it is blocked from, whoever opened them.
  public static func flows(
    of entries: [Entry], observation: Observation, place: BlockRequest.Place
  ) -> [FlowKey] {
    let peers = BlockedPeers(entries, place: place)
    let own = Set(observation.network.addresses.map(\.address))
    return observation.sample.flows.compactMap { flow -> FlowKey? in
      guard
        let sides = FlowSides(
          flow, endpoints: observation.endpoints, isLocal: { own.contains($0) || $0.isLoopback })
      else { return nil }
      return peers.entries(of: flow, sides).isEmpty ? nil : flow.key
    }
  }

  /// The same flows by the place in the plan of each entry that blocks them; as indices of the
  /// observation's flows.
  func flowsByEntry(in observation: Observation) -> [Int: [Int]] {
    let peers = BlockedPeers(entries, place: request.place)
    let own = Set(observation.network.addresses.map(\.address))
    var result: [Int: [Int]] = [:]
    for (index, flow) in observation.sample.flows.enumerated() {
      guard
        let sides = FlowSides(
          flow, endpoints: observation.endpoints, isLocal: { own.contains($0) || $0.isLoopback })
      else { continue }
      for number in peers.entries(of: flow, sides) { result[number, default: []].append(index) }
    }
    return result
  }
}
