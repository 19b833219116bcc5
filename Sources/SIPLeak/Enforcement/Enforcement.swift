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
    try await checkHolder(plan)
    try await dryRun(plan, report: report)
    try await checkUnchanged(plan, since: before)
    try await writeSets(plan, before: before)
    try await writeRules(plan, before: before)
    try await checkRules(plan, before: before)
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
      report(Step(name: "blocked", text: "\(entry.prefix) from \(entry.transport)/\(entry.port)"))
    }
    if let why = plan.plainBecause, !plan.entries.isEmpty {
      report(Step(name: "plain", text: "\(why): \(BlockPlan.plainNote)"))
    }
    let deleted = deleteFlows(plan, before: before, report: report)
    let verification = try await Verification.run(
      plan, before: before, policy: policy, access: access, after: verifyAfter)
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

  /// What is to hold the blocks is looked at again: ipset may have come or gone since the plan.
  private func checkHolder(_ plan: BlockPlan) async throws(SIPLeakError) {
    let hasSets = await FirewallHost.ipsetAvailable(access.tools)
    if !hasSets, !plan.isPlain {
      throw SIPLeakError(
        .unchanged, "ipset is not installed, or the kernel has no sets",
        advice: "These blocks are entries of a set: apt-get install ipset, or run it again for "
          + "plain rules. Nothing was changed.")
    }
    if hasSets, plan.isPlain, !plan.request.isPlain {
      throw SIPLeakError(
        .unchanged, "sets can be used now, and could not when the block was planned",
        advice: "Nothing was changed. Run it again.")
    }
  }

  /// Loads our own text in an empty namespace first: `--test` alone misses much (facts E4).
  private func dryRun(
    _ plan: BlockPlan, report: @Sendable (Step) -> Void
  ) async throws(SIPLeakError) {
    var loaded = 0
    for rules in plan.rules {
      // Our rules name the set, also where only they are renewed.
      let lines =
        plan.setFamilies == [rules.family]
        ? plan.setText : plan.setText.lines(ofFamily: rules.family)
      let sets = plan.isPlain ? "" : OwnObjects.createLine(rules.family) + "\n" + lines
      // In an empty table there is nothing to delete and only the first place to insert at.
      let text = rules.text.forEmptyTable
      switch await SetText(sets).dryRun(
        rules: Array(text.utf8), backend: rules.backend, family: rules.family, access.tools)
      {
      case .loaded: loaded += 1
      case .failed(let words):
        throw SIPLeakError(
          .unchanged, "the dry run refused our own rules",
          advice: words.contains("Message too long")
            ? "Nothing was changed. In a user namespace, such as a rootless container, the kernel "
              + "takes some 250 rules at once, and these chains have to be written as a whole: "
              + "install ipset, or lift them first (sipleak unblock --all)."
            : "Nothing was changed. Run again with --verbose and report what it says.",
          detail: words)
      case .notPossible(let why):
        report(Step(name: "dry run", text: "not possible: \(why)"))
        return
      }
    }
    if loaded > 0 { report(Step(name: "dry run", text: "our rules load in an empty namespace")) }
  }

  /// Nothing is written on what is not so any more: a reload in between changes every verdict.
  private func checkUnchanged(
    _ plan: BlockPlan, since before: Observation
  ) async throws(SIPLeakError) {
    let now: FirewallReading
    do throws(FirewallError) {
      now = try await FirewallHost.snapshot(access.tools)
    } catch {
      throw SIPLeakError(
        .unchanged, "\(error)", advice: error.advice ?? "", detail: error.standardError ?? "")
    }
    let old = before.sample.firewall.snapshot
    // At the head of a table a probe of ours, a trace or a listener, may come or go meanwhile.
    let isSame =
      plan.request.place == .raw
      ? Stability.isSame(now.snapshot, old) : Stability.isSameByPosition(now.snapshot, old)
    guard now.problems.isEmpty, isSame else {
      var error = SIPLeakError(
        .unchanged, "the firewall changed while the block was planned",
        advice: "Nothing was changed. Run it again when the firewall stands still.")
      error.isStale = now.problems.isEmpty
      throw error
    }
  }

  /// The rules are judged before any flow is deleted: a block that does not hold is taken back.
  private func checkRules(
    _ plan: BlockPlan, before: Observation
  ) async throws(SIPLeakError) {
    do throws(FirewallError) {
      var now = before
      now.sample.firewall = try await FirewallHost.snapshot(access.tools)
      guard let failed = Verification.firstNotRefused(plan, before: before, now: now) else {
        return
      }
      throw FirewallError(
        .toolFailed, operation: "block \(failed)", found: "its packets are not certainly refused")
    } catch {
      try await takeBack(
        plan, before: before, rules: plan.rules, because: "the block does not hold", error)
    }
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

extension BlockPlan {
  /// Lines for `ipset restore` that put our sets back as they were, one input a set.
  func setUndo(before: FirewallSnapshot) -> [String] {
    setFamilies.map { family in
      guard before.ownSet(family) != nil else { return "destroy \(OwnObjects.setName(family))\n" }
      return memberUndo(family, before: before, moved: moved)
    }
  }

  /// The same for the members of one set; the set stays.
  func memberUndo(
    _ family: AddressFamily, before: FirewallSnapshot, moved: [OwnBlock] = []
  ) -> String {
    let name = OwnObjects.setName(family)
    let old = Dictionary(
      (before.ownSet(family)?.entries ?? []).map { ($0.element, $0) },
      uniquingKeysWith: { first, _ in first })
    let elements =
      moved.filter { $0.family == family }.map(\.element)
      + entries.filter { $0.address.family == family }.map(\.element)
    return elements.map { element in
      guard let standing = old[element] else { return "del -exist \(name) \(element)\n" }
      return "add -exist \(name) \(element) timeout \(standing.timeout ?? 0) "
        + "comment \"\(OwnObjects.plain(standing.comment ?? OwnObjects.label))\"\n"
    }.joined()
  }
}

extension String {
  /// The lines of an `ipset restore` input that concern our set of a family.
  fileprivate func lines(ofFamily family: AddressFamily) -> String {
    let name = " \(OwnObjects.setName(family)) "
    return split(separator: "\n").filter { $0.contains(name) }.map { $0 + "\n" }.joined()
  }

  /// A restore input as it would be written for a table without rules, where no user's chain is yet.
  fileprivate var forEmptyTable: String {
    var known: Set<Substring> = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]
    var missing: [String] = []
    var lines: [String] = []
    for line in split(separator: "\n") where !line.hasPrefix("-D ") {
      var words = line.split(separator: " ", maxSplits: 3)
      if line.hasPrefix(":") { known.insert(words[0].dropFirst()) }
      if line.hasPrefix("-"), words.count > 1 {
        // Which chain it is put in, and which of ours it leads to.
        let ours = [OwnObjects.dropChain, OwnObjects.answerChain]
        let target = ours.filter { line.hasSuffix(" -j \($0)") }.map { Substring($0) }
        for chain in [words[1]] + target where known.insert(chain).inserted {
          missing.append(":\(chain) - [0:0]")
        }
        if words[0] == "-I", words.count == 4 { words[2] = "1" }
      }
      lines.append(words.joined(separator: " "))
    }
    return (lines.prefix(1) + missing + lines.dropFirst()).map { $0 + "\n" }.joined()
  }
}
