import Addressing
import Conntrack
import Netlink

/// The dump of a watch: the flows that can hold the way open, without those nobody answered.
///
/// A flood of unanswered packets makes hundreds of thousands of flows of which none can be a finding;
/// they are dropped as they come, so memory does not grow with them.
enum AnsweredFlows {
  /// How often a table that changes its size is read before the answer is given as incomplete.
  private static let attempts = 3

  static func dump(
    _ filter: FlowEventFilter, in namespace: NetworkNamespace
  ) throws(ConntrackError) -> FlowDump {
    var attempt = 1
    while true {
      let before = try? FlowTable.buckets(in: namespace)
      var dump = try walk(filter, in: namespace)
      let after = try? FlowTable.buckets(in: namespace)
      // Read for the first time, the table had just been made, and is empty.
      guard let before, before != after else { return dump }
      if attempt == attempts {
        dump.isComplete = false
        dump.reasons.append(
          "the conntrack table was resized while it was read, \(attempts) times in a row")
        return dump
      }
      attempt += 1
    }
  }

  private static func walk(
    _ filter: FlowEventFilter, in namespace: NetworkNamespace
  ) throws(ConntrackError) -> FlowDump {
    var dump = FlowDump(flows: [])
    for family in filter.query.families {
      let walk = try FlowTable.walk(filter.query, family: family, in: namespace) { flow in
        if filter.isAnswered(flow) { dump.flows.append(flow) }
        return true
      }
      dump.walked += walk.walked
      if walk.malformed > 0 {
        dump.reasons.append("\(walk.malformed) entries of the table could not be decoded")
      }
      if walk.isInterrupted {
        dump.reasons.append("the kernel says that the table changed while it was read")
      }
    }
    dump.isComplete = dump.reasons.isEmpty
    return dump
  }
}
