public import Addressing

/// Which sources a ruleset lets begin a flow to one endpoint.
///
/// The sources are cut into classes that no rule tells apart, and each class is walked once: all
/// tables, jumps, negations and sets count as they do in ``Evaluation``. This is the pair of
/// closures of Iptables_Semantics: what is not known makes ``certainly`` smaller and ``possibly``
/// larger, never the reverse.
public struct AcceptedSources: Sendable {
  /// Where the packets go; what is `nil` is not known, and both closures allow for any value.
  public struct Question: Sendable, Hashable {
    /// The family of the sources.
    public var family: AddressFamily
    /// The transport protocol.
    public var transport: IPProtocol
    /// The local address on the wire.
    public var destination: IPAddress?
    /// The port on the wire.
    public var destinationPort: UInt16?
    /// The source port.
    public var sourcePort: UInt16?
    /// The interface they come in by.
    public var inInterface: String?
    /// The interface they leave by, if forwarded.
    public var outInterface: String?
    /// The endpoint behind the nat table that is meant; `nil`: the one on the wire.
    public var delivered: Endpoint?
    /// Where they go after routing.
    public var path: PacketPath

    /// Makes a question; an address of the other family as destination finds no source.
    public init(
      family: AddressFamily, transport: IPProtocol, destination: IPAddress? = nil,
      destinationPort: UInt16?, sourcePort: UInt16? = nil, inInterface: String? = nil,
      outInterface: String? = nil, delivered: Endpoint? = nil, path: PacketPath = .input
    ) {
      self.family = family
      self.transport = transport
      self.destination = destination
      self.destinationPort = destinationPort
      self.sourcePort = sourcePort
      self.inInterface = inInterface
      self.outInterface = outInterface
      self.delivered = delivered
      self.path = path
    }

    /// The first packet of a flow from a source.
    public func packet(from source: IPAddress) -> Packet {
      var packet = Packet(
        transport: transport, source: source,
        destination: destination ?? IPAddress(family: family, bits: 0), sourcePort: sourcePort,
        destinationPort: destinationPort, inInterface: inInterface, connection: .new)
      packet.outInterface = outInterface
      packet.delivered = delivered
      packet.linkDestination = .unicast
      return packet
    }
  }

  /// What one rule or policy lets in.
  public struct Admission: Sendable {
    /// The rule or policy, `nil` where no filter exists.
    public var rule: RuleReference?
    /// The sources it certainly accepts.
    public var certainly: PrefixSet
    /// Those and the sources it may accept.
    public var possibly: PrefixSet
  }

  /// What was asked.
  public let question: Question
  /// Sources accepted whatever the values not known.
  public let certainly: PrefixSet
  /// Sources not certainly refused, those of ``certainly`` included.
  public let possibly: PrefixSet
  /// The same by the rule that accepts, in the order they were found; a source may stand under
  /// several where it is not certain which.
  public let admissions: [Admission]
  /// Why sources are possible and not certain.
  public let reasons: [UnknownReason]
  /// Why some answers may be others at another time: timed sets, the hour.
  public let dependsOnMemory: [UnknownReason]

  /// Asks a ruleset.
  ///
  /// - Parameters:
  ///   - question: Where the packets go.
  ///   - evaluation: The rules.
  public init(_ question: Question, in evaluation: Evaluation) {
    self.question = question
    var finding = Finding()
    if question.destination.map({ $0.family == question.family }) ?? true {
      finding.walk(question, evaluation)
    }
    certainly = PrefixSet(ranges: finding.certain)
    possibly = PrefixSet(ranges: finding.certain + finding.doubtful)
    admissions = finding.admissions.map {
      Admission(
        rule: $0.rule, certainly: PrefixSet(ranges: $0.certain),
        possibly: PrefixSet(ranges: $0.certain + $0.doubtful))
    }
    reasons = finding.reasons
    dependsOnMemory = finding.memories
  }
}

extension AcceptedSources {
  private struct Finding {
    var certain: [ClosedRange<IPAddress>] = []
    var doubtful: [ClosedRange<IPAddress>] = []
    var admissions:
      [(
        rule: RuleReference?, certain: [ClosedRange<IPAddress>], doubtful: [ClosedRange<IPAddress>]
      )] =
        []
    var places: [RuleReference?: Int] = [:]
    var reasons: [UnknownReason] = []
    var memories: [UnknownReason] = []
    private var known: Set<UnknownReason> = []

    mutating func walk(_ question: Question, _ evaluation: Evaluation) {
      let family = question.family
      var shape = PacketShape(
        question.packet(from: IPAddress(family: family, bits: 0)), to: question.path)
      shape.destination = question.destination
      var conditions = SourceConditions(
        family, host: evaluation.host, knowsDestination: question.destination != nil)
      let wide = WalkPlan(evaluation, shape: shape)
      let followed = Evaluation(
        evaluation,
        rulesets: evaluation.rulesets.enumerated().map { place, ruleset in
          guard ruleset.source.family == family else { return ruleset }
          let relevant = wide.relevant(evaluation, place)
          var rules = relevant.makeIterator()
          var next = rules.next()
          // Only rules that packets to this endpoint may match cut the sources.
          return ruleset.replacing { index in
            while let rule = next, ruleset.rules[rule].conditions.upperBound <= index {
              next = rules.next()
            }
            guard let rule = next, ruleset.rules[rule].conditions.contains(index) else {
              return nil
            }
            return conditions.take(ruleset.conditions[index])
          }
        })
      let delivered = question.delivered.map {
        [Aim(destination: $0.address.bits, port: $0.port)]
      }
      let special = SpecializedEvaluation(followed, shape, extraAims: delivered ?? [])
      let hidesDestination = question.destination == nil
      for one in conditions.classes.classes() {
        let source = IPAddress(family: family, bits: one.member)
        let walk = followed.walk(
          question.packet(from: source), to: question.path, guide: special.guide(source),
          preparing: hidesDestination ? { $0.destination = nil } : nil)
        note(
          walk,
          one.ranges.map {
            IPAddress(
              family: family, bits: $0.lowerBound)...IPAddress(
                family: family, bits: $0.upperBound)
          }, hidesDestination: hidesDestination)
      }
    }

    private mutating func note(
      _ walk: Walk, _ ranges: [ClosedRange<IPAddress>], hidesDestination: Bool
    ) {
      for reason in walk.dependsOnMemory where known.insert(reason).inserted {
        memories.append(reason)
      }
      guard walk.mayAccept else { return }
      var isCertain = walk.isCertain
      switch walk.translation {
      case .asAsked: break
      // A packet sent elsewhere does not reach the endpoint, whatever becomes of it there.
      case .elsewhere where !hidesDestination: return
      case .elsewhere, .uncertain:
        isCertain = false
        note(UnknownReason(.fact, "the nat table may send it to another destination"))
      }
      if isCertain { certain += ranges } else { doubtful += ranges }
      if !isCertain { for reason in walk.unknowns { note(reason) } }
      let accepting = walk.outcomes.filter { !$0.verdict.isRefused }
      for outcome in isCertain ? Array(accepting.prefix(1)) : accepting {
        let place: Int
        if let found = places[outcome.rule] {
          place = found
        } else {
          place = admissions.count
          places[outcome.rule] = place
          admissions.append((outcome.rule, [], []))
        }
        if isCertain {
          admissions[place].certain += ranges
        } else {
          admissions[place].doubtful += ranges
        }
      }
    }

    private mutating func note(_ reason: UnknownReason) {
      if known.insert(reason).inserted { reasons.append(reason) }
    }
  }
}
