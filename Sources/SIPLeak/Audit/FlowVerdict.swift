import Addressing
import Conntrack
import Firewall

/// What the rules say of the next packet of a flow's peer, and what that means: the same for every
/// flow of one ``FlowKind``.
///
/// A class, so that a flow of a kind seen before costs a look-up and no copy.
final class FlowVerdict: Sendable {
  /// As the first of a new flow, without its path.
  let asNew: Walk
  /// As part of the flow, without its path.
  let asHeld: Walk
  /// ``asNew`` and what decides it, once for all findings.
  let judgedNew: JudgedVerdict
  /// ``asHeld`` and what decides it.
  let judgedHeld: JudgedVerdict
  /// Whether a rule has the packets looked up in another zone: they are not of this flow.
  let isOfAnotherZone: Bool
  /// The rule that lets the flow in by its state alone.
  let stateRule: RuleReference?
  /// The rules that leave the verdict as NEW open.
  let hangsOn: [RuleReference]
  /// What is to be said of a flow that no helper expected.
  let meaning: Meaning

  /// What is to be said of a flow.
  enum Meaning: Sendable {
    /// Nothing.
    case nothing
    /// This, of every such flow.
    case judged(Judgement)
    /// It hangs on more than the verdict.
    case open
  }

  init(asNew: Walk, asHeld: Walk, zone: UInt16, meaning: (Walk, Walk) -> Meaning) {
    var (new, held) = (asNew, asHeld)
    new.path = []
    held.path = []
    self.asNew = new
    self.asHeld = held
    judgedNew = JudgedVerdict(new)
    judgedHeld = JudgedVerdict(held)
    // That they come to zone 0 no rule says: something else may have set the zone.
    isOfAnotherZone = held.zone.map { $0 != zone && $0 != 0 } ?? false
    stateRule =
      held.isCertain && held.verdict == .accept && held.decidingRule != new.decidingRule
      ? held.decidingRule : nil
    var rules: [RuleReference] = []
    for rule in new.unknowns.compactMap(\.rule) where !rules.contains(rule) { rules.append(rule) }
    hangsOn = rules
    self.meaning = isOfAnotherZone ? .nothing : meaning(new, held)
  }

  /// Whether the rules certainly admit the peer as NEW.
  var isAdmitted: Bool { judgedNew.isCertain && judgedNew.verdict == .accept }
}

/// Everything about a flow that the packets of its peer carry past the rules.
///
/// What a ``PeerPacket`` is made of, with the peer's end cut down to what the rules tell apart; when a
/// flow expires decides nothing where there are ``SourceKinds``.
struct FlowKind: Hashable {
  private let peer: SourceKinds.Kind
  private let wire: Endpoint
  private let delivered: Endpoint
  private let transport: IPProtocol
  private let isPeersOwn: Bool
  private let status: UInt32
  private let zone: UInt16
  private let mark: UInt32?
  private let ingress: String?
  private let helper: String?

  /// The kind of a flow; `nil` for one that is looked at by itself.
  ///
  /// Those are the flows that hang on another one, and those whose peer is addressed as somebody else
  /// in the other direction: a rule may ask for that end too.
  init?(_ flow: Flow, _ sides: FlowSides, ingress: String?, _ kinds: SourceKinds) {
    let isPeersOwn = sides.origin == .peer
    let other = isPeersOwn ? flow.reply.destinationEndpoint : flow.original.destinationEndpoint
    guard flow.master == nil, !flow.status.contains(.expected), other == sides.peer else {
      return nil
    }
    peer = kinds.kind(of: sides.peer.address, port: sides.peer.port)
    wire = sides.wire
    delivered = sides.delivered
    transport = flow.original.transport
    self.isPeersOwn = isPeersOwn
    status = flow.status.rawValue
    zone = flow.zone(ofPacketsFrom: sides.origin)
    mark = flow.mark
    self.ingress = ingress
    helper = flow.helper
  }
}

/// The verdicts on the kinds of flows seen so far.
///
/// Nearly all flows of a host are of a few kinds: the same ports, the same bits, a carrier or a crowd
/// of strangers.
struct FlowVerdicts {
  /// Kinds remembered at most: where every flow is of a kind of its own, they must not fill the
  /// memory.
  static let limit = 2048

  var sources = SortedSources()
  private var known: [FlowKind: FlowVerdict] = [:]
  /// How many verdicts were walked for.
  var walks = 0

  /// How many kinds are remembered.
  var count: Int { known.count }

  subscript(_ kind: FlowKind) -> FlowVerdict? { known[kind] }

  mutating func remember(_ verdict: FlowVerdict, _ kind: FlowKind) {
    if known.count >= Self.limit { known.removeAll(keepingCapacity: true) }
    known[kind] = verdict
  }
}
