public import Addressing
public import Netlink
import SystemPackage

/// The kernel's connection tracking table, over ctnetlink.
///
/// Reading and deleting need `CAP_NET_ADMIN` in the user namespace the network namespace belongs to.
/// Reading corresponds to `conntrack -L`, deleting to `conntrack -D`.
public enum FlowTable {
  /// How often a table that changes its size is read before the answer is given as incomplete.
  private static let attempts = 3

  /// Reads the flows of a query.
  ///
  /// Several walks are made at the same time, as far as there are processors. The table's size is
  /// compared before and after: a resize loses and doubles entries without a word from the kernel
  /// (facts I11), so the table is read again, up to three times. Works from Linux 4.9; from 5.8 on the
  /// kernel filters.
  ///
  /// - Parameters:
  ///   - query: What is asked for.
  ///   - strategy: How to ask the kernel; `nil` chooses what is cheapest. One that this kernel is not
  ///     known to get right is replaced.
  ///   - namespace: The network namespace whose table it is.
  /// - Returns: The flows, each once, and whether any may be missing.
  /// - Throws: ``ConntrackError``, if nothing could be read or only one family.
  public static func dump(
    _ query: FlowQuery, strategy: FlowDump.Strategy? = nil,
    in namespace: NetworkNamespace = .current
  ) throws(ConntrackError) -> FlowDump {
    try dump(query, strategy: strategy, in: namespace, keeping: nil)
  }

  /// Reads the flows of a query for which a closure says `true`; the others take no memory.
  package static func dump(
    _ query: FlowQuery, strategy: FlowDump.Strategy? = nil, in namespace: NetworkNamespace,
    keeping isKept: (@Sendable (Flow) -> Bool)?
  ) throws(ConntrackError) -> FlowDump {
    try readSettled { () throws(ConntrackError) in
      try TableSize.read(in: namespace)
    } _: { (size) throws(ConntrackError) in
      try readFamilies(query, strategy, size, in: namespace, isKept)
    }
  }

  /// Walks one family and hands on each flow of a query as it comes.
  ///
  /// Memory holds one buffer and the keys of the flows handed on, which drop duplicates. The walk is on
  /// the calling thread. It doesn't notice a resize: compare ``buckets(in:)`` before and after.
  ///
  /// - Parameters:
  ///   - query: What is asked for; its `families` are not looked at.
  ///   - family: The family to walk.
  ///   - strategy: How to ask the kernel, as in ``dump(_:strategy:in:)``.
  ///   - namespace: The network namespace whose table it is.
  ///   - body: Called for each flow; `false` ends the walk.
  /// - Returns: How the walk went.
  /// - Throws: ``ConntrackError``; flows may have been handed on before.
  public static func walk(
    _ query: FlowQuery, family: AddressFamily, strategy: FlowDump.Strategy? = nil,
    in namespace: NetworkNamespace = .current, _ body: (Flow) -> Bool
  ) throws(ConntrackError) -> FlowWalk {
    try walk(query, family: family, strategy, TableSize.read(in: namespace), in: namespace, body)
  }

  /// Number of entries in the table, of all families.
  ///
  /// - Parameter namespace: The network namespace whose table it is.
  /// - Returns: `net.netfilter.nf_conntrack_count`.
  /// - Throws: ``ConntrackError``; with code `unsupported` if conntrack isn't loaded.
  public static func count(
    in namespace: NetworkNamespace = .current
  ) throws(ConntrackError) -> UInt32 {
    let size = try TableSize.read(in: namespace)
    guard let entries = size.entries else { throw TableSize.unreadable }
    return entries
  }

  /// Number of buckets of the table, which all namespaces share.
  ///
  /// - Parameter namespace: The network namespace to read it in.
  /// - Returns: `net.netfilter.nf_conntrack_buckets`.
  /// - Throws: ``ConntrackError``; with code `unsupported` if conntrack isn't loaded.
  public static func buckets(
    in namespace: NetworkNamespace = .current
  ) throws(ConntrackError) -> UInt32 {
    let size = try TableSize.read(in: namespace)
    guard let buckets = size.buckets else { throw TableSize.unreadable }
    return buckets
  }
}

extension FlowTable {
  /// Reads until the table kept its size meanwhile, or often enough.
  static func readSettled(
    size measure: () throws(ConntrackError) -> TableSize,
    _ read: (TableSize) throws(ConntrackError) -> FlowDump
  ) throws(ConntrackError) -> FlowDump {
    var size = try measure()
    var attempt = 1
    while true {
      var dump = try read(size)
      dump.reading.readings = attempt
      let after = try measure()
      guard let doubt = TableSize.doubt(before: size, after: after) else { return dump }
      guard doubt.isWorthAnotherTry, attempt < attempts else {
        dump.reasons.append(doubt.sentence)
        dump.isComplete = false
        return dump
      }
      attempt += 1
      size = after
    }
  }

  private static func readFamilies(
    _ query: FlowQuery, _ strategy: FlowDump.Strategy?, _ size: TableSize,
    in namespace: NetworkNamespace, _ isKept: (@Sendable (Flow) -> Bool)?
  ) throws(ConntrackError) -> FlowDump {
    let plan = WalkPlan(
      query, strategy, release: size.release, entries: size.entries, buckets: size.buckets)
    let families = AddressFamily.allCases.filter(query.families.contains)
    do throws(NetlinkError) {
      var dump = try ParallelWalks(
        query, plan, families: families, in: namespace, keeping: isKept
      ).carryOut()
      dump.reading.entries = size.entries
      dump.reading.buckets = size.buckets
      return dump
    } catch {
      throw explained(error)
    }
  }

  private static func walk(
    _ query: FlowQuery, family: AddressFamily, _ strategy: FlowDump.Strategy?, _ size: TableSize,
    in namespace: NetworkNamespace, _ body: (Flow) -> Bool
  ) throws(ConntrackError) -> FlowWalk {
    let plan = WalkPlan(
      query, strategy, release: size.release, entries: size.entries, buckets: size.buckets)
    var run = WalkRun(query: CompiledQuery(query))
    do throws(NetlinkError) {
      try run.carryOut(plan, family: family, in: namespace, body)
    } catch  where isFilterRefused(error) && plan != .everything {
      // An unknown filter is refused before any entry (facts I8); the keys drop doubles anyway.
      do throws(NetlinkError) {
        try run.carryOut(.everything, family: family, in: namespace, body)
      } catch {
        throw explained(error)
      }
    } catch {
      throw explained(error)
    }
    return run.result
  }

  static func isFilterRefused(_ error: NetlinkError) -> Bool {
    error.code == .refused && (error.errno == .invalidArgument || error.errno == .notSupported)
  }

  static func explained(_ error: NetlinkError) -> ConntrackError {
    var result = ConntrackError(error)
    // nfnetlink answers EINVAL for a subsystem it doesn't have.
    if isFilterRefused(error) {
      result.code = .unsupported
      result.advice = "Load the kernel module nf_conntrack_netlink."
    }
    return result
  }
}

/// One family's walks, and what they have in common: the flows seen so far.
private struct WalkRun {
  let query: CompiledQuery
  var result = FlowWalk()
  // Not the id alone: it is a 32-bit hash, and two flows of a large table can share one.
  private var seen: Set<FlowKey> = []

  init(query: CompiledQuery) {
    self.query = query
  }

  mutating func carryOut(
    _ plan: WalkPlan, family: AddressFamily, in namespace: NetworkNamespace,
    _ body: (Flow) -> Bool
  ) throws(NetlinkError) {
    result.strategy = plan.strategy
    guard !plan.filters.isEmpty else { return }
    var socket = try NetlinkSocket.open(.netfilter, in: namespace)
    for filter in plan.filters {
      var request = NetlinkRequest.conntrack(ConntrackMessage.getFlow, family: family)
      filter.append(to: &request)
      let dump = try socket.dump(request, operation: "read the conntrack table") {
        take($0, $1, family: family, body)
      }
      if dump.isInterrupted { result.isInterrupted = true }
      if dump.isStopped {
        result.isStopped = true
        return
      }
    }
  }

  private mutating func take(
    _ message: NetlinkMessage, _ payload: RawSpan, family: AddressFamily, _ body: (Flow) -> Bool
  ) -> Bool {
    guard message.type == ConntrackMessage.newFlow else { return true }
    result.walked += 1
    do {
      guard query.matches(try FlowMessage.ports(payload)) else { return true }
      let flow = try FlowMessage.flow(payload)
      guard flow.family == family, seen.insert(flow.key).inserted else { return true }
      return body(flow)
    } catch {
      result.malformed += 1
      return true
    }
  }
}
