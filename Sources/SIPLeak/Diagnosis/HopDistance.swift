import Addressing
import Firewall
import HostNetwork

/// How many routers a packet has passed, told by the TTL it arrived with.
struct HopCount: Hashable {
  var address: IPAddress
  /// The TTL that was noted.
  var ttl: UInt8
  /// Where it is known from: a list of `-m recent`, or what was heard.
  var place: String

  /// TTLs that systems begin with.
  private static let beginnings: [UInt8] = [32, 64, 128, 255]

  /// Routers passed, if it began with the next usual TTL.
  var hops: Int {
    let begun = Self.beginnings.first { $0 >= ttl } ?? 255
    return Int(begun) - Int(ttl)
  }
}

extension Differential {
  /// Distances within a network differ by at most this many hops.
  private static let spread = 3

  /// TTLs that were heard, and those that lists of `-m recent` noted; 0 there means none.
  var hopCounts: [HopCount] {
    let heard = heardHopLimits.sorted { $0.key < $1.key }.flatMap { address, limits in
      limits.map { HopCount(address: address, ttl: $0, place: "heard") }
    }
    let noted = (snapshot.recentLists ?? []).flatMap { list in
      list.entries.filter { $0.ttl != 0 }.map {
        HopCount(address: $0.address, ttl: $0.ttl, place: "in list \(list.name)")
      }
    }
    return heard + noted
  }

  /// What is odd about an address's distance, or `nil` when nothing is.
  func oddity(of one: HopCount, among all: [HopCount]) -> String? {
    if isOnLink(one.address) {
      guard one.hops > 0 else { return nil }
      return "\(one.address) is on a network of this host, and its TTL \(one.ttl) says "
        + Listing.count(one.hops, "router") + " between"
    }
    if one.hops == 0, isBehindGateway(one.address) {
      return "\(one.address) is elsewhere, and its TTL \(one.ttl) says no router between: "
        + "it was sent from the next wire"
    }
    // Two programs may begin with different TTLs; two places are different distances.
    if let other = all.first(where: {
      $0.address == one.address && abs($0.hops - one.hops) > Self.spread
    }) {
      return "packets of \(one.address) have passed "
        + "\(min(one.hops, other.hops)) and \(max(one.hops, other.hops)) hops: several senders use "
        + "the address, or a TTL is made up"
    }
    if let far = neighbours(of: one, among: all).first(where: {
      abs($0.hops - one.hops) > Self.spread
    }) {
      return "\(one.address) is \(Listing.count(one.hops, "hop")) away and its neighbour "
        + "\(far.address) \(far.hops)"
    }
    return nil
  }

  private func isOnLink(_ address: IPAddress) -> Bool {
    observation.network.addresses.contains { own in
      own.prefixLength < own.address.family.bitWidth && own.prefix?.contains(address) == true
    }
  }

  /// Others of its network, which are as far away as it is.
  private func neighbours(of one: HopCount, among all: [HopCount]) -> [HopCount] {
    let length = one.address.family == .ipv4 ? 24 : 64
    guard let network = IPPrefix(one.address, length: length) else { return [] }
    return all.filter { network.contains($0.address) && $0.address != one.address }
  }

  /// Whether there is anything its distance could contradict.
  private func isCompared(_ one: HopCount, among all: [HopCount]) -> Bool {
    isOnLink(one.address) || !neighbours(of: one, among: all).isEmpty
  }

  /// Whether what an address sends certainly passes a router: the route back has a gateway, or is
  /// the default route.
  private func isBehindGateway(_ address: IPAddress) -> Bool {
    if let known = observation.network.peerRoutes.first(where: { $0.peer == address })?.route {
      return known.gateway != nil
    }
    let covering = (observation.network.routedPrefixes ?? []).filter {
      $0.prefix.contains(address)
    }
    return covering.map(\.prefix.length).max() == 0
  }

  /// Whether a peer's packets have travelled another distance than its address says.
  func hopDistance() -> Explanation {
    let all = hopCounts
    let asked = suspects
    let ours = asked.isEmpty ? all : all.filter { asked.contains($0.address) }
    let evidence = ours.prefix(Self.listed).map { one in
      Evidence(
        "TTL \(one.ttl) \(one.place): \(Listing.count(one.hops, "hop"))",
        prefixes: [IPPrefix(one.address)])
    }
    for one in ours {
      if let oddity = oddity(of: one, among: all) {
        return Explanation(.hopDistance, .supported, oddity, evidence, command: capture)
      }
    }
    if ours.isEmpty {
      return Explanation(
        .hopDistance, .cannotTell,
        asked.isEmpty
          ? "no TTL of a packet is known"
          : "no TTL of \(asked.count == 1 ? "its" : "their") packets is known",
        command: listening)
    }
    let unknown = asked.filter { peer in !ours.contains { $0.address == peer } }
    let nearest = ours.map { "\($0.address) \(Listing.count($0.hops, "hop"))" }
    guard unknown.isEmpty else {
      return Explanation(
        .hopDistance, .cannotTell,
        "\(Listing.words(nearest)); of \(Listing.words(unknown.map(\.description))) "
          + "no TTL is known", evidence, command: listening)
    }
    if let alone = ours.first(where: { !isCompared($0, among: all) }) {
      return Explanation(
        .hopDistance, .cannotTell,
        "\(alone.address) is \(Listing.count(alone.hops, "hop")) away; of nobody in its network is "
          + "that known, to compare it with", evidence, command: "traceroute -n \(alone.address)")
    }
    return Explanation(
      .hopDistance, .ruledOut, "\(Listing.words(nearest)), as the address says", evidence)
  }

  /// The command that hears the peers' TTLs, or shows what arrives where no peer is known.
  private var listening: String {
    guard suspects.first != nil else { return capture }
    return "sipleak diagnose \(peer.map { "\($0) " } ?? "")--listen 10s"
      + observation.endpoints.options
  }

  /// The command that shows the TTLs of what arrives.
  var capture: String {
    let host = suspects.first.map { " and src host \($0)" } ?? ""
    let interface =
      suspects.first.flatMap { ways.interfaces(to: $0)?.first } ?? "any"
    let transport = observation.endpoints.transports.contains(.udp) ? "udp" : "tcp"
    let port = (observation.endpoints.ports.min()).map { " \($0)" } ?? " 5060"
    return "tcpdump -vni \(ShellWord.quoted(interface)) '\(transport) dst port\(port)\(host)'"
  }
}
