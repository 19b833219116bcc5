import Addressing
import Firewall
import Netlink
import Synchronization
import SystemPackage

/// Lets the kernel trace a handful of a peer's packets itself: a TRACE rule in raw PREROUTING, which
/// changes no packet's fate, and `xtables-monitor` that hears what it says.
///
/// The rule matches the peer alone and stops by itself after some packets; it is taken out whatever
/// happens, and the raw table with it if it was not there before. Needs CAP_NET_ADMIN and the nft
/// backend.
public struct KernelTraceRun: Sendable {
  /// How the host is reached.
  public var access: HostAccess
  /// How long to listen.
  public var seconds: Double
  /// How many packets to trace at most.
  public var packets: UInt64

  /// More packets than this are not traced: each line of each costs the kernel a message.
  public static let limit: UInt64 = 1000

  /// Makes a run.
  public init(access: HostAccess = HostAccess(), seconds: Double = 10, packets: UInt64 = 20) {
    self.access = access
    self.seconds = seconds
    self.packets = min(packets, Self.limit)
  }

  /// What would be put in and taken out, as a plan.
  ///
  /// - Parameter plan: A plan of markers for the same request.
  /// - Returns: The transaction, or why there can be none.
  public func transaction(_ plan: TracePlan) -> Result<TracePlan.Transaction, SIPLeakError> {
    guard let subject = plan.subjects.first else {
      return .failure(
        SIPLeakError(
          .unchanged, plan.obstacles.first ?? "there is no packet to trace",
          advice: "Nothing was changed."))
    }
    let family = subject.packet.family
    guard
      let ruleset = plan.snapshot.rulesets.first(where: {
        $0.backend == .nft && $0.family == family && !$0.isWithoutRules
      })
    else {
      return .failure(
        SIPLeakError(
          .unchanged,
          "the kernel's own trace shows nf_tables' rules only, and there are none of this family",
          advice:
            "The legacy TRACE target writes to the kernel log. Without --kernel-trace, marker "
            + "rules show the same in both backends."))
    }
    let note = ruleset.table("raw") == nil ? "kernel, table made" : "kernel"
    let rule =
      TraceMatch(subject, isOnWire: true, isDelivered: false).text
      // As many at once as asked, and then one an hour: it ends by itself.
      + " -m limit --limit 1/hour --limit-burst \(max(1, packets)) -m comment --comment "
      + "\"\(TraceMarker.label) \(plan.id) \(note)\" -j TRACE"
    return .success(
      TracePlan.Transaction(
        backend: .nft, family: family, table: "raw",
        insert: TracePlan.transaction("raw", ["-I PREROUTING 1 \(rule)"]),
        remove: TracePlan.transaction("raw", ["-D PREROUTING \(rule)"])))
  }

  /// How many sockets in the namespace hear the kernel's trace.
  private var traceListeners: Int {
    let path = FilePath("/proc/thread-self/net/netlink")
    let text = (try? access.namespace.readFiles([path]))?[path] ?? ""
    return text.split(separator: "\n").count { line in
      // sk, protocol, port, groups in hexadecimal: NETLINK_NETFILTER and NFNLGRP_NFTRACE.
      let words = line.split(separator: " ", maxSplits: 4)
      return words.count > 4 && words[1] == "12"
        && (UInt32(words[3], radix: 16) ?? 0) & 1 << 8 != 0
    }
  }

  /// Traces.
  ///
  /// - Parameters:
  ///   - request: Whose packets; of a peer with several flows the busiest.
  ///   - endpoints: Which ports count as SIP.
  ///   - stop: Ends it early; what was heard is then lost.
  ///   - report: Called with each step as it is done.
  /// - Returns: What the kernel said.
  /// - Throws: ``SIPLeakError``: `unchanged`, `undone` or `notUndone`.
  public func run(
    _ request: TraceRequest, endpoints: SIPEndpoints, stop: TraceStop = TraceStop(),
    report: @Sendable (Enforcement.Step) -> Void = { _ in }
  ) async throws(SIPLeakError) -> KernelTrace {
    let lock = try RunLock.take()
    let markers = TraceRun(access: access, seconds: seconds)
    try await markers.removeLeftovers(report)
    let plan = try await markers.plan(request, endpoints: endpoints)
    let transaction = try self.transaction(plan).get()
    let listening = Int(seconds.rounded(.up))
    let family = transaction.family
    let tools = access.tools
    let others = traceListeners
    let isOver = Mutex(false)
    let monitor = Task { () -> Result<[KernelTraceEvent], FirewallError> in
      defer { isOver.withLock { $0 = true } }
      do throws(FirewallError) {
        return .success(try await FirewallHost.kernelTrace(family, seconds: listening, tools))
      } catch {
        return .failure(error)
      }
    }
    // It must listen before the first packet is traced; what it misses is only not shown.
    for _ in 0..<200 {
      if traceListeners > others || isOver.withLock({ $0 }) { break }
      try? await Task.sleep(for: .milliseconds(50))
    }
    do throws(FirewallError) {
      try await FirewallHost.restore(
        Array(transaction.insert.utf8), backend: .nft, family: family, testOnly: false,
        waitSeconds: 5, tools)
    } catch {
      monitor.cancel()
      _ = try await markers.removeStanding()
      throw SIPLeakError(
        .unchanged, "the TRACE rule could not be put in: \(error)",
        advice: "Does this kernel have the TRACE target? Without --kernel-trace it is not needed.",
        detail: error.standardError ?? "")
    }
    report(Enforcement.Step(name: "marked", text: "a TRACE rule in raw PREROUTING"))
    let watch = Task {
      while !Task.isCancelled, !stop.isStopped { try? await Task.sleep(for: .milliseconds(50)) }
      if stop.isStopped { monitor.cancel() }
    }
    let heard = await monitor.value
    watch.cancel()
    let removed = try await markers.removeStanding()
    report(Enforcement.Step(name: "removed", text: "\(removed) TRACE rule"))
    _ = consume lock
    switch heard {
    case .success(let events):
      var notes = plan.notes
      if plan.subjects.count > 1 {
        notes.append("only the first of \(plan.subjects.count) is traced by the kernel")
      }
      return KernelTrace(
        events, of: plan.subjects[0], in: plan.snapshot, seconds: seconds, notes: notes)
    case .failure(let error):
      throw SIPLeakError(
        .undone,
        stop.isStopped ? "interrupted" : "the kernel's trace could not be heard: \(error)",
        advice: "The TRACE rule was taken out again. \(error.advice ?? "")",
        detail: error.standardError ?? "")
    }
  }
}
