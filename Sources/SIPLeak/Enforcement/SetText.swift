import Addressing
import Firewall
import Glibc

/// An input of `ipset restore`, loaded by several of it side by side where it is long.
///
/// Most of what an entry takes is spent in ipset itself, which opens and reads /etc/protocols for
/// each; the kernel takes a tenth of it. The line that makes the set stands in every part: ipset
/// sends many entries in one message only to a set that the same input has made, else each alone.
struct SetText {
  /// Entries that are worth another process.
  static let entriesWorthOne = 1000
  private static let mostParts = 4

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
    let wanted = min(processors, Self.mostParts, entries.count / Self.entriesWorthOne)
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
    // Made before the parts: of two that begin at the same time both would try to.
    if !head.isEmpty { try await FirewallHost.restoreSets(head, context) }
    let head = head
    let failure = await withTaskGroup(of: FirewallError?.self) { group in
      for part in parts {
        group.addTask {
          do throws(FirewallError) {
            try await FirewallHost.restoreSets(head + part, context)
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

  /// Loads rules and entries in an empty namespace.
  ///
  /// Of many entries some hundred, evenly from all of them, the first and the last included: all are
  /// made by one line of code and differ in numbers only, and to load them all would take as long as
  /// it does for good. A load for good that fails is taken back.
  ///
  /// - Returns: What came of it.
  func dryRun(
    rules: [UInt8], backend: Backend, family: AddressFamily, _ context: ToolContext
  ) async -> FirewallHost.DryRun {
    await FirewallHost.dryRun(
      rules: rules, sets: head + sample(Self.mostTried), backend: backend, family: family, context)
  }

  private static let mostTried = 100

  /// So many of the entries' lines at most, evenly from all.
  func sample(_ most: Int) -> [UInt8] {
    let lines: [ArraySlice<UInt8>] = parts.flatMap { $0.split(separator: 0x0a) }
    guard lines.count > most else { return parts.flatMap { $0 } }
    var sample: [UInt8] = []
    for number in 0..<most {
      sample += lines[number * (lines.count - 1) / (most - 1)]
      sample.append(0x0a)
    }
    return sample
  }
}
