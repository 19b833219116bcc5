import Addressing
import Glibc
import Netlink
import Synchronization

/// The walks that answer one query, made on several threads, and the flows they found.
///
/// A walk runs in the kernel under a lock of ctnetlink until its first buffer is full (facts I9), so
/// walks that find little stand in line; those that find more run side by side, of one family too.
final class ParallelWalks: Sendable {
  private struct Walk: Sendable {
    /// The families it asks for; without a filter the kernel gives both in one walk.
    var families: [AddressFamily]
    var filter: KernelFilter
  }

  private struct State: Sendable {
    var waiting: [Walk] = []
    var found = FoundFlows()
    var families: [AddressFamily: FlowDump.Account.Family] = [:]
    var isInterrupted = false
    var failure: NetlinkError?
  }

  private let query: CompiledQuery
  private let namespace: NetworkNamespace
  private let families: [AddressFamily]
  private let isKept: (@Sendable (Flow) -> Bool)?
  private let state: Mutex<State>
  private let threads: Int
  private let isTogether: Bool

  init(
    _ query: FlowQuery, _ plan: WalkPlan, families: [AddressFamily],
    in namespace: NetworkNamespace, keeping isKept: (@Sendable (Flow) -> Bool)? = nil
  ) {
    self.isKept = isKept
    self.query = CompiledQuery(query)
    self.namespace = namespace
    self.families = families
    var state = State()
    isTogether = plan.strategy == .everything && families.count > 1
    for filter in plan.filters {
      if isTogether {
        state.waiting.append(Walk(families: families, filter: filter))
      } else {
        // The families take turns: two threads begin with one each.
        for family in families {
          state.waiting.append(Walk(families: [family], filter: filter))
        }
      }
    }
    for family in families {
      state.families[family] = FlowDump.Account.Family(family: family, strategy: plan.strategy)
    }
    let processors = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    threads = min(processors, state.waiting.count)
    self.state = Mutex(state)
  }

  /// Makes all walks and waits for them.
  func carryOut() throws(NetlinkError) -> FlowDump {
    let start = ContinuousClock.now
    work(with: threads)
    return try state.withLock { (state) throws(NetlinkError) in
      if let failure = state.failure { throw failure }
      var dump = FlowDump(flows: state.found.flows)
      state.found = FoundFlows()
      dump.reading.threads = threads
      dump.reading.isTogether = isTogether
      dump.reading.seconds = Self.seconds(since: start)
      dump.reading.families = families.compactMap { state.families[$0] }
      dump.walked = dump.reading.families.map(\.walked).reduce(0, +)
      let malformed = dump.reading.families.map(\.malformed).reduce(0, +)
      if malformed > 0 {
        dump.reasons.append("\(malformed) entries of the table could not be decoded")
      }
      if state.isInterrupted {
        dump.reasons.append("the kernel says that the table changed while it was read")
      }
      dump.isComplete = dump.reasons.isEmpty
      return dump
    }
  }

  /// Works on this thread and on others beside it.
  private func work(with threads: Int) {
    guard threads > 1 else { return work() }
    do throws(NetlinkError) {
      let other = try NamespaceThread.start(in: .current) { self.work() }
      work(with: threads - 1)
      try other.join()
    } catch {
      // No thread to be had: the walks are made all the same, one after another.
      work()
    }
  }

  /// Makes walks as long as there are any to make.
  private func work() {
    while let walk = state.withLock({ Self.next(&$0) }) {
      do throws(NetlinkError) {
        try make(walk)
      } catch {
        state.withLock { Self.note(error, of: walk, in: &$0) }
      }
    }
  }

  private static func next(_ state: inout State) -> Walk? {
    guard state.failure == nil, !state.waiting.isEmpty else { return nil }
    return state.waiting.removeFirst()
  }

  private static func note(_ error: NetlinkError, of walk: Walk, in state: inout State) {
    guard FlowTable.isFilterRefused(error), walk.filter != .none else {
      state.failure = state.failure ?? error
      return
    }
    // An unknown filter is refused before any entry (facts I8). The family's other walks would be too.
    for family in walk.families where state.families[family]?.isFallback == false {
      state.families[family]?.isFallback = true
      state.families[family]?.strategy = .everything
      state.waiting.removeAll { $0.families == [family] }
      state.waiting.append(Walk(families: [family], filter: .none))
    }
  }

  private func make(_ walk: Walk) throws(NetlinkError) {
    let start = ContinuousClock.now
    var socket = try NetlinkSocket.open(.netfilter, in: namespace)
    let only = walk.families.count == 1 ? walk.families.first : nil
    var request = NetlinkRequest.conntrack(ConntrackMessage.getFlow, family: only)
    walk.filter.append(to: &request)
    var walked = [UInt64](repeating: 0, count: AddressFamily.allCases.count)
    var malformed: UInt64 = 0
    let dump = try socket.dump(request, operation: "read the conntrack table") { message, payload in
      guard message.type == ConntrackMessage.newFlow else { return true }
      // nfgenmsg begins with the entry's family.
      walked[payload.number(UInt8.self, at: 0) == AddressFamily.ipv6.rawNumber ? 1 : 0] += 1
      do {
        guard query.matches(try FlowMessage.ports(payload)) else { return true }
        let flow = try FlowMessage.flow(payload)
        guard walk.families.contains(flow.family), isKept?(flow) != false else { return true }
        state.withLock { state in
          if state.found.insert(flow) { state.families[flow.family]?.flows += 1 }
        }
      } catch {
        malformed += 1
      }
      return true
    }
    state.withLock { state in
      if dump.isInterrupted { state.isInterrupted = true }
      for family in walk.families {
        state.families[family]?.walks += 1
        state.families[family]?.walked += walked[family == .ipv6 ? 1 : 0]
        state.families[family]?.seconds += Self.seconds(since: start)
      }
      if let first = walk.families.first { state.families[first]?.malformed += malformed }
    }
  }

  private static func seconds(since start: ContinuousClock.Instant) -> Double {
    let duration = start.duration(to: .now).components
    return Double(duration.seconds) + Double(duration.attoseconds) / 1e18
  }
}

/// Flows, each once.
///
/// An entry can come twice: by two walks, or because a resize moved it while it was read (facts I11).
struct FoundFlows: Sendable {
  private(set) var flows: [Flow] = []
  /// Where the first flow with an id stands.
  private var firstByID: [UInt32: UInt32] = [:]
  /// The id is a 32-bit hash: two flows of a large table can share one.
  private var sharers: Set<FlowKey> = []

  /// Keeps a flow unless it is there.
  ///
  /// - Returns: Whether it is new.
  mutating func insert(_ flow: Flow) -> Bool {
    if let first = firstByID[flow.id] {
      guard flows[Int(first)].key != flow.key, sharers.insert(flow.key).inserted
      else { return false }
    } else {
      firstByID[flow.id] = UInt32(flows.count)
    }
    flows.append(flow)
    return true
  }
}
