import Addressing
import Conntrack
import Firewall
import Netlink

/// Changes a firewall by a plan, checks that it worked, and takes it back where it did not.
///
/// The order is the design's: dry run, sets, rules (one table a transaction), flows, verification.
/// A failure after the first write takes ours back. Needs CAP_NET_ADMIN.
public struct Enforcement: Sendable {
  /// How the host is reached.
  public var access: HostAccess
  /// Seconds between acting and looking again.
  public var verifyAfter: Double

  /// Makes an enforcement on a host.
  public init(access: HostAccess = HostAccess(), verifyAfter: Double = 2) {
    self.access = access
    self.verifyAfter = verifyAfter
  }

  /// One line of what is being done, as it is done.
  public struct Step: Sendable, Hashable {
    /// A word: `dry run`, `blocked`, `deleted`, `verified`.
    public var name: String
    /// What happened; not escaped for terminals.
    public var text: String
    /// How long a block that was made lasts, in seconds; 0 for no end, `nil` for every other step.
    public var seconds: UInt32?
  }

  /// What came of applying a plan.
  public struct Outcome: Sendable {
    /// Whether every block is shown to work, or could not be shown yet, or does not.
    public var answer: Verification.Answer
    /// How many flows were deleted.
    public var deleted: Int
    /// The proof.
    public var verification: Verification
  }

  /// Applies a plan.
  ///
  /// - Parameters:
  ///   - plan: What to change.
  ///   - before: The observation it was made of.
  ///   - policy: Whom never to block; checked again on what is read afterwards.
  ///   - report: Called with each step as it is done.
  /// - Returns: What came of it.
  /// - Throws: ``SIPLeakError`` with the code `unchanged`, `undone` or `notUndone`.
  public func apply(
    _ plan: BlockPlan, before: Observation, policy: AuditPolicy,
    report: @Sendable (Step) -> Void
  ) async throws(SIPLeakError) -> Outcome {
    let lock = try RunLock.take()
    // What can be worked out beforehand is, while other programs are waited for. Nothing is written
    // unless the sets are as they were.
    async let sent = BlockedPackets(plan, in: before)
    async let filled = before.sample.firewall.snapshot.sets.map(plan.filling)
    try await prepare(plan, since: before, report: report)
    try await writeSets(plan, before: before)
    try await writeRules(plan, before: before)
    let packets = await sent
    try await checkRules(plan, packets, before: before, sets: await filled)
    for block in plan.lifted {
      report(Step(name: "lifted", text: "\(block.element): its time was over"))
    }
    for block in plan.moved {
      report(Step(name: "moved", text: "\(block.element) into our set"))
    }
    if plan.isRenewal, plan.lifted.isEmpty, plan.moved.isEmpty {
      let what = plan.isPlain ? "the rules of our blocks" : "the rules that ask our sets"
      report(Step(name: "renewed", text: what))
    }
    for entry in plan.entries {
      report(
        Step(
          name: "blocked", text: "\(entry.prefix) from \(entry.transport)/\(entry.port)",
          seconds: entry.seconds))
    }
    if let why = plan.plainBecause, !plan.entries.isEmpty {
      report(Step(name: "plain", text: "\(why): \(BlockPlan.plainNote)"))
    }
    let deleted = deleteFlows(plan, before: before, report: report)
    let verification = try await Verification.run(
      plan, packets, before: before, policy: policy, access: access, after: verifyAfter)
    for line in verification.lines { report(Step(name: line.answer.rawValue, text: line.text)) }
    if verification.mustBeTakenBack {
      try await takeBack(
        plan, before: before, rules: plan.rules, because: "the block was not right",
        FirewallError(
          .toolFailed, operation: "keep the block",
          found: verification.lines.first { $0.answer == .failed }?.text,
          advice: "The firewall may have been in the middle of a reload; look again when it has "
            + "stood still."))
    }
    _ = consume lock
    return Outcome(answer: verification.answer, deleted: deleted, verification: verification)
  }

  /// The rules are judged before any flow is deleted: a block that does not hold is taken back.
  ///
  /// The rules are read again, and of our sets how many entries they have: the kernel has taken each
  /// that was written, and to list them takes as long as to write them. The verification lists them.
  /// The sets are given as they are if all was written; `nil` where there are none.
  private func checkRules(
    _ plan: BlockPlan, _ packets: BlockedPackets, before: Observation, sets: [AddressSet]?
  ) async throws(SIPLeakError) {
    do throws(FirewallError) {
      var now = before
      now.sample.firewall = try await readAgain(plan, sets: sets)
      guard let failed = Verification.firstNotRefused(plan, packets, now: now) else {
        return
      }
      throw FirewallError(
        .toolFailed, operation: "block \(failed)", found: "its packets are not certainly refused")
    } catch {
      try await takeBack(
        plan, before: before, rules: plan.rules, because: "the block does not hold", error)
    }
  }

  private func readAgain(
    _ plan: BlockPlan, sets: [AddressSet]?
  ) async throws(FirewallError) -> FirewallReading {
    guard let sets else { return try await FirewallHost.snapshot(access.tools) }
    async let counted = Self.areCounted(plan, sets, access.tools)
    let reading = try await FirewallHost.snapshot(access.tools, sets: sets)
    // Another number may be no fault, such as of an entry that has run out: looked at whole.
    return await counted ? reading : try await FirewallHost.snapshot(access.tools)
  }

  /// Whether our sets have as many entries as they should.
  private static func areCounted(
    _ plan: BlockPlan, _ sets: [AddressSet], _ tools: ToolContext
  ) async -> Bool {
    for family in plan.setFamilies {
      let name = OwnObjects.setName(family)
      let expected = sets.first { $0.name == name }?.entries.count
      let count = try? await FirewallHost.entryCount(of: name, tools)
      guard let count, count == expected else { return false }
    }
    return true
  }

  private func writeSets(_ plan: BlockPlan, before: Observation) async throws(SIPLeakError) {
    guard !plan.setText.isEmpty else { return }
    do throws(FirewallError) {
      try await SetText(plan.setText).restore(access.tools)
    } catch {
      // `ipset restore` is not all-or-nothing (facts E8).
      try await takeBack(
        plan, before: before, rules: [], because: "the sets could not be written", error)
    }
  }

  private func writeRules(_ plan: BlockPlan, before: Observation) async throws(SIPLeakError) {
    var done: [BlockPlan.RestoreText] = []
    for rules in plan.rules {
      do throws(FirewallError) {
        try await FirewallHost.restore(
          Array(rules.text.utf8), backend: rules.backend, family: rules.family, testOnly: false,
          waitSeconds: 5, access.tools)
        done.append(rules)
      } catch let cause {
        do throws(SIPLeakError) {
          try await takeBack(
            plan, before: before, rules: done, because: "the rules could not be written", cause)
        } catch {
          throw await staleIfChanged(error, plan, since: before)
        }
      }
    }
  }

  /// Single rules are written into chains that stand: where somebody has taken those away meanwhile, a
  /// fresh plan is what is needed.
  private func staleIfChanged(
    _ error: SIPLeakError, _ plan: BlockPlan, since before: Observation
  ) async -> SIPLeakError {
    guard error.code == .undone else { return error }
    var error = error
    do throws(SIPLeakError) {
      try await checkUnchanged(plan, since: before)
    } catch let change {
      error.isStale = change.isStale
    }
    return error
  }

  /// Undoes what an apply has written so far, then throws what made it necessary.
  private func takeBack(
    _ plan: BlockPlan, before: Observation, rules: [BlockPlan.RestoreText],
    because message: String, _ cause: FirewallError
  ) async throws(SIPLeakError) {
    var left: [String] = []
    for text in rules.reversed() {
      do throws(FirewallError) {
        try await FirewallHost.restore(
          Array(text.undo.utf8), backend: text.backend, family: text.family, testOnly: false,
          waitSeconds: 5, access.tools)
      } catch {
        // Somebody has changed what the undo goes by; what is ours is known without it.
        if await removeOurs(of: text, before: before) { continue }
        if await removeAdded(of: plan, before: before) { continue }
        left.append("our chains in \(text.family.rawValue) \(text.table): \(error)")
      }
    }
    await removeTables(
      rules.filter(\.makesTable).map {
        RemovalPlan.MadeTable(backend: $0.backend, family: $0.family, name: $0.table)
      })
    for undo in plan.setUndo(before: before.sample.firewall.snapshot) {
      do throws(FirewallError) {
        try await FirewallHost.restoreSets(Array(undo.utf8), access.tools)
      } catch {
        // A set that never came to be is nothing that is left.
        if (try? await FirewallHost.snapshot(access.tools))?.snapshot.sets?.contains(where: {
          undo.contains(" \($0.name)")
        }) ?? true {
          left.append("entries of our sets: \(error)")
        }
      }
    }
    guard left.isEmpty else {
      throw SIPLeakError(
        .notUndone, message + "; still there: " + left.joined(separator: "; "),
        advice: "`sipleak purge --apply\(before.host.option)` removes what is left.",
        detail: cause.standardError ?? "")
    }
    throw SIPLeakError(
      .undone, "\(message): \(cause.reason)",
      advice: "What had been written was taken back. \(cause.advice ?? "")",
      detail: cause.standardError ?? "")
  }

  /// Deletes the blocked peers' flows, those that came to be meanwhile included.
  private func deleteFlows(
    _ plan: BlockPlan, before: Observation, report: @Sendable (Step) -> Void
  ) -> Int {
    var deleted = 0
    var keys = plan.deletions
    // With the block in place nothing reopens a flow in raw; a bounded loop covers what was on its
    // way meanwhile, and the verification tells what is left.
    for _ in 0..<5 {
      do throws(ConntrackError) {
        let account = try FlowTable.delete(keys, in: access.namespace)
        deleted += account.deleted
        for (key, errno) in account.refused {
          report(Step(name: "not deleted", text: "\(key.original.sourceEndpoint): \(errno)"))
        }
      } catch {
        report(Step(name: "not deleted", text: "\(error)"))
      }
      let query = FlowQuery(
        families: plan.families, transports: Set(plan.entries.map(\.transport)),
        ports: Set(plan.entries.map(\.port)).union(before.endpoints.ports))
      guard let dump = try? FlowTable.dump(query, in: access.namespace) else { break }
      var now = before
      now.sample.flows = dump.flows
      keys = BlockPlan.flows(of: plan.entries, observation: now, place: plan.request.place)
      if keys.isEmpty { break }
    }
    report(Step(name: "deleted", text: deleted == 1 ? "1 flow" : "\(deleted) flows"))
    return deleted
  }
}

extension FirewallError {
  /// What happened, with what was found where no tool has said anything.
  var reason: String {
    guard expected == nil, standardError == nil, let found else { return description }
    return "\(description): \(found)"
  }
}
