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

  /// The packets of the peer of one entry, by its place in the plan.
  func packets(of number: Int) -> [(Packet, PacketPath)] {
    let observation = judge.observation
    var result: [(Packet, PacketPath)] = []
    for index in flows[number] ?? [] {
      let flow = observation.sample.flows[index]
      guard let sides = judge.sides(of: flow) else { continue }
      result.append((judge.packet(of: flow, sides).asHeld, judge.path(to: sides)))
    }
    if !result.isEmpty { return result }
    // Named without a flow: any packet to any address of ours.
    let entry = plan.entries[number]
    for local in observation.network.addresses
    where local.address.family == entry.address.family && !local.address.isLoopback {
      result.append(
        (
          Packet(
            transport: entry.transport, source: entry.address, destination: local.address,
            sourcePort: nil, destinationPort: entry.port, inInterface: nil,
            connection: .new), .input
        ))
    }
    return result
  }
}
