import Addressing
import HostNetwork

/// The addresses of a family cut where a route begins or ends: within a cell all are covered by the
/// same routes.
///
/// Where no policy rule looks at a packet and no route spreads over several hops, the kernel chooses
/// by the destination's routes and the source alone, so that one question answers for a cell.
struct RouteCells: Sendable {
  /// The first address of each cell but the first, in order.
  private let cuts: [UInt128]

  /// Cuts by routes; `nil` where the kernel may tell two addresses of a cell apart.
  ///
  /// - Parameters:
  ///   - choices: What routes depend on beside the destination.
  ///   - destinations: The destinations of all routes of the family, of every kind and table.
  init?(_ choices: RouteChoices, destinations: [IPPrefix]) {
    guard choices.ruleCount == 0, !choices.isMultipath else { return nil }
    var cuts: Set<UInt128> = []
    for prefix in destinations {
      let first = prefix.address.bits
      let hostBits = prefix.family.bitWidth - prefix.length
      cuts.insert(first)
      // Behind the last address of the family there is nothing.
      let size = hostBits == 128 ? 0 : UInt128(1) << UInt128(hostBits)
      let (next, overflows) = first.addingReportingOverflow(size)
      if hostBits < 128, !overflows { cuts.insert(next) }
    }
    self.cuts = cuts.sorted()
  }

  /// The number of the cell that an address is in.
  func number(of address: IPAddress) -> Int {
    let bits = address.bits
    var low = 0
    var high = cuts.count
    while low < high {
      let middle = (low + high) / 2
      if cuts[middle] <= bits { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
