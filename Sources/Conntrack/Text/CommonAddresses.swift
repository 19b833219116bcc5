public import Addressing

/// The addresses that are an end of every flow of a table, as far as one can be told from the
/// flows.
public struct CommonAddresses: Sendable, Hashable {
  private var candidates: [AddressFamily: Set<IPAddress>] = [:]

  /// Starts without any flow.
  public init() {}

  /// Takes a flow.
  mutating func insert(_ flow: Flow) {
    // What the host says to itself tells nothing of its addresses, but all of them are its own.
    if flow.original.source.isLoopback || flow.original.destination.isLoopback { return }
    if let known = candidates[flow.family], known.isEmpty { return }
    let ends: Set = [
      flow.original.source, flow.original.destination, flow.reply.source, flow.reply.destination,
    ]
    if let known = candidates[flow.family] {
      if known.isSubset(of: ends) { return }
      candidates[flow.family] = known.intersection(ends)
    } else {
      candidates[flow.family] = ends
    }
  }

  /// The addresses of a family; `nil` if no flow is of it.
  public subscript(family: AddressFamily) -> Set<IPAddress>? { candidates[family] }
}
