import Addressing
import HostNetwork

/// The addresses of a family cut where a route begins or ends: within a cell all are covered by the
/// same routes.
///
/// Where no policy rule looks at a packet and no route spreads over several hops, the kernel chooses
/// by the destination's routes and the source alone, so that one question answers for a cell. A few
/// ranges it knows by their number, whatever the routes say: these are cut out as well.
struct RouteCells: Sendable {
  /// The first address of each cell but the first, in order.
  private let cuts: [UInt128]

  /// What a host sends to a group leaves by the interface of its source address, and what it sends to
  /// 0/8 was refused before Linux 5.3.
  private static let special: [AddressFamily: [IPPrefix]] = [
    .ipv4: prefixes("0.0.0.0/32", "0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"),
    .ipv6: prefixes("::1/128", "fe80::/10", "ff00::/8"),
  ]

  private static func prefixes(_ texts: String...) -> [IPPrefix] {
    texts.compactMap { IPPrefix($0) }
  }

  /// Cuts by routes; `nil` where the kernel may tell two addresses of a cell apart.
  ///
  /// - Parameters:
  ///   - choices: What routes depend on beside the destination.
  ///   - family: The family of the addresses.
  ///   - destinations: The destinations of all routes of the family, of every kind and table.
  init?(_ choices: RouteChoices, _ family: AddressFamily, destinations: [IPPrefix]) {
    guard choices.ruleCount == 0, !choices.isMultipath else { return nil }
    var cuts: Set<UInt128> = []
    for prefix in destinations + (Self.special[family] ?? []) {
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
