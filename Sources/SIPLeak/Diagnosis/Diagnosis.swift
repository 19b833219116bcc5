public import Addressing
import Conntrack
import Firewall
import SystemPackage

/// The whole differential: every explanation of why somebody reaches SIP, each judged.
///
/// Pure: the same observation gives the same answer, live or from files.
public struct Diagnosis: Sendable {
  /// The answer about one address, when one was named.
  public var peer: PeerAnswer?
  /// All explanations: what holds first, then what is not decided, then what is ruled out.
  public var explanations: [Explanation]

  /// Judges every explanation.
  ///
  /// - Parameters:
  ///   - audit: What was found; all of it, also when one peer is asked about.
  ///   - observation: What it was found in.
  ///   - policy: Whom the operator trusts.
  ///   - peer: The address the question is about, or `nil` for the whole host.
  ///   - keepalive: Seconds between two keepalives of the trunks, if the operator knows.
  ///   - hopLimits: The TTLs or hop limits that were heard of peers (``SIPEvidence/hopLimits``).
  public init(
    _ audit: Audit, of observation: Observation, policy: AuditPolicy = AuditPolicy(),
    peer: IPAddress? = nil, keepalive: Double? = nil, hopLimits: [IPAddress: [UInt8]] = [:]
  ) {
    // As the audit: positions are those an operator knows, and he will copy them.
    var differential = Differential(
      audit, of: observation.withoutProbes, policy: policy, peer: peer,
      keepalive: keepalive)
    differential.heardHopLimits = hopLimits
    self.peer = peer.map { differential.answer(about: $0) }
    let judged = Explanation.Kind.allCases.map { kind in
      differential.judged(kind).honest(about: observation)
        .entering(observation.host)
    }
    explanations = Explanation.Verdict.allCases.flatMap { verdict in
      judged.filter { $0.verdict == verdict }
    }
  }

  /// One explanation.
  public subscript(kind: Explanation.Kind) -> Explanation? {
    explanations.first { $0.kind == kind }
  }
}

extension Differential {
  /// Judges one explanation.
  fileprivate mutating func judged(_ kind: Explanation.Kind) -> Explanation {
    switch kind {
    case .establishedFlow: establishedFlow()
    case .hostOpened: hostOpened()
    case .helper: helper()
    case .acceptRule: acceptRule()
    case .portRange: portRange()
    case .translation: translation()
    case .icmp: icmp()
    case .spoofedSource: spoofedSource()
    case .interfaceRule: interfaceRule()
    case .ipv6: ipv6()
    case .otherFilters: otherFilters()
    case .managedChains: managedChains()
    case .untracked: untracked()
    case .reloadWindow: reloadWindow()
    case .payloadRule: payloadRule()
    case .streamTimeout: streamTimeout()
    case .shadowedAccept: shadowedAccept()
    case .domainAccept: domainAccept()
    case .hopDistance: hopDistance()
    }
  }
}

extension Explanation {
  /// The same, unless it rules something out although not everything could be read, or what was read
  /// could not show it.
  fileprivate func honest(about observation: Observation) -> Explanation {
    guard verdict == .ruledOut, !isIndependent else { return self }
    let problems = observation.problems
    let hidden = observation.blindSpots.filter { kind.hides.contains($0.kind) }
    guard !problems.isEmpty || !hidden.isEmpty else { return self }
    var result = self
    result.verdict = .cannotTell
    result.summary =
      (problems.isEmpty ? "what was given does not show it" : "not everything could be read")
      + "; as far as it \(problems.isEmpty ? "does" : "was"): \(summary)"
    result.evidence += problems.map { Evidence("not read: \($0)") }
    result.evidence += hidden.map { Evidence($0.text) }
    result.command = command ?? (problems.isEmpty ? nil : "sipleak diagnose --verbose")
    return result
  }
}

extension Explanation.Kind {
  /// The blind spots of a reading that keep it from being ruled out.
  fileprivate var hides: Set<String> {
    switch self {
    case .helper: ["text-hides-helpers", "no-expectations"]
    case .establishedFlow, .hostOpened: ["events-only", "filtered-text"]
    // Addresses and sockets of the host.
    case .ipv6: ["no-host-facts"]
    default: []
    }
  }
}

extension Explanation {
  /// The same with a command that acts in the namespace it is about.
  fileprivate func entering(_ host: HostIdentity) -> Explanation {
    guard let command, let namespace = host.namespace else { return self }
    let path = EscapedText.shellWord(NamespaceOwner(namespace).path.string)
    var result = self
    result.command = command.split(separator: " && ").map { part in
      part.hasPrefix("sipleak ") ? "\(part)\(host.option)" : "nsenter --net=\(path) \(part)"
    }.joined(separator: " && ")
    return result
  }
}

extension Audit {
  /// What the audit says of one peer, and of the whole host in the peer's family.
  public func about(_ peer: IPAddress) -> Audit {
    var copy = self
    copy.findings = findings.filter { finding in
      finding.peer.map { $0.address == peer } ?? (finding.family == peer.family)
    }
    copy.blocks = blocks.filter { block in
      OwnObjects.parse(block.element).map { $0.prefix.contains(peer) } ?? true
    }
    return copy
  }
}
