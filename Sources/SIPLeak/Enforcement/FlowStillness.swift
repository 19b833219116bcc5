import Conntrack

/// What two readings of one flow say about the packets that still belong to it.
enum FlowStillness: Equatable {
  /// Not a packet between the readings: what still comes from the peer is not of this flow.
  case still
  /// Packets between the readings.
  case moving
  /// The readings do not tell, with the reason.
  case unknown(String)

  /// Compares two readings; pure.
  ///
  /// The counters tell where accounting is on. Where it is not, each packet sets the time the flow
  /// has left to its full length again, so that a flow without any loses as much as has passed. What
  /// a flow table in hardware or software carries, conntrack neither counts nor times. A flow that
  /// ended and began again may bear the same id and have counted as much: its time left gives it away.
  ///
  /// - Parameters:
  ///   - earlier: The flow in the first reading, or `nil` where it was not there.
  ///   - later: The flow in the second.
  ///   - seconds: The time between the readings.
  init(earlier: Flow?, later: Flow, seconds: Double) {
    guard let earlier else {
      self = .unknown("it is new since the first of two readings")
      return
    }
    guard earlier.status.union(later.status).isDisjoint(with: [.offload, .hardwareOffload]) else {
      self = .unknown("it is offloaded, and then only its end proves anything")
      return
    }
    guard !later.isSuccessor(of: earlier) else {
      self = .unknown("it ended and began again between two readings")
      return
    }
    if let first = Self.packets(earlier), let second = Self.packets(later) {
      if first != second {
        self = .moving
      } else if Self.isRefreshed(from: earlier, to: later, seconds) {
        self = .unknown("its time was set anew without a packet: it may be another flow by now")
      } else {
        self = .still
      }
      return
    }
    guard !later.status.contains(.fixedTimeout), let first = earlier.timeout,
      let second = later.timeout, seconds >= 1
    else {
      self = .unknown("its packets are not counted (net.netfilter.nf_conntrack_acct)")
      return
    }
    self = Double(first) - Double(second) >= seconds.rounded(.down) ? .still : .moving
  }

  /// Whether a flow has more time left than without a packet it can have.
  ///
  /// A second is allowed for readings that are not dated to the moment, one for what is cut off.
  private static func isRefreshed(from earlier: Flow, to later: Flow, _ seconds: Double) -> Bool {
    guard let first = earlier.timeout, let second = later.timeout else { return false }
    return Double(second) > Double(first) - max(0, seconds.rounded(.down) - 2)
  }

  /// Both directions: the host's packets keep a flow alive as well as the peer's.
  private static func packets(_ flow: Flow) -> UInt64? {
    guard let original = flow.originalCounters, let reply = flow.replyCounters else { return nil }
    return original.packets &+ reply.packets
  }
}

/// Flows of a reading, found by their key.
struct FlowsByKey {
  private let flows: [FlowKey: Flow]

  init(_ flows: [Flow]) {
    self.flows = Dictionary(
      flows.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
  }

  subscript(_ key: FlowKey) -> Flow? { flows[key] }
}

extension Observation {
  /// How still a flow of the newest reading has been since the earlier one, whose flows are given.
  func stillness(of flow: Flow, earlier flows: FlowsByKey) -> FlowStillness {
    guard let earlier else { return .unknown("it was read only once") }
    return FlowStillness(
      earlier: flows[flow.key], later: flow, seconds: sample.seconds(since: earlier))
  }
}
