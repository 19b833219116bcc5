/// Joins a dump with the events that came while it was read, so that nothing falls between them.
///
/// Join the event groups first, then begin a merge, then dump. With `nf_conntrack_events=2` (the
/// default) a flow that began while nobody listened never sends an event (facts B6), so only the dump
/// shows it; one that begins behind the dump's back sends NEW. An entry may be in the dump and in the
/// events, in either order, and a slow dump may show what has ended since.
///
/// Events of one flow come in order; where that is in doubt a flow counts as alive: a ghost goes with
/// the next dump, a leak left out would not come back.
public struct DumpMerge: Sendable, Hashable {
  private enum Last: Sendable, Hashable {
    case alive(Flow)
    /// A successor, known from its beginning: what a dump shows may be the one before it.
    case succeeded(Flow)
    case ended
  }
  private var last: [FlowKey: Last] = [:]

  /// Begins a merge: from now on every event has to be applied, until the dump is there.
  public init() {}

  /// Takes an event that came since the dump was begun.
  public mutating func apply(_ event: FlowEvent) {
    switch event {
    case .new(let flow):
      // After an end it is a successor: the kernel uses an entry's memory, and so its id, again.
      last[flow.key] = last[flow.key] == nil ? .alive(flow) : .succeeded(flow)
    case .update(let flow):
      switch last[flow.key] {
      case .alive(let known): last[flow.key] = .alive(known.updated(by: flow))
      case .succeeded(let known): last[flow.key] = .succeeded(known.updated(by: flow))
      // The NEW of a successor may have been left out.
      case .ended: last[flow.key] = .succeeded(flow)
      case nil: last[flow.key] = .alive(flow)
      }
    case .destroy(let flow):
      last[flow.key] = .ended
    case .expectation, .expectationEnd, .loss:
      break
    }
  }

  /// What the events changed, for whoever keeps a dump by key and does not want it copied.
  ///
  /// - Returns: The flows that are alive as the events gave them, those among them that have nothing
  ///   from a dump, and the keys of those that ended.
  package consuming func changes() -> (
    alive: [Flow], succeeded: Set<FlowKey>, ended: Set<FlowKey>
  ) {
    var alive: [Flow] = []
    var succeeded: Set<FlowKey> = []
    var ended: Set<FlowKey> = []
    for (key, state) in last {
      switch state {
      case .alive(let flow): alive.append(flow)
      case .succeeded(let flow):
        alive.append(flow)
        succeeded.insert(key)
      case .ended: ended.insert(key)
      }
    }
    return (alive, succeeded, ended)
  }

  /// The flows there are.
  ///
  /// - Parameter dump: The flows of the dump; one that comes twice counts once.
  /// - Returns: Those of the dump that have not ended since, each as the events left it, and those
  ///   that began behind its back.
  public consuming func flows(with dump: [Flow]) -> [Flow] {
    var result: [Flow] = []
    result.reserveCapacity(dump.count)
    var seen: Set<FlowKey> = []
    seen.reserveCapacity(dump.count)
    for flow in dump where seen.insert(flow.key).inserted {
      switch last[flow.key] {
      case nil: result.append(flow)
      case .alive(let event): result.append(flow.updated(by: event))
      case .succeeded(let event): result.append(event)
      case .ended: break
      }
    }
    for (key, state) in last where !seen.contains(key) {
      switch state {
      case .alive(let flow), .succeeded(let flow): result.append(flow)
      case .ended: break
      }
    }
    return result
  }
}
