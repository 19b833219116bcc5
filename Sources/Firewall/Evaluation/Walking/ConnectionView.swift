import Addressing

/// What conntrack-related matches see of a packet at one place.
enum ConnectionView: Sendable {
  /// No flow is attached: `--ctstate INVALID`.
  case none
  /// Kept away from tracking.
  case untracked
  /// A template of a CT rule is attached, in the raw table only: it looks NEW.
  case template
  /// The flow of the packet's own facts.
  case tracked
  /// Not known; why.
  case unknown(String)
}

/// One end of a flow's tuple as far as it is known.
struct TupleEnd: Sendable {
  var address: IPAddress?
  var port: UInt16?
}

extension Situation {
  func connection(_ variant: Variant) -> ConnectionView {
    switch (variant.tracking, stage) {
    case (.uncertain, _):
      return .unknown("whether the packet is tracked is not known")
    case (.untracked, _):
      return .untracked
    // A packet over lo was tracked when it left.
    case (.ordinary, .raw) where !isLoopback:
      return .none
    case (.template, .raw):
      return .template
    default:
      break
    }
    switch packet.connection.state {
    case .invalid: return .none
    case .untracked: return .untracked
    case .new: return .tracked
    case .established, .related:
      guard let flowZone = packet.connection.zone, !isLoopback else { return .tracked }
      guard let zone = variant.zone else {
        return .unknown("the conntrack zone the packet is looked up in is not known")
      }
      return zone == flowZone
        ? .tracked
        : .unknown("the packet is looked up in zone \(zone), its flow is in zone \(flowZone)")
    }
  }

  /// Whether a held packet may not be looked up where its flow is, and so be a NEW one.
  func isOfAnotherFlow(_ variant: Variant) -> Bool {
    if case .unknown = connection(variant) { true } else { false }
  }

  /// Gives a packet the destination that its held flow translates it to.
  ///
  /// One kept away from tracking stays as on the wire (facts C8); one that may not be looked up
  /// where its flow is may have either destination.
  func deliver(_ variant: inout Variant, to endpoint: Endpoint) {
    if variant.tracking == .untracked { return }
    if isOfAnotherFlow(variant) {
      if variant.destination != endpoint.address.bits { variant.destination = nil }
      if variant.port != endpoint.port { variant.port = nil }
    } else {
      variant.destination = endpoint.address.bits
      variant.port = endpoint.port
    }
  }

  var direction: FlowDirection? {
    if let known = packet.connection.direction { return known }
    switch packet.connection.state {
    case .new: return .original
    // What a helper expected begins its flow; an ICMP error may go either way.
    case .related: return packet.transport.isICMP ? nil : .original
    case .established, .invalid, .untracked: return nil
    }
  }

  /// The status bits as this packet's rules see them.
  func status(_ variant: Variant) -> BitPattern {
    let seenReply: UInt32 = 1 << 1
    let assured: UInt32 = 1 << 2
    let destinationNAT: UInt32 = 1 << 5
    var status =
      packet.connection.status.map {
        BitPattern(value: $0, known: packet.connection.knownStatus)
      } ?? .anything
    // Set by conntrack on the first packet of the other direction, before any rule sees it.
    if packet.connection.state == .established {
      let before = status
      status = status.changed(clearing: seenReply, toggling: seenReply)
      // This very packet may be the one that makes the flow ASSURED (facts B2), but never the one
      // that sets SEEN_REPLY (facts B1).
      if before.equals(seenReply, mask: seenReply | assured) != .no {
        status = status.joined(status.changed(clearing: assured, toggling: assured))
      }
    }
    if packet.connection.state == .new {
      switch variant.isTranslated {
      case true: status = status.changed(clearing: destinationNAT, toggling: destinationNAT)
      case nil:
        status = status.joined(
          status.changed(clearing: destinationNAT, toggling: destinationNAT))
      default: break
      }
    }
    return status
  }

  var originalSource: TupleEnd {
    if let known = packet.connection.originalSource { return TupleEnd(known) }
    return isOfItsFlow && direction == .original ? wireSource : TupleEnd()
  }

  var originalDestination: TupleEnd {
    if let known = packet.connection.originalDestination { return TupleEnd(known) }
    return isOfItsFlow && direction == .original ? wireDestination : TupleEnd()
  }

  func replySource(_ variant: Variant) -> TupleEnd {
    if let known = packet.connection.replySource { return TupleEnd(known) }
    if isOfItsFlow, direction == .reply { return wireSource }
    guard packet.connection.state == .new else { return TupleEnd() }
    return TupleEnd(address: destination(variant), port: variant.port)
  }

  var replyDestination: TupleEnd {
    if let known = packet.connection.replyDestination { return TupleEnd(known) }
    if isOfItsFlow, direction == .reply { return wireDestination }
    return packet.connection.state == .new ? wireSource : TupleEnd()
  }

  /// An ICMP error is RELATED to a flow whose tuple is not its own.
  private var isOfItsFlow: Bool {
    packet.connection.state != .related || !packet.transport.isICMP
  }

  private var wireSource: TupleEnd {
    TupleEnd(address: packet.source, port: packet.sourcePort)
  }

  private var wireDestination: TupleEnd {
    TupleEnd(address: packet.destination, port: packet.destinationPort)
  }
}

extension TupleEnd {
  fileprivate init(_ endpoint: Endpoint) {
    address = endpoint.address
    port = endpoint.port
  }
}
