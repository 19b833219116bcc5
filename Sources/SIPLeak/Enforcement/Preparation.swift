import Addressing
import Firewall

/// What is asked before anything is written.
extension Enforcement {
  /// All that is asked before the first write; the questions wait for other programs, so they are
  /// asked side by side.
  func prepare(
    _ plan: BlockPlan, since before: Observation, report: @Sendable (Step) -> Void
  ) async throws(SIPLeakError) {
    async let held = Self.result { () throws(SIPLeakError) in try await checkHolder(plan) }
    async let tried = Self.result { () throws(SIPLeakError) in try await dryRun(plan) }
    async let read = Self.result { () throws(SIPLeakError) in
      try await checkUnchanged(plan, since: before)
      return ContinuousClock.now
    }
    // In the order in which a reader would look for what is wrong.
    let outcomes = await (held, tried, read)
    try outcomes.0.get()
    if let words = try outcomes.1.get() { report(Step(name: "dry run", text: words)) }
    let time = try outcomes.2.get()
    // On a busy host the dry run may take long, and what was read is old by then.
    guard ContinuousClock.now - time >= Self.freshness else { return }
    try await checkUnchanged(plan, since: before)
  }

  /// For how long what was read counts as the firewall of this moment.
  private static let freshness = Duration.milliseconds(50)

  private static func result<T: Sendable>(
    _ body: () async throws(SIPLeakError) -> T
  ) async -> Result<T, SIPLeakError> {
    do throws(SIPLeakError) { return .success(try await body()) } catch { return .failure(error) }
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
  ///
  /// - Returns: What came of it, in words; `nil` when there was nothing to load.
  private func dryRun(_ plan: BlockPlan) async throws(SIPLeakError) -> String? {
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
      case .notPossible(let why): return "not possible: \(why)"
      }
    }
    return loaded > 0 ? "our rules load in an empty namespace" : nil
  }

  /// Nothing is written on what is not so any more: a reload in between changes every verdict.
  func checkUnchanged(
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
