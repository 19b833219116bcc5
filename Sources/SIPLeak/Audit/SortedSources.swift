import Addressing
import Firewall

/// The ``SourceKinds`` of each family's sources, made once enough of them were asked about to make it
/// worth while.
struct SortedSources {
  /// How many are not sorted first.
  static let patience = 16

  /// Whether kinds are made use of; the answers are the same without.
  var isOn = true
  private var ipv4 = State.unsorted(seen: 0)
  private var ipv6 = State.unsorted(seen: 0)

  private enum State {
    case unsorted(seen: Int)
    case sorted(SourceKinds)
    /// Some rule looks at them in a way that no kinds follow.
    case each
  }

  /// The kinds of a family's sources, if there are any and they are worth the while.
  mutating func kinds(_ family: AddressFamily, _ evaluation: Evaluation) -> SourceKinds? {
    guard isOn else { return nil }
    switch family == .ipv4 ? ipv4 : ipv6 {
    case .sorted(let kinds): return kinds
    case .each: return nil
    case .unsorted(let seen):
      var next = State.unsorted(seen: seen + 1)
      if seen >= Self.patience {
        next = SourceKinds(evaluation, family: family).map { .sorted($0) } ?? .each
      }
      if family == .ipv4 { ipv4 = next } else { ipv6 = next }
      return nil
    }
  }
}
