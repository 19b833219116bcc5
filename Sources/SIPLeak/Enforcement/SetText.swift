import Addressing
import Firewall
import Glibc

/// An input of `ipset restore`, loaded by several of it side by side where it is long.
///
/// Most of what an entry takes is spent in ipset itself, which opens and reads /etc/protocols for
/// each; the kernel takes a tenth of it.
struct SetText {
  /// Entries that are worth another process.
  static let entriesWorthOne = 1000
  private static let mostParts = 4
  /// In a dry run each part has a set of its own, which must not hold what the whole could not.
  private static let mostEntries = 500_000

  /// The lines that make the sets.
  let head: [UInt8]
  /// All other lines in order, cut into parts.
  let parts: [[UInt8]]

  /// Cuts a text; the lines that make sets stand first in it, and no entry hangs on another one.
  init(_ text: String, processors: Int = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))) {
    let bytes = Array(text.utf8)
    var begins: [Int] = bytes.isEmpty ? [] : [0]
    for (index, byte) in bytes.enumerated() where byte == 0x0a && index + 1 < bytes.count {
      begins.append(index + 1)
    }
    let first = begins.firstIndex { !bytes[$0...].starts(with: "create ".utf8) } ?? begins.count
    let entries = begins[first...]
    let wanted =
      entries.count > Self.mostEntries
      ? 1 : min(processors, Self.mostParts, entries.count / Self.entriesWorthOne)
    head = Array(bytes[..<(entries.first ?? bytes.count)])
    guard !entries.isEmpty else {
      parts = []
      return
    }
    let size = (entries.count + max(1, wanted) - 1) / max(1, wanted)
    parts = stride(from: first, to: begins.count, by: size).map { from in
      let end = from + size < begins.count ? begins[from + size] : bytes.count
      return Array(bytes[begins[from]..<end])
    }
  }

  /// Changes sets; not all-or-nothing, as `ipset restore` is not (facts E8).
  ///
  /// - Parameter context: Where ipset is run.
  /// - Throws: ``FirewallError`` of the first part that failed, when all have come to their end.
  func restore(_ context: ToolContext) async throws(FirewallError) {
    guard parts.count > 1 else {
      return try await FirewallHost.restoreSets(head + (parts.first ?? []), context)
    }
    if !head.isEmpty { try await FirewallHost.restoreSets(head, context) }
    let failure = await withTaskGroup(of: FirewallError?.self) { group in
      for part in parts {
        group.addTask {
          do throws(FirewallError) {
            try await FirewallHost.restoreSets(part, context)
            return nil
          } catch {
            return error
          }
        }
      }
      var first: FirewallError?
      for await failure in group { first = first ?? failure }
      return first
    }
    if let failure { throw failure }
  }

  /// Loads rules and all entries in empty namespaces, one a part; the rules with the first.
  ///
  /// - Returns: The worst of what came of them.
  func dryRun(
    rules: [UInt8], backend: Backend, family: AddressFamily, _ context: ToolContext
  ) async -> FirewallHost.DryRun {
    let (head, parts) = (head, parts.isEmpty ? [[]] : parts)
    return await withTaskGroup(of: FirewallHost.DryRun.self) { group in
      for (number, part) in parts.enumerated() {
        group.addTask {
          await FirewallHost.dryRun(
            rules: number == 0 ? rules : [], sets: head + part, backend: backend, family: family,
            context)
        }
      }
      var worst = FirewallHost.DryRun.loaded
      for await outcome in group {
        switch (outcome, worst) {
        case (.failed, .failed), (.loaded, _): break
        case (.failed, _): worst = outcome
        case (.notPossible, .loaded): worst = outcome
        case (.notPossible, _): break
        }
      }
      return worst
    }
  }
}
