public import Addressing
public import Firewall

/// Where markers go and the text that puts them there and takes them away: inert data, printed as it
/// stands or run by ``TraceRun``.
public struct TracePlan: Sendable {
  /// A rule that counts.
  public struct Marker: Sendable, Hashable {
    /// The backend, table and chain it stands in.
    public var backend: Backend
    /// The table.
    public var table: String
    /// The chain.
    public var chain: String
    /// The rule it stands before, as numbered without markers; one more than there are rules: the
    /// end.
    public var before: Int
    /// Which subject's packets it counts.
    public var subject: Int
    /// Its number within the subject, from 1.
    public var number: Int
    /// The rule without `-A CHAIN`.
    public var specification: String
  }

  /// The markers of one table: one run of `iptables-restore --noflush`, so all or none (facts E1).
  public struct Transaction: Sendable, Hashable {
    /// Which backend's tool reads it.
    public var backend: Backend
    /// Which family's tool reads it.
    public var family: AddressFamily
    /// The table.
    public var table: String
    /// The input that puts the markers in.
    public var insert: String
    /// The input that takes them out, each by its own full text (facts E5).
    public var remove: String
  }

  /// More markers than this are not put in: each costs every packet a little.
  public static let limit = 2000

  /// What tells this run's markers from another's.
  public var id: String
  /// What is traced.
  public var subjects: [TraceSubject]
  /// The markers.
  public var markers: [Marker]
  /// One entry a table, in the order a packet meets them.
  public var transactions: [Transaction]
  /// What a person should know, in sentences.
  public var notes: [String]
  /// Why nothing can be traced; there are no markers then.
  public var obstacles: [String]
  /// The rules it was made for, without markers.
  public var snapshot: FirewallSnapshot
  /// Markers that an interrupted trace has left; they go first.
  public var leftovers: Int

  /// Plans a trace.
  ///
  /// Pure: the same observation and request give the same plan.
  ///
  /// - Parameters:
  ///   - request: Whose packets.
  ///   - observation: What was read.
  ///   - id: A word of letters and digits that no other run has.
  ///   - marksEveryRule: Whether a marker stands before every rule of the chains on the path, and
  ///     not only before those that could decide.
  public init(
    _ request: TraceRequest, observation: Observation, id: String, marksEveryRule: Bool = false
  ) {
    let clean = observation.withoutTraceMarkers
    let found = TraceSubjects(request, in: clean)
    self.id = id
    subjects = found.subjects
    notes = found.notes
    obstacles = found.obstacle.map { [$0] } ?? []
    markers = []
    transactions = []
    snapshot = clean.sample.firewall.snapshot
    leftovers = observation.sample.firewall.snapshot.traceMarkerCount
    for index in subjects.indices { place(index, everyRule: marksEveryRule) }
    if markers.count > Self.limit {
      obstacles.append(
        "it would take \(markers.count) markers, and more than \(Self.limit) cost every packet too "
          + "much; name a port or a packet")
    } else if markers.isEmpty, obstacles.isEmpty {
      obstacles.append(
        "no rule of iptables stands on its way, so there is nothing to count at; `sipleak diagnose` "
          + "says what filters there are")
    }
    guard obstacles.isEmpty else {
      markers = []
      return
    }
    notes += observation.problems.map { "not read, so not marked: \($0)" }
    write()
  }

  /// The rulesets a subject's packets pass.
  func rulesets(of subject: TraceSubject) -> [Ruleset] {
    snapshot.rulesets.filter { $0.family == subject.packet.family }
  }

  /// A subject's markers in one chain, in order.
  func markers(_ subject: Int, _ backend: Backend, _ table: String, _ chain: String) -> [Marker] {
    markers.filter {
      $0.subject == subject && $0.backend == backend && $0.table == table && $0.chain == chain
    }
  }

  // MARK: Places

  private mutating func place(_ index: Int, everyRule: Bool) {
    let subject = subjects[index]
    let expected = Set(subject.courses.flatMap { $0.walk.path.map(\.rule) })
    let wanted = Set(subject.alternatives.flatMap { $0.walk.path.map(\.rule) })
      .union(subject.landmarks).filter { $0.table != "nat" }.union(expected)
    var met = Set(wanted.map { ChainName($0) })
    // Also a chain none of whose rules matches: where a goto led, its packets would seem to vanish.
    for rule in wanted {
      let table = rulesets(of: subject).first { $0.backend == rule.backend }?.table(rule.table)
      guard let rules = table?.chain(rule.chain)?.rules, rules.indices.contains(rule.index - 1),
        let target = rules[rule.index - 1].target?.name, table?.chain(target) != nil
      else { continue }
      met.insert(ChainName(backend: rule.backend, table: rule.table, chain: target))
    }
    let stops = TracePath.stops(subject.path)
    // Also where the walk ends before: if it is wrong, that is where it shows. The nat table is met
    // by the first packet of a flow only, so it is marked only where the walk meets it.
    for ruleset in rulesets(of: subject) {
      for stop in stops where stop.table != "nat" {
        met.insert(
          ChainName(backend: ruleset.backend, table: stop.table, chain: stop.chain))
      }
    }
    var number = 0
    for ruleset in rulesets(of: subject) {
      for name in TracePath.tables {
        guard let table = ruleset.table(name) else { continue }
        let bases = stops.filter { $0.table == name }
        for chain in table.chains {
          let place = ChainName(backend: ruleset.backend, table: name, chain: chain.name)
          guard met.contains(place), isMarked(chain, ruleset, bases.map(\.chain)) else { continue }
          let reaching = bases.filter { table.reached(from: $0.chain).contains(chain.name) }
          guard !reaching.isEmpty else { continue }
          let match = TraceMatch(
            subject, isOnWire: reaching.contains(where: \.isOnWire),
            isDelivered: reaching.contains { !$0.isOnWire })
          for before in positions(chain, table, place, wanted, everyRule: everyRule) {
            number += 1
            markers.append(
              Marker(
                backend: ruleset.backend, table: name, chain: chain.name, before: before,
                subject: index, number: number,
                specification: match.text + " -m comment --comment "
                  + "\"\(TraceMarker.label) \(id) \(index + 1).\(number)\""))
          }
        }
      }
    }
  }

  private struct ChainName: Hashable {
    var backend: Backend
    var table: String
    var chain: String

    init(backend: Backend, table: String, chain: String) {
      self.backend = backend
      self.table = table
      self.chain = chain
    }

    init(_ rule: RuleReference) {
      self.init(backend: rule.backend, table: rule.table, chain: rule.chain)
    }
  }

  private func isMarked(_ chain: Chain, _ ruleset: Ruleset, _ bases: [String]) -> Bool {
    // Our own chains are known by their first rule; what happens inside shows at the jump.
    if chain.name == OwnObjects.dropChain || chain.name == OwnObjects.answerChain { return false }
    guard chain.policy != nil else { return true }
    guard bases.contains(chain.name) else { return false }
    // `iptables-nft-save` prints empty chains that do not exist; a marker would make them.
    return !chain.rules.isEmpty || chain.policy == "DROP" || ruleset.backend == .legacy
  }

  private func positions(
    _ chain: Chain, _ table: Table, _ place: ChainName, _ wanted: Set<RuleReference>,
    everyRule: Bool
  ) -> [Int] {
    let end = chain.rules.count + 1
    if everyRule { return Array(1...end) }
    var positions: Set<Int> = [1, end]
    for rule in wanted where rule.index > 0 && ChainName(rule) == place {
      guard chain.rules.indices.contains(rule.index - 1),
        TraceEffect(chain.rules[rule.index - 1], in: table).decides
      else { continue }
      positions.formUnion([rule.index, rule.index + 1])
    }
    return positions.sorted()
  }

  // MARK: Text

  private mutating func write() {
    for name in TracePath.tables {
      for ruleset in snapshot.rulesets {
        let own = markers.filter { marker in
          marker.backend == ruleset.backend && marker.table == name
            && subjects[marker.subject].packet.family == ruleset.family
        }
        guard !own.isEmpty, let table = ruleset.table(name) else { continue }
        var insert: [String] = []
        // From the end to the beginning, so that each number is still the one without markers.
        for chain in table.chains {
          let here = own.filter { $0.chain == chain.name }.sorted {
            ($0.before, $0.subject) > ($1.before, $1.subject)
          }
          insert += here.map { marker in
            marker.before > chain.rules.count
              ? "-A \(chain.name) \(marker.specification)"
              : "-I \(chain.name) \(marker.before) \(marker.specification)"
          }
        }
        let remove = own.map { "-D \($0.chain) \($0.specification)" }
        transactions.append(
          Transaction(
            backend: ruleset.backend, family: ruleset.family, table: name,
            insert: Self.transaction(name, insert), remove: Self.transaction(name, remove)))
      }
    }
  }

  static func transaction(_ table: String, _ lines: [String]) -> String {
    (["*\(table)"] + lines + ["COMMIT"]).map { $0 + "\n" }.joined()
  }
}
