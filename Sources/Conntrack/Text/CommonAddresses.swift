public import Addressing

/// The addresses that are an end of every flow of a table, as far as one can be told from the
/// flows.
public struct CommonAddresses: Sendable, Hashable {
  private var ipv4: [IPAddress]?
  private var ipv6: [IPAddress]?

  /// Starts without any flow.
  public init() {}

  /// Takes a flow.
  mutating func insert(_ flow: Flow) {
    // What the host says to itself tells nothing of its addresses, but all of them are its own.
    if flow.original.source.isLoopback || flow.original.destination.isLoopback { return }
    if flow.family == .ipv4 {
      Self.narrow(&ipv4, flow)
    } else {
      Self.narrow(&ipv6, flow)
    }
  }

  /// Runs a million times in a row, and mostly on one address that stays.
  private static func narrow(_ candidates: inout [IPAddress]?, _ flow: Flow) {
    func isEnd(_ address: IPAddress) -> Bool {
      address == flow.original.source || address == flow.original.destination
        || address == flow.reply.source || address == flow.reply.destination
    }
    guard let known = candidates else {
      candidates = Array(
        Set([
          flow.original.source, flow.original.destination, flow.reply.source,
          flow.reply.destination,
        ])
      ).sorted()
      return
    }
    if !known.allSatisfy(isEnd) { candidates = known.filter(isEnd) }
  }

  /// The addresses of a family in order; `nil` if no flow is of it.
  public subscript(family: AddressFamily) -> [IPAddress]? { family == .ipv4 ? ipv4 : ipv6 }
}
