import Addressing
import Conntrack
import HostNetwork

/// Judges flows as events bring them, against the newest reading of the host.
struct EventJudge {
  private var judge: FlowJudge
  private let routing: PeerRouting?
  private var asked: Set<PeerEnds> = []
  /// Peers whose routes are kept at most; a flood of them must not fill the memory.
  private static let routeLimit = 100_000

  /// Makes a judge.
  ///
  /// - Parameters:
  ///   - judge: What judges against the newest reading.
  ///   - routing: What finds the routes to peers that the reading does not know.
  init(_ judge: FlowJudge, routing: PeerRouting?) {
    self.judge = judge
    self.routing = routing
    asked = Set(
      judge.observation.network.peerRoutes.map { PeerEnds(peer: $0.peer, local: $0.local) })
  }

  /// What is to be said of a flow, or `nil` when nothing is.
  ///
  /// Most flows are none of our business, and most of the rest are accepted as NEW whatever interface
  /// they come by: only for what is left is the route asked for. More interfaces make a verdict less
  /// certain, never the other way round, so nobody is missed by judging without it first.
  mutating func finding(for flow: Flow) -> Finding? {
    guard let sides = judge.sides(of: flow) else { return nil }
    guard let finding = judge.finding(for: flow, sides: sides) else { return nil }
    let ends = PeerEnds(peer: sides.peer.address, local: sides.wire.address)
    guard let routing, asked.count < Self.routeLimit, asked.insert(ends).inserted else {
      return finding
    }
    judge.learn(routing.route(sides, mark: flow.mark))
    return judge.finding(for: flow, sides: sides)
  }
}
