import Addressing
import Firewall

extension Enforcement {
  /// Takes back what a removal plan names.
  ///
  /// - Parameters:
  ///   - plan: What to remove.
  ///   - report: Called with each step as it is done.
  /// - Throws: ``SIPLeakError`` when something of ours is still there.
  public func apply(
    _ plan: RemovalPlan, report: @Sendable (Step) -> Void
  ) async throws(SIPLeakError) {
    let lock = try RunLock.take()
    let tables = await provenTables(plan.tables)
    var done = 0
    for (number, rules) in plan.rules.enumerated() {
      do throws(FirewallError) {
        try await remove(rules, request: plan.request)
        done += 1
        if !plan.rules[(number + 1)...].contains(where: rules.isOfSameTable) {
          report(
            Step(name: "removed", text: "our rules in \(rules.family.rawValue) \(rules.table)"))
        }
      } catch {
        throw SIPLeakError(
          done == 0 ? .unchanged : .notUndone, "our rules could not be removed: \(error)",
          advice: error.advice ?? "", detail: error.standardError ?? "")
      }
    }
    await removeTables(tables)
    if !plan.setText.isEmpty {
      do throws(FirewallError) {
        try await FirewallHost.restoreSets(Array(plan.setText.utf8), access.tools)
        if plan.request == .purge { report(Step(name: "removed", text: "our sets")) }
      } catch {
        // `ipset restore` is not all-or-nothing (facts E8).
        let left = (try? await FirewallHost.snapshot(access.tools)).map {
          RemovalPlan(plan.request, snapshot: $0.snapshot).setText
        }
        throw SIPLeakError(
          done == 0 && left == plan.setText ? .unchanged : .notUndone,
          "our sets could not be changed: \(error)",
          advice: "Does another rule use them? \(error.advice ?? "")",
          detail: error.standardError ?? "")
      }
    }
    for element in plan.elements { report(Step(name: "unblocked", text: element)) }
    _ = consume lock
  }

  /// Removes our rules of one table; where somebody changed it meanwhile, what is left of them.
  private func remove(
    _ rules: BlockPlan.RestoreText, request: RemovalPlan.Request
  ) async throws(FirewallError) {
    var rules = rules
    for _ in 0..<5 {
      do throws(FirewallError) {
        try await FirewallHost.restore(
          Array(rules.text.utf8), backend: rules.backend, family: rules.family, testOnly: false,
          waitSeconds: 5, access.tools)
        return
      } catch {
        let reading = try await FirewallHost.snapshot(access.tools)
        guard error.code == .toolFailed, reading.problems.isEmpty else { throw error }
        let now = RemovalPlan(request, snapshot: reading.snapshot).rules.first(
          where: rules.isOfSameTable)
        guard let now else { return }
        guard now.text != rules.text else { throw error }
        rules = now
      }
    }
    throw FirewallError(
      .toolFailed, operation: "remove our rules in \(rules.table)",
      found: "somebody changes the table all the time", advice: "Try again in a quiet moment.")
  }

  /// Removes what is ours in the table of a text by its labels, where nothing of ours stood before.
  ///
  /// - Returns: Whether nothing of it is left.
  func removeOurs(of text: BlockPlan.RestoreText, before: Observation) async -> Bool {
    let stood = RemovalPlan(.purge, snapshot: before.sample.firewall.snapshot)
    guard !stood.rules.contains(where: text.isOfSameTable) else { return false }
    do throws(FirewallError) {
      let reading = try await FirewallHost.snapshot(access.tools)
      guard reading.problems.isEmpty else { return false }
      let plan = RemovalPlan(.purge, snapshot: reading.snapshot)
      guard plan.kept.isEmpty else { return false }
      for rules in plan.rules where text.isOfSameTable(rules) {
        try await FirewallHost.restore(
          Array(rules.text.utf8), backend: rules.backend, family: rules.family, testOnly: false,
          waitSeconds: 5, access.tools)
      }
      return true
    } catch {
      return false
    }
  }

  /// Deletes what stands of the plain rules that a plan has added, where somebody has changed what its
  /// undo goes by.
  ///
  /// Not where the plan took rules away as well: those cannot be put back without it.
  ///
  /// - Returns: Whether nothing of them is left in any table.
  func removeAdded(of plan: BlockPlan, before: Observation) async -> Bool {
    let additions = [OwnObjects.dropChain, OwnObjects.answerChain].map { "-D \($0) " }
    let lines = plan.rules.flatMap { $0.undo.split(separator: "\n") }
    guard plan.isPlain,
      lines.allSatisfy({ line in
        line.hasPrefix("*") || line == "COMMIT" || additions.contains { line.hasPrefix($0) }
      })
    else { return false }
    let added = Set(plan.entries.map(\.element))
    let stood = before.sample.firewall.snapshot.plainRules.map(\.block.element)
    guard added.isDisjoint(with: stood) else { return false }
    do throws(FirewallError) {
      let reading = try await FirewallHost.snapshot(access.tools)
      guard reading.problems.isEmpty else { return false }
      for rules in reading.snapshot.deletions(of: { added.contains($0.element) }) {
        try await FirewallHost.restore(
          Array(rules.text.utf8), backend: rules.backend, family: rules.family, testOnly: false,
          waitSeconds: 5, access.tools)
      }
      let left = try await FirewallHost.snapshot(access.tools)
      return left.problems.isEmpty
        && !(left.snapshot.plainRules + left.snapshot.spoiltTables.flatMap(\.rules)).contains {
          added.contains($0.block.element)
        }
    } catch {
      return false
    }
  }

  /// The tables that are known to be ours: by our mark, or as our chain was the first thing in them.
  private func provenTables(_ tables: [RemovalPlan.MadeTable]) async -> [RemovalPlan.MadeTable] {
    var proven: [RemovalPlan.MadeTable] = []
    for table in tables {
      if table.onlyIfOldest {
        let isOurs = await FirewallHost.isOldest(
          OwnObjects.dropChain, in: table.name, family: table.family, access.tools)
        if !isOurs { continue }
      }
      proven.append(table)
    }
    return proven
  }

  /// Removes the tables that were not there before us, where nobody has put anything into them, and
  /// what marks them as ours in any case.
  ///
  /// An empty table decides nothing, so one that stays is no failure.
  func removeTables(_ tables: [RemovalPlan.MadeTable]) async {
    guard !tables.isEmpty else { return }
    do throws(FirewallError) {
      let snapshot = try await FirewallHost.snapshot(access.tools).snapshot
      for made in tables where made.backend == .nft {
        guard
          var table = snapshot.rulesets.first(where: {
            $0.backend == made.backend && $0.family == made.family
          })?.table(made.name)
        else { continue }
        if made.onlyWithoutChains { table.chains = [] }
        var marks: [Chain] = []
        if let mark = table.chain(OwnObjects.dropChain), mark.rules.allSatisfy(OwnObjects.owns) {
          marks.append(mark)
        }
        _ = try await FirewallHost.removeEmptyTable(
          table, family: made.family, marks: marks.map(\.name), access.tools)
      }
    } catch {
      return
    }
  }
}

extension RemovalPlan {
  /// Plans a removal on a running host.
  ///
  /// - Parameters:
  ///   - request: What to take back.
  ///   - access: Which namespace.
  /// - Returns: The plan.
  /// - Throws: ``SIPLeakError`` when the firewall cannot be read.
  public static func live(
    _ request: Request, access: HostAccess = HostAccess()
  ) async throws(SIPLeakError) -> RemovalPlan {
    do throws(FirewallError) {
      let reading = try await FirewallHost.snapshot(access.tools)
      if let problem = reading.problems.first {
        throw FirewallError(
          .toolFailed, operation: "read all of the firewall", found: problem,
          advice: "What is ours cannot be told on a partial reading; nothing was changed.")
      }
      var plan = RemovalPlan(request, snapshot: reading.snapshot)
      // No rule asks a set, or the reading had a problem: what holds a block stands in rules.
      if let why = reading.snapshot.setsUnavailable,
        request == .purge || plan.isEmpty && plan.stillBlocked.isEmpty
      {
        plan.kept.append("a set of ours, if there is one: \(why)")
      }
      return plan
    } catch {
      throw SIPLeakError(reading: error)
    }
  }
}
