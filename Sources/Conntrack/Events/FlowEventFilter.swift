import Addressing
import CNetfilter
import Netlink

/// Which events are asked for.
///
/// The kernel drops the others before they reach the socket's buffer; what comes is tested again.
public struct FlowEventFilter: Sendable, Hashable {
  /// A kind of event, each with a multicast group of its own.
  public enum Kind: Sendable, Hashable, CaseIterable {
    /// `NFNLGRP_CONNTRACK_NEW`.
    case new
    /// `NFNLGRP_CONNTRACK_UPDATE`.
    case update
    /// `NFNLGRP_CONNTRACK_DESTROY`.
    case destroy
    /// `NFNLGRP_CONNTRACK_EXP_NEW`, `…_EXP_UPDATE` and `…_EXP_DESTROY`.
    case expectations
  }

  /// The flows asked for; of expectations, those of its transports to one of its ports.
  ///
  /// An expectation whose addresses nat translates is always given: its port is not the one it is
  /// delivered to.
  public var query: FlowQuery
  /// The kinds of events.
  public var kinds: Set<Kind>
  /// Whether flows that were opened from another port than ours, and that nobody answered or
  /// expected, are left out.
  ///
  /// Such a flow is still NEW: the rules apply to each of its packets, it holds nothing open (facts
  /// B2). A flood of them costs the process nothing then. As soon as it is answered, an
  /// ``FlowEvent/update(_:)`` tells all of it.
  public var leavesOutUnanswered: Bool

  /// Makes a filter; flows and expectations of SIP over UDP unless told otherwise.
  public init(
    query: FlowQuery = FlowQuery(), kinds: Set<Kind> = Set(Kind.allCases),
    leavesOutUnanswered: Bool = false
  ) {
    self.query = query
    self.kinds = kinds
    self.leavesOutUnanswered = leavesOutUnanswered
  }

  /// Whether a flow is one of those asked for.
  public func admits(_ flow: Flow) -> Bool {
    guard query.matches(flow) else { return false }
    return !leavesOutUnanswered || isAnswered(flow)
  }

  /// Whether a flow can hold the way open: answered, expected, or opened from one of the ports.
  public func isAnswered(_ flow: Flow) -> Bool {
    flow.status.contains(.seenReply) || flow.status.contains(.expected)
      || query.places.contains(.originalSource) && query.ports.contains(flow.original.sourcePort)
  }

  /// Whether an expectation is one of those asked for.
  func admits(
    _ expectation: Expectation, _ payload: RawSpan
  ) throws(MalformedNetlink) -> Bool {
    guard query.families.contains(expectation.tuple.family),
      query.transports.contains(expectation.tuple.transport)
    else { return false }
    if query.ports.contains(expectation.tuple.destinationPort) { return true }
    var cursor = AttributeCursor(ConntrackMessage.headerLength..<payload.byteCount)
    while let attribute = try cursor.next(in: payload) {
      if attribute.type == UInt16(CTA_EXPECT_NAT.rawValue) { return true }
    }
    return false
  }

  /// The numbers of the multicast groups.
  var groups: [UInt32] {
    Kind.allCases.filter(kinds.contains).flatMap { kind -> [UInt32] in
      switch kind {
      case .new: [NFNLGRP_CONNTRACK_NEW.rawValue]
      case .update: [NFNLGRP_CONNTRACK_UPDATE.rawValue]
      case .destroy: [NFNLGRP_CONNTRACK_DESTROY.rawValue]
      case .expectations:
        [
          NFNLGRP_CONNTRACK_EXP_NEW.rawValue, NFNLGRP_CONNTRACK_EXP_UPDATE.rawValue,
          NFNLGRP_CONNTRACK_EXP_DESTROY.rawValue,
        ]
      }
    }
  }
}
