import Addressing
import Conntrack
import Firewall

/// The findings that stand, and what changes among them.
///
/// A value: the watch feeds it and prints what comes back.
struct StandingFindings: Sendable {
  /// What makes two findings the same one at different times.
  enum Key: Sendable, Hashable {
    /// One flow.
    case flow(FlowKey)
    /// Everything that hangs on the same rules, by their places and texts.
    case rules([String])
    /// A whole host, by family.
    case host(AddressFamily)
    /// Something else without a flow, such as an expectation: a door for somebody.
    case other(Cause, IPProtocol, zone: UInt16, peer: Endpoint?, wire: Endpoint, to: Endpoint)

    init(_ finding: Finding) {
      if finding.cause == .conditional, !finding.hangsOn.isEmpty {
        self = .rules(
          finding.hangsOn.map { "\($0.backend) \($0.table) \($0.chain) \($0.index) \($0.text)" })
      } else if finding.cause == .unfiltered {
        self = .host(finding.family)
      } else if let flow = finding.flow {
        self = .flow(flow.key)
      } else {
        self = .other(
          finding.cause, finding.transport, zone: finding.zone, peer: finding.peer,
          wire: finding.wire, to: finding.delivered)
      }
    }
  }

  private(set) var byKey: [Key: Finding] = [:]

  /// Puts what a whole audit found in place of what stood.
  ///
  /// - Parameters:
  ///   - findings: Everything there is to say now.
  ///   - isWhole: Whether every flow was seen; if not, one that is missing stays.
  ///   - lives: Whether a flow is still in the table.
  /// - Returns: The differences, in the audit's order, then what went.
  mutating func adopt(
    _ findings: [Finding], isWhole: Bool = true, lives: (FlowKey) -> Bool
  ) -> [WatchNews] {
    var news: [WatchNews] = []
    var next: [Key: Finding] = [:]
    for finding in findings {
      let key = Key(finding)
      guard next.updateValue(finding, forKey: key) == nil else { continue }
      if let change = Self.change(from: byKey[key], to: finding) { news.append(change) }
    }
    if !isWhole {
      for (key, finding) in byKey where next[key] == nil {
        if case .flow(let flow) = key, !lives(flow) { next[key] = finding }
      }
    }
    let gone = byKey.filter { next[$0.key] == nil }.sorted {
      ($0.value.peer?.address ?? $0.value.wire.address, $0.value.peer?.port ?? 0)
        < ($1.value.peer?.address ?? $1.value.wire.address, $1.value.peer?.port ?? 0)
    }
    for (key, finding) in gone {
      var end = WatchNews.End.noFinding
      if case .flow(let flow) = key, !lives(flow) { end = .flowEnded }
      news.append(.gone(finding, end))
    }
    byKey = next
    return news
  }

  /// Takes what is to be said of one flow now.
  ///
  /// - Parameters:
  ///   - finding: The finding, or `nil` when there is none.
  ///   - flow: Whose it is.
  /// - Returns: What is new, if anything.
  mutating func take(_ finding: Finding?, for flow: FlowKey) -> WatchNews? {
    guard let finding else {
      return byKey.removeValue(forKey: .flow(flow)).map { .gone($0, .noFinding) }
    }
    let key = Key(finding)
    // One finding a rule, one a host: the first flow speaks for all.
    if case .flow = key {
    } else {
      let old = byKey.removeValue(forKey: .flow(flow))
      if byKey[key] != nil { return old.map { .gone($0, .noFinding) } }
    }
    let change = Self.change(from: byKey[key], to: finding)
    if case .host = key { byKey[key] = finding.aboutHost } else { byKey[key] = finding }
    return change
  }

  /// Takes the end of a flow.
  mutating func end(of flow: FlowKey) -> WatchNews? {
    byKey.removeValue(forKey: .flow(flow)).map { .gone($0, .flowEnded) }
  }

  /// The flow of a finding that stands, with what later events leave out.
  func flow(_ key: FlowKey) -> Flow? { byKey[.flow(key)]?.flow }

  /// What is worth a line: something new, another cause, or an answer where there was none.
  private static func change(from old: Finding?, to new: Finding) -> WatchNews? {
    let said = new.cause == .unfiltered ? new.aboutHost : new
    guard let old else { return .appeared(said) }
    let isAnswered = old.grade == .latent && new.grade != .latent && new.grade != nil
    guard old.cause != new.cause || old.level != new.level || isAnswered else { return nil }
    return .changed(said, was: old.level)
  }
}
