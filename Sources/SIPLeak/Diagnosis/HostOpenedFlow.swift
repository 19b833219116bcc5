import Addressing
import Conntrack

extension Differential {
  /// Whether this host sent first.
  func hostOpened() -> Explanation {
    let opened = flows.filter { $0.sides.origin == .host }
    let found = findings.filter { $0.cause == .hostOpened }
    let named = peer == nil ? [] : opened
    if !found.isEmpty || !named.isEmpty {
      let ends = found.isEmpty ? named.map(\.ends) : found.compactMap(\.ends)
      let peers = Set(ends.map(\.peer.address)).sorted()
      let latent = found.contains { $0.grade == .latent }
      let summary =
        ends.count == 1
        ? "this host sent first: a trunk it registers to, or a lure"
          + (latent ? "; unanswered, and the first answer already passes" : "")
        : "this host sent first in \(Listing.count(ends.count, "flow")), to "
          + Listing.words(peers.map(\.description))
      let isTrusted = peers.allSatisfy { policy.trusted.contains($0) }
      return Explanation(
        .hostOpened, .supported, summary,
        ends.prefix(Self.listed).map {
          Evidence("opened by \($0.wire), no search by destination port shows it", flow: $0)
        },
        command: isTrusted
          ? nil : peers.first.map { "sipleak diagnose --trust \($0)" })
    }
    let undecided = findings.filter { $0.cause == .undecided && $0.origin == .host }
    if let first = undecided.first {
      return Explanation(
        .hostOpened, .cannotTell, first.why,
        undecided.prefix(Self.listed).map { Evidence($0.why, flow: $0.ends) })
    }
    return Explanation(
      .hostOpened, .ruledOut,
      opened.isEmpty
        ? peer == nil ? "no flow to SIP was opened by this host" : "this host opened no flow to it"
        : "\(Listing.count(opened.count, "flow")), all to trusted peers or such as the rules admit")
  }
}
