import Netlink

/// One thing that happened to the table, or to our knowledge of it.
public enum FlowEvent: Sendable, Hashable {
  /// A flow began.
  ///
  /// Of an expected flow only this event carries the master (`IPCT_NEW`, `IPCT_RELATED`).
  case new(Flow)
  /// A flow changed: its first answer, ASSURED, a TCP state, its mark or helper.
  ///
  /// It carries no counters, no start and no master. Packets that only refresh the timeout send no
  /// event.
  case update(Flow)
  /// A flow ended.
  case destroy(Flow)
  /// An expectation began or changed.
  case expectation(Expectation)
  /// An expectation ended, also by being met.
  case expectationEnd(Expectation)
  /// Events were lost before this one: only a dump that begins now tells what is there.
  case loss(Loss)

  /// Where events were lost.
  public enum Loss: String, Sendable, Hashable, Codable {
    /// The socket's receive buffer was full (`ENOBUFS`).
    case receiveBuffer = "receive-buffer"
    /// Whoever reads the events was so slow that ``FlowEvents/Buffering/backlog`` was full.
    case backlog
    /// A message was cut short or made no sense.
    case malformed
  }
}

extension FlowEvent {
  /// Reads one message of ctnetlink's event groups.
  ///
  /// - Parameters:
  ///   - message: The header.
  ///   - payload: What follows it, `nfgenmsg` first.
  ///   - filter: What is asked for; the kernel's filter is an optimisation only.
  /// - Returns: The event, or `nil` for one that is not asked for.
  /// - Throws: `MalformedNetlink` if lengths contradict each other or something required is missing.
  static func decode(
    _ message: NetlinkMessage, _ payload: RawSpan, _ filter: FlowEventFilter
  ) throws(MalformedNetlink) -> FlowEvent? {
    switch message.type {
    case ConntrackMessage.newFlow:
      let flow = try FlowMessage.flow(payload)
      guard filter.admits(flow) else { return nil }
      // NLM_F_CREATE and NLM_F_EXCL tell NEW from UPDATE: the message's type is the same.
      return message.flags & 0x0600 != 0 ? .new(flow) : .update(flow)
    case ConntrackMessage.deleteFlow:
      let flow = try FlowMessage.flow(payload)
      return filter.admits(flow) ? .destroy(flow) : nil
    case ConntrackMessage.newExpectation:
      let expectation = try Expectation(message: payload)
      return try filter.admits(expectation, payload) ? .expectation(expectation) : nil
    case ConntrackMessage.deleteExpectation:
      let expectation = try Expectation(message: payload)
      return try filter.admits(expectation, payload) ? .expectationEnd(expectation) : nil
    default:
      return nil
    }
  }
}

extension Flow {
  /// What is known of a flow after an event that leaves out what has not changed.
  ///
  /// The event may be older than the flow given, when that is from a dump: then the events that made
  /// the difference are still to come. Bits that are never taken back stay. An event of another flow,
  /// which has the tuple and the id of this one (``isSuccessor(of:)``), takes nothing over; only
  /// EXPECTED tells it here.
  ///
  /// - Parameter event: The flow as the event gives it.
  /// - Returns: The event's flow with what it leaves out.
  public func updated(by event: Flow) -> Flow {
    // The helper's bit is set before the first event, and never later.
    guard event.status.contains(.expected) == status.contains(.expected) else { return event }
    var result = event
    let lasting: FlowStatus = [.seenReply, .assured]
    result.status.formUnion(status.intersection(lasting))
    result.mark = event.mark ?? mark
    result.timeout = event.timeout ?? timeout
    result.tcpState = event.tcpState ?? tcpState
    result.helper = event.helper ?? helper
    result.master = event.master ?? master
    result.originalCounters = event.originalCounters ?? originalCounters
    result.replyCounters = event.replyCounters ?? replyCounters
    result.start = event.start ?? start
    return result
  }
}
