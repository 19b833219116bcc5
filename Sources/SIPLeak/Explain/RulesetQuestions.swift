public import Addressing
public import Firewall

/// What an operator asks of a whole ruleset about one SIP port: who may begin a flow, which rules
/// never see a packet, which rules cover the port without naming it.
public struct RulesetQuestions: Sendable {
  /// The port that was asked about.
  public struct Target: Sendable, Hashable {
    /// The transport protocol.
    public var transport: IPProtocol
    /// The port.
    public var port: UInt16

    /// Makes a target.
    public init(transport: IPProtocol, port: UInt16) {
      self.transport = transport
      self.port = port
    }

    /// Reads `udp/5060`.
    public init?(_ text: String) {
      let parts = text.split(separator: "/", omittingEmptySubsequences: false)
      guard parts.count == 2, let transport = IPProtocol(word: String(parts[0])),
        transport.hasPorts, let port = UInt16(parts[1]), port > 0
      else { return nil }
      self.init(transport: transport, port: port)
    }
  }

  /// One family's answers.
  public struct Answer: Sendable {
    /// The family.
    public var family: AddressFamily
    /// Who may begin a flow.
    public var sources: AcceptedSources
    /// Accept rules that cover the port without naming it singly.
    public var ranges: [PortRangeRules.Entry]
  }

  /// What was asked.
  public var target: Target
  /// An answer a family that has rules.
  public var answers: [Answer]
  /// Rules that never see a packet, whatever its port.
  public var shadowed: ShadowedRules

  /// Asks a firewall.
  ///
  /// - Parameters:
  ///   - target: The port.
  ///   - interface: The interface packets come in by, or `nil` for any.
  ///   - snapshot: The rules and sets.
  public init(_ target: Target, interface: String?, in snapshot: FirewallSnapshot) {
    self.target = target
    let evaluation = Evaluation(snapshot)
    let families = AddressFamily.allCases.filter { family in
      snapshot.rulesets.contains { $0.family == family }
    }
    answers = families.map { family in
      let sources = AcceptedSources(
        AcceptedSources.Question(
          family: family, transport: target.transport, destinationPort: target.port,
          inInterface: interface), in: evaluation)
      return Answer(
        family: family, sources: sources,
        ranges: PortRangeRules(sources, in: evaluation).entries)
    }
    shadowed = ShadowedRules(in: snapshot)
  }
}
