import Addressing
import HostNetwork

extension Observation {
  /// The interface that packets forwarded to an address leave by, or `nil` when that is not certain.
  ///
  /// The longest route decides, as the kernel has it; where policy rules or several uplinks are at
  /// work, all routes that cover the address have to agree.
  func egress(to address: IPAddress) -> String? {
    let covering = (network.routedPrefixes ?? []).filter { $0.prefix.contains(address) }
    guard let longest = covering.map(\.prefix.length).max() else { return nil }
    let isPlain = network.peerRoutes.allSatisfy {
      $0.peer.family != address.family || $0.isInterfaceCertain != false
    }
    let deciding = isPlain ? covering.filter { $0.prefix.length == longest } : covering
    guard deciding.allSatisfy({ $0.interfaces != nil }) else { return nil }
    let names = Set(deciding.flatMap { $0.interfaces ?? [] })
    return names.count == 1 ? names.first : nil
  }
}

extension NetworkFacts {
  /// The addresses of each interface in the kernel's order, or `nil` when none were read.
  var addressesByInterface: [String: [IPAddress]]? {
    addresses.isEmpty
      ? nil : Dictionary(grouping: addresses, by: \.interface).mapValues { $0.map(\.address) }
  }
}
