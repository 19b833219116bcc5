import Addressing
import Conntrack
import Firewall
import HostNetwork

/// The packets that blocked peers would send next, as their blocks meet them.
struct BlockedPackets {
  private let plan: BlockPlan
  /// What was read before, to be judged.
  let judge: FlowJudge
  private let flows: [Int: [Int]]

  init(_ plan: BlockPlan, in observation: Observation) {
    self.plan = plan
    judge = FlowJudge(observation, policy: AuditPolicy())
    flows = plan.flowsByEntry(in: observation)
  }

  /// The flows with the peer of one entry, by its place in the plan.
  func flows(of number: Int) -> [(Flow, FlowSides)] {
    (flows[number] ?? []).compactMap { index in
      let flow = judge.observation.sample.flows[index]
      return judge.sides(of: flow).map { (flow, $0) }
    }
  }

  /// The packets of a peer that was named without a flow: any to any address of ours.
  ///
  /// New ones the rules refused before; that those of a flow are refused as well is the block's doing.
  func packetsWithoutFlow(of number: Int) -> [(Packet, PacketPath)] {
    let entry = plan.entries[number]
    let locals = judge.observation.network.addresses.lazy.map(\.address).filter {
      $0.family == entry.address.family && !$0.isLoopback
    }
    let states = [.new, ConnectionFacts(state: .established, direction: .original)]
    return locals.flatMap { local in
      states.map { connection in
        (
          Packet(
            transport: entry.transport, source: entry.address, destination: local, sourcePort: nil,
            destinationPort: entry.port, inInterface: nil, connection: connection), .input
        )
      }
    }
  }
}
