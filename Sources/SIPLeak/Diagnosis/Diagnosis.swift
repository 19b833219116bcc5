public import Addressing
import Conntrack
import Firewall

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
  public init(
    _ audit: Audit, of observation: Observation, policy: AuditPolicy = AuditPolicy(),
    peer: IPAddress? = nil, keepalive: Double? = nil
  ) {
    var differential = Differential(
      audit, of: observation, policy: policy, peer: peer, keepalive: keepalive)
    self.peer = peer.map { differential.answer(about: $0) }
    let judged = Explanation.Kind.allCases.map { kind in
      differential.judged(kind).honest(about: observation.problems)
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
  /// The same, unless it rules something out although not everything could be read.
  fileprivate func honest(about problems: [String]) -> Explanation {
    guard verdict == .ruledOut, !isIndependent, !problems.isEmpty else { return self }
    var result = self
    result.verdict = .cannotTell
    result.summary = "not everything could be read; as far as it was: \(summary)"
    result.evidence += problems.map { Evidence("not read: \($0)") }
    result.command = command ?? "sipleak diagnose --verbose"
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
