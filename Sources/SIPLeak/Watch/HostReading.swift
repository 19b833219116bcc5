import Conntrack
import FoundationEssentials
import Synchronization

/// One reading of the host while events go on: runs aside, and is asked whether it is there.
final class HostReading: Sendable {
  /// The nf_tables generation when it began.
  let generation: UInt32?
  /// Whether it makes a loss good: it began after the loss was told.
  let repairsLoss: Bool
  /// How the dump in it went.
  let dump: DumpOutcome
  private let result = Mutex<Result<JudgedReading, SIPLeakError>?>(nil)
  private let task = Mutex<Task<Void, Never>?>(nil)

  init(generation: UInt32?, repairsLoss: Bool, dump: DumpOutcome = DumpOutcome()) {
    self.generation = generation
    self.repairsLoss = repairsLoss
    self.dump = dump
  }

  deinit { task.withLock { $0?.cancel() } }

  /// Begins to read.
  ///
  /// - Parameters:
  ///   - generation: The nf_tables generation now.
  ///   - repairsLoss: Whether losses were told since the last reading began.
  ///   - dump: Where the body writes how its dump went.
  ///   - body: What reads.
  ///   - isThere: Called when the result is there.
  /// - Returns: The reading, under way.
  static func start(
    generation: UInt32?, repairsLoss: Bool, dump: DumpOutcome,
    _ body: @escaping @Sendable () async throws(SIPLeakError) -> JudgedReading,
    isThere: @escaping @Sendable () -> Void
  ) -> HostReading {
    let reading = HostReading(generation: generation, repairsLoss: repairsLoss, dump: dump)
    let task = Task { [weak reading] in
      let result: Result<JudgedReading, SIPLeakError>
      do throws(SIPLeakError) { result = .success(try await body()) } catch {
        result = .failure(error)
      }
      reading?.result.withLock { $0 = result }
      isThere()
    }
    reading.task.withLock { $0 = task }
    return reading
  }

  /// The result, once, when it is there.
  func take() -> Result<JudgedReading, SIPLeakError>? {
    result.withLock { result in
      defer { result = nil }
      return result
    }
  }
}

/// A reading and what it means, judged aside as well: a table of many flows must not hold up the events.
struct JudgedReading: Sendable {
  let audit: Audit
  /// What judges later events against this reading.
  let judge: FlowJudge
  /// Where each flow of the dump stands among its flows.
  private let index: [FlowKey: Int]

  init(_ observation: Observation, policy: AuditPolicy) {
    audit = Audit(observation, policy: policy)
    judge = FlowJudge(observation, policy: policy)
    index = Dictionary(
      observation.sample.flows.enumerated().map { ($1.key, $0) },
      uniquingKeysWith: { first, _ in first })
  }

  /// The flow of the dump with a key.
  func flow(_ key: FlowKey) -> Flow? { index[key].map { judge.observation.sample.flows[$0] } }

  /// The flows of helpers' calls.
  var expected: [Flow] { judge.observation.sample.flows.filter { $0.master != nil } }
}

/// Whether a dump showed every flow there was; the observation around it can be in part for other reasons.
final class DumpOutcome: Sendable {
  let isWhole = Mutex(true)
}
